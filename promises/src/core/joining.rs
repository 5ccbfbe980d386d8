//! The life of a membership: restored, begun with an invite or with nothing, claimed, left.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::bytes::ByteVec;

use crate::core::effect::{Effect, Parting, Reply};
use crate::core::error::CommandError;
use crate::core::gossip::About;
use crate::core::input::{JoinWith, Ticket};
use crate::core::network::{Network, Outgoing, Pending, Phase};
use crate::core::protocol::{AdmitRequest, Ask};
use crate::core::record::{Change, NetworkRecord};
use crate::core::timers::{self, Timer};
use crate::core::{Core, Step, links};
use crate::limits::MAX_ENDPOINTS;
use crate::network::accept::overlaps;
use crate::network::address;
use crate::network::admission::{Admission, AdmissionRequest, RawLink};
use crate::network::charter::{AdmissionRule, Charter, NetworkId};
use crate::network::invite::{Bootstrap, Invite};
use crate::network::ledger::{Item, Ledger};
use crate::network::member::{Member, Standing};
use crate::network::name::NetworkName;
use crate::network::statement::Signed;
use crate::node_key::NodeId;
use crate::secret::Secret;
use crate::time::Millis;
use crate::wireguard::WgSecretKey;

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

/// Everything that makes a new network of this node.
struct Beginning {
    charter: Signed<Charter>,
    secret: Option<Secret<32>>,
    admission: Option<Admission>,
    bootstrap: Vec<Bootstrap>,
    /// The last promise, in a network that was left before.
    last_promise: Option<Vec<u8>>,
}

impl Core {
    /// Takes a network over that was found on disk.
    pub(crate) fn restore(&mut self, record: NetworkRecord, step: &mut Step<'_>) {
        let Some(private_key) = record.private_key.clone() else {
            self.left.insert(record.name().clone(), record);
            return;
        };
        let now = step.now.timestamp();
        let mut ledger = Ledger::new(record.charter.clone());
        for bytes in &record.statements {
            // What lapsed meanwhile, or is damaged, is had again from the members.
            let _ = ledger.insert_bytes(bytes, now);
        }
        let admission = record
            .admission
            .as_ref()
            .and_then(|raw| Admission::decode(raw, &record.charter, &self.id).ok());
        let mut net = Network::new(
            ledger,
            record.secret,
            private_key,
            record.listen_port,
            admission,
        );
        net.rules = record.rules;
        net.bootstrap = record.bootstrap;
        if let Some(bytes) = &record.promise
            && let Ok(own) = Member::decode(bytes, &record.charter)
            && own.node() == self.id
        {
            take_up(&mut net, own, now);
        }
        let network = net.id();
        self.networks.insert(network, net);
        self.begin_timers(network, step);
        self.update_facts();
    }

    fn begin_timers(&mut self, network: NetworkId, step: &mut Step<'_>) {
        let now = step.now;
        let pause = links::jitter(timers::ANTI_ENTROPY, step.entropy);
        self.timers.set(Timer::AntiEntropy(network), now + pause);
        self.timers
            .set(Timer::Housekeeping(network), now + timers::HOUSEKEEPING);
        match self.networks.get(&network).map(|net| &net.phase) {
            Some(Phase::Member) => self
                .timers
                .set(Timer::Resign(network), now + timers::RESIGN),
            Some(Phase::Joining) => {
                self.timers
                    .set(Timer::ClaimAnyway(network), now + timers::CLAIM_ANYWAY);
            }
            Some(Phase::Waiting) => {
                self.timers
                    .set(Timer::AskAgain(network), now + timers::ASK_AGAIN);
            }
            Some(Phase::Expelled(_)) | None => {}
        }
    }

    /// Founds a network.
    pub(crate) fn found(
        &mut self,
        charter: Signed<Charter>,
        listen_port: u16,
        step: &mut Step<'_>,
    ) -> Result<Reply, CommandError> {
        let secret =
            (charter.admission == AdmissionRule::Invite).then(|| Secret::generate(step.entropy));
        let network = charter.network();
        self.begin(
            Beginning {
                charter,
                secret,
                admission: Some(Admission::default()),
                bootstrap: Vec::new(),
                last_promise: None,
            },
            listen_port,
            step,
        );
        self.claim(network, step);
        self.joined_reply(&network).ok_or_else(|| {
            let range = self.networks.get(&network).map(|net| net.ranges().0);
            CommandError::RangeFull(range.unwrap_or_default())
        })
    }

