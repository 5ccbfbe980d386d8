//! What people ask for, and what they can see.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};

use crate::core::effect::Reply;
use crate::core::error::CommandError;
use crate::core::input::{Command, Ticket};
use crate::core::network::{Network, Pending, Phase};
use crate::core::status::{NetworkStatus, OwnStanding, PeerStatus};
use crate::core::timers::{self, Timer};
use crate::core::{Core, Step};
use crate::limits::{MAX_ENDPOINTS, MAX_PREFIXES};
use crate::network::accept::{Action, Rule, overlaps};
use crate::network::address;
use crate::network::admission::{Direct, Grant, Link};
use crate::network::charter::{AdmissionRule, Charter, NetworkId};
use crate::network::endpoint::is_reachable;
use crate::network::invite::{Bootstrap, Invite};
use crate::network::name::NetworkName;
use crate::network::statement::Signed;
use crate::texts;
use crate::time::Millis;
use grid_keys::Secret;
use grid_keys::{NodeId, NodeKey};

impl Core {
    pub(crate) fn command(&mut self, command: Command, ticket: Ticket, step: &mut Step<'_>) {
        let network = self.by_name(command.network());
        let outcome = match (command, network) {
            (Command::Create { name, .. } | Command::Join { name, .. }, Some(_)) => {
                Err(CommandError::NameTaken(name))
            }
            (
                Command::Create {
                    name,
                    ipv4,
                    admission,
                    listen_port,
                },
                None,
            ) => self.create(name, ipv4, admission, listen_port, step),
            (
                Command::Join {
                    name,
                    with,
                    listen_port,
                    wait,
                },
                None,
            ) => {
                self.join(&name, with, listen_port, wait, ticket, step);
                return;
            }
            (Command::Leave { .. }, Some(network)) if !self.is_busy(&network) => {
                self.leave(network, ticket, step);
                return;
            }
            (
                Command::Invite {
                    life,
                    uses,
                    endpoints,
                    ..
                },
                Some(network),
            ) => self.invite(network, life, uses, endpoints, step),
            (Command::Promise { prefix, .. }, Some(network)) => {
                self.promise_prefix(network, prefix, step)
            }
            (Command::Withdraw { prefix, .. }, Some(network)) => {
                self.withdraw_prefix(network, prefix, step)
            }
            (
                Command::SetRule {
                    action,
                    prefix,
                    from,
                    ..
                },
                Some(network),
            ) => self.set_rule(network, action, prefix, from.as_deref()),
            (Command::SetJudge { judge, .. }, Some(network)) => Ok(self.set_judge(&network, judge)),
            (Command::Approve { node, .. }, Some(network)) => self.approve(network, &node, step),
            (Command::Revoke { node, .. }, Some(network)) => self.revoke(network, &node, step),
            (command, _) => Err(CommandError::NoSuchNetwork(command.network().clone())),
        };
        self.done(ticket, outcome);
    }

    /// Whether another command waits for something in this network.
    fn is_busy(&self, network: &NetworkId) -> bool {
        self.networks
            .get(network)
            .is_some_and(|net| matches!(net.pending, Some(Pending::Leave { .. })))
    }

    fn create(
        &mut self,
        name: NetworkName,
        ipv4: Option<Ipv4Net>,
        admission: AdmissionRule,
        listen_port: u16,
        step: &mut Step<'_>,
    ) -> Result<Reply, CommandError> {
        let ipv4 = match ipv4 {
            Some(range) => {
                address::check_range(range).map_err(|why| CommandError::BadRange { range, why })?;
                range
            }
            None => self.random_range(step),
        };
        let mut nonce = [0; 16];
        step.entropy.fill_bytes(&mut nonce);
        let charter = Charter {
            name,
            ipv4,
            ipv6: Charter::ipv6_prefix(&self.id, &nonce),
            founder: self.id,
            owners: vec![self.id],
            admission,
            contract: texts::JOIN_WIREGUARD_NET.id(),
            created: step.now.timestamp(),
            nonce,
        };
        self.check_charter(&charter)?;
        let charter = Signed::sign(charter, &self.config.key)?;
        self.found(charter, listen_port, step)
    }

