//! Asking known peers for a network by its name.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::bytes::ByteVec;

use crate::core::error::CommandError;
use crate::core::input::{Ranges, Ticket};
use crate::core::peers::{About, Peers};
use crate::core::protocol::Ask;
use crate::core::step::Step;
use crate::network::charter::{AdmissionRule, Charter};
use crate::network::ids::NetworkId;
use crate::network::name::NetworkName;
use crate::network::statement::Signed;
use crate::time::Millis;
use grid_keys::NodeId;

/// The searches under way, by the commands that wait for them.
#[derive(Debug, Default)]
pub(crate) struct Searches(BTreeMap<Ticket, Search>);

/// What is sought, and for whom.
#[derive(Clone, Debug)]
pub(crate) struct Sought {
    pub(crate) name: NetworkName,
    pub(crate) ranges: Ranges,
    pub(crate) listen_port: u16,
    /// When the command has to be answered.
    pub(crate) until: Millis,
}

/// A search for one network.
#[derive(Debug)]
pub(crate) struct Search {
    sought: Sought,
    /// Peers that were not asked yet, because they are not connected.
    unasked: BTreeSet<NodeId>,
    /// Peers whose answer is missing.
    asked: BTreeSet<NodeId>,
    found: BTreeMap<NetworkId, (Signed<Charter>, BTreeSet<NodeId>)>,
}

/// The one network that was found.
#[derive(Debug)]
pub(crate) struct Discovery {
    pub(crate) charter: Signed<Charter>,
    /// Peers that are in it.
    pub(crate) holders: BTreeSet<NodeId>,
    pub(crate) sought: Sought,
}

impl Searches {
    /// Asks every known peer: those that are connected at once, the others when they are.
    pub(crate) fn begin(
        &mut self,
        ticket: Ticket,
        sought: Sought,
        peers: &mut Peers,
        step: &mut Step<'_>,
    ) {
        if peers.known().is_empty() {
            step.done(ticket, Err(CommandError::NoPeers(sought.name)));
            return;
        }
        let (asked, unasked) = peers
            .known()
            .keys()
            .copied()
            .partition(|node| peers.is_up(node));
        let search = Search {
            sought,
            unasked,
            asked,
            found: BTreeMap::new(),
        };
        for peer in &search.asked {
            ask(*peer, ticket, &search.sought.name, peers, step);
        }
        for peer in &search.unasked {
            peers.hurry(peer);
        }
        self.0.insert(ticket, search);
    }

    /// The peers that have to be connected to be asked.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.0.values().flat_map(|s| s.unasked.iter().copied())
    }

    /// A peer is connected: it is asked if it has not been.
    pub(crate) fn connected(&mut self, peer: NodeId, peers: &mut Peers, step: &mut Step<'_>) {
        for (ticket, search) in &mut self.0 {
            if search.unasked.remove(&peer) {
                search.asked.insert(peer);
                ask(peer, *ticket, &search.sought.name, peers, step);
            }
        }
    }

    /// A peer cannot be reached. Returns the searches that this ends.
    pub(crate) fn lost(&mut self, peer: &NodeId) -> Vec<(Ticket, Search)> {
        for search in self.0.values_mut() {
            search.unasked.remove(peer);
        }
        self.0
            .extract_if(.., |_, search| search.is_over())
            .collect()
    }

    /// A peer answered, if only with a refusal. Returns the search if this ends it.
    pub(crate) fn answered(
        &mut self,
        ticket: Ticket,
        peer: &NodeId,
        charters: &[ByteVec],
    ) -> Option<Search> {
        let search = self.0.get_mut(&ticket)?;
        search.asked.remove(peer);
        for bytes in charters {
            if let Ok(charter) = Signed::<Charter>::decode(bytes)
                && charter.name == search.sought.name
                && charter.admission != AdmissionRule::Invite
            {
                search
                    .found
                    .entry(charter.network())
                    .or_insert_with(|| (charter, BTreeSet::new()))
                    .1
                    .insert(*peer);
            }
        }
        if search.is_over() {
            self.end(ticket)
        } else {
            None
        }
    }

    /// Ends a search whose time is over.
    pub(crate) fn end(&mut self, ticket: Ticket) -> Option<Search> {
        self.0.remove(&ticket)
    }
}

impl Search {
    fn is_over(&self) -> bool {
        self.unasked.is_empty() && self.asked.is_empty()
    }

