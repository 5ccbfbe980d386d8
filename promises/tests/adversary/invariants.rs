//! What holds at every moment of every run, whatever the adversary does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use grid_keys::{NodeId, WgPublicKey};
use grid_promises::Millis;
use grid_promises::core::{Notice, Tunnel, TunnelPeer};
use grid_promises::limits::{MAX_ACTS, MAX_RECEIPTS};
use grid_promises::network::member::MemberPromise;
use grid_promises::network::receipt::Receipt;
use grid_promises::network::statement::Signed;
use grid_promises::sim::NodeIndex;
use ipnet::IpNet;

use super::common::wg;
use super::stage::{HONEST, MEMBER, OUTSIDERS, OWNER, REVOKED, SYBILS, Sim, Stage, key};
use super::truth::Truth;

/// Promises that an honest node signs in a minute: six for where it is seen, by growing pauses, and one for each witness.
const PROMISES: u64 = 12;
/// The same for one whose key is on two machines, or that a thief could put out and back.
const PROMISES_UNREST: u64 = 20;
/// Requests that an honest node sends in a minute: news to each peer, twenty times a second at most.
const REQUESTS: u64 = 1000;
/// Effects that one input has.
const EFFECTS: usize = 100;
/// Nodes that are shown as asking: one for each connection that the adversary can have, with whatever keys over it.
const ASKING: usize = 17;
/// How long a node that is out, as an honest node knows, may still be sent what was under way.
const UNDER_WAY: Duration = Duration::from_secs(5);
const MINUTE: Duration = Duration::from_secs(60);

/// What was seen so far.
pub struct Watch {
    stage: &'static Stage,
    /// The node behind each WireGuard key of the adversary's.
    hostile: BTreeMap<WgPublicKey, NodeId>,
    /// Since when an honest machine does without a node of the adversary's as its peer; 0 if it never was one.
    without: BTreeMap<(NodeIndex, NodeId), Millis>,
    /// For each honest machine.
    pace: Vec<Pace>,
    /// The promise of each honest machine that was looked at last.
    looked_at: BTreeMap<NodeIndex, Vec<u8>>,
    /// The first thing that somebody was told who should not be.
    leak: Option<String>,
}

/// How much a machine signs and sends.
#[derive(Default)]
struct Pace {
    /// The promises that it had signed and the requests that it had sent, in the last minute.
    counted: VecDeque<(Millis, u64, u64)>,
    /// The most of each in a minute since it was looked at last.
    signed: u64,
    sent: u64,
}

impl Watch {
    pub fn new(stage: &'static Stage) -> Self {
        let mut hostile = BTreeMap::new();
        for n in [MEMBER, REVOKED, OWNER] {
            let node = stage.member(n);
            hostile.insert(node.body.public_key, node.id());
        }
        for n in SYBILS.chain(OUTSIDERS) {
            hostile.insert(wg(n).public(), key(n).id());
        }
        let mut without = BTreeMap::new();
        for (node, honest) in stage.honest.iter().enumerate() {
            let strange = hostile
                .iter()
                .filter(|(key, _)| !honest.peers.contains_key(key));
            without.extend(strange.map(|(_, hostile)| ((node, *hostile), Millis(0))));
        }
        Self {
            stage,
            hostile,
            without,
            pace: HONEST.map(|_| Pace::default()).collect(),
            looked_at: BTreeMap::new(),
            leak: None,
        }
    }

    /// A node of the adversary's was sent a message by a node.
    pub fn told(&mut self, whom: &NodeId, by: &NodeId, message: &[u8], truth: &Truth, now: Millis) {
        let honest = &self.stage.honest;
        let Some(sender) = honest.iter().position(|node| node.promise.node == *by) else {
            return;
        };
        // Who has come and gone without being the sender's peer may still pass for a member there.
        let knows = match self.without.get(&(sender, *whom)) {
            Some(Millis(0)) => !truth.was_in(whom),
            Some(since) => now - *since > UNDER_WAY,
            None => false,
        };
        if truth.may_be_in(whom) || !knows {
            return;
        }
        let holds = |part: &[u8]| message.windows(part.len()).any(|window| window == part);
        let told = honest
            .iter()
            .position(|node| holds(&node.promise.public_key.0));
        if let (Some(of), None) = (told, &self.leak) {
            self.leak = Some(format!("{sender} told {whom} of the promise of {of}"));
        }
    }

    /// Looks at all honest machines. `copied` is one whose key is on another machine as well.
    pub fn look(
        &mut self,
        world: &Sim,
        truth: &Truth,
        copied: Option<NodeIndex>,
    ) -> Result<(), String> {
        if let Some(leak) = &self.leak {
            return Err(leak.clone());
        }
        for node in HONEST {
            self.note_peers(world, node);
            self.machine(world, truth, node, copied)
                .map_err(|what| format!("machine {node}: {what}"))?;
        }
        Ok(())
    }

