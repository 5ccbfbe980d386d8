//! The networks of this node: how they begin and end, and what concerns all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};

use ipnet::{Ipv4Net, Ipv6Net};
use minicbor::bytes::ByteVec;
use rand_core::Rng;

use crate::answer::refusal;
use crate::core::effect::{Parting, Reply};
use crate::core::error::CommandError;
use crate::core::input::{HostFacts, Ranges, Ticket};
use crate::core::local::Local;
use crate::core::mesh::Mesh;
use crate::core::mesh::begin::Beginning;
use crate::core::mesh::line::Line;
use crate::core::mesh::phase::Ending;
use crate::core::peers::{Peers, part};
use crate::core::protocol::{Found, MAX_FOUND, NetworkAsk};
use crate::core::record::{Change, NetworkRecord};
use crate::core::step::Step;
use crate::core::timers::{self, NetworkTimer};
use crate::limits::MAX_ENDPOINTS;
use crate::network::accept::overlaps;
use crate::network::address;
use crate::network::admission::Admission;
use crate::network::carried::Carried;
use crate::network::charter::{AdmissionRule, Charter};
use crate::network::ids::NetworkId;
use crate::network::invite::{Bootstrap, Invite};
use crate::network::name::NetworkName;
use crate::network::statement::Signed;
use crate::texts;
use crate::time::Timestamp;
use grid_keys::{NodeId, Secret};

/// Members in a list of bootstrap nodes.
const MAX_BOOTSTRAP: usize = 8;
/// What a node that asks in the wrong place is told.
const NOT_HERE: &str = "this node is not in that network";

/// What a network is to be.
pub(crate) struct Founding {
    pub(crate) name: NetworkName,
    /// A random range if `None`.
    pub(crate) ipv4: Option<Ipv4Net>,
    pub(crate) admission: AdmissionRule,
    /// The public half of the key that is above every owner.
    pub(crate) recovery: Option<NodeId>,
}

/// The networks that this node is in, and those that it left and can join again.
#[derive(Default)]
pub(crate) struct Networks {
    all: BTreeMap<NetworkId, Mesh>,
    left: BTreeMap<NetworkName, NetworkRecord>,
    /// Those whose name one has that this node began to join since: if it cannot join, it has still left these.
    replaced: BTreeMap<NetworkName, NetworkRecord>,
}