    /// What was found, if it is one network.
    pub(crate) fn result(mut self) -> Result<Discovery, CommandError> {
        let count = self.found.len();
        match self.found.pop_first() {
            None => Err(CommandError::NobodyHasIt(self.sought.name)),
            Some(_) if count > 1 => Err(CommandError::Ambiguous {
                name: self.sought.name,
                count,
            }),
            Some((_, (charter, holders))) => Ok(Discovery {
                charter,
                holders,
                sought: self.sought,
            }),
        }
    }
}

fn ask(peer: NodeId, ticket: Ticket, name: &NetworkName, peers: &mut Peers, step: &mut Step<'_>) {
    peers.request(
        peer,
        &Ask::Find(name.clone()),
        About::Find(ticket),
        step.effects,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::clock::Clock;
    use crate::core::effect::Effect;
    use crate::core::input::RequestId;
    use crate::core::step::Queue;
    use crate::core::timers::Timers;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    const TICKET: Ticket = Ticket(7);
    const NEAR: NodeId = NodeId([1; 32]);
    const FAR: NodeId = NodeId([2; 32]);

    fn foo() -> NetworkName {
        "foo".parse().unwrap()
    }

    /// Runs one step. Returns its result, and every effect.
    fn step<R>(act: impl FnOnce(&mut Step<'_>) -> R) -> (R, Vec<Effect>) {
        let mut effects = Queue::default();
        let result = act(&mut Step {
            now: Millis(1000),
            clock: &mut Clock::default(),
            entropy: &mut ChaCha8Rng::seed_from_u64(1),
            timers: &mut Timers::default(),
            effects: &mut effects,
        });
        (result, std::iter::from_fn(|| effects.pop()).collect())
    }

    fn asked(id: u64, peer: NodeId) -> Effect {
        Effect::Request {
            id: RequestId(id),
            peer,
            message: Ask::Find(foo()).encode(),
        }
    }

    fn begin(searches: &mut Searches, peers: &mut Peers) -> Vec<Effect> {
        let sought = Sought {
            name: foo(),
            ranges: Ranges::Private,
            listen_port: 51820,
            until: Millis(9000),
        };
        step(|step| searches.begin(TICKET, sought, peers, step)).1
    }

    #[test]
    fn who_knows_nobody_is_told_at_once() {
        let (mut searches, mut peers) = (Searches::default(), Peers::default());
        let outcome = Err(CommandError::NoPeers(foo()));
        let ticket = TICKET;
        assert_eq!(
            begin(&mut searches, &mut peers),
            [Effect::Done { ticket, outcome }]
        );
        assert!(searches.end(TICKET).is_none());
    }

    #[test]
    fn peers_are_asked_once_they_are_connected_and_a_search_ends_with_the_last() {
        let (mut searches, mut peers) = (Searches::default(), Peers::default());
        peers.introduce(NEAR, Vec::new());
        peers.introduce(FAR, Vec::new());
        let remote = "192.0.2.1:1".parse().unwrap();
        step(|step| peers.connected(NEAR, remote, true, step));
        assert_eq!(begin(&mut searches, &mut peers), [asked(1, NEAR)]);
        assert_eq!(searches.wanted().collect::<Vec<_>>(), [FAR]);
        let connected = |searches: &mut Searches, peers: &mut Peers| {
            step(|step| searches.connected(FAR, peers, step)).1
        };
        assert_eq!(connected(&mut searches, &mut peers), [asked(2, FAR)]);
        assert_eq!(connected(&mut searches, &mut peers), []);
        assert!(searches.answered(TICKET, &NEAR, &[]).is_none());
        let over = searches.answered(TICKET, &FAR, &[]).unwrap();
        assert_eq!(over.result().unwrap_err(), CommandError::NobodyHasIt(foo()));
    }

    #[test]
    fn a_search_is_over_when_nobody_can_be_reached() {
        let (mut searches, mut peers) = (Searches::default(), Peers::default());
        peers.introduce(NEAR, Vec::new());
        peers.introduce(FAR, Vec::new());
        begin(&mut searches, &mut peers);
        assert!(searches.lost(&NEAR).is_empty());
        let over = searches.lost(&FAR);
        assert!(matches!(over.as_slice(), [(TICKET, _)]));
        assert!(searches.lost(&FAR).is_empty());
    }
}
