//! The end of a membership: told to the members, and forgotten but for what joining again takes.

use crate::core::effect::{Effect, Parting, Reply};
use crate::core::input::Ticket;
use crate::core::network::{Network, Pending, Phase};
use crate::core::record::{Change, NetworkRecord};
use crate::core::timers::{self, Timer};
use crate::core::{Core, Step};
use crate::network::admission::Admission;
use crate::network::charter::NetworkId;
use crate::network::invite::Bootstrap;
use grid_keys::NodeId;

impl Core {
    /// Withdraws the promise and tells the members.
    pub(crate) fn leave(&mut self, network: NetworkId, ticket: Ticket, step: &mut Step<'_>) {
        self.with_network(&network, step.now, |net, around, out| {
            net.outbox.clear();
            if net.is_member() {
                net.withdraw(around, out);
            }
            net.pending = Some(Pending::Leave {
                ticket,
                waiting: 0,
                told: 0,
            });
        });
        self.timers
            .set(Timer::Deadline(ticket), step.now + timers::LEAVE);
        self.flush(network, step);
        self.finish_leaving_if_told(network);
    }

    /// A member confirmed, or did not, that this node leaves.
    pub(crate) fn leave_told(&mut self, network: NetworkId, confirmed: bool, _: &mut Step<'_>) {
        if let Some(net) = self.networks.get_mut(&network)
            && let Some(Pending::Leave { waiting, told, .. }) = &mut net.pending
        {
            *waiting = waiting.saturating_sub(1);
            *told += usize::from(confirmed);
            self.finish_leaving_if_told(network);
        }
    }

    pub(crate) fn finish_leaving_if_told(&mut self, network: NetworkId) {
        let told = self
            .networks
            .get(&network)
            .is_some_and(|net| matches!(net.pending, Some(Pending::Leave { waiting: 0, .. })));
        if told {
            self.finish_leaving(network);
        }
    }

    pub(crate) fn finish_leaving(&mut self, network: NetworkId) {
        let Some(net) = self.networks.get(&network) else {
            return;
        };
        let Some(Pending::Leave { ticket, told, .. }) = net.pending else {
            return;
        };
        let bootstrap = self.bootstrap_of(net);
        let record = NetworkRecord {
            charter: net.ledger.charter().clone(),
            secret: net.secret.clone(),
            private_key: None,
            listen_port: net.listen_port,
            admission: net.admission.as_ref().map(Admission::raw),
            promise: net.own.as_ref().map(|own| own.bytes().to_vec()),
            statements: Vec::new(),
            rules: Vec::new(),
            judge: None,
            bootstrap: bootstrap.clone(),
        };
        // Who was expelled has nothing to join again with.
        let expelled = matches!(net.phase, Phase::Expelled(_));
        let name = net.name().clone();
        if expelled {
            self.drop_network(network, Change::Removed);
        } else {
            self.drop_network(network, Change::Left(bootstrap));
            self.left.insert(name, record);
        }
        self.done(ticket, Ok(Reply::Left { told }));
    }

    /// Members, and where they were last seen: for an invite, or for joining again.
    pub(crate) fn bootstrap_of(&self, net: &Network) -> Vec<Bootstrap> {
        let mut nodes: Vec<NodeId> = net.others(&self.id).copied().collect();
        // Those that a connection stands to come first: they can be reached.
        nodes.sort_by_key(|node| !self.links.is_up(node));
        nodes
            .into_iter()
            .filter_map(|node| {
                let quic = self.addresses_of(&node);
                (!quic.is_empty()).then_some(Bootstrap { node, quic })
            })
            .take(8)
            .collect()
    }

    pub(crate) fn drop_network(&mut self, network: NetworkId, change: Change) {
        let Some(net) = self.networks.remove(&network) else {
            return;
        };
        self.timers.cancel_network(network);
        if net.tunnel.is_some() {
            self.effects.push_back(Effect::Configure {
                network,
                name: net.name().clone(),
                tunnel: None,
            });
        }
        net.store(change, &mut self.effects);
        self.update_facts();
        let strangers: Vec<NodeId> = self
            .links
            .up()
            .map(|(node, _)| *node)
            .filter(|node| net.view.members.contains_key(node))
            .filter(|node| !self.shares_a_network(node) && !self.known_peers.contains_key(node))
            .collect();
        for peer in strangers {
            self.effects.push_back(Effect::Disconnect {
                peer,
                why: Parting::NotNeeded,
            });
        }
    }
}
