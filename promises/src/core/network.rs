//! One network of this node: what is known of it, what this node promises in it, and the tunnel that
//! follows.
//!
//! [`Network::refresh`] is the one place where statements turn into configuration. It is idempotent:
//! without news it does nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::content_id::ContentId;
use crate::core::effect::{Effect, Notice, Tunnel, TunnelPeer};
use crate::core::input::{HostFacts, PeerObservation, Ticket};
use crate::core::judging::Judging;
use crate::core::links::Neighbours;
use crate::core::paths::{self, Path};
use crate::core::record::Change;
use crate::core::status::AddressMove;
use crate::network::accept::{LocalFacts, Objection, Rule, Verdicts};
use crate::network::address;
use crate::network::admission::Admission;
use crate::network::charter::NetworkId;
use crate::network::invite::Bootstrap;
use crate::network::ledger::Ledger;
use crate::network::member::{Claim, Member, MemberPromise};
use crate::network::membership::NotAMember;
use crate::network::name::{Label, NetworkName};
use crate::network::receipt::Receipt;
use crate::network::statement::Signed;
use crate::network::view::{Presence, View};
use crate::time::{Millis, Timestamp};
use grid_keys::Secret;
use grid_keys::{NodeId, NodeKey};
use grid_keys::{PresharedKey, WgPublicKey, WgSecretKey};

/// What a network needs to know of the node that it belongs to.
pub(crate) struct Surroundings<'a> {
    pub(crate) now: Millis,
    pub(crate) key: &'a NodeKey,
    pub(crate) id: NodeId,
    pub(crate) label: &'a Label,
    pub(crate) host: &'a HostFacts,
    pub(crate) facts: &'a LocalFacts,
    /// Where others see this node's QUIC.
    pub(crate) seen_at: &'a BTreeSet<SocketAddr>,
}

/// Where this node stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It has an admission and looks for members before it claims an address.
    Joining,
    /// It has no admission yet and asks for one.
    Waiting,
    /// It has promised.
    Member,
    /// It was a member.
    Expelled(String),
}

/// A command that waits for something to happen in the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pending {
    /// To have joined.
    Join(Ticket),
    /// To have told the members.
    Leave {
        ticket: Ticket,
        waiting: usize,
        told: usize,
    },
}

/// A statement on its way to the connected members.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) bytes: Vec<u8>,
    /// Who told this node; need not be told.
    pub(crate) source: Option<NodeId>,
}

/// One network.
pub(crate) struct Network {
    pub(crate) ledger: Ledger,
    pub(crate) secret: Option<Secret<32>>,
    pub(crate) private_key: WgSecretKey,
    pub(crate) public_key: WgPublicKey,
    pub(crate) listen_port: u16,
    pub(crate) admission: Option<Admission>,
    pub(crate) phase: Phase,
    pub(crate) own: Option<Signed<MemberPromise>>,
    /// The same with its admission verified, once; a refresh looks at it often.
    pub(crate) own_member: Option<Member>,
    pub(crate) claim: Option<Claim>,
    pub(crate) prefixes: BTreeSet<IpNet>,
    pub(crate) receipts: Vec<Signed<Receipt>>,
    pub(crate) sequence_floor: u64,
    pub(crate) rules: Vec<Rule>,
    pub(crate) judge: Option<ContentId>,
    pub(crate) judging: Judging,
    pub(crate) bootstrap: Vec<Bootstrap>,
    pub(crate) pending: Option<Pending>,
    pub(crate) heard: bool,
    pub(crate) view: View,
    pub(crate) verdicts: Verdicts,
    pub(crate) tunnel: Option<Box<Tunnel>>,
    pub(crate) paths: BTreeMap<NodeId, Path>,
    pub(crate) observed: BTreeMap<WgPublicKey, PeerObservation>,
    pub(crate) moves: Vec<AddressMove>,
    pub(crate) asking: BTreeMap<NodeId, Label>,
    pub(crate) approved: BTreeMap<NodeId, Admission>,
    /// For whose uses of a grant this node has signed receipts since it started.
    pub(crate) witnessed: BTreeMap<ContentId, BTreeSet<NodeId>>,
    pub(crate) outbox: Vec<Outgoing>,
    pub(crate) neighbours: Neighbours,
    pub(crate) dirty: bool,
    pub(crate) refreshed_at: Option<Millis>,
    pub(crate) flushed_at: Option<Millis>,
    /// When newcomers were last written down at once.
    pub(crate) saved_at: Option<Millis>,
    preshared: BTreeMap<WgPublicKey, PresharedKey>,
    objected: BTreeSet<(NodeId, IpNet)>,
    range_full: bool,
}

