//! The codes that an owner accepted before their nodes asked.

use std::time::Duration;

use crate::core::record::Expected;
use crate::network::code::Code;
use crate::time::Timestamp;

/// How long a code is kept: long enough to walk to the other machine.
pub(crate) const LIFE: Duration = Duration::from_secs(60 * 60);
/// Codes that are kept at once.
pub(crate) const MOST: usize = 32;

/// The accepted codes of one network.
#[derive(Clone, Debug, Default)]
pub(crate) struct Codes(Vec<Expected>);

impl Codes {
    /// Those that were on disk, whatever the clock says.
    pub(crate) fn new(mut codes: Vec<Expected>) -> Self {
        codes.truncate(MOST);
        Self(codes)
    }

    pub(crate) fn all(&self) -> &[Expected] {
        &self.0
    }

    /// Those that count at a moment.
    pub(crate) fn standing(&self, time: Timestamp) -> impl Iterator<Item = Expected> {
        let all = self.0.iter().copied();
        all.filter(move |kept| time <= kept.until)
    }

    /// Keeps a code from now on. Returns whether there was room.
    pub(crate) fn keep(&mut self, code: Code, now: Timestamp) -> bool {
        self.prune(now);
        self.0.retain(|kept| kept.code != code);
        if self.0.len() >= MOST {
            return false;
        }
        let until = now.after(LIFE);
        self.0.push(Expected { code, until });
        true
    }

    /// Takes a code out. Returns whether it was there.
    pub(crate) fn take(&mut self, code: Code, now: Timestamp) -> bool {
        self.prune(now);
        let before = self.0.len();
        self.0.retain(|kept| kept.code != code);
        self.0.len() < before
    }

    /// Forgets those whose time is over; by a clock that was set back meanwhile, it never was.
    pub(crate) fn prune(&mut self, now: Timestamp) {
        self.0
            .retain(|kept| now <= kept.until && kept.until <= now.after(LIFE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content_id::ContentId;
    use crate::network::ids::NetworkId;
    use grid_keys::NodeId;

    const T0: Timestamp = Timestamp(1_800_000_000);

    fn code(node: u8) -> Code {
        Code::of(&NetworkId(ContentId::of(b"foo")), &NodeId([node; 32]))
    }

    #[test]
    fn a_code_serves_once_and_for_an_hour() {
        let mut codes = Codes::default();
        assert!(codes.keep(code(1), T0) && codes.keep(code(2), T0));
        assert!(codes.take(code(1), T0.after(LIFE)));
        assert!(!codes.take(code(1), T0));
        assert!(!codes.take(code(2), T0.after(LIFE + Duration::from_secs(1))));
    }

    #[test]
    fn there_is_room_for_some_and_time_makes_more() {
        let mut codes = Codes::default();
        for node in 0..32 {
            assert!(codes.keep(code(node), T0));
        }
        assert!(!codes.keep(code(32), T0));
        // One that is kept already is kept for longer.
        let later = T0.after(LIFE / 2);
        assert!(codes.keep(code(0), later));
        assert!(codes.keep(code(32), T0.after(LIFE + Duration::from_secs(1))));
        assert_eq!(codes.all().len(), 2);
    }

    #[test]
    fn a_clock_that_was_wrong_keeps_no_code_for_longer() {
        let year = Duration::from_secs(365 * 24 * 3600);
        let mut codes = Codes::default();
        codes.keep(code(1), T0.after(year));
        let mut restored = Codes::new(codes.all().to_vec());
        restored.prune(T0);
        assert!(restored.all().is_empty());
        assert!(!codes.take(code(1), T0));
    }
}
