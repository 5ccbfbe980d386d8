//! How comparisons of statements ended, and how soon the next one is due.

/// How often the pause can double: to half an hour.
const MAX_DOUBLINGS: u32 = 5;

/// The last comparison that showed a difference, and how many before it showed the same one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Comparisons {
    last: Option<([u8; 32], [u8; 32])>,
    futile: u32,
}

impl Comparisons {
    /// The two held the same.
    pub(crate) fn equal(&mut self) {
        *self = Self::default();
    }

    /// They held different things, by the roots of their ledgers. If it is the same difference as the last time, then
    /// nothing came of what was sent then: one of them has no room for it, or refuses it.
    pub(crate) fn differ(&mut self, own: [u8; 32], theirs: [u8; 32]) {
        let difference = Some((own, theirs));
        self.futile = match self.last == difference {
            true => self.futile.saturating_add(1),
            false => 0,
        };
        self.last = difference;
    }

    /// How many times longer than usual to wait until the next one: such a difference costs what it costs to send it
    /// each time.
    pub(crate) fn pause(&self) -> u32 {
        1 << self.futile.min(MAX_DOUBLINGS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_that_stays_is_looked_at_less_and_less() {
        let mut comparisons = Comparisons::default();
        let pauses: Vec<u32> = (0..8)
            .map(|_| {
                comparisons.differ([1; 32], [2; 32]);
                comparisons.pause()
            })
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 32, 32]);
        // Something came of it, whoever took it.
        comparisons.differ([1; 32], [3; 32]);
        assert_eq!(comparisons.pause(), 1);
        comparisons.differ([1; 32], [3; 32]);
        assert_eq!(comparisons.pause(), 2);
        comparisons.equal();
        assert_eq!(comparisons.pause(), 1);
    }
}
