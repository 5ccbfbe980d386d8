//! How fast one peer may send requests, and when it has gone too far. Pure: the time comes in as an
//! argument.

use std::time::{Duration, Instant};

use crate::config::Limits;
use crate::token_bucket::TokenBucket;

/// Delays a peer that exceeds its rate, and tells when it has been delayed for too long.
///
/// A delay begins with the first request that has to wait, and lasts until the peer has no further
/// request ready. A request that happens to arrive when none would have to wait does not end it: a
/// busy node oversleeps, and the peer earns requests meanwhile without asking for less.
pub(crate) struct Throttle {
    bucket: TokenBucket,
    patience: Duration,
    delayed_since: Option<Instant>,
    has_rested: bool,
}

/// The peer has been delayed for longer than `Limits::flood_patience`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flood;

impl Throttle {
    pub(crate) fn new(limits: &Limits, now: Instant) -> Self {
        Self {
            bucket: TokenBucket::new(limits.request_rate, limits.request_burst, now),
            patience: limits.flood_patience,
            delayed_since: None,
            has_rested: false,
        }
    }

    /// Notes that the peer has no request ready.
    pub(crate) fn rest(&mut self) {
        self.has_rested = true;
    }

    /// Counts a request, and says how long to wait before taking the next one.
    pub(crate) fn take(&mut self, now: Instant) -> Result<Duration, Flood> {
        let has_rested = std::mem::take(&mut self.has_rested) || self.bucket.is_full(now);
        let wait = self.bucket.take(now);
        if !wait.is_zero() {
            let since = *self.delayed_since.get_or_insert(now);
            if now.saturating_duration_since(since) > self.patience {
                return Err(Flood);
            }
        } else if has_rested {
            self.delayed_since = None;
        }
        Ok(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    fn throttle(now: Instant) -> Throttle {
        let limits = Limits {
            request_rate: 100,
            request_burst: 50,
            flood_patience: PATIENCE,
            ..Limits::default()
        };
        Throttle::new(&limits, now)
    }

    /// When a peer that always has a request ready is found to flood, if every wait takes `late`
    /// times as long as it should.
    fn flood(late: u32) -> Option<Duration> {
        let begin = Instant::now();
        let (mut now, mut throttle) = (begin, throttle(begin));
        while now < begin + 10 * PATIENCE {
            match throttle.take(now) {
                Err(Flood) => return Some(now - begin),
                Ok(wait) => now += wait * late,
            }
            now += Duration::from_micros(100);
        }
        None
    }

    #[test]
    fn a_flood_is_found_out_also_by_a_node_that_wakes_late() {
        for late in [1, 2, 5, 20] {
            let after = flood(late).unwrap();
            assert!(
                (PATIENCE..PATIENCE * 2).contains(&after),
                "{late}: {after:?}"
            );
        }
    }

    #[test]
    fn who_rests_between_bursts_is_only_delayed() {
        let mut now = Instant::now();
        let mut throttle = throttle(now);
        let mut delayed = 0;
        for _ in 0..20 {
            for _ in 0..100 {
                let wait = throttle.take(now).unwrap();
                delayed += u32::from(!wait.is_zero());
                now += wait;
            }
            throttle.rest();
            now += Duration::from_millis(100);
        }
        assert!(delayed > 500, "{delayed}");
        // Neither is a peer that is never seen to rest, but stays below its rate.
        for _ in 0..200 {
            now += Duration::from_millis(20);
            assert_eq!(throttle.take(now), Ok(Duration::ZERO));
        }
        assert_eq!(throttle.delayed_since, None);
    }
}
