//! Which endpoint of a member WireGuard sends to first.
//!
//! WireGuard itself remembers where a peer's authenticated packets come from, so that an endpoint is
//! only named while a member does not answer: best guess first, then the next one every few seconds.
//! Once a handshake is complete the endpoint is left alone (`None`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::core::endpoints;
use crate::core::input::PeerObservation;
use crate::core::local::Local;
use crate::core::mesh::roster::Roster;
use crate::network::endpoint::Endpoint;
use crate::time::{Millis, Timestamp};
use grid_keys::{NodeId, WgPublicKey};

/// How long an endpoint is given before the next one is tried.
const TRY_FOR: Duration = Duration::from_secs(5);
/// How old a handshake may be and still show that the path works: WireGuard makes a new one every
/// 120 seconds of use and gives a session up after 180 (WireGuard paper, section 6.1).
const FRESH: Duration = Duration::from_secs(190);

/// The paths to the members that are there, and what WireGuard measured.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    by_node: BTreeMap<NodeId, Path>,
    observed: BTreeMap<WgPublicKey, PeerObservation>,
}

impl Paths {
    pub(crate) fn get(&self, node: &NodeId) -> Option<&Path> {
        self.by_node.get(node)
    }

    pub(crate) fn observed(&self, key: &WgPublicKey) -> Option<PeerObservation> {
        self.observed.get(key).copied()
    }

    /// Takes over what the members promise. Paths to those who are gone are forgotten.
    pub(crate) fn update(&mut self, roster: &Roster, local: &Local, now: Millis) {
        let mut before = std::mem::take(&mut self.by_node);
        for node in roster.others(&local.id()) {
            let Some(promise) = roster.promise_of(node) else {
                continue;
            };
            let candidates = endpoints::ranked_here(&promise.wireguard, local);
            let known = before.remove(node);
            // By another key it is another peer for WireGuard, which has learned nothing of it.
            let path = match known.filter(|path| path.key == promise.public_key) {
                Some(mut path) => {
                    path.update(candidates, now);
                    path
                }
                None => Path::new(promise.public_key, candidates, now),
            };
            self.by_node.insert(*node, path);
        }
    }

    /// Takes in what WireGuard measured, which dates handshakes by the machine's clock. Returns whether it should send elsewhere now.
    pub(crate) fn observe(
        &mut self,
        observed: BTreeMap<WgPublicKey, PeerObservation>,
        roster: &Roster,
        shown: Timestamp,
        now: Millis,
    ) -> bool {
        let mut changed = false;
        for (node, path) in &mut self.by_node {
            let key = roster.promise_of(node).map(|promise| promise.public_key);
            if let Some(measured) = key.and_then(|key| observed.get(&key)) {
                let before = (path.endpoint(), path.is_verified());
                let latest = measured.latest_handshake;
                path.observe(latest.map(|at| shown.since(at)), measured.tx_bytes, now);
                changed |= before != (path.endpoint(), path.is_verified());
            }
        }
        self.observed = observed;
        changed
    }

    /// Whether a member has not answered on its path yet.
    pub(crate) fn has_unverified(&self) -> bool {
        self.by_node.values().any(|path| !path.is_verified())
    }
}

/// The path to one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    key: WgPublicKey,
    candidates: Vec<Endpoint>,
    current: usize,
    since: Millis,
    rounds: u32,
    latest_handshake: Option<Millis>,
    tx_bytes: u64,
    /// Whether a handshake was completed since the endpoints last changed.
    verified: bool,
}

impl Path {
    fn new(key: WgPublicKey, candidates: Vec<Endpoint>, now: Millis) -> Self {
        Self {
            key,
            candidates,
            current: 0,
            since: now,
            rounds: 0,
            latest_handshake: None,
            tx_bytes: 0,
            verified: false,
        }
    }

    /// Takes new endpoints over. Begins anew if they differ and the path does not work at present.
    fn update(&mut self, candidates: Vec<Endpoint>, now: Millis) {
        if self.candidates != candidates {
            let kept = Self::new(self.key, candidates, now);
            let works = self.is_fresh(now);
            *self = Self {
                latest_handshake: self.latest_handshake,
                tx_bytes: self.tx_bytes,
                verified: self.verified && works,
                ..kept
            };
        }
    }