    /// A /16 of 10.0.0.0/8 that touches nothing this machine is connected to, if there is one.
    fn random_range(&self, step: &mut Step<'_>) -> Ipv4Net {
        let mut range = Ipv4Net::default();
        for _ in 0..256 {
            let second = step.entropy.next_u32().to_be_bytes()[0];
            range = Ipv4Net::new(Ipv4Addr::new(10, second, 0, 0), 16).unwrap_or_default();
            let connected = self
                .host
                .connected
                .iter()
                .any(|c| overlaps(c, &range.into()));
            let taken = self
                .networks
                .values()
                .any(|net| overlaps(&net.ranges().0.into(), &range.into()));
            if !connected && !taken {
                break;
            }
        }
        range
    }

    fn invite(
        &mut self,
        network: NetworkId,
        life: Duration,
        uses: u32,
        endpoints: Vec<SocketAddr>,
        step: &mut Step<'_>,
    ) -> Result<Reply, CommandError> {
        let net = self
            .networks
            .get(&network)
            .ok_or(CommandError::NoEndpoint)?;
        let name = net.name().clone();
        let charter = net.ledger.charter();
        if charter.admission == AdmissionRule::Approve {
            return Err(CommandError::NoInvites {
                name,
                rule: charter.admission,
            });
        }
        let (Phase::Member, Some(own)) = (&net.phase, &net.own) else {
            return Err(CommandError::NotAMember(name));
        };
        let mut quic = endpoints;
        quic.extend(own.quic.iter().map(|endpoint| endpoint.addr));
        quic.retain(is_reachable);
        let mut seen = BTreeSet::new();
        quic.retain(|addr| seen.insert(*addr));
        quic.truncate(MAX_ENDPOINTS);
        if quic.is_empty() {
            return Err(CommandError::NoEndpoint);
        }
        let mut bootstrap = vec![Bootstrap {
            node: self.id,
            quic,
        }];
        // Two more, so that the invite works while this node is down; more would make it long.
        bootstrap.extend(self.bootstrap_of(net).into_iter().take(2).map(|mut other| {
            other.quic.truncate(4);
            other
        }));
        let key = NodeKey::generate(step.entropy);
        let issued = step.now.timestamp();
        let grant = Grant {
            network,
            invite: key.id(),
            issuer: self.id,
            uses,
            issued,
            expires: issued.after(life),
        };
        let invite = Invite {
            charter: charter.clone(),
            bootstrap,
            grant: Signed::sign(grant, &self.config.key)?,
            issuer: net.shown_admission(),
            key,
            secret: net.secret.clone().unwrap_or_else(|| Secret::new([0; 32])),
        };
        // An invite that nobody could use, because the chain would be too long, is not handed out.
        invite.admit(self.id, issued)?;
        Ok(Reply::Invite(invite.to_text()))
    }

    fn promise_prefix(
        &mut self,
        network: NetworkId,
        prefix: IpNet,
        step: &mut Step<'_>,
    ) -> Result<Reply, CommandError> {
        let prefix = prefix.trunc();
        let cannot = |why| Err(CommandError::CannotPromise { prefix, why });
        if !is_routable(&prefix) {
            return cannot("hosts cannot have addresses in it");
        }
        for (v4, v6) in self.facts.ranges.values() {
            let own = overlaps(&prefix, &(*v4).into()) || overlaps(&prefix, &(*v6).into());
            if own && prefix.prefix_len() != 0 {
                return cannot("it overlaps the range of one of this node's networks");
            }
        }
        self.with_network(&network, step.now, |net, around, out| {
            if net.phase != Phase::Member {
                return Err(CommandError::NotAMember(net.name().clone()));
            }
            if net.prefixes.len() >= MAX_PREFIXES {
                return Err(CommandError::CannotPromise {
                    prefix,
                    why: "a node promises at most 32 prefixes",
                });
            }
            if !net.prefixes.insert(prefix) {
                return Ok(Reply::Unchanged);
            }
            net.promise(around, out);
            Ok(Reply::Changed)
        })
        .unwrap_or(Ok(Reply::Unchanged))
    }

