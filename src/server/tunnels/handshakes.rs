//! Handshakes that stall in the kernel's WireGuard.
//!
//! Two ends that meet start at nearly the same moment. Either each accepts the other's initiation and
//! thereby forgets its own, so that neither can use the answer; or each initiation arrives before the
//! other end knows the peer. Both then wait five seconds (`REKEY_TIMEOUT`; WireGuard paper, section 6.1)
//! before they try again. A peer that is removed and added again tries at once, and loses nothing, because
//! it has no session. WireGuard in this process keeps both handshakes, and retries by itself.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use grid_keys::WgPublicKey;
use grid_promises::core::TunnelPeer;
use grid_wg::ObservedPeer;

/// How long a handshake may take: longer than most round trips. One that is merely slow is restarted
/// needlessly, which delays it by this time.
const PATIENCE: Duration = Duration::from_millis(250);
/// How much longer the end with the higher key waits, so that they do not start at the same moment again.
const YIELD: Duration = Duration::from_secs(2);
/// After this time the kernel retries by itself.
const REKEY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a peer is left alone after its handshake was restarted. If it stalls again there is another
/// cause, such as pre-shared keys that differ.
const REST: Duration = Duration::from_secs(10);
/// How many handshakes are restarted at a time. In a large mesh most silent peers are offline.
const MOST: usize = 16;

/// The handshakes with the wanted peers.
#[derive(Debug)]
pub(super) struct Handshakes(BTreeMap<WgPublicKey, Expected>);

/// A handshake that should take place.
#[derive(Debug)]
struct Expected {
    since: Instant,
    restarted: Option<Instant>,
}

impl Handshakes {
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Expects handshakes with these peers from now on, and with no others.
    pub(super) fn expect(&mut self, wanted: &BTreeMap<WgPublicKey, TunnelPeer>, now: Instant) {
        self.0.retain(|key, _| wanted.contains_key(key));
        for key in wanted.keys() {
            let restarted = None;
            let expected = self.0.entry(*key);
            expected.or_insert(Expected {
                since: now,
                restarted,
            });
        }
    }

    /// This peer was just added: a handshake starts now, whatever became of earlier ones.
    pub(super) fn peer_added(&mut self, key: &WgPublicKey, now: Instant) {
        if let Some(expected) = self.0.get_mut(key) {
            *expected = Expected {
                since: now,
                restarted: None,
            };
        }
    }

    /// Returns the peers whose handshake has stalled, and assumes that the caller restarts them now.
    pub(super) fn take_stalled(
        &mut self,
        own: &WgPublicKey,
        seen: &BTreeMap<WgPublicKey, ObservedPeer>,
        now: Instant,
    ) -> Vec<WgPublicKey> {
        let mut stalled = Vec::new();
        for (key, peer) in seen {
            let Some(expected) = self.0.get_mut(key) else {
                continue;
            };
            let patience = if own < key {
                PATIENCE
            } else {
                PATIENCE + YIELD
            };
            if stalled.len() < MOST && expected.is_stalled(peer, patience, now) {
                expected.restarted = Some(now);
                stalled.push(*key);
            }
        }
        stalled
    }
}