impl Network {
    pub(crate) fn new(
        ledger: Ledger,
        secret: Option<Secret<32>>,
        private_key: WgSecretKey,
        listen_port: u16,
        admission: Option<Admission>,
    ) -> Self {
        let phase = if admission.is_some() {
            Phase::Joining
        } else {
            Phase::Waiting
        };
        Self {
            ledger,
            secret,
            public_key: private_key.public(),
            private_key,
            listen_port,
            admission,
            phase,
            own: None,
            own_member: None,
            claim: None,
            prefixes: BTreeSet::new(),
            receipts: Vec::new(),
            sequence_floor: 0,
            rules: Vec::new(),
            judge: None,
            judging: Judging::default(),
            bootstrap: Vec::new(),
            pending: None,
            heard: false,
            view: View::default(),
            verdicts: BTreeMap::new(),
            tunnel: None,
            paths: BTreeMap::new(),
            observed: BTreeMap::new(),
            moves: Vec::new(),
            asking: BTreeMap::new(),
            approved: BTreeMap::new(),
            witnessed: BTreeMap::new(),
            outbox: Vec::new(),
            neighbours: Neighbours::default(),
            dirty: true,
            refreshed_at: None,
            flushed_at: None,
            saved_at: None,
            preshared: BTreeMap::new(),
            objected: BTreeSet::new(),
            range_full: false,
        }
    }

    pub(crate) fn id(&self) -> NetworkId {
        self.ledger.network()
    }

    pub(crate) fn name(&self) -> &NetworkName {
        &self.ledger.charter().name
    }

    pub(crate) fn ranges(&self) -> (Ipv4Net, Ipv6Net) {
        (self.ledger.charter().ipv4, self.ledger.charter().ipv6)
    }

    pub(crate) fn is_member(&self) -> bool {
        self.phase == Phase::Member
    }

    /// Whether it may speak: as a member, or to show evidence that came in after it lost a contest for
    /// its invite. Who was revoked has nothing to show.
    pub(crate) fn may_speak(&self) -> bool {
        match &self.phase {
            Phase::Member => true,
            Phase::Expelled(_) => self
                .own_member
                .as_ref()
                .is_some_and(|own| !self.ledger.withdrawn().voids(own)),
            Phase::Joining | Phase::Waiting => false,
        }
    }

    pub(crate) fn store(&self, change: Change, out: &mut VecDeque<Effect>) {
        out.push_back(Effect::Store {
            network: self.id(),
            name: self.name().clone(),
            change,
        });
    }

    /// Looks at everything anew and asks for what follows from it.
    pub(crate) fn refresh(&mut self, around: &Surroundings<'_>, out: &mut VecDeque<Effect>) {
        self.dirty = false;
        self.refreshed_at = Some(around.now);
        let before: BTreeMap<NodeId, Presence> = self
            .view
            .members
            .iter()
            .map(|(node, member)| (*node, member.presence))
            .collect();
        self.view = View::of(&self.ledger, around.now.timestamp());
        self.check_own_standing(around, out);
        self.move_if_lost(around, out);
        self.meet_neighbours(&around.id);
        self.report_members(&before, around, out);
        self.judge(around, out);
        self.report_objections(out);
        self.update_paths(around);
        self.configure(around, out);
    }

    /// Notices that this node was revoked or that its invite was used by others before.
    fn check_own_standing(&mut self, around: &Surroundings<'_>, out: &mut VecDeque<Effect>) {
        let revoked = self.ledger.withdrawn().is_revoked(&around.id)
            || self
                .own_member
                .as_ref()
                .is_some_and(|own| self.ledger.withdrawn().voids(own));
        let why = if revoked {
            Some("an owner of the network revoked this node's admission".to_owned())
        } else {
            self.view.refused.get(&around.id).map(|why| match why {
                NotAMember::InviteSpent { .. } => {
                    "the invite was used by other nodes before this one".to_owned()
                }
                NotAMember::InviteExpired { .. } => {
                    "the invite expired before a member saw this node join".to_owned()
                }
            })
        };
        match why {
            Some(why) if !matches!(self.phase, Phase::Expelled(_)) => {
                out.push_back(Effect::Notice(Notice::Expelled {
                    name: self.name().clone(),
                    why: why.clone(),
                }));
                self.phase = Phase::Expelled(why);
            }
            // Evidence that comes in late can turn a lost contest for an invite around.
            None if matches!(self.phase, Phase::Expelled(_)) && self.own.is_some() => {
                self.phase = Phase::Member;
            }
            _ => {}
        }
    }

