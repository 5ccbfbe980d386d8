//! The memory that a guest allocates from: it is handed out in order, and not given back.
//!
//! An instance lives for one message, so its memory is gone soon in any case. Handing it out in order
//! costs a few instructions, needs no lists, and begins with what the module's memory has left at the
//! start: a small guest never asks for more, which would cost its node two system calls. The block that
//! was handed out last can grow, shrink and be given back in place, so that growing a vector or a
//! string does not copy it each time.
//!
//! What it refuses: to find other blocks again that were given back. A guest that allocates over and
//! over wants an allocator that does; it switches the feature `allocator` off, and has that of the
//! standard library or one of its own.

#![allow(unsafe_code)] // It is an allocator.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use core::ptr;

/// Where memory comes from.
///
/// # Safety
/// Every range that is handed out can be read and written until the program ends, and belongs to the
/// caller alone.
pub(crate) unsafe trait Source {
    /// What is there at the start: first address, and the one behind the last.
    fn start(&self) -> (usize, usize);

    /// At least so many bytes more: first address, and the one behind the last. `None`: there are not
    /// so many.
    fn more(&self, bytes: usize) -> Option<(usize, usize)>;
}

/// An allocator.
pub(crate) struct Heap<S> {
    source: S,
    /// What is free: first address, and the one behind the last. `None` before the first use.
    free: Cell<Option<(usize, usize)>>,
}

impl<S: Source> Heap<S> {
    pub(crate) const fn new(source: S) -> Self {
        Self {
            source,
            free: Cell::new(None),
        }
    }

    fn free(&self) -> (usize, usize) {
        self.free.get().unwrap_or_else(|| self.source.start())
    }

    /// Whether a block is the one that was handed out last.
    fn is_last(&self, block: *mut u8, size: usize) -> bool {
        block.addr().checked_add(size) == Some(self.free().0)
    }
}

/// Where a block begins and ends that is cut off the beginning of a range.
fn cut((from, to): (usize, usize), size: usize, align: usize) -> Option<(usize, usize)> {
    let begin = from.checked_next_multiple_of(align)?;
    let end = begin.checked_add(size)?;
    (end <= to).then_some((begin, end))
}

// SAFETY: blocks are cut off the beginning of ranges that belong to this allocator alone, each behind
// the one before, as long and as aligned as asked for. A range is cut again only from where the last
// block began that was given back or shrunk.
unsafe impl<S: Source> GlobalAlloc for Heap<S> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        let mut free = self.free();
        let block = cut(free, size, align).or_else(|| {
            // What is left of the range before is lost, unless the new one follows it.
            let range = self.source.more(size.checked_add(align)?)?;
            let from = if range.0 == free.1 { free.0 } else { range.0 };
            free = (from, range.1);
            cut(free, size, align)
        });
        match block {
            Some((begin, end)) => {
                self.free.set(Some((end, free.1)));
                ptr::with_exposed_provenance_mut(begin)
            }
            None => ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if self.is_last(block, layout.size()) {
            self.free.set(Some((block.addr(), self.free().1)));
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if self.is_last(block, layout.size())
            && let Some((_, end)) = cut((block.addr(), self.free().1), size, 1)
        {
            self.free.set(Some((end, self.free().1)));
            return block;
        }
        if size <= layout.size() {
            return block;
        }
        // SAFETY: the caller has seen to it that the new size is no overflow with this alignment.
        let new = unsafe { self.alloc(Layout::from_size_align_unchecked(size, layout.align())) };
        if !new.is_null() {
            // SAFETY: the blocks do not overlap, and both are at least as long as the old one.
            unsafe { ptr::copy_nonoverlapping(block, new, layout.size()) };
        }
        new
    }
}

#[cfg(all(target_arch = "wasm32", feature = "allocator"))]
mod guest {
    use super::{Heap, Source};
    use core::arch::wasm32::memory_grow;

    const PAGE: usize = 64 * 1024;

    #[global_allocator]
    static HEAP: Heap<Memory> = Heap::new(Memory);

    // SAFETY: a guest has one thread.
    unsafe impl Sync for Heap<Memory> {}

    /// The guest's memory.
    struct Memory;

    // SAFETY: from `__heap_base` to `__heap_end` is what the linker leaves to the allocator, of which
    // there is one. What `memory_grow` adds nobody had before: it says where it begins.
    unsafe impl Source for Memory {
        fn start(&self) -> (usize, usize) {
            unsafe extern "C" {
                static __heap_base: u8;
                static __heap_end: u8;
            }
            (
                (&raw const __heap_base).expose_provenance(),
                (&raw const __heap_end).expose_provenance(),
            )
        }

