//! Whom to be connected to, and when to try again.
//!
//! A node keeps a handful of connections per network, not one to everybody: to its two successors on
//! a ring of the members (so that the connections of all nodes together connect the network) and to
//! two members of its own choice (so that news travels in few steps). Members that cannot be reached
//! are passed over while others can.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use crate::core::clock::Offset;
use crate::core::neighbours::Neighbours;
use crate::time::Millis;
use grid_keys::NodeId;

/// Successors on the ring.
const RING: usize = 2;
/// Members of the node's own choice.
const OWN_CHOICE: usize = 2;
/// After this many failures in a row another member is dialled in a member's place.
const GIVE_UP_AFTER: u32 = 2;
/// The first pause after a failed dial; each further one doubles it.
const BACKOFF_BASE: Duration = Duration::from_millis(500);
/// The longest pause.
const BACKOFF_CAP: Duration = Duration::from_secs(300);
/// Bad messages until a peer is sent away.
const MAX_STRIKES: u32 = 3;
/// How long it stays away.
const BAN: Duration = Duration::from_secs(60);

/// The state of the connection to one node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Link {
    up: Option<SocketAddr>,
    dialling: bool,
    /// Since when it is up, if this node dialled.
    dialled: Option<Millis>,
    failures: u32,
    retry_at: Millis,
    strikes: u32,
    banned_until: Millis,
    /// Where the other side sees this node.
    seen_at: Option<SocketAddr>,
    /// What its clock showed.
    clock: Option<Offset>,
    /// Whether it was asked that.
    asked: bool,
}

/// The connections to all nodes, present and past.
#[derive(Debug, Default)]
pub(crate) struct Links(BTreeMap<NodeId, Link>);

impl Links {
    pub(crate) fn is_up(&self, node: &NodeId) -> bool {
        self.0.get(node).is_some_and(|link| link.up.is_some())
    }

    pub(crate) fn is_banned(&self, node: &NodeId, now: Millis) -> bool {
        self.0.get(node).is_some_and(|link| link.banned_until > now)
    }

    /// The connected nodes, in order.
    pub(crate) fn up(&self) -> impl Iterator<Item = (&NodeId, SocketAddr)> {
        self.0
            .iter()
            .filter_map(|(node, link)| link.up.map(|remote| (node, remote)))
    }

    pub(crate) fn remote(&self, node: &NodeId) -> Option<SocketAddr> {
        self.0.get(node).and_then(|link| link.up)
    }

    /// Who sees this node at which address, of those whom it asked.
    pub(crate) fn seen_at(&self) -> impl Iterator<Item = (&NodeId, SocketAddr)> {
        self.0
            .iter()
            .filter(|(_, link)| link.up.is_some())
            .filter_map(|(node, link)| Some((node, link.seen_at?)))
    }

    /// What the clocks of the connected nodes show, and whether this node dialled them.
    pub(crate) fn clocks(&self) -> impl Iterator<Item = (&NodeId, Offset, bool)> {
        let up = self.0.iter().filter(|(_, link)| link.up.is_some());
        up.filter_map(|(node, link)| Some((node, link.clock?, link.dialled.is_some())))
    }

    /// A node says what its clock shows.
    pub(crate) fn hear_clock(&mut self, node: &NodeId, offset: Offset) {
        if let Some(link) = self.0.get_mut(node) {
            link.clock = Some(offset);
        }
    }

    /// Those who dialled this node and were not asked, and where they are.
    pub(crate) fn unasked(&self) -> impl Iterator<Item = (&NodeId, SocketAddr)> {
        self.0
            .iter()
            .filter(|(_, link)| link.dialled.is_none() && link.seen_at.is_none())
            .filter_map(|(node, link)| Some((node, link.up?)))
    }

    /// Marks one that dialled this node as asked where it sees it. Returns whether it was not.
    pub(crate) fn ask(&mut self, node: &NodeId) -> bool {
        let link = self.0.get_mut(node).filter(|link| link.up.is_some());
        link.is_some_and(|link| !std::mem::replace(&mut link.asked, true))
    }