    fn begin(&mut self, beginning: Beginning, listen_port: u16, step: &mut Step<'_>) -> NetworkId {
        let Beginning {
            charter,
            secret,
            admission,
            bootstrap,
            last_promise,
        } = beginning;
        let private_key = WgSecretKey::generate(step.entropy);
        let network = charter.network();
        let record = NetworkRecord {
            charter: charter.clone(),
            secret: secret.clone(),
            private_key: Some(private_key.clone()),
            listen_port,
            admission: admission.as_ref().map(Admission::raw),
            promise: last_promise.clone(),
            statements: Vec::new(),
            rules: Vec::new(),
            bootstrap: bootstrap.clone(),
        };
        let mut net = Network::new(
            Ledger::new(charter),
            secret,
            private_key,
            listen_port,
            admission,
        );
        net.bootstrap = bootstrap;
        if let Some(last) =
            last_promise.and_then(|bytes| Member::decode(&bytes, net.ledger.charter()).ok())
        {
            net.sequence_floor = last.promise().sequence;
        }
        net.store(Change::Network(Box::new(record)), &mut self.effects);
        self.networks.insert(network, net);
        self.begin_timers(network, step);
        self.update_facts();
        network
    }

    /// Begins to join.
    pub(crate) fn join(
        &mut self,
        name: &NetworkName,
        with: JoinWith,
        listen_port: u16,
        wait: std::time::Duration,
        ticket: Ticket,
        step: &mut Step<'_>,
    ) {
        self.timers.set(Timer::Deadline(ticket), step.now + wait);
        let begun = match with {
            JoinWith::Invite(invite) => self.join_with_invite(name, *invite, listen_port, step),
            JoinWith::Peers => match self.left.get(name).cloned() {
                Some(record) => self.join_again(record, listen_port, step),
                None => {
                    self.search(name, listen_port, ticket, step.now + wait);
                    return;
                }
            },
        };
        match begun {
            Ok(network) => self.await_join(network, ticket, step),
            Err(error) => self.done(ticket, Err(error)),
        }
    }

    fn await_join(&mut self, network: NetworkId, ticket: Ticket, step: &mut Step<'_>) {
        let Some(net) = self.networks.get_mut(&network) else {
            return;
        };
        net.pending = Some(Pending::Join(ticket));
        let connected: Vec<NodeId> = net
            .bootstrap
            .iter()
            .map(|bootstrap| bootstrap.node)
            .filter(|node| self.links.is_up(node))
            .collect();
        let all: Vec<NodeId> = net
            .bootstrap
            .iter()
            .map(|bootstrap| bootstrap.node)
            .collect();
        for peer in all {
            self.links.hurry(&peer);
        }
        for peer in connected {
            self.greet(network, peer, step.now);
        }
    }

    fn join_with_invite(
        &mut self,
        name: &NetworkName,
        invite: Invite,
        listen_port: u16,
        step: &mut Step<'_>,
    ) -> Result<NetworkId, CommandError> {
        let now = step.now.timestamp();
        invite.check(name, now)?;
        self.check_ranges(&invite.charter)?;
        let admission = invite.admit(self.id, now)?;
        let last_promise = self.left.remove(name).and_then(|record| {
            (record.network() == invite.charter.network())
                .then_some(record.promise)
                .flatten()
        });
        let secret =
            (invite.charter.admission == AdmissionRule::Invite).then(|| invite.secret.clone());
        let beginning = Beginning {
            charter: invite.charter,
            secret,
            admission: Some(admission),
            bootstrap: invite.bootstrap,
            last_promise,
        };
        Ok(self.begin(beginning, listen_port, step))
    }

    fn join_again(
        &mut self,
        record: NetworkRecord,
        listen_port: u16,
        step: &mut Step<'_>,
    ) -> Result<NetworkId, CommandError> {
        self.check_ranges(&record.charter)?;
        let admission = record
            .admission
            .as_ref()
            .map(|raw| Admission::decode(raw, &record.charter, &self.id))
            .transpose()?;
        self.left.remove(record.name());
        let beginning = Beginning {
            charter: record.charter,
            secret: record.secret,
            admission,
            bootstrap: record.bootstrap,
            last_promise: record.promise,
        };
        Ok(self.begin(beginning, listen_port, step))
    }