/// Looking at them.
impl Networks {
    pub(crate) fn ids(&self) -> Vec<NetworkId> {
        self.all.keys().copied().collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Mesh> {
        self.all.values()
    }

    pub(crate) fn get_mut(&mut self, network: &NetworkId) -> Option<&mut Mesh> {
        self.all.get_mut(network)
    }

    pub(crate) fn named(&self, name: &NetworkName) -> Option<&Mesh> {
        self.all.values().find(|mesh| mesh.name() == name)
    }

    pub(crate) fn named_mut(&mut self, name: &NetworkName) -> Option<&mut Mesh> {
        self.all.values_mut().find(|mesh| mesh.name() == name)
    }

    /// The one that a command waits for.
    pub(crate) fn waiting_for(&self, ticket: Ticket) -> Option<NetworkId> {
        let mut waiting = self.all.values().filter(|mesh| mesh.waits(ticket));
        waiting.next().map(Mesh::id)
    }

    /// The networks in which a node is a member or a bootstrap node.
    pub(crate) fn shared_with(&self, peer: &NodeId) -> impl Iterator<Item = &Mesh> {
        self.all.values().filter(|mesh| mesh.knows(peer))
    }

    /// Whether a node is a member of any.
    pub(crate) fn has_member(&self, node: &NodeId) -> bool {
        self.all.values().any(|mesh| mesh.roster().is_member(node))
    }

    /// Whether a node is an owner of any.
    pub(crate) fn has_owner(&self, node: &NodeId) -> bool {
        self.all.values().any(|mesh| mesh.roster().is_owner(node))
    }

    /// The line of a node in the first network that it is a member of.
    pub(crate) fn line_of(&self, node: &NodeId) -> Option<Line> {
        let mut lines = self
            .all
            .values()
            .filter_map(|mesh| mesh.roster().line_of(node));
        lines.next()
    }

    /// Whether all members but one stand under one line.
    pub(crate) fn have_one_line(&self, but: &NodeId) -> bool {
        let others = self.all.values().flat_map(|mesh| mesh.roster().others(but));
        let mut lines = others.map(|node| self.line_of(node));
        let first = lines.next();
        lines.all(|line| Some(line) == first)
    }

    /// Whether a node was revoked in any, and is a member of none.
    pub(crate) fn is_out(&self, node: &NodeId) -> bool {
        self.all.values().any(|mesh| mesh.roster().is_out(node)) && !self.has_member(node)
    }

    /// The members and bootstrap nodes of all.
    pub(crate) fn known(&self) -> BTreeSet<NodeId> {
        self.all.values().flat_map(Mesh::known).collect()
    }

    /// The charters of networks of that name that a node may join without an invite.
    pub(crate) fn find(&self, name: &NetworkName) -> Found {
        let charters = self
            .all
            .values()
            .filter(|mesh| mesh.name() == name)
            .filter_map(Mesh::offered_charter)
            .map(|charter| ByteVec::from(charter.bytes().to_vec()))
            .take(MAX_FOUND)
            .collect();
        Found { charters }
    }

    /// Where a node's QUIC may be reached, best first.
    pub(crate) fn addresses_of(
        &self,
        node: &NodeId,
        local: &Local,
        peers: &Peers,
    ) -> Vec<SocketAddr> {
        let mut all: Vec<SocketAddr> = self
            .all
            .values()
            .flat_map(|mesh| mesh.addresses_of(node, local))
            .collect();
        all.extend(peers.known().get(node).into_iter().flatten().copied());
        let mut seen = BTreeSet::new();
        all.retain(|addr| seen.insert(*addr));
        all.truncate(MAX_ENDPOINTS);
        all
    }

    /// Members of a network, and where they were last seen: for an invite, or for joining again.
    pub(crate) fn bootstrap_of(&self, mesh: &Mesh, local: &Local, peers: &Peers) -> Vec<Bootstrap> {
        let mut nodes: Vec<NodeId> = mesh.roster().others(&local.id()).copied().collect();
        // Connected ones come first: they can be reached.
        nodes.sort_by_key(|node| !peers.is_up(node));
        nodes
            .into_iter()
            .filter_map(|node| {
                let quic = self.addresses_of(&node, local, peers);
                (!quic.is_empty()).then_some(Bootstrap { node, quic })
            })
            .take(MAX_BOOTSTRAP)
            .collect()
    }

    /// Whether this node can make the promise that a network's members make, and whether its ranges
    /// would cut this machine off from something.
    pub(crate) fn check_charter(
        &self,
        charter: &Charter,
        ranges: Ranges,
        host: &HostFacts,
    ) -> Result<(), CommandError> {
        ranges.check(&charter.name, charter.ipv4)?;
        if charter.contract != texts::JOIN_WIREGUARD_NET.id() {
            return Err(CommandError::OtherContract {
                name: charter.name.clone(),
                contract: charter.contract,
            });
        }
        for range in [charter.ipv4.into(), charter.ipv6.into()] {
            if let Some(connected) = host.connected.iter().find(|c| overlaps(c, &range)) {
                return Err(CommandError::RangeConnected {
                    range,
                    connected: *connected,
                });
            }
        }
        match self.overlapping(charter.ipv4) {
            Some(mesh) => Err(CommandError::RangeTaken {
                range: charter.ipv4,
                other: mesh.name().clone(),
            }),
            None => Ok(()),
        }
    }

    fn overlapping(&self, range: Ipv4Net) -> Option<&Mesh> {
        self.all
            .values()
            .find(|mesh| overlaps(&mesh.ranges().0.into(), &range.into()))
    }

    /// A /16 of 10.0.0.0/8 that touches nothing this machine is connected to, if there is one.
    fn random_range(&self, host: &HostFacts, entropy: &mut dyn Rng) -> Ipv4Net {
        let mut range = Ipv4Net::default();
        for _ in 0..256 {
            let second = entropy.next_u32().to_be_bytes()[0];
            range = Ipv4Net::new(Ipv4Addr::new(10, second, 0, 0), 16).unwrap_or_default();
            let connected = host.connected.iter().any(|c| overlaps(c, &range.into()));
            if !connected && self.overlapping(range).is_none() {
                break;
            }
        }
        range
    }
}

/// Beginnings and ends.
impl Networks {
    /// Restores a network from what is on disk.
    pub(crate) fn restore(
        &mut self,
        record: NetworkRecord,
        local: &mut Local,
        step: &mut Step<'_>,
    ) {
        let Some(private_key) = record.private_key.clone() else {
            self.left.insert(record.name().clone(), record);
            return;
        };
        let mesh = Mesh::restore(record, private_key, local, step.lapse_time());
        self.add(mesh, local, step);
    }

    /// Begins with a network that this node is not in.
    pub(crate) fn begin(
        &mut self,
        beginning: Beginning,
        listen_port: u16,
        local: &mut Local,
        step: &mut Step<'_>,
    ) -> &mut Mesh {
        let mesh = Mesh::begin(beginning, listen_port, local, step);
        // Its folder is that of the new one.
        self.left.remove(mesh.name());
        self.add(mesh, local, step)
    }

