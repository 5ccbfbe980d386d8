//! The routing tree of dispatch, and the results of pure calls that are kept.

use grid_keys::NodeId;
use grid_promises::memo::{MAX_PATH, MAX_SEGMENT, Memo, MemoPath};
use grid_promises::message::Message;
use grid_promises::routes::{Key, Limits, Prefix, REJECTION_LIFETIME, Routes, Target as To};
use grid_promises::{ContentId, Timestamp};
use minicbor::Encoder;

use crate::promises::Target;

/// All targets of this file.
pub const TARGETS: &[Target] = &[("routes", routes), ("memo", memo)];

/// A tree that is read is one that could have been learned: it is written as it was read, gives no
/// candidate that rejects, and goes on learning. A first byte 0 says that the rest is an exported
/// tree; another number that it is a body, which is framed here, as a fuzzer cannot make hashes; none
/// of both from 128: a script of what happens to an empty tree.
pub fn routes(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else {
        return;
    };
    let tree = match mode {
        0 => Routes::import(rest, Limits::STANDARD),
        1..128 => Routes::import(&framed(rest), Limits::STANDARD),
        _ => Ok(learned(rest)),
    };
    if let Ok(tree) = tree {
        check_tree(tree);
    }
}

/// A body with its version and its id before it.
fn framed(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut e = Encoder::new(&mut out);
    _ = e.array(3).and_then(|e| e.u8(1));
    _ = e.encode(ContentId::of(body));
    _ = e.bytes(body);
    out
}

/// Four bytes an event: what, whose, at which depth, with which arguments.
fn learned(script: &[u8]) -> Routes {
    let mut routes = Routes::default();
    let mut now = Timestamp(1_000_000);
    let promise = ContentId::of(b"");
    for event in script.chunks_exact(4).take(256) {
        let [what, whose, depth, arg] = [event[0], event[1], event[2], event[3]];
        let args = [vec![arg & 3], vec![arg >> 4; usize::from(arg)], vec![]];
        let key = Key::call(promise, None, &args).prefix(usize::from(depth % 6));
        let target = match whose % 3 {
            0 => To::builtin(if whose & 4 == 0 { "x" } else { "y" }),
            1 => To::Module(ContentId::of(&[whose])),
            _ => To::Peer(NodeId([whose; 32])),
        };
        let before = routes.len();
        match what % 7 {
            0 => assert_eq!(routes.accepted(key, &target, now), Ok(())),
            1 => assert_eq!(routes.rejected(key, &target, now), Ok(())),
            2 => _ = routes.kept(key, &target, now),
            3 => _ = routes.broken(key, &target, now),
            4 => assert_eq!(before - routes.forget_target(&target), routes.len()),
            5 => assert_eq!(before - routes.prune(now), routes.len()),
            _ => now = now.after(REJECTION_LIFETIME / 4),
        }
    }
    routes
}

fn check_tree(mut routes: Routes) {
    let bytes = routes.export();
    let again = Routes::import(&bytes, Limits::STANDARD);
    assert!(again.is_ok_and(|again| again.export() == bytes));
    let entries: Vec<_> = routes.entries().collect();
    assert_eq!(entries.len(), routes.len());
    assert!(entries.is_sorted_by(|a, b| (&a.prefix, &a.target) < (&b.prefix, &b.target)));
    let now = entries
        .iter()
        .map(|entry| entry.last_used)
        .max()
        .unwrap_or_default();
    for Prefix {
        promise,
        module,
        args,
    } in entries.iter().map(|entry| &entry.prefix).take(64)
    {
        let key = Key::call(*promise, module.flatten(), args);
        let found: Vec<_> = routes.dispatch(key, now).collect();
        for (index, candidate) in found.iter().enumerate() {
            assert!(!routes.rejects(key, candidate.target, now));
            assert!(
                found
                    .iter()
                    .skip(index + 1)
                    .all(|other| other.target != candidate.target)
            );
        }
    }
    if let Some(entry) = entries.first() {
        let learned = routes.rejected(entry.prefix.key(), &entry.target, now);
        assert_eq!(learned, Ok(()));
        assert!(
            now.after(REJECTION_LIFETIME) == now
                || routes.rejects(entry.prefix.key(), &entry.target, now)
        );
        assert!(routes.forget_target(&entry.target) > 0);
    }
}

/// A memo encodes to the bytes it was read from; a message that is a call has a path of file names.
pub fn memo(data: &[u8]) {
    if let Ok(memo) = Memo::decode(data) {
        assert_eq!(memo.encode(), data);
    }
    let Ok(call) = Message::decode(data, &Message::BOUNDS) else {
        return;
    };
    let Ok(path) = MemoPath::of(&call) else {
        panic!("a message within its limits has no path");
    };
    let name = |name: &String| {
        let length = (1..=MAX_SEGMENT).contains(&name.len());
        let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%=".contains(&byte);
        length && name != "." && name != ".." && name.bytes().all(safe)
    };
    assert!(path.segments().iter().all(name), "{path}");
    assert!(path.to_string().len() <= MAX_PATH);
    let memo = Memo::new(&call, call.clone());
    assert_eq!(Memo::decode_for(&call, &memo.encode()), Ok(memo));
}
