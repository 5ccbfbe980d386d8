//! How fast each peer may send requests: a token bucket for each. Pure: the time comes in as an
//! argument.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use grid_keys::NodeId;

use crate::token_bucket::TokenBucket;

/// How many buckets are kept before the full ones are dropped.
const MANY: usize = 256;

/// One bucket per peer. A peer that has none has a full one.
#[derive(Debug)]
pub struct Pace {
    rate: u32,
    burst: u32,
    buckets: BTreeMap<NodeId, TokenBucket>,
}

impl Pace {
    /// Each peer may send `rate` requests a second, and `burst` at once.
    #[must_use]
    pub fn new(rate: u32, burst: u32) -> Self {
        Self {
            rate,
            burst,
            buckets: BTreeMap::new(),
        }
    }

    /// Counts a request of `peer`, and returns how long it has to wait.
    pub fn take(&mut self, peer: NodeId, now: Instant) -> Duration {
        if self.buckets.len() >= MANY {
            self.buckets.retain(|_, bucket| !bucket.is_full(now));
        }
        self.buckets
            .entry(peer)
            .or_insert_with(|| TokenBucket::new(self.rate, self.burst, now))
            .take(now)
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
            assert!(pace.buckets.len() <= MANY);
        }
    }
}