    fn withdraw_prefix(
        &mut self,
        network: NetworkId,
        prefix: IpNet,
        step: &mut Step<'_>,
    ) -> Result<Reply, CommandError> {
        let prefix = prefix.trunc();
        self.with_network(&network, step.now, |net, around, out| {
            if !net.prefixes.remove(&prefix) {
                return Err(CommandError::NotPromised { prefix });
            }
            net.promise(around, out);
            Ok(Reply::Changed)
        })
        .unwrap_or(Ok(Reply::Unchanged))
    }

    fn set_rule(
        &mut self,
        network: NetworkId,
        action: Action,
        prefix: IpNet,
        from: Option<&str>,
    ) -> Result<Reply, CommandError> {
        let prefix = prefix.trunc();
        let cannot = |why| Err(CommandError::CannotAccept { prefix, why });
        let Some(net) = self.networks.get_mut(&network) else {
            return Ok(Reply::Unchanged);
        };
        let from = from.map(|name| resolve(net, name)).transpose()?;
        if action == Action::Accept {
            let (v4, v6) = net.ranges();
            if from.is_none() {
                return cannot("a rule accepts from one node (`--from NODE`)");
            }
            // A default route covers the range and takes nothing from it: longer prefixes win.
            let own = prefix.prefix_len() != 0
                && (overlaps(&prefix, &v4.into()) || overlaps(&prefix, &v6.into()));
            if own && !(v4.contains(&v4_addr(&prefix)) && prefix.prefix_len() == 32) {
                return cannot("it covers addresses of members, which only they can promise");
            }
        }
        let rule = Rule {
            action,
            prefix,
            from,
        };
        if net.rules.last() == Some(&rule) {
            return Ok(Reply::Unchanged);
        }
        // A rule replaces the earlier ones about the same prefix and node.
        net.rules
            .retain(|old| old.prefix != prefix || (from.is_some() && old.from != from));
        net.rules.push(rule);
        net.dirty = true;
        net.store_rules(&mut self.effects);
        Ok(Reply::Changed)
    }

    fn approve(
        &mut self,
        network: NetworkId,
        node: &str,
        step: &mut Step<'_>,
    ) -> Result<Reply, CommandError> {
        let own = self.id;
        let Some(net) = self.networks.get_mut(&network) else {
            return Ok(Reply::Unchanged);
        };
        let name = net.name().clone();
        if !net.ledger.charter().is_owner(&own) {
            return Err(CommandError::NotAnOwner(name));
        }
        let known = net
            .asking
            .iter()
            .map(|(id, label)| (*id, label.as_str().to_owned()));
        let node = pick(&name, node, known.collect())?;
        let direct = Direct {
            network,
            owner: own,
            node,
            issued: step.now.timestamp(),
        };
        let link = Link::Direct(Signed::sign(direct, &self.config.key)?);
        let admission = crate::network::admission::Admission::default().extended(link);
        admission.verify(net.ledger.charter(), &node)?;
        net.asking.remove(&node);
        net.approved.insert(node, admission);
        Ok(Reply::Changed)
    }