    fn add(&mut self, mesh: Mesh, local: &mut Local, step: &mut Step<'_>) -> &mut Mesh {
        mesh.set_timers(step);
        let mut ranges = self.ranges();
        ranges.insert(mesh.id(), mesh.ranges());
        local.set_ranges(ranges);
        self.touch_all();
        self.all.entry(mesh.id()).insert_entry(mesh).into_mut()
    }

    /// Recomputes what depends on the host and on the ranges of all networks.
    pub(crate) fn update_facts(&mut self, local: &mut Local) {
        local.set_ranges(self.ranges());
        self.touch_all();
    }

    fn ranges(&self) -> BTreeMap<NetworkId, (Ipv4Net, Ipv6Net)> {
        let all = self.all.values();
        all.map(|mesh| (mesh.id(), mesh.ranges())).collect()
    }

    /// Asks for a refresh of every network.
    pub(crate) fn touch_all(&mut self) {
        for mesh in self.all.values_mut() {
            mesh.touch();
        }
    }

    /// Takes another WireGuard key in every network.
    pub(crate) fn renew_keys(&mut self, local: &Local, step: &mut Step<'_>) {
        for mesh in self.all.values_mut() {
            mesh.renew_key(local, step);
        }
    }

    /// Stores the statements of every network.
    pub(crate) fn save_all(&self, local: &Local, step: &mut Step<'_>) {
        for mesh in self.all.values() {
            mesh.save(local, step.effects);
        }
    }

    /// Does what was put off while nothing could be written down.
    pub(crate) fn catch_up(&mut self, local: &Local, step: &mut Step<'_>) {
        self.save_all(local, step);
        for mesh in self.all.values() {
            mesh.set_timers(step);
        }
        self.touch_all();
    }

    /// Makes every network check soon whether its promise should say something else.
    pub(crate) fn resign_all(&self, step: &mut Step<'_>) {
        for network in self.all.keys() {
            step.timers
                .set_by(NetworkTimer::Resign.of(*network), step.now + timers::RESIGN);
        }
    }

    /// Founds a network.
    pub(crate) fn found(
        &mut self,
        founding: Founding,
        listen_port: u16,
        local: &mut Local,
        step: &mut Step<'_>,
    ) -> Result<Reply, CommandError> {
        let Founding {
            name,
            ipv4,
            admission,
            recovery,
        } = founding;
        let ipv4 = match ipv4 {
            Some(range) => {
                address::check_range(range).map_err(|why| CommandError::BadRange { range, why })?;
                range
            }
            None => self.random_range(local.host(), step.entropy),
        };
        let mut nonce = [0; 16];
        step.entropy.fill_bytes(&mut nonce);
        let founder = local.id();
        let charter = Charter {
            name,
            ipv4,
            ipv6: Charter::ipv6_prefix(&founder, &nonce),
            founder,
            owners: vec![founder],
            admission,
            contract: texts::JOIN_WIREGUARD_NET.id(),
            created: step.time(),
            nonce,
            recovery,
        };
        self.check_charter(&charter, Ranges::Any, local.host())?;
        let charter = Signed::sign(charter, local.key())?;
        let secret = (admission == AdmissionRule::Invite).then(|| Secret::generate(step.entropy));
        let beginning = Beginning {
            charter,
            secret,
            admission: Some(Admission::default()),
            acts: Vec::new(),
            bootstrap: Vec::new(),
            awaited: Vec::new(),
            last_promise: None,
        };
        let mesh = self.begin(beginning, listen_port, local, step);
        // No command waits for it yet, so it cannot end here.
        mesh.claim(local, step);
        mesh.joined_reply(local)
    }

    /// What this node begins with when it joins by an invite.
    pub(crate) fn with_invite(
        &mut self,
        name: &NetworkName,
        invite: Invite,
        ranges: Ranges,
        local: &Local,
        now: Timestamp,
    ) -> Result<Beginning, CommandError> {
        invite.check(name, now)?;
        self.check_charter(&invite.charter, ranges, local.host())?;
        let admission = invite.admit(local.id())?;
        let last_promise = self.last_promise(name, &invite.charter.network());
        let secret =
            (invite.charter.admission == AdmissionRule::Invite).then(|| invite.secret.clone());
        Ok(Beginning {
            charter: invite.charter,
            secret,
            admission: Some(admission),
            acts: invite.acts,
            bootstrap: invite.bootstrap,
            awaited: invite.heads,
            last_promise,
        })
    }

