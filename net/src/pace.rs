//! How fast one peer may go: a token bucket for each.
//!
//! Pure: the time comes in as an argument.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use grid_keys::NodeId;

/// How many peers may be in the table before those whose bucket is full are looked for.
const MANY: usize = 256;

/// Buckets that hold up to `burst` tokens and gain `rate` of them a second.
#[derive(Debug)]
pub struct Pace {
    /// The time that one token takes to come.
    interval: Duration,
    /// The time that `burst` tokens take to come.
    depth: Duration,
    /// When each bucket will be full again, if nothing is taken. Those that are left out are full.
    full_at: BTreeMap<NodeId, Instant>,
}

impl Pace {
    /// Full buckets. Zero counts as one in both numbers.
    pub fn new(rate: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1) / rate.max(1);
        Self {
            interval,
            depth: interval * burst.max(1),
            full_at: BTreeMap::new(),
        }
    }

    /// Takes a token of a peer, on credit if there is none, and says how long to wait until it is
    /// earned.
    pub fn take(&mut self, peer: NodeId, now: Instant) -> Duration {
        if self.full_at.len() >= MANY {
            self.full_at.retain(|_, full_at| *full_at > now);
        }
        let full_at = self.full_at.entry(peer).or_insert(now);
        *full_at = (*full_at).max(now) + self.interval;
        full_at
            .saturating_duration_since(now)
            .saturating_sub(self.depth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_peer_has_its_burst_and_then_waits_for_its_rate() {
        let now = Instant::now();
        let mut pace = Pace::new(10, 5);
        for node in [1, 2] {
            let node = NodeId([node; 32]);
            for _ in 0..5 {
                assert_eq!(pace.take(node, now), Duration::ZERO);
            }
            assert_eq!(pace.take(node, now), Duration::from_millis(100));
            assert_eq!(pace.take(node, now), Duration::from_millis(200));
            assert_eq!(
                pace.take(node, now + Duration::from_secs(9)),
                Duration::ZERO
            );
        }
    }

    #[test]
    fn full_buckets_are_forgotten() {
        let now = Instant::now();
        let mut pace = Pace::new(10, 5);
        let node = |n: u32| {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&n.to_be_bytes());
            NodeId(id)
        };
        for n in 0..2000 {
            pace.take(node(n), now + Duration::from_secs(n.into()));
            assert!(pace.full_at.len() <= MANY);
        }
    }
}