    /// The first peer of an honest machine that no rule admits any longer.
    pub fn peers_that_are_out(&self, world: &Sim, truth: &Truth) -> Option<String> {
        HONEST.into_iter().find_map(|node| {
            let tunnel = world.nodes[node].tunnels.get(&self.stage.net.id())?;
            let mut hostile = tunnel.peers.keys().filter_map(|key| self.hostile.get(key));
            let out = hostile.find(|hostile| !truth.may_be_in(hostile))?;
            Some(format!("{node} has {out} as a peer, which is out"))
        })
    }

    fn machine(
        &mut self,
        world: &Sim,
        truth: &Truth,
        node: NodeIndex,
        copied: Option<NodeIndex>,
    ) -> Result<(), String> {
        self.tunnel(world, truth, node)?;
        self.own_promise(world, truth, node)?;
        self.pace(truth, node, copied)?;
        self.room(world, node)?;
        self.notices(world, node)
    }

    fn note_peers(&mut self, world: &Sim, node: NodeIndex) {
        let tunnel = world.nodes[node].tunnels.get(&self.stage.net.id());
        for (key, hostile) in &self.hostile {
            if tunnel.is_some_and(|tunnel| tunnel.peers.contains_key(key)) {
                self.without.remove(&(node, *hostile));
            } else {
                self.without.entry((node, *hostile)).or_insert(world.now);
            }
        }
    }

    /// Honest nodes are each other's peers as they were before, and everybody else that is one may be.
    fn tunnel(&self, world: &Sim, truth: &Truth, node: NodeIndex) -> Result<(), String> {
        let Some(tunnel) = world.nodes[node].tunnels.get(&self.stage.net.id()) else {
            return holds(truth.is_at_risk(), || "it has no interface".to_owned());
        };
        for other in HONEST.filter(|other| *other != node) {
            let key = self.stage.wireguard_key(other);
            match tunnel.peers.get(&key) {
                Some(peer) => self.honest_peer(node, other, peer)?,
                None => holds(truth.is_at_risk(), || format!("it lost {other}"))?,
            }
        }
        let mut users: BTreeMap<NodeId, usize> = BTreeMap::new();
        let honest: BTreeSet<_> = HONEST.map(|node| self.stage.wireguard_key(node)).collect();
        for (key, peer) in tunnel.peers.iter().filter(|(key, _)| !honest.contains(key)) {
            let Some(hostile) = self.hostile.get(key) else {
                return Err(format!("{key} is a peer, and nobody's key"));
            };
            self.hostile_peer(tunnel, peer, truth)?;
            let may_be = truth.may_be_in(hostile) || truth.was_in(hostile);
            holds(may_be, || format!("{hostile} is a peer, by no rule"))?;
            if let Some((invite, uses)) = truth.invite_of(hostile) {
                let users = users.entry(invite).or_default();
                *users += 1;
                holds(*users <= uses, || {
                    format!("{users} came by one invite for {uses}")
                })?;
            }
        }
        Ok(())
    }

    fn honest_peer(
        &self,
        node: NodeIndex,
        other: NodeIndex,
        peer: &TunnelPeer,
    ) -> Result<(), String> {
        let before = &self.stage.honest[node].peers[&self.stage.wireguard_key(other)];
        let as_before = (&before.allowed_ips, &before.preshared_key)
            == (&peer.allowed_ips, &peer.preshared_key);
        holds(as_before, || {
            format!("what it takes from {other} is {:?}", peer.allowed_ips)
        })?;
        let to = peer.endpoint.map(|endpoint| endpoint.ip());
        holds(to.is_none_or(|to| !is_of_outsiders(to)), || {
            format!("it looks for {other} at {to:?}")
        })?;
        Ok(())
    }

    /// Nobody's traffic but its own goes to a node of the adversary's.
    fn hostile_peer(
        &self,
        tunnel: &Tunnel,
        peer: &TunnelPeer,
        truth: &Truth,
    ) -> Result<(), String> {
        let charter = &self.stage.net.charter;
        for net in &peer.allowed_ips {
            let is_host = net.prefix_len() == net.max_prefix_len();
            let is_of_network = match net {
                IpNet::V4(net) => charter.ipv4.contains(&net.addr()),
                IpNet::V6(net) => charter.ipv6.contains(&net.addr()),
            };
            let honest = self.stage.honest.iter();
            let is_taken = honest
                .flat_map(|node| [IpAddr::V4(node.address), node.promise.ipv6.address.into()])
                .any(|address| net.contains(&address));
            let is_its_own = !is_taken || truth.is_at_risk();
            holds(is_host && is_of_network && is_its_own, || {
                format!("a node of the adversary's has {net}")
            })?;
        }
        let routes = tunnel.routes.iter();
        let known = routes.filter(|net| **net != super::stage::subnet());
        holds(known.count() == 0, || {
            format!("it routes {:?}", tunnel.routes)
        })
    }

