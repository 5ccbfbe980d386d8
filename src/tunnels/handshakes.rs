//! Handshakes that hang in the kernel's WireGuard.
//!
//! Two ends that meet begin at nearly the same moment. Either each takes the other's initiation and forgets
//! its own by that, so that neither has a use for the answer; or each initiation arrives before the other
//! end knows the peer. Both wait for five seconds then (`REKEY_TIMEOUT`; WireGuard paper, section 6.1)
//! before they begin again. A peer that is taken out and put in again begins at once, and loses nothing,
//! for it has no session. WireGuard in this process keeps both handshakes and begins again by itself.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use grid_keys::WgPublicKey;
use grid_promises::core::TunnelPeer;
use grid_wg::ObservedPeer;

/// How long a handshake may take: longer than most round trips. One that is only slow is begun again for
/// nothing, and is later by that time.
const PATIENCE: Duration = Duration::from_millis(250);
/// How much longer the end with the higher key waits, so that they do not begin at one moment again.
const YIELD: Duration = Duration::from_secs(2);
/// From then on the kernel begins again by itself.
const REKEY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long nothing more is done about a peer whose handshake was begun again. What hangs then has another
/// cause, such as pre-shared keys that differ.
const REST: Duration = Duration::from_secs(10);
/// How many handshakes are begun again at a time. In a large mesh most of those who are silent are away.
const MOST: usize = 16;

/// The handshakes with the peers that are wished for.
#[derive(Debug)]
pub(super) struct Handshakes(BTreeMap<WgPublicKey, Expected>);

/// A handshake that should come about.
#[derive(Debug)]
struct Expected {
    /// Since when.
    since: Instant,
    /// When it was begun again, if it was.
    again: Option<Instant>,
}

impl Handshakes {
    /// None is expected so far.
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// From now on these peers are wished for, and no others.
    pub(super) fn expect(&mut self, wished: &BTreeMap<WgPublicKey, TunnelPeer>, now: Instant) {
        self.0.retain(|key, _| wished.contains_key(key));
        for key in wished.keys() {
            let again = None;
            let expected = self.0.entry(*key);
            expected.or_insert(Expected { since: now, again });
        }
    }

    /// This peer is put in anew: a handshake begins now, whatever became of those before.
    pub(super) fn put_in(&mut self, key: &WgPublicKey, now: Instant) {
        if let Some(expected) = self.0.get_mut(key) {
            *expected = Expected {
                since: now,
                again: None,
            };
        }
    }

    /// The peers whose handshake hangs: it is assumed that they are begun again now.
    pub(super) fn hanging(
        &mut self,
        own: &WgPublicKey,
        seen: &BTreeMap<WgPublicKey, ObservedPeer>,
        now: Instant,
    ) -> Vec<WgPublicKey> {
        let mut hanging = Vec::new();
        for (key, peer) in seen {
            let Some(expected) = self.0.get_mut(key) else {
                continue;
            };
            let patience = if own < key {
                PATIENCE
            } else {
                PATIENCE + YIELD
            };
            if hanging.len() < MOST && expected.hangs(peer, patience, now) {
                expected.again = Some(now);
                hanging.push(*key);
            }
        }
        hanging
    }
}