    /// What this node begins with when a person brought its admission. If it waits for that in this network, it begins
    /// anew: what is on disk is replaced.
    pub(crate) fn with_admission(
        &mut self,
        name: &NetworkName,
        carried: Carried,
        ranges: Ranges,
        local: &Local,
        step: &mut Step<'_>,
    ) -> Result<Beginning, CommandError> {
        carried.check(name, &local.id())?;
        let network = carried.charter.network();
        if self.named(name).is_some_and(|mesh| mesh.id() != network) {
            return Err(CommandError::NameTaken(name.clone()));
        }
        let before = self.all.remove(&network);
        if let Err(error) = self.check_charter(&carried.charter, ranges, local.host()) {
            self.all.extend(before.map(|mesh| (network, mesh)));
            return Err(error);
        }
        if let Some(mesh) = before {
            mesh.give_way(local, step);
        }
        Ok(Beginning {
            last_promise: self.last_promise(name, &network),
            charter: carried.charter,
            secret: None,
            admission: Some(Admission::default()),
            acts: carried.acts,
            bootstrap: carried.bootstrap,
            awaited: Vec::new(),
        })
    }

    /// The last promise in a network of that name that this node left; it is not one that it left any longer.
    fn last_promise(&mut self, name: &NetworkName, network: &NetworkId) -> Option<Vec<u8>> {
        let record = self.left.remove(name)?;
        let is_it = record.charter.network() == *network;
        let promise = record.promise.clone().filter(|_| is_it);
        self.replaced.insert(name.clone(), record);
        promise
    }

    /// What this node begins with in a network of that name that it left; `None` if there is none.
    pub(crate) fn again(
        &mut self,
        name: &NetworkName,
        local: &Local,
    ) -> Option<Result<Beginning, CommandError>> {
        let record = self.left.get(name)?;
        let admission = self
            // Who was in it before has said so then.
            .check_charter(&record.charter, Ranges::Any, local.host())
            .and_then(|()| {
                let raw = record.admission.as_ref();
                let admission = raw.map(|raw| Admission::decode(raw, &record.charter, &local.id()));
                Ok(admission.transpose()?)
            });
        let admission = match admission {
            Ok(admission) => admission,
            Err(error) => return Some(Err(error)),
        };
        let record = self.left.remove(name)?;
        self.replaced.insert(name.clone(), record.clone());
        Some(Ok(Beginning {
            charter: record.charter,
            secret: record.secret,
            admission,
            acts: Vec::new(),
            bootstrap: record.bootstrap,
            awaited: Vec::new(),
            last_promise: record.promise,
        }))
    }

    /// Ends this node's part in a network, and closes the connections that served nothing else.
    pub(crate) fn end(
        &mut self,
        network: NetworkId,
        ending: Ending,
        local: &mut Local,
        peers: &Peers,
        step: &mut Step<'_>,
    ) {
        let record = self
            .all
            .get(&network)
            .filter(|_| matches!(ending, Ending::Left { .. }))
            .and_then(|mesh| {
                let members = self.bootstrap_of(mesh, local, peers);
                mesh.left_record(if members.is_empty() {
                    // A node that was never admitted knows no members.
                    mesh.bootstrap().to_vec()
                } else {
                    members
                })
            });
        let Some(mut mesh) = self.all.remove(&network) else {
            return;
        };
        step.timers.cancel_network(network);
        let replaced = self.replaced.remove(mesh.name());
        let replaced = replaced.filter(|_| matches!(ending, Ending::NotJoined { .. }));
        let change = match (&record, &replaced) {
            (Some(record), _) => Change::Left(record.bootstrap.clone()),
            (None, Some(replaced)) => Change::Network(Box::new(replaced.clone())),
            (None, None) => Change::Removed,
        };
        let record = record.or(replaced);
        mesh.end(change, step.effects);
        self.update_facts(local);
        let strangers = peers
            .links()
            .up()
            .map(|(node, _)| *node)
            .filter(|node| mesh.roster().is_member(node))
            .filter(|node| !self.has_member(node) && !peers.known().contains_key(node));
        for peer in strangers {
            part(peer, Parting::NotNeeded, step.effects);
        }
        if let Some(record) = record {
            self.left.insert(record.name().clone(), record);
        }
        match ending {
            Ending::NotJoined { ticket, error } => step.done(ticket, Err(error)),
            Ending::Left { ticket, told } => step.done(ticket, Ok(Reply::Left { told })),
        }
    }

    /// Answers a request in a network.
    pub(crate) fn answer(
        &mut self,
        peer: NodeId,
        network: &NetworkId,
        ask: &NetworkAsk,
        local: &Local,
        peers: &mut Peers,
        step: &mut Step<'_>,
    ) -> Vec<u8> {
        match self.all.get_mut(network) {
            Some(mesh) => mesh.answer(peer, ask, local, peers, step),
            None => refusal(NOT_HERE),
        }
    }
}