    /// What is known of every network, by name.
    #[must_use]
    pub fn status(&self, now: Millis) -> Vec<NetworkStatus> {
        let mut all: Vec<NetworkStatus> = self
            .networks
            .values()
            .map(|net| self.status_of(net, now))
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    fn status_of(&self, net: &Network, _: Millis) -> NetworkStatus {
        let (ipv4_range, ipv6_prefix) = net.ranges();
        let charter = net.ledger.charter();
        NetworkStatus {
            name: net.name().clone(),
            network: net.id(),
            admission: charter.admission,
            owner: charter.is_owner(&self.id),
            standing: match &net.phase {
                Phase::Joining => OwnStanding::Joining,
                Phase::Waiting => OwnStanding::Waiting,
                Phase::Member => OwnStanding::Member,
                Phase::Expelled(why) => OwnStanding::Expelled(why.clone()),
            },
            listen_port: net.listen_port,
            public_key: Some(net.public_key),
            ipv4_range,
            ipv6_prefix,
            ipv4: net.claim.map(|claim| claim.address),
            ipv6: address::ipv6(ipv6_prefix, &self.id),
            moves: net.moves.clone(),
            promised: net.prefixes.iter().copied().collect(),
            rules: net.rules.clone(),
            judge: net.judge,
            judge_failure: net.judging.failure().cloned(),
            // Who is out sees nobody: what it knows of the others is no longer its business.
            peers: net
                .others(&self.id)
                .filter(|_| !matches!(net.phase, Phase::Expelled(_)))
                .filter_map(|node| self.peer_status(net, node))
                .collect(),
            asking: net.asking.clone(),
        }
    }

    fn peer_status(&self, net: &Network, node: &NodeId) -> Option<PeerStatus> {
        let promise = net.ledger.members().get(node)?.promise();
        let view = net.view.members.get(node)?;
        let (endpoint, path) = net
            .paths
            .get(node)
            .map_or((None, "unknown"), crate::core::paths::Path::describe);
        Some(PeerStatus {
            node: *node,
            label: promise.label.clone(),
            public_key: promise.public_key,
            ipv4: view.ipv4,
            ipv6: promise.ipv6,
            expires: promise.expires,
            connected: self.links.is_up(node),
            endpoint,
            path,
            verdicts: net.verdicts.get(node).cloned().unwrap_or_default(),
            observed: net.observed.get(&promise.public_key).copied(),
        })
    }

    /// Sets the timer that looks at paths without an answer.
    pub(crate) fn watch_paths(&mut self, network: NetworkId, now: Millis) {
        let unverified = self
            .networks
            .get(&network)
            .is_some_and(Network::has_unverified_paths);
        if unverified {
            self.timers
                .set_by(Timer::Paths(network), now + timers::PATHS);
        } else {
            self.timers.cancel(Timer::Paths(network));
        }
    }
}

/// The member that a person means by a name.
pub(crate) fn resolve(net: &Network, name: &str) -> Result<NodeId, CommandError> {
    let known = net
        .ledger
        .members()
        .values()
        .map(|member| (member.node(), member.promise().label.as_str().to_owned()))
        .collect();
    pick(net.name(), name, known)
}

/// A node by its id, else by its label, else by the beginning of its id (4 characters or more).
fn pick(
    network: &NetworkName,
    name: &str,
    known: Vec<(NodeId, String)>,
) -> Result<NodeId, CommandError> {
    if let Ok(id) = name.parse::<NodeId>() {
        return Ok(id);
    }
    let mut found: Vec<NodeId> = known
        .iter()
        .filter(|(_, label)| label == name)
        .map(|(id, _)| *id)
        .collect();
    if found.is_empty() && name.len() >= 4 {
        found = known
            .iter()
            .filter(|(id, _)| id.to_string().starts_with(&name.to_ascii_lowercase()))
            .map(|(id, _)| *id)
            .collect();
    }
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(CommandError::NoSuchNode {
            name: network.clone(),
            node: name.to_owned(),
        }),
        many => Err(CommandError::AmbiguousNode {
            node: name.to_owned(),
            count: many.len(),
        }),
    }
}

const fn v4_addr(prefix: &IpNet) -> Ipv4Addr {
    match prefix {
        IpNet::V4(v4) => v4.addr(),
        IpNet::V6(_) => Ipv4Addr::UNSPECIFIED,
    }
}

/// Whether a prefix can lie behind a node: no loopback, link-local or multicast addresses.
fn is_routable(prefix: &IpNet) -> bool {
    if prefix.prefix_len() == 0 {
        return true;
    }
    const NOWHERE: [&str; 7] = [
        "0.0.0.0/8",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "224.0.0.0/3",
        "::/127",
        "fe80::/10",
        "ff00::/8",
    ];
    NOWHERE
        .iter()
        .filter_map(|text| text.parse::<IpNet>().ok())
        .all(|nowhere| !overlaps(prefix, &nowhere))
}
