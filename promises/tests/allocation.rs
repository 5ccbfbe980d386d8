//! Input that lies about its size costs what it has, not what it claims. An allocator that counts
//! per thread measures it.
#![allow(unsafe_code)] // An allocator cannot be written without.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use grid_keys::NodeId;
use grid_promises::cbor::{self, Bounds, CborFault};
use grid_promises::content_id::ContentId;
use grid_promises::envelope::{Envelope, EnvelopeError, LegacyEnvelope};
use grid_promises::message::{Message, MessageError};
use grid_promises::modules::descriptor::DescriptorError;
use grid_promises::modules::table::TableError;
use grid_promises::modules::{Descriptor, Manifest, ObjectError, SymbolTable};
use grid_promises::routes::{Key, Limits, Routes, Target};
use grid_promises::time::Timestamp;

struct Counting;

thread_local! {
    static ASKED: Cell<usize> = const { Cell::new(0) };
    static GIVEN_BACK: Cell<usize> = const { Cell::new(0) };
}

fn count(bytes: usize) {
    // The thread may be ending; what it asks for then belongs to no test.
    let _ = ASKED.try_with(|asked| asked.set(asked.get().saturating_add(bytes)));
}

fn count_back(bytes: usize) {
    let _ = GIVEN_BACK.try_with(|back| back.set(back.get().saturating_add(bytes)));
}

// SAFETY: every call goes to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count_back(layout.size());
        // SAFETY: the caller's promise about both is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count_back(layout.size());
        count(size);
        // SAFETY: the caller's promise about all three is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// All the bytes that `run` asked the allocator for, whether it gave them back or not.
fn asked_for<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let before = ASKED.get();
    let result = run();
    (result, ASKED.get() - before)
}

/// All the bytes that are held by what `make` returns.
fn held_by<T>(make: impl FnOnce() -> T) -> (T, usize) {
    let before = GIVEN_BACK.get();
    let (made, asked) = asked_for(make);
    (made, asked.saturating_sub(GIVEN_BACK.get() - before))
}

/// The stack of open containers at the usual depth, grown by doubling, and an error text.
const SMALL: usize = 4096;

#[test]
fn the_measure_works() {
    let (kept, asked) = asked_for(|| vec![0u8; 1 << 20]);
    assert_eq!(kept.len(), 1 << 20);
    assert!(asked >= 1 << 20, "{asked}");
}

#[test]
fn nesting_is_refused_at_the_bound() {
    let bounds = Bounds::bytes(1 << 20);
    for head in [
        &[0x81][..],
        &[0xc1],
        &[0xd8, 0x2a],
        &[0xa1],
        &[0xa1, 0x00],
        &[0x82, 0x80],
    ] {
        let input = head.repeat((1 << 20) / head.len());
        let (result, asked) = asked_for(|| cbor::check(&input, &bounds));
        let error = result.unwrap_err();
        assert_eq!(error.fault, CborFault::TooDeep { max: 16 }, "{head:02x?}");
        // It stopped there: the rest of the megabyte was not looked at.
        assert!(error.offset <= 16 * head.len(), "{error} for {head:02x?}");
        assert!(asked <= SMALL, "{asked} bytes for {head:02x?}");
    }
}

#[test]
fn claimed_lengths_are_not_believed() {
    let bounds = Bounds::bytes(1 << 20);
    for first in [0x5b, 0x7b, 0x9b, 0xbb] {
        for claim in [u64::MAX, u64::MAX / 2 + 1, 1 << 62, 1 << 40, 1 << 32] {
            let mut input = vec![first];
            input.extend_from_slice(&claim.to_be_bytes());
            input.extend_from_slice(&[0x61; 1000]);
            let (result, asked) = asked_for(|| cbor::check(&input, &bounds));
            assert_eq!(
                result.map_err(|error| error.fault),
                Err(CborFault::Truncated)
            );
            assert!(asked <= SMALL, "{asked} bytes for {first:02x} {claim}");
        }
    }
}

/// The slots of a message that hold lists, with a claim that the input has no room for.
#[test]
fn a_message_that_lies_is_refused_cheaply() {
    let mut head = Message::new(ContentId::of(b"")).encode();
    head.truncate(48);
    assert_eq!(head.last(), Some(&0xf6), "the arguments come next");
    for lie in [
        &[0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..],
        &[0x9a, 0xff, 0xff, 0xff, 0xff],
        &[0x80, 0x5b, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0x80, 0x5a, 0xff, 0xff, 0xff, 0xff],
    ] {
        let input = [&head[..], lie, &[0; 2000]].concat();
        let (result, asked) = asked_for(|| Message::decode(&input, &Message::BOUNDS));
        let Err(MessageError::Envelope(EnvelopeError::Cbor(error))) = result else {
            panic!("{result:?}");
        };
        assert_eq!(error.fault, CborFault::Truncated);
        assert!(asked <= SMALL, "{asked} bytes for {lie:02x?}");
    }
}