    /// Whether a network's ranges would cut this machine off from something.
    pub(crate) fn check_ranges(&self, charter: &Charter) -> Result<(), CommandError> {
        for range in [charter.ipv4.into(), charter.ipv6.into()] {
            if let Some(connected) = self.host.connected.iter().find(|c| overlaps(c, &range)) {
                return Err(CommandError::RangeConnected {
                    range,
                    connected: *connected,
                });
            }
        }
        match self
            .networks
            .values()
            .find(|net| overlaps(&net.ranges().0.into(), &charter.ipv4.into()))
        {
            Some(net) => Err(CommandError::RangeTaken {
                range: charter.ipv4,
                other: net.name().clone(),
            }),
            None => Ok(()),
        }
    }

    fn search(&mut self, name: &NetworkName, listen_port: u16, ticket: Ticket, until: Millis) {
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

    fn conclude_search_if_over(&mut self, ticket: Ticket, step: &mut Step<'_>) {
        if self.searches.get(&ticket).is_some_and(Search::is_over) {
            self.conclude_search(ticket, step);
        }
    }

    /// Joins what was found, if it is one network.
    fn conclude_search(&mut self, ticket: Ticket, step: &mut Step<'_>) {
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
        if let Err(error) = self.check_ranges(&charter) {
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

    /// Asks one node for an admission by an owner.
    pub(crate) fn ask_one(&mut self, network: NetworkId, peer: NodeId, now: Millis) {
        let body = AdmissionRequest {
            network,
            node: self.id,
            label: self.config.label.clone(),
            issued: now.timestamp(),
        };
        if let Ok(request) = Signed::sign(body, &self.config.key) {
            let request = AdmitRequest {
                request: ByteVec::from(request.bytes().to_vec()),
            };
            self.request(peer, &Ask::Admit(network, request), About::Admit(network));
        }
    }

    pub(crate) fn ask_for_admission(&mut self, network: NetworkId, step: &mut Step<'_>) {
        let Some(net) = self.networks.get(&network) else {
            return;
        };
        if net.phase != Phase::Waiting {
            return;
        }
        let peers: Vec<NodeId> = net
            .bootstrap
            .iter()
            .map(|bootstrap| bootstrap.node)
            .filter(|node| self.links.is_up(node))
            .collect();
        for peer in peers {
            self.ask_one(network, peer, step.now);
        }
        self.timers
            .set(Timer::AskAgain(network), step.now + timers::ASK_AGAIN);
    }

    /// An admission came in: for this node, or for one that asked through it.
    pub(crate) fn take_admission(
        &mut self,
        network: NetworkId,
        raw: &[RawLink],
        step: &mut Step<'_>,
    ) {
        let own = self.id;
        let Some(net) = self.networks.get_mut(&network) else {
            return;
        };
        if net.phase == Phase::Waiting {
            let Ok(admission) = Admission::decode(raw, net.ledger.charter(), &own) else {
                return;
            };
            net.phase = Phase::Joining;
            net.store(Change::Admission(admission.raw()), &mut self.effects);
            net.admission = Some(admission);
            self.timers.cancel(Timer::AskAgain(network));
            self.begin_timers(network, step);
            let peers: Vec<NodeId> = self
                .networks
                .get(&network)
                .into_iter()
                .flat_map(|net| net.bootstrap.iter().map(|bootstrap| bootstrap.node))
                .filter(|node| self.links.is_up(node))
                .collect();
            for peer in peers {
                self.greet(network, peer, step.now);
            }
            return;
        }
        let charter = net.ledger.charter().clone();
        let asking: Vec<NodeId> = net.asking.keys().copied().collect();
        for node in asking {
            if let Ok(admission) = Admission::decode(raw, &charter, &node) {
                net.asking.remove(&node);
                net.approved.insert(node, admission);
            }
        }
    }

    /// A member's statements are in: the joiner knows whose addresses are taken.
    pub(crate) fn heard(&mut self, network: NetworkId, step: &mut Step<'_>) {
        if let Some(net) = self.networks.get_mut(&network) {
            net.heard = true;
        }
        self.claim(network, step);
    }

    /// Claims an address and promises it, if this node has an admission and no claim yet.
    pub(crate) fn claim(&mut self, network: NetworkId, step: &mut Step<'_>) {
        self.timers.cancel(Timer::ClaimAnyway(network));
        let own = self.id;
        let full = self.with_network(&network, step.now, |net, around, out| {
            if net.phase != Phase::Joining {
                return false;
            }
            net.refresh(around, out);
            if net.phase != Phase::Joining {
                return false;
            }
            if net.claim_address(&own).is_err() {
                return true;
            }
            net.phase = Phase::Member;
            net.promise(around, out);
            net.refresh(around, out);
            false
        });
        if full == Some(true) {
            self.fail_join(network, |net| CommandError::RangeFull(net.ranges().0));
        }
    }

    /// Answers the command that waits for the join, when it is over.
    pub(crate) fn conclude_join(&mut self, network: NetworkId, step: &mut Step<'_>) {
        let Some(net) = self.networks.get(&network) else {
            return;
        };
        let Some(Pending::Join(ticket)) = net.pending else {
            return;
        };
        match &net.phase {
            Phase::Member if net.heard => {
                if let Some(reply) = self.joined_reply(&network) {
                    if let Some(net) = self.networks.get_mut(&network) {
                        net.pending = None;
                    }
                    self.done(ticket, Ok(reply));
                }
            }
            Phase::Expelled(_) => {
                let revoked = net.ledger.withdrawn().is_revoked(&self.id);
                self.fail_join(network, |_| {
                    if revoked {
                        CommandError::Revoked
                    } else {
                        CommandError::InviteSpent
                    }
                });
            }
            _ => {}
        }
        let _ = step;
    }

    /// Ends a join that cannot succeed; the network is as if it had never been.
    fn fail_join(&mut self, network: NetworkId, error: impl FnOnce(&Network) -> CommandError) {
        let Some(net) = self.networks.get(&network) else {
            return;
        };
        let Some(Pending::Join(ticket)) = net.pending else {
            return;
        };
        let error = error(net);
        self.drop_network(network, Change::Removed);
        self.done(ticket, Err(error));
    }

    fn joined_reply(&self, network: &NetworkId) -> Option<Reply> {
        let net = self.networks.get(network)?;
        let claim = net.claim?;
        let (ipv4, ipv6) = net.ranges();
        Some(Reply::Joined {
            network: *network,
            ipv4: (ipv4, claim.address),
            ipv6: (ipv6, address::ipv6(ipv6, &self.id)),
            members: net.others(&self.id).count(),
        })
    }

    /// A command's time is over.
    pub(crate) fn deadline(&mut self, ticket: Ticket, step: &mut Step<'_>) {
        if self.searches.contains_key(&ticket) {
            self.conclude_search(ticket, step);
            return;
        }
        let waiting = self.networks.values().find_map(|net| match net.pending {
            Some(Pending::Join(t)) if t == ticket => Some((net.id(), true)),
            Some(Pending::Leave { ticket: t, .. }) if t == ticket => Some((net.id(), false)),
            _ => None,
        });
        match waiting {
            Some((network, true)) => {
                self.claim(network, step);
                let Some(net) = self.networks.get_mut(&network) else {
                    return;
                };
                net.pending = None;
                let name = net.name().clone();
                let error = match net.phase {
                    Phase::Waiting => CommandError::WaitsForOwner {
                        name,
                        node: self.id,
                    },
                    _ => CommandError::NobodyAnswered(name),
                };
                self.done(ticket, Err(error));
            }
            Some((network, false)) => self.finish_leaving(network),
            None => {}
        }
    }

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

    fn finish_leaving_if_told(&mut self, network: NetworkId) {
        let told = self
            .networks
            .get(&network)
            .is_some_and(|net| matches!(net.pending, Some(Pending::Leave { waiting: 0, .. })));
        if told {
            self.finish_leaving(network);
        }
    }

    fn finish_leaving(&mut self, network: NetworkId) {
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

    fn drop_network(&mut self, network: NetworkId, change: Change) {
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

/// Takes up a promise of this node that was found on disk.
fn take_up(net: &mut Network, own: Member, now: crate::time::Timestamp) {
    let promise = own.promise().clone();
    net.claim = Some(promise.ipv4);
    net.prefixes = promise.prefixes.iter().copied().collect();
    net.receipts = own.receipts().to_vec();
    if net.admission.is_none() {
        net.admission = Some(own.admission().clone());
    }
    if promise.standing == Standing::Withdrawn {
        // Killed between withdrawing and leaving, or joining again: the next promise overtakes it.
        net.sequence_floor = promise.sequence;
        net.claim = None;
        return;
    }
    net.phase = Phase::Member;
    net.own_member = Some(own.clone());
    if net.ledger.insert(Item::Member(Box::new(own)), now).is_ok() {
        net.outbox.push(Outgoing {
            bytes: promise.bytes().to_vec(),
            source: None,
        });
    }
    net.own = Some(promise);
}