    /// Takes a measurement in, and moves on to the next endpoint when the current one had its time.
    ///
    /// Silence alone proves nothing, because an idle member has no reason to speak; packets sent in
    /// vain do.
    fn observe(&mut self, handshake_ago: Option<Duration>, tx_bytes: u64, now: Millis) {
        let sending = tx_bytes > std::mem::replace(&mut self.tx_bytes, tx_bytes);
        self.latest_handshake = handshake_ago.map(|ago| now.before(ago));
        if self.is_fresh(now) {
            self.verified = true;
            self.rounds = 0;
            self.since = now;
            return;
        }
        if self.verified && sending {
            self.verified = false;
            self.since = now;
        }
        // Endpoints that were tried in vain get longer turns, up to a minute, so that a dead member
        // costs little.
        let turn = TRY_FOR
            .saturating_mul(1 << self.rounds.min(4))
            .min(Duration::from_secs(60));
        if !self.verified && now - self.since >= turn && self.candidates.len() > 1 {
            self.current = (self.current + 1) % self.candidates.len();
            if self.current == 0 {
                self.rounds = self.rounds.saturating_add(1);
            }
            self.since = now;
        }
    }

    fn is_fresh(&self, now: Millis) -> bool {
        self.latest_handshake.is_some_and(|at| now - at < FRESH)
    }

    /// What WireGuard should be told: `None` leaves what it learned.
    pub(crate) fn endpoint(&self) -> Option<SocketAddr> {
        if self.verified {
            None
        } else {
            self.candidates.get(self.current).map(|e| e.addr)
        }
    }

    /// The endpoint tried at present, and what is known of it, for people.
    pub(crate) fn describe(&self) -> (Option<SocketAddr>, &'static str) {
        match self.candidates.get(self.current) {
            Some(endpoint) => (Some(endpoint.addr), endpoint.kind.as_str()),
            None => (None, "unknown"),
        }
    }

    /// Whether a handshake was completed on it.
    pub(crate) const fn is_verified(&self) -> bool {
        self.verified
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::endpoint::EndpointKind;

    fn endpoint(kind: EndpointKind, addr: &str) -> Endpoint {
        Endpoint {
            kind,
            addr: addr.parse().unwrap(),
        }
    }

    fn key() -> WgPublicKey {
        WgPublicKey([1; 32])
    }

    fn two() -> Vec<Endpoint> {
        vec![
            endpoint(EndpointKind::Local, "192.0.2.1:1"),
            endpoint(EndpointKind::Observed, "198.51.100.1:1"),
        ]
    }

    #[test]
    fn the_next_endpoint_is_tried_until_one_answers_and_then_left_alone() {
        let start = Millis(1_000_000);
        let mut path = Path::new(key(), two(), start);
        assert_eq!(path.endpoint(), Some("192.0.2.1:1".parse().unwrap()));
        path.observe(None, 0, start + Duration::from_secs(4));
        assert_eq!(path.endpoint(), Some("192.0.2.1:1".parse().unwrap()));
        path.observe(None, 0, start + Duration::from_secs(5));
        assert_eq!(path.endpoint(), Some("198.51.100.1:1".parse().unwrap()));
        let later = start + Duration::from_secs(6);
        path.observe(Some(Duration::ZERO), 0, later);
        assert_eq!(path.endpoint(), None);
        // The session grows old without traffic: nothing is touched until packets are sent in vain.
        let much_later = later + Duration::from_secs(600);
        path.observe(Some(much_later - later), 0, much_later);
        assert_eq!(path.endpoint(), None);
        path.observe(Some(much_later - later), 148, much_later);
        assert!(path.endpoint().is_some());
    }

    #[test]
    fn new_endpoints_do_not_disturb_a_path_that_works() {
        let start = Millis(1_000_000);
        let mut path = Path::new(key(), two(), start);
        path.observe(Some(Duration::ZERO), 0, start);
        path.update(vec![endpoint(EndpointKind::Static, "203.0.113.1:1")], start);
        assert_eq!(path.endpoint(), None);
        let later = start + Duration::from_secs(600);
        path.update(two(), later);
        assert_eq!(path.endpoint(), Some("192.0.2.1:1".parse().unwrap()));
    }
}