    /// Gives an address up that another member holds, and takes the next candidate.
    fn move_if_lost(&mut self, around: &Surroundings<'_>, out: &mut VecDeque<Effect>) {
        let Some(claim) = self.claim else { return };
        if self.phase != Phase::Member {
            return;
        }
        let Some(holder) = self.view.addresses.get(&claim.address).copied() else {
            return;
        };
        if holder == around.id {
            return;
        }
        let charter = self.ledger.charter();
        let held = self.view.held_by_others(&around.id);
        let next = address::first_free(
            &self.id(),
            charter.ipv4,
            &around.id,
            claim.number.saturating_add(1),
            &held,
        );
        let Some((number, address)) = next else {
            if !std::mem::replace(&mut self.range_full, true) {
                let range = charter.ipv4;
                out.push_back(Effect::Notice(Notice::RangeFull {
                    name: self.name().clone(),
                    range,
                }));
            }
            return;
        };
        self.range_full = false;
        self.claim = Some(Claim { address, number });
        let (from, to) = (claim.address, address);
        let at = around.now.timestamp();
        self.moves.push(AddressMove {
            at,
            from,
            to,
            holder,
        });
        out.push_back(Effect::Notice(Notice::AddressMoved {
            name: self.name().clone(),
            from,
            to,
            holder,
        }));
        self.promise(around, out);
        self.view = View::of(&self.ledger, at);
    }

    fn meet_neighbours(&mut self, own: &NodeId) {
        let members: BTreeSet<NodeId> = self.others(own).copied().collect();
        let same = members.len() == self.neighbours.len()
            && self.neighbours.iter().all(|node| members.contains(node));
        if !same {
            self.neighbours = Neighbours::of(&self.id(), own, &members);
        }
    }

    fn report_members(
        &self,
        before: &BTreeMap<NodeId, Presence>,
        around: &Surroundings<'_>,
        out: &mut VecDeque<Effect>,
    ) {
        let live = |presence: Option<&Presence>| presence == Some(&Presence::Live);
        for (node, member) in &self.view.members {
            if *node == around.id || live(before.get(node)) || member.presence != Presence::Live {
                continue;
            }
            if let Some(said) = self.ledger.members().get(node) {
                out.push_back(Effect::Notice(Notice::MemberJoined {
                    name: self.name().clone(),
                    node: *node,
                    label: said.promise().label.clone(),
                    address: said.promise().ipv4.address,
                }));
            }
        }
        for (node, _) in before.iter().filter(|(_, presence)| live(Some(presence))) {
            let why = match self.view.members.get(node).map(|member| member.presence) {
                Some(Presence::Live) => continue,
                Some(Presence::Lapsed) => "its promise lapsed",
                Some(Presence::Left) => "it left",
                None if self.ledger.withdrawn().is_revoked(node) => "it was revoked",
                None => "its admission does not hold any longer",
            };
            if *node != around.id {
                out.push_back(Effect::Notice(Notice::MemberGone {
                    name: self.name().clone(),
                    node: *node,
                    why,
                }));
            }
        }
    }

    /// Says once for each promise that is not believed.
    fn report_objections(&mut self, out: &mut VecDeque<Effect>) {
        let name = self.name().clone();
        let mut current = BTreeSet::new();
        for (node, verdicts) in &self.verdicts {
            for verdict in verdicts {
                let Err(objection) = &verdict.verdict else {
                    continue;
                };
                // The judge is being asked, or its failure was told.
                if *objection == Objection::NotJudged {
                    continue;
                }
                current.insert((*node, verdict.prefix));
                let is_known = self.objected.contains(&(*node, verdict.prefix));
                if !is_known && *objection != Objection::Rule {
                    out.push_back(Effect::Notice(Notice::PromiseRefused {
                        name: name.clone(),
                        node: *node,
                        prefix: verdict.prefix,
                        objection: objection.clone(),
                    }));
                }
            }
        }
        self.objected = current;
    }

    fn update_paths(&mut self, around: &Surroundings<'_>) {
        let tunnels = |ip: &IpAddr| {
            around.facts.ranges.values().any(|(v4, v6)| match ip {
                IpAddr::V4(ip) => v4.contains(ip),
                IpAddr::V6(ip) => v6.contains(ip),
            })
        };
        let host = around.host;
        let mut paths = std::mem::take(&mut self.paths);
        for (node, _) in self.view.live().filter(|(node, _)| **node != around.id) {
            let Some(said) = self.ledger.members().get(node) else {
                continue;
            };
            let candidates = paths::ranked(
                &said.promise().wireguard,
                &host.addresses,
                &host.connected,
                tunnels,
            );
            let path = match paths.remove(node) {
                Some(mut path) => {
                    path.update(candidates, around.now);
                    path
                }
                None => Path::new(candidates, around.now),
            };
            self.paths.insert(*node, path);
        }
    }

    fn configure(&mut self, around: &Surroundings<'_>, out: &mut VecDeque<Effect>) {
        let wanted = self.wanted_tunnel(around).map(Box::new);
        if wanted != self.tunnel {
            self.tunnel.clone_from(&wanted);
            out.push_back(Effect::Configure {
                network: self.id(),
                name: self.name().clone(),
                tunnel: wanted,
            });
        }
    }