    /// An honest node promises what it did before. Nothing that an outsider says is in it.
    fn own_promise(&mut self, world: &Sim, truth: &Truth, node: NodeIndex) -> Result<(), String> {
        let record = world.nodes[node].disk.get(&self.stage.net.id());
        let bytes = record.and_then(|record| record.promise.as_ref());
        let bytes = bytes.ok_or("it promises nothing")?;
        if self.looked_at.get(&node) == Some(bytes) {
            return Ok(());
        }
        self.looked_at.insert(node, bytes.clone());
        let promise = Signed::<MemberPromise>::decode(bytes).map_err(|error| error.to_string())?;
        let before = &self.stage.honest[node].promise;
        let is_same = promise.ipv4 == before.ipv4
            && promise.ipv6 == before.ipv6
            && promise.public_key == before.public_key
            && promise.prefixes == before.prefixes
            && promise.admission == before.admission
            && promise.label == before.label
            && promise.standing == before.standing;
        holds(is_same, || format!("it promises {:?}", *promise))?;
        for endpoint in promise.wireguard.iter().chain(&promise.quic) {
            let at = endpoint.addr.ip();
            // A member that it dialled is believed, where no other has spoken.
            holds(!is_of_outsiders(at), || {
                format!("it promises to be at {at}")
            })?;
        }
        holds(promise.receipts.len() <= MAX_RECEIPTS, || {
            "receipts".to_owned()
        })?;
        for receipt in &promise.receipts {
            let receipt = Signed::<Receipt>::decode(receipt).map_err(|error| error.to_string())?;
            let witness = receipt.witness;
            let is_honest = HONEST
                .map(|node| world.nodes[node].key.id())
                .any(|id| id == witness);
            let was_in = witness == key(REVOKED).id() || truth.was_in(&witness);
            holds(is_honest || was_in, || {
                format!("it shows a receipt of {witness}")
            })?;
        }
        Ok(())
    }

    /// Takes note of what honest nodes signed and sent in the last minute.
    pub fn count(&mut self, world: &Sim) {
        for (pace, machine) in self.pace.iter_mut().zip(&world.nodes) {
            let counted = &mut pace.counted;
            counted.push_back((world.now, machine.promised, machine.sent.0));
            while counted
                .front()
                .is_some_and(|(at, ..)| world.now - *at > MINUTE)
            {
                counted.pop_front();
            }
            if let Some((_, promised, sent)) = counted.front() {
                pace.signed = pace.signed.max(machine.promised - promised);
                pace.sent = pace.sent.max(machine.sent.0 - sent);
            }
        }
    }

    /// What an honest node signs and sends is bounded, however much it is sent.
    fn pace(
        &mut self,
        truth: &Truth,
        node: NodeIndex,
        copied: Option<NodeIndex>,
    ) -> Result<(), String> {
        let pace = &mut self.pace[node];
        let (signed, sent) = (
            std::mem::take(&mut pace.signed),
            std::mem::take(&mut pace.sent),
        );
        let is_unrest = truth.owner_acted || copied == Some(node);
        let most = if is_unrest { PROMISES_UNREST } else { PROMISES };
        holds(signed <= most, || {
            format!("it signed {signed} promises in a minute")
        })?;
        holds(sent <= REQUESTS, || {
            format!("it sent {sent} requests in a minute")
        })
    }

    /// What an honest node keeps is bounded.
    fn room(&self, world: &Sim, node: NodeIndex) -> Result<(), String> {
        let machine = &world.nodes[node];
        let record = machine.disk.get(&self.stage.net.id());
        let kept = record.map_or(0, |record| record.statements.len());
        // All nodes there are, and all acts.
        let most = 40 + MAX_ACTS;
        holds(kept <= most, || format!("it keeps {kept} statements"))?;
        let busiest = machine.busiest;
        holds(busiest <= EFFECTS, || {
            format!("one input had {busiest} effects")
        })?;
        let status = machine.core.as_ref().map(|core| core.status());
        let asking = status
            .iter()
            .flatten()
            .map(|net| net.asking.len())
            .sum::<usize>();
        holds(asking <= ASKING, || format!("{asking} nodes ask"))
    }

    /// Honest nodes find no fault with one another.
    fn notices(&self, world: &Sim, node: NodeIndex) -> Result<(), String> {
        let is_honest = |peer: &NodeId| {
            HONEST
                .map(|n| world.nodes[n].key.id())
                .any(|id| id == *peer)
        };
        let mut notices = world.nodes[node].notices.iter();
        let blamed = notices.find_map(|notice| match notice {
            Notice::BadMessage { peer, why } if is_honest(peer) => Some(why),
            _ => None,
        });
        blamed.map_or(Ok(()), |why| {
            Err(format!("it blames an honest node: {why}"))
        })
    }
}

fn holds(is_so: bool, else_: impl FnOnce() -> String) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(else_()) }
}

/// Addresses that only outsiders name.
fn is_of_outsiders(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(v4) if v4.octets()[..3] == [203, 0, 113])
}