        fn more(&self, bytes: usize) -> Option<(usize, usize)> {
            let pages = bytes.div_ceil(PAGE);
            let before = memory_grow::<0>(pages);
            if before == usize::MAX {
                return None;
            }
            let begin = before * PAGE;
            // The last page of 4 GiB is left out: its end is no address.
            Some((begin, begin.saturating_add(pages * PAGE)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    /// Ranges of an array, with holes between some.
    struct Ranges {
        bytes: Vec<Cell<u8>>,
        given: Cell<usize>,
        hole: usize,
    }

    // SAFETY: the ranges lie in one array, that nothing else looks at, and do not overlap.
    unsafe impl Source for Ranges {
        fn start(&self) -> (usize, usize) {
            self.given.set(100);
            let begin = self.bytes.as_ptr().expose_provenance();
            (begin, begin + 100)
        }

        fn more(&self, bytes: usize) -> Option<(usize, usize)> {
            let from = self.given.get() + self.hole;
            let to = from.checked_add(bytes.checked_next_multiple_of(64)?)?;
            if to > self.bytes.len() {
                return None;
            }
            self.given.set(to);
            let begin = self.bytes.as_ptr().expose_provenance();
            Some((begin + from, begin + to))
        }
    }

    fn heap(hole: usize) -> Heap<Ranges> {
        Heap::new(Ranges {
            bytes: (0..20_000).map(|_| Cell::new(0)).collect(),
            given: Cell::new(0),
            hole,
        })
    }

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    #[test]
    fn the_last_block_grows_and_is_given_back_in_place() {
        let heap = heap(0);
        // SAFETY: layouts are those that the blocks have; sizes are not zero.
        unsafe {
            let first = heap.alloc(layout(10, 1));
            let block = heap.alloc(layout(10, 8));
            assert_eq!(block.align_offset(8), 0);
            assert_eq!(heap.realloc(block, layout(10, 8), 40), block);
            assert_eq!(heap.realloc(block, layout(40, 8), 20), block);
            assert_eq!(heap.realloc(first, layout(10, 1), 5), first);
            assert_ne!(heap.realloc(first, layout(5, 1), 15), first);
            heap.dealloc(block, layout(20, 8));
            let other = heap.alloc(layout(20, 8));
            assert_ne!(other, block, "it was not the last one");
            heap.dealloc(other, layout(20, 8));
            assert_eq!(heap.alloc(layout(8, 8)), other);
        }
    }

    #[test]
    fn what_is_too_much_is_refused_and_harms_nothing() {
        let heap = heap(0);
        // SAFETY: as above.
        unsafe {
            let block = heap.alloc(layout(10, 1));
            assert!(heap.alloc(layout(usize::MAX / 2, 1)).is_null());
            assert!(heap.realloc(block, layout(10, 1), 30_000).is_null());
            assert!(!heap.alloc(layout(5000, 1)).is_null());
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Take(usize, usize),
        Resize(prop::sample::Index, usize),
        Drop(prop::sample::Index),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (1..90_usize, 0..5_u32).prop_map(|(size, align)| Step::Take(size, 1 << align)),
            (any::<prop::sample::Index>(), 1..200_usize)
                .prop_map(|(at, size)| Step::Resize(at, size)),
            any::<prop::sample::Index>().prop_map(Step::Drop),
        ];
        prop::collection::vec(step, 0..60)
    }

    proptest! {
        /// Every block keeps what was written into it, whatever becomes of the others.
        #[test]
        fn blocks_are_apart(steps in steps(), hole in prop_oneof![Just(0_usize), Just(24)]) {
            let heap = heap(hole);
            let mut blocks: Vec<(*mut u8, Layout, u8)> = Vec::new();
            for (number, step) in steps.into_iter().enumerate() {
                let mark = u8::try_from(number).unwrap() + 1;
                // SAFETY: blocks are used with the layouts that they have, and not after they went.
                unsafe {
                    match step {
                        Step::Take(size, align) => {
                            let block = heap.alloc(layout(size, align));
                            prop_assert!(!block.is_null());
                            prop_assert_eq!(block.align_offset(align), 0);
                            block.write_bytes(mark, size);
                            blocks.push((block, layout(size, align), mark));
                        }
                        Step::Resize(at, size) if !blocks.is_empty() => {
                            let at = at.index(blocks.len());
                            let (block, old, mark) = blocks[at];
                            let block = heap.realloc(block, old, size);
                            prop_assert!(!block.is_null());
                            prop_assert_eq!(block.align_offset(old.align()), 0);
                            for at in 0..size.min(old.size()) {
                                prop_assert_eq!(block.add(at).read(), mark);
                            }
                            block.write_bytes(mark, size);
                            blocks[at] = (block, layout(size, old.align()), mark);
                        }
                        Step::Drop(at) if !blocks.is_empty() => {
                            let (block, old, _) = blocks.swap_remove(at.index(blocks.len()));
                            heap.dealloc(block, old);
                        }
                        _ => {}
                    }
                    for (block, layout, mark) in &blocks {
                        for at in 0..layout.size() {
                            prop_assert_eq!(block.add(at).read(), *mark);
                        }
                    }
                }
            }
        }
    }
}