    fn wanted_tunnel(&mut self, around: &Surroundings<'_>) -> Option<Tunnel> {
        let own = self.own.as_ref()?;
        if self.phase != Phase::Member {
            return None;
        }
        let (ipv4, ipv6) = self.ranges();
        let mut addresses = BTreeSet::from([net(own.ipv6.into(), ipv6.prefix_len())]);
        if self.view.addresses.get(&own.ipv4.address) == Some(&around.id) {
            addresses.insert(net(own.ipv4.address.into(), ipv4.prefix_len()));
        }
        let natted = self.is_natted(around);
        let mut peers = BTreeMap::new();
        let mut routes = BTreeSet::new();
        let keys: Vec<(NodeId, WgPublicKey)> = self
            .view
            .live()
            .filter(|(node, _)| **node != around.id)
            .filter_map(|(node, member)| member.public_key.map(|key| (*node, key)))
            .collect();
        for (node, key) in keys {
            let allowed_ips: BTreeSet<IpNet> = self
                .verdicts
                .get(&node)
                .into_iter()
                .flatten()
                .filter(|verdict| verdict.verdict.is_ok())
                .map(|verdict| verdict.prefix)
                .collect();
            let host_route = |prefix: &&IpNet| prefix.prefix_len() < prefix.max_prefix_len();
            routes.extend(allowed_ips.iter().filter(host_route).copied());
            let path = self.paths.get(&node);
            // Keepalives open the way through a NAT; without one they only prove, once, that the
            // path works, and then cost nothing.
            let keepalive = if natted || !path.is_some_and(Path::is_verified) {
                25
            } else {
                0
            };
            let endpoint = path.and_then(Path::endpoint);
            let preshared_key = self.preshared_key(&key);
            peers.insert(
                key,
                TunnelPeer {
                    preshared_key,
                    endpoint,
                    allowed_ips,
                    keepalive,
                },
            );
        }
        Some(Tunnel {
            private_key: self.private_key.clone(),
            listen_port: self.listen_port,
            addresses,
            routes,
            peers,
        })
    }

    /// Whether others see this node at an address that it does not have.
    fn is_natted(&self, around: &Surroundings<'_>) -> bool {
        around
            .seen_at
            .iter()
            .any(|seen| !around.host.addresses.contains(&seen.ip()) && !seen.ip().is_loopback())
    }

    fn preshared_key(&mut self, peer: &WgPublicKey) -> PresharedKey {
        if let Some(key) = self.preshared.get(peer) {
            return key.clone();
        }
        let network = self.id().0.to_bytes();
        let secret = self
            .secret
            .as_ref()
            .map_or(&[][..], |secret| secret.expose());
        let key = self.private_key.preshared_key(peer, &network, secret);
        self.preshared.insert(*peer, key.clone());
        key
    }

    /// Takes in what WireGuard measured.
    pub(crate) fn observe(
        &mut self,
        observed: BTreeMap<WgPublicKey, PeerObservation>,
        now: Millis,
    ) {
        for (node, path) in &mut self.paths {
            let key = self
                .view
                .members
                .get(node)
                .and_then(|member| member.public_key);
            if let Some(measured) = key.and_then(|key| observed.get(&key)) {
                let before = (path.endpoint(), path.is_verified());
                path.observe(measured.latest_handshake, measured.tx_bytes, now);
                self.dirty |= before != (path.endpoint(), path.is_verified());
            }
        }
        self.observed = observed;
    }

    /// Whether a member has not answered on its path yet.
    pub(crate) fn has_unverified_paths(&self) -> bool {
        self.paths.values().any(|path| !path.is_verified())
    }

    /// Members that are there, without this node.
    pub(crate) fn others<'a>(&'a self, own: &'a NodeId) -> impl Iterator<Item = &'a NodeId> {
        self.view
            .live()
            .map(|(node, _)| node)
            .filter(move |node| *node != own)
    }

    /// Forgets what lapsed. Says whether anything did.
    pub(crate) fn prune(&mut self, now: Timestamp) -> bool {
        let gone = self.ledger.prune(now);
        let used: BTreeSet<WgPublicKey> = self
            .ledger
            .members()
            .values()
            .map(|member| member.promise().public_key)
            .collect();
        self.preshared.retain(|key, _| used.contains(key));
        !gone.is_empty()
    }
}

/// An address with the length of the prefix that it lies in.
fn net(address: IpAddr, prefix_len: u8) -> IpNet {
    // The length comes from a prefix of the same family, so that it is in range.
    IpNet::new(address, prefix_len).unwrap_or_else(|_| IpNet::from(address))
}