    pub(crate) fn connected(
        &mut self,
        node: NodeId,
        remote: SocketAddr,
        outgoing: bool,
        now: Millis,
    ) {
        let link = self.0.entry(node).or_default();
        link.up = Some(remote);
        link.dialled = outgoing.then_some(now);
        link.seen_at = None;
        link.clock = None;
        link.asked = outgoing;
        link.dialling = false;
        link.failures = 0;
        link.retry_at = Millis(0);
    }

    /// The nodes that this node dialled, whose connections stand for at least `span`.
    pub(crate) fn dialled_before(
        &self,
        now: Millis,
        span: Duration,
    ) -> impl Iterator<Item = NodeId> + '_ {
        self.0
            .iter()
            .filter(|(_, link)| link.up.is_some())
            .filter(move |(_, link)| link.dialled.is_some_and(|since| now - since >= span))
            .map(|(node, _)| *node)
    }

    /// A node says where it sees this one, which counts if it was asked that, and not only the time. Returns whether that is
    /// news.
    pub(crate) fn see(&mut self, node: &NodeId, seen_at: SocketAddr) -> bool {
        self.0
            .get_mut(node)
            .filter(|link| link.asked)
            .is_some_and(|link| link.seen_at.replace(seen_at) != Some(seen_at))
    }

    /// A connection that stood is gone: try again soon, but not all nodes at the same moment.
    pub(crate) fn disconnected(
        &mut self,
        node: &NodeId,
        now: Millis,
        entropy: &mut dyn rand_core::Rng,
    ) {
        if let Some(link) = self.0.get_mut(node) {
            link.up = None;
            link.dialling = false;
            link.seen_at = None;
            link.clock = None;
            link.retry_at = now + jitter(Duration::from_millis(500), entropy);
        }
    }

    pub(crate) fn failed(&mut self, node: &NodeId, now: Millis, entropy: &mut dyn rand_core::Rng) {
        if let Some(link) = self.0.get_mut(node) {
            link.dialling = false;
            let pause = BACKOFF_BASE
                .saturating_mul(1 << link.failures.min(16))
                .min(BACKOFF_CAP);
            link.failures = link.failures.saturating_add(1);
            link.retry_at = now + pause / 2 + jitter(pause / 2, entropy);
        }
    }

    /// Notes a message that does not hold. Returns whether the peer has to go.
    pub(crate) fn strike(&mut self, node: &NodeId, now: Millis) -> bool {
        let link = self.0.entry(*node).or_default();
        link.strikes += 1;
        if link.strikes < MAX_STRIKES {
            return false;
        }
        link.strikes = 0;
        link.banned_until = now + BAN;
        link.retry_at = link.banned_until;
        true
    }

    /// Forgets the pauses of a node: something new is known of it.
    pub(crate) fn hurry(&mut self, node: &NodeId) {
        if let Some(link) = self.0.get_mut(node) {
            link.failures = 0;
            link.retry_at = link.banned_until;
        }
    }

    fn gave_up(&self, node: &NodeId) -> bool {
        self.0
            .get(node)
            .is_some_and(|link| link.up.is_none() && link.failures >= GIVE_UP_AFTER)
    }

    /// Marks those of `wanted` that should be dialled now as being dialled, and returns them; and
    /// when the next one is due.
    pub(crate) fn due(
        &mut self,
        wanted: &BTreeSet<NodeId>,
        now: Millis,
    ) -> (Vec<NodeId>, Option<Millis>) {
        let mut due = Vec::new();
        let mut next: Option<Millis> = None;
        for node in wanted {
            let link = self.0.entry(*node).or_default();
            if link.up.is_some() || link.dialling {
                continue;
            }
            let at = link.retry_at.max(link.banned_until);
            if at <= now {
                link.dialling = true;
                due.push(*node);
            } else {
                next = Some(next.map_or(at, |n| n.min(at)));
            }
        }
        (due, next)
    }

    /// Forgets nodes that nothing is known of any more, so that the table stays bounded.
    pub(crate) fn retain(&mut self, now: Millis, keep: impl Fn(&NodeId) -> bool) {
        self.0.retain(|node, link| {
            link.up.is_some() || link.dialling || link.banned_until > now || keep(node)
        });
    }

    /// The members that this node wants connections to.
    pub(crate) fn choose(&self, neighbours: &Neighbours) -> BTreeSet<NodeId> {
        let mut chosen = self.take(neighbours.ring(), RING);
        let ring = chosen.clone();
        let rest = neighbours.liked().filter(|node| !ring.contains(node));
        chosen.extend(self.take(rest, OWN_CHOICE));
        chosen
    }

    /// The first `count` that can be reached, and the ones before them that could not: those are
    /// still tried, at their own pace.
    fn take(&self, nodes: impl Iterator<Item = NodeId>, count: usize) -> BTreeSet<NodeId> {
        let mut taken = BTreeSet::new();
        let mut good = 0;
        for node in nodes {
            if good == count || taken.len() >= count * 4 {
                break;
            }
            taken.insert(node);
            if !self.gave_up(&node) {
                good += 1;
            }
        }
        taken
    }
}

