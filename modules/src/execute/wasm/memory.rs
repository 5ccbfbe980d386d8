//! Ranges of a guest's memory.

use crate::execute::error::CallError;

/// A range of a guest's memory.
pub(super) fn range(memory: &[u8], start: u32, length: u32) -> Result<&[u8], CallError> {
    let from = start as usize;
    from.checked_add(length as usize)
        .and_then(|to| memory.get(from..to))
        .ok_or(CallError::Range {
            start,
            length,
            memory: memory.len(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_the_memory() {
        let memory = [1, 2, 3, 4];
        assert_eq!(range(&memory, 1, 2).unwrap(), [2, 3]);
        assert!(range(&memory, 4, 0).unwrap().is_empty());
        for (start, length) in [(0, 5), (4, 1), (5, 0), (u32::MAX, u32::MAX), (1, u32::MAX)] {
            let error = range(&memory, start, length);
            assert!(matches!(error, Err(CallError::Range { memory: 4, .. })));
        }
    }
}