/// An honest list, far longer than a message may have: it is counted before it is read.
#[test]
fn a_long_list_costs_no_more_than_a_short_one() {
    let many = 1_000_000u32;
    let mut list = vec![0x9a];
    list.extend_from_slice(&many.to_be_bytes());
    list.resize(list.len() + many as usize, 0x40);
    let promise = ContentId::of(b"");
    let input = Envelope::encode(&promise, &[&[0xf6], &list, &[0x40], &[0xf6]]).unwrap();
    for result in [
        asked_for(|| Message::decode(&input, &Message::BOUNDS).map(drop)),
        asked_for(|| Ok(Envelope::decode(&input, &Message::BOUNDS).map(drop)?)),
        asked_for(|| Ok(LegacyEnvelope::decode(&input, &Message::BOUNDS).map(drop)?)),
    ] {
        let (Err(MessageError::Envelope(EnvelopeError::Cbor(error))), asked) = result else {
            panic!("{result:?}");
        };
        assert_eq!(
            error.fault,
            CborFault::TooManyItems {
                max: Message::BOUNDS.max_items
            }
        );
        assert!(asked <= SMALL, "{asked}");
    }
}

/// Objects of modules whose lists and strings claim more than there is, or more than is allowed.
#[test]
fn an_object_of_a_module_that_lies_is_refused_cheaply() {
    let lies = [
        &[0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..],
        &[0x9a, 0xff, 0xff, 0xff, 0xff],
        &[0x5b, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0x7a, 0xff, 0xff, 0xff, 0xff],
    ];
    // Version and no previous table; version and a length of 1 GiB.
    for head in [
        &[0x83, 0x01, 0xf6][..],
        &[0x83, 0x01, 0x1a, 0x40, 0x00, 0x00, 0x00],
    ] {
        for lie in lies {
            let input = [head, lie, &[0; 1000]].concat();
            let (results, asked) = asked_for(|| {
                (
                    Descriptor::decode(&input).is_err(),
                    SymbolTable::decode(&input).is_err(),
                    Manifest::decode(&input).is_err(),
                )
            });
            assert_eq!(results, (true, true, true));
            assert!(
                asked <= 3 * SMALL,
                "{asked} bytes for {head:02x?} {lie:02x?}"
            );
        }
    }
    // A manifest of 1 GiB without the digests of 1 GiB.
    let short = [0x83, 0x01, 0x1a, 0x40, 0x00, 0x00, 0x00, 0x40];
    let (result, asked) = asked_for(|| Manifest::decode(&short));
    assert!(result.is_err() && asked <= SMALL, "{asked}");
}

/// Honest lists that are far too long are counted before they are read.
#[test]
fn too_many_names_or_calls_cost_nothing() {
    let mut names = vec![0x83, 0x01, 0xf6, 0x9a, 0x00, 0x0f, 0x42, 0x40];
    names.resize(names.len() + 1_000_000, 0x80);
    let (result, asked) = asked_for(|| SymbolTable::decode(&names));
    let Err(TableError::Object(ObjectError::Encoding { source, .. })) = result else {
        panic!("{result:?}");
    };
    assert!(
        matches!(source.fault, CborFault::TooManyItems { .. }),
        "{source}"
    );
    assert!(asked <= SMALL, "{asked}");

    let (result, asked) = asked_for(|| Descriptor::decode(&names));
    let Err(DescriptorError::Object(ObjectError::Encoding { source, .. })) = result else {
        panic!("{result:?}");
    };
    assert!(
        matches!(source.fault, CborFault::TooLarge { .. }),
        "{source}"
    );
    assert!(asked <= SMALL, "{asked}");
}

const NOW: Timestamp = Timestamp(1_000_000);

#[test]
fn dispatch_allocates_nothing() {
    let mut routes = Routes::default();
    let id = ContentId::of(b"");
    let args = [b"a".to_vec(), vec![7; 100], b"c".to_vec()];
    let key = Key::call(id, Some(id), &args);
    let peers = (0..20).map(|byte| Target::Peer(NodeId([byte; 32])));
    for target in peers.chain([Target::builtin("x"), Target::Module(id)]) {
        for depth in 1..=5 {
            routes.accepted(key.prefix(depth), &target, NOW).unwrap();
            routes.broken(key.prefix(depth), &target, NOW);
        }
    }
    let (found, asked) = asked_for(|| routes.dispatch(key, NOW).count());
    assert_eq!((found, asked), (22, 0));
}

/// A tree of one peer that makes as many paths as it may.
fn full_tree(limits: Limits, arguments: usize, length: usize, shared: bool) -> Routes {
    let mut routes = Routes::new(limits);
    let peer = Target::Peer(NodeId([1; 32]));
    for number in 1u32.. {
        let mut args = vec![vec![7; length]; arguments];
        let distinct = if shared { arguments - 1 } else { 0 };
        args[distinct].extend(number.to_be_bytes());
        let key = Key::call(ContentId::of(b""), None, &args);
        assert_eq!(routes.accepted(key, &peer, NOW), Ok(()));
        if routes.len() < number as usize {
            break;
        }
    }
    routes
}

/// A tree takes no more than it counts, however the keys are made, so that its limits are limits of
/// memory.
#[test]
fn a_tree_takes_no_more_than_it_may() {
    let mut limits = Limits::STANDARD;
    limits.0.peer.each.paths = usize::MAX;
    limits.0.peer.each.bytes = 3 << 20;
    for (arguments, length) in [
        (1, 0),
        (1, 30),
        (1, 1000),
        (2, 400),
        (16, 0),
        (16, 20),
        (16, 60),
    ] {
        for shared in [true, false] {
            let (routes, held) = held_by(|| full_tree(limits, arguments, length, shared));
            println!(
                "{arguments} x {length}, {shared}: {} paths, {held} bytes",
                routes.len()
            );
            assert!(routes.len() > 500);
            assert!(held <= limits.0.peer.each.bytes, "{held}");
        }
    }
}