impl Expected {
    fn hangs(&self, peer: &ObservedPeer, patience: Duration, now: Instant) -> bool {
        if peer.latest_handshake.is_some() || peer.tx_bytes == 0 {
            return false;
        }
        let is_heard = peer.rx_bytes > 0;
        let after = |since| now.saturating_duration_since(since);
        match self.again {
            // Who is silent once more is away.
            Some(again) => is_heard && after(again) >= REST,
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

    fn wished(keys: impl IntoIterator<Item = WgPublicKey>) -> BTreeMap<WgPublicKey, TunnelPeer> {
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

    /// Asks for a peer some time after the handshake began.
    fn ask(
        handshakes: &mut Handshakes,
        own: WgPublicKey,
        key: WgPublicKey,
        seen: &ObservedPeer,
        now: Instant,
    ) -> bool {
        let seen = [(key, seen.clone())].into();
        handshakes.hanging(&own, &seen, now) == [key]
    }

    fn hangs(own: WgPublicKey, key: WgPublicKey, seen: &ObservedPeer, after: Duration) -> bool {
        let (mut handshakes, start) = (Handshakes::new(), Instant::now());
        handshakes.expect(&wished([key]), start);
        ask(&mut handshakes, own, key, seen, start + after)
    }

    #[test]
    fn the_end_with_the_lower_key_begins_again_first() {
        for seen in [peer(240, 148), peer(148, 0)] {
            assert!(!hangs(LOW, HIGH, &seen, PATIENCE / 2));
            assert!(hangs(LOW, HIGH, &seen, PATIENCE));
            assert!(!hangs(HIGH, LOW, &seen, PATIENCE));
            assert!(hangs(HIGH, LOW, &seen, PATIENCE + YIELD));
        }
    }

    #[test]
    fn the_kernel_is_left_alone_where_it_goes_on_by_itself() {
        assert!(hangs(LOW, HIGH, &peer(240, 148), REKEY_TIMEOUT));
        assert!(!hangs(LOW, HIGH, &peer(148, 0), REKEY_TIMEOUT));
        // Nobody knows where it is.
        assert!(!hangs(LOW, HIGH, &peer(0, 0), PATIENCE));
        let complete = ObservedPeer {
            latest_handshake: Some(SystemTime::now()),
            ..peer(240, 148)
        };
        assert!(!hangs(LOW, HIGH, &complete, PATIENCE));
        assert!(!hangs(LOW, HIGH, &complete, REST));
    }

    #[test]
    fn what_hangs_again_is_left_for_a_while_and_silence_for_good() {
        let (mut handshakes, start) = (Handshakes::new(), Instant::now());
        handshakes.expect(&wished([HIGH]), start);
        // To wish for it once more changes nothing.
        handshakes.expect(&wished([HIGH]), start + PATIENCE);
        let (heard, silent) = (peer(240, 148), peer(148, 0));
        let mut at = |seen, after| ask(&mut handshakes, LOW, HIGH, seen, start + after);
        assert!(at(&silent, PATIENCE));
        assert!(!at(&silent, PATIENCE * 2));
        assert!(!at(&heard, REST));
        assert!(at(&heard, PATIENCE + REST));
        assert!(!at(&heard, REST * 2));
        assert!(!at(&silent, REST * 9));
        // Who is not wished for any more is nobody's business; and comes back as a new one.
        handshakes.expect(&wished([]), start);
        assert!(!ask(&mut handshakes, LOW, HIGH, &heard, start + REST * 9));
        handshakes.expect(&wished([HIGH]), start + REST * 9);
        assert!(ask(
            &mut handshakes,
            LOW,
            HIGH,
            &silent,
            start + REST * 9 + PATIENCE
        ));
    }

    #[test]
    fn one_that_is_put_in_anew_has_all_its_time() {
        let (mut handshakes, start) = (Handshakes::new(), Instant::now());
        handshakes.expect(&wished([HIGH]), start);
        let heard = peer(92, 148);
        let late = start + REST * 9;
        handshakes.put_in(&HIGH, late);
        let mut at = |after| ask(&mut handshakes, LOW, HIGH, &heard, late + after);
        assert!(!at(PATIENCE / 2));
        assert!(at(PATIENCE));
        assert!(!at(PATIENCE * 2));
        // And may hang again.
        let later = late + PATIENCE * 3;
        handshakes.put_in(&HIGH, later);
        assert!(ask(&mut handshakes, LOW, HIGH, &heard, later + PATIENCE));
        // One that nobody wishes for is not expected by that.
        handshakes.expect(&wished([]), later);
        handshakes.put_in(&HIGH, later);
        assert!(!ask(&mut handshakes, LOW, HIGH, &heard, later + REST));
    }

    #[test]
    fn of_many_a_few_are_begun_again_at_a_time() {
        let (mut handshakes, start) = (Handshakes::new(), Instant::now());
        let keys = (0..40).map(|n| WgPublicKey([n; 32]));
        handshakes.expect(&wished(keys.clone()), start);
        let seen = keys.map(|key| (key, peer(148, 0))).collect();
        let own = WgPublicKey([0; 32]);
        let mut all = Vec::new();
        for _ in 0..4 {
            let some = handshakes.hanging(&own, &seen, start + PATIENCE + YIELD);
            assert!(some.len() <= MOST);
            all.extend(some);
        }
        assert_eq!(all, seen.keys().copied().collect::<Vec<_>>());
    }
}
