//! How well a path has kept its promises: a smoothed ratio in which what happened last weighs most.
//!
//! In 65535ths. A path starts in the middle. A kept promise moves it by a sixteenth of what is
//! missing to the top, a broken one takes a quarter of what it has (both rounded up):
//!
//! ```text
//! kept:   s + ceil((65535 - s) / 16)
//! broken: s - ceil(s / 4)
//! ```
//!
//! So history decays by use, not by time: a kept promise leaves 15/16 of the weight of everything
//! before it, a broken one 3/4. A path that breaks the share f of its promises settles about
//! (1 - f) / (1 + 3 f). Below a quarter it is *demoted*: one that breaks every second promise ends
//! there, one that breaks every third does not. Three breaks in a row demote a new path, five one
//! that was at the top, and five kept promises in a row bring back one that was at the bottom.

/// The share of promises that a path keeps, smoothed. See the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Strength(pub u16);

impl Strength {
    /// Where a path starts: nothing is known of it.
    pub const START: Self = Self(1 << 15);
    /// A path below this is demoted.
    pub const DEMOTED_BELOW: Self = Self(1 << 14);

    /// After one more promise that was kept.
    #[must_use]
    pub const fn kept(self) -> Self {
        Self(self.0 + (u16::MAX - self.0).div_ceil(16))
    }

    /// After one more promise that was broken.
    #[must_use]
    pub const fn broken(self) -> Self {
        Self(self.0 - self.0.div_ceil(4))
    }

    /// Whether the path stands behind the others of its class.
    #[must_use]
    pub const fn is_demoted(self) -> bool {
        self.0 < Self::DEMOTED_BELOW.0
    }

    /// For people: 0 to 100.
    #[must_use]
    pub fn percent(self) -> u8 {
        u8::try_from(u32::from(self.0) * 100 / u32::from(u16::MAX)).unwrap_or(100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Strength, events: &str) -> Strength {
        events.chars().fold(start, |s, event| match event {
            'k' => s.kept(),
            _ => s.broken(),
        })
    }

    #[test]
    fn it_moves_as_documented() {
        for (start, events, end) in [
            (32_768, "", 32_768),
            (32_768, "k", 34_816),
            (32_768, "b", 24_576),
            (0, "b", 0),
            (1, "b", 0),
            (0, "k", 4_096),
            (u16::MAX, "k", u16::MAX),
            (u16::MAX, "b", 49_151),
        ] {
            assert_eq!(
                after(Strength(start), events),
                Strength(end),
                "{start} {events}"
            );
        }
        assert_eq!(Strength(0).percent(), 0);
        assert_eq!(Strength::START.percent(), 50);
        assert_eq!(Strength(u16::MAX).percent(), 100);
    }

    #[test]
    fn it_is_demoted_and_recovers_when_documented() {
        assert!(!after(Strength::START, "bb").is_demoted());
        assert!(after(Strength::START, "bbb").is_demoted());
        assert!(!after(Strength(u16::MAX), "bbbb").is_demoted());
        assert!(after(Strength(u16::MAX), "bbbbb").is_demoted());
        assert!(after(Strength(0), "kkkk").is_demoted());
        assert!(!after(Strength(0), "kkkkk").is_demoted());
        for start in [0, u16::MAX] {
            assert!(after(Strength(start), &"bk".repeat(50)).is_demoted());
            assert!(!after(Strength(start), &"kkb".repeat(50)).is_demoted());
        }
    }

    #[test]
    fn what_happened_last_weighs_most() {
        assert!(after(Strength::START, "bkkkk") > after(Strength::START, "kkkkb"));
        assert!(after(Strength::START, &"k".repeat(500)) == Strength(u16::MAX));
        assert!(after(Strength::START, &"b".repeat(500)) == Strength(0));
    }

    #[test]
    fn every_value_moves_the_right_way() {
        for s in (0..=u16::MAX).map(Strength) {
            assert!(s.kept() > s || s == Strength(u16::MAX));
            assert!(s.broken() < s || s == Strength(0));
        }
    }
}
