//! Asking known peers for a network by its name.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::bytes::ByteVec;

use crate::core::beginning::Beginning;
use crate::core::error::CommandError;
use crate::core::gossip::About;
use crate::core::input::Ticket;
use crate::core::protocol::Ask;
use crate::core::timers::Timer;
use crate::core::{Core, Step};
use crate::limits::MAX_ENDPOINTS;
use crate::network::admission::Admission;
use crate::network::charter::{AdmissionRule, Charter, NetworkId};
use crate::network::invite::Bootstrap;
use crate::network::name::NetworkName;
use crate::network::statement::Signed;
use crate::time::Millis;
use grid_keys::NodeId;

/// Asking known peers for a network by its name.
#[derive(Debug)]
pub(crate) struct Search {
    name: NetworkName,
    listen_port: u16,
    /// When the command has to be answered.
    until: Millis,
    /// Peers that were not asked yet, because no connection stands.
    unasked: BTreeSet<NodeId>,
    /// Peers whose answer is missing.
    asked: BTreeSet<NodeId>,
    found: BTreeMap<NetworkId, (Signed<Charter>, BTreeSet<NodeId>)>,
}

impl Search {
    pub(crate) fn unasked(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.unasked.iter().copied()
    }

    /// Takes a peer from those to be asked; the name to ask for.
    pub(crate) fn ask(&mut self, peer: &NodeId) -> Option<NetworkName> {
        self.unasked.remove(peer).then(|| {
            self.asked.insert(*peer);
            self.name.clone()
        })
    }

    fn is_over(&self) -> bool {
        self.unasked.is_empty() && self.asked.is_empty()
    }
}

impl Core {
    pub(crate) fn search(
        &mut self,
        name: &NetworkName,
        listen_port: u16,
        ticket: Ticket,
        until: Millis,
    ) {
        if self.known_peers.is_empty() {
            self.done(ticket, Err(CommandError::NoPeers(name.clone())));
            return;
        }
        let mut search = Search {
            name: name.clone(),
            listen_port,
            until,
            unasked: self.known_peers.keys().copied().collect(),
            asked: BTreeSet::new(),
            found: BTreeMap::new(),
        };
        let connected: Vec<NodeId> = search
            .unasked()
            .filter(|node| self.links.is_up(node))
            .collect();
        for peer in connected {
            search.ask(&peer);
            self.request(peer, &Ask::Find(name.clone()), About::Find(ticket));
        }
        for peer in search.unasked() {
            self.links.hurry(&peer);
        }
        self.searches.insert(ticket, search);
    }

    /// A peer that was to be asked cannot be reached.
    pub(crate) fn search_lost(&mut self, peer: &NodeId, step: &mut Step<'_>) {
        let tickets: Vec<Ticket> = self.searches.keys().copied().collect();
        for ticket in tickets {
            if let Some(search) = self.searches.get_mut(&ticket) {
                search.unasked.remove(peer);
            }
            self.conclude_search_if_over(ticket, step);
        }
    }

    pub(crate) fn search_answered(
        &mut self,
        ticket: Ticket,
        peer: &NodeId,
        charters: &[ByteVec],
        step: &mut Step<'_>,
    ) {
        if let Some(search) = self.searches.get_mut(&ticket) {
            search.asked.remove(peer);
            for bytes in charters {
                if let Ok(charter) = Signed::<Charter>::decode(bytes)
                    && charter.name == search.name
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
        }
        self.conclude_search_if_over(ticket, step);
    }

    pub(crate) fn conclude_search_if_over(&mut self, ticket: Ticket, step: &mut Step<'_>) {
        if self.searches.get(&ticket).is_some_and(Search::is_over) {
            self.conclude_search(ticket, step);
        }
    }

    /// Joins what was found, if it is one network.
    pub(crate) fn conclude_search(&mut self, ticket: Ticket, step: &mut Step<'_>) {
        let Some(mut search) = self.searches.remove(&ticket) else {
            return;
        };
        let count = search.found.len();
        let Some((_, (charter, holders))) = search.found.pop_first() else {
            self.done(ticket, Err(CommandError::NobodyHasIt(search.name)));
            return;
        };
        if count > 1 {
            self.done(
                ticket,
                Err(CommandError::Ambiguous {
                    name: search.name,
                    count,
                }),
            );
            return;
        }
        if let Err(error) = self.check_charter(&charter) {
            self.done(ticket, Err(error));
            return;
        }
        let bootstrap = holders
            .iter()
            .filter_map(|node| {
                let mut quic = self.known_peers.get(node).cloned().unwrap_or_default();
                quic.extend(self.links.remote(node));
                quic.truncate(MAX_ENDPOINTS);
                (!quic.is_empty()).then_some(Bootstrap { node: *node, quic })
            })
            .collect();
        let admission = match charter.admission {
            AdmissionRule::Open => Some(Admission::default()),
            _ => None,
        };
        let beginning = Beginning {
            charter,
            secret: None,
            admission,
            bootstrap,
            last_promise: None,
        };
        let network = self.begin(beginning, search.listen_port, step);
        self.timers
            .set(Timer::Deadline(ticket), search.until.max(step.now));
        self.await_join(network, ticket, step);
    }
}