impl Expected {
    fn is_stalled(&self, peer: &ObservedPeer, patience: Duration, now: Instant) -> bool {
        if peer.latest_handshake.is_some() || peer.tx_bytes == 0 {
            return false;
        }
        let is_heard = peer.rx_bytes > 0;
        let after = |since| now.saturating_duration_since(since);
        match self.restarted {
            // A peer that stays silent is offline.
            Some(restarted) => is_heard && after(restarted) >= REST,
            None => {
                after(self.since) >= patience && (is_heard || after(self.since) < REKEY_TIMEOUT)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use grid_keys::Secret;

    use super::*;

    const LOW: WgPublicKey = WgPublicKey([1; 32]);
    const HIGH: WgPublicKey = WgPublicKey([2; 32]);

    fn wanted(keys: impl IntoIterator<Item = WgPublicKey>) -> BTreeMap<WgPublicKey, TunnelPeer> {
        let peer = TunnelPeer {
            preshared_key: Secret::new([3; 32]),
            endpoint: None,
            allowed_ips: [].into(),
            keepalive: 25,
        };
        let keys = keys.into_iter();
        keys.map(|key| (key, peer.clone())).collect()
    }

    fn peer(tx_bytes: u64, rx_bytes: u64) -> ObservedPeer {
        ObservedPeer {
            tx_bytes,
            rx_bytes,
            ..ObservedPeer::default()
        }
    }

    /// Whether the handshake with a peer has stalled by `now`.
    fn ask(
        handshakes: &mut Handshakes,
        own: WgPublicKey,
        key: WgPublicKey,
        seen: &ObservedPeer,
        now: Instant,
    ) -> bool {
        let seen = [(key, seen.clone())].into();
        handshakes.take_stalled(&own, &seen, now) == [key]
    }

    fn stalls(own: WgPublicKey, key: WgPublicKey, seen: &ObservedPeer, after: Duration) -> bool {
        let (mut handshakes, start) = (Handshakes::new(), Instant::now());
        handshakes.expect(&wanted([key]), start);
        ask(&mut handshakes, own, key, seen, start + after)
    }

    #[test]
    fn the_end_with_the_lower_key_restarts_first() {
        for seen in [peer(240, 148), peer(148, 0)] {
            assert!(!stalls(LOW, HIGH, &seen, PATIENCE / 2));
            assert!(stalls(LOW, HIGH, &seen, PATIENCE));
            assert!(!stalls(HIGH, LOW, &seen, PATIENCE));
            assert!(stalls(HIGH, LOW, &seen, PATIENCE + YIELD));
        }
    }

    #[test]
    fn the_kernel_is_left_alone_where_it_retries_by_itself() {
        assert!(stalls(LOW, HIGH, &peer(240, 148), REKEY_TIMEOUT));
        assert!(!stalls(LOW, HIGH, &peer(148, 0), REKEY_TIMEOUT));
        // Nothing was sent: its endpoint is unknown.
        assert!(!stalls(LOW, HIGH, &peer(0, 0), PATIENCE));
        let complete = ObservedPeer {
            latest_handshake: Some(SystemTime::now()),
            ..peer(240, 148)
        };
        assert!(!stalls(LOW, HIGH, &complete, PATIENCE));
        assert!(!stalls(LOW, HIGH, &complete, REST));
    }

    #[test]
    fn one_that_stalls_again_is_left_for_a_while_and_a_silent_peer_for_good() {
        let (mut handshakes, start) = (Handshakes::new(), Instant::now());
        handshakes.expect(&wanted([HIGH]), start);
        // Wanting it once more changes nothing.
        handshakes.expect(&wanted([HIGH]), start + PATIENCE);
        let (heard, silent) = (peer(240, 148), peer(148, 0));
        let mut at = |seen, after| ask(&mut handshakes, LOW, HIGH, seen, start + after);
        assert!(at(&silent, PATIENCE));
        assert!(!at(&silent, PATIENCE * 2));
        assert!(!at(&heard, REST));
        assert!(at(&heard, PATIENCE + REST));
        assert!(!at(&heard, REST * 2));
        assert!(!at(&silent, REST * 9));
        // One that is no longer wanted is ignored, and comes back as a new one.
        handshakes.expect(&wanted([]), start);
        assert!(!ask(&mut handshakes, LOW, HIGH, &heard, start + REST * 9));
        handshakes.expect(&wanted([HIGH]), start + REST * 9);
        assert!(ask(
            &mut handshakes,
            LOW,
            HIGH,
            &silent,
            start + REST * 9 + PATIENCE
        ));
    }

    #[test]
    fn a_peer_that_is_added_again_has_all_its_time() {
        let (mut handshakes, start) = (Handshakes::new(), Instant::now());
        handshakes.expect(&wanted([HIGH]), start);
        let heard = peer(92, 148);
        let late = start + REST * 9;
        handshakes.peer_added(&HIGH, late);
        let mut at = |after| ask(&mut handshakes, LOW, HIGH, &heard, late + after);
        assert!(!at(PATIENCE / 2));
        assert!(at(PATIENCE));
        assert!(!at(PATIENCE * 2));
        // And it may stall again.
        let later = late + PATIENCE * 3;
        handshakes.peer_added(&HIGH, later);
        assert!(ask(&mut handshakes, LOW, HIGH, &heard, later + PATIENCE));
        // Adding a peer that is not wanted does not make it expected.
        handshakes.expect(&wanted([]), later);
        handshakes.peer_added(&HIGH, later);
        assert!(!ask(&mut handshakes, LOW, HIGH, &heard, later + REST));
    }

    #[test]
    fn of_many_a_few_are_restarted_at_a_time() {
        let (mut handshakes, start) = (Handshakes::new(), Instant::now());
        let keys = (0..40).map(|n| WgPublicKey([n; 32]));
        handshakes.expect(&wanted(keys.clone()), start);
        let seen = keys.map(|key| (key, peer(148, 0))).collect();
        let own = WgPublicKey([0; 32]);
        let mut all = Vec::new();
        for _ in 0..4 {
            let some = handshakes.take_stalled(&own, &seen, start + PATIENCE + YIELD);
            assert!(some.len() <= MOST);
            all.extend(some);
        }
        assert_eq!(all, seen.keys().copied().collect::<Vec<_>>());
    }
}