/// A random span up to `most`.
pub(crate) fn jitter(most: Duration, entropy: &mut dyn rand_core::Rng) -> Duration {
    let most = u64::try_from(most.as_millis())
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    Duration::from_millis(entropy.next_u64() % most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content_id::ContentId;
    use crate::network::ids::NetworkId;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    fn nodes(count: u8) -> BTreeSet<NodeId> {
        (1..=count).map(|byte| NodeId([byte; 32])).collect()
    }

    #[test]
    fn the_choices_of_all_nodes_connect_the_network() {
        let network = NetworkId(ContentId::of(b"net"));
        let members = nodes(60);
        let links = Links::default();
        let mut reached = BTreeSet::from([NodeId([1; 32])]);
        let mut todo = vec![NodeId([1; 32])];
        while let Some(node) = todo.pop() {
            let chosen = links.choose(&Neighbours::of(&network, &node, &members));
            assert!(chosen.len() <= RING + OWN_CHOICE && !chosen.contains(&node));
            for next in chosen {
                if reached.insert(next) {
                    todo.push(next);
                }
            }
        }
        assert_eq!(reached, members);
    }

    #[test]
    fn members_that_cannot_be_reached_are_passed_over() {
        let network = NetworkId(ContentId::of(b"net"));
        let members = nodes(10);
        let own = NodeId([1; 32]);
        let mut links = Links::default();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let first = links.choose(&Neighbours::of(&network, &own, &members));
        links.due(&first, Millis(0));
        for node in &first {
            for _ in 0..GIVE_UP_AFTER {
                links.failed(node, Millis(0), &mut rng);
            }
        }
        let second = links.choose(&Neighbours::of(&network, &own, &members));
        assert_eq!(second.difference(&first).count(), RING + OWN_CHOICE);
    }

    #[test]
    fn pauses_grow_and_stay_bounded() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut links = Links::default();
        let wanted = nodes(1);
        let mut now = Millis(0);
        for _ in 0..40 {
            let (due, _) = links.due(&wanted, now);
            assert_eq!(due.len(), 1);
            links.failed(&due[0], now, &mut rng);
            let (none, next) = links.due(&wanted, now);
            assert!(none.is_empty());
            let pause = next.unwrap() - now;
            assert!(pause <= BACKOFF_CAP && pause >= BACKOFF_BASE / 2);
            now = next.unwrap();
        }
    }

    #[test]
    fn a_peer_that_misbehaves_is_sent_away_for_a_while() {
        let mut links = Links::default();
        let node = NodeId([1; 32]);
        assert!((1..MAX_STRIKES).all(|_| !links.strike(&node, Millis(0))));
        assert!(links.strike(&node, Millis(0)));
        assert!(links.is_banned(&node, Millis(59_999)));
        assert!(!links.is_banned(&node, Millis(60_000)));
    }
}
