//! An owner withdraws a node's admission.

use std::collections::BTreeSet;

use crate::core::effect::Reply;
use crate::core::error::CommandError;
use crate::core::network::{Network, Outgoing};
use crate::core::timers::{self, Timer};
use crate::core::{Core, Step};
use crate::limits::MAX_REVOKED;
use crate::network::admission::{Direct, Link, RawLink};
use crate::network::charter::NetworkId;
use crate::network::ledger::Item;
use crate::network::revocation::{Closure, Revocation};
use crate::network::statement::Signed;
use grid_keys::NodeId;

/// Admissions by name in one revocation, so that it stays within a statement's length.
const READMITTED_AT_ONCE: usize = 20;

impl Core {
    pub(crate) fn revoke(
        &mut self,
        network: NetworkId,
        node: &str,
        step: &mut Step<'_>,
    ) -> Result<Reply, CommandError> {
        let own = self.id;
        let now = step.now.timestamp();
        let Some(net) = self.networks.get_mut(&network) else {
            return Ok(Reply::Unchanged);
        };
        if !net.ledger.charter().is_owner(&own) {
            return Err(CommandError::NotAnOwner(net.name().clone()));
        }
        let node = crate::core::commands::resolve(net, node)?;
        if node == own {
            return Err(CommandError::Oneself(net.name().clone()));
        }
        if net.ledger.withdrawn().is_revoked(&node) {
            return Ok(Reply::Unchanged);
        }
        let kept = admitted_through(net, &node);
        let mut readmit = Vec::with_capacity(kept.len());
        for node in &kept {
            let direct = Direct {
                network,
                owner: own,
                node: *node,
                issued: now,
            };
            let signed = Signed::sign(direct, &self.config.key)?;
            readmit.push(RawLink::Direct(signed.bytes().to_vec()));
        }
        let mut closures = closures_for(net, &node);
        let mut parts: Vec<Vec<RawLink>> = readmit
            .chunks(READMITTED_AT_ONCE)
            .map(<[RawLink]>::to_vec)
            .collect();
        if parts.is_empty() {
            parts.push(Vec::new());
        }
        let mut signed = Vec::with_capacity(parts.len());
        for readmit in parts {
            let body = Revocation {
                network,
                owner: own,
                nodes: vec![node],
                closures: std::mem::take(&mut closures),
                readmit,
                issued: now,
            };
            signed.push(Signed::sign(body, &self.config.key)?);
        }
        for revocation in signed {
            let bytes = revocation.bytes().to_vec();
            if net
                .ledger
                .insert(Item::Revocation(Box::new(revocation)), now)
                .is_ok()
            {
                net.outbox.push(Outgoing {
                    bytes,
                    source: None,
                });
            }
        }
        net.dirty = true;
        // A revocation that only this node knows must survive it.
        self.save_statements(network);
        Ok(Reply::Revoked { node, kept })
    }

    /// Closes connections to nodes that were revoked, once they had time to take notice.
    pub(crate) fn part_from_revoked(&mut self, step: &Step<'_>) {
        let revoked: Vec<NodeId> = self
            .links
            .up()
            .map(|(node, _)| *node)
            .filter(|node| {
                self.networks
                    .values()
                    .any(|net| net.ledger.withdrawn().is_revoked(node))
            })
            .filter(|node| !self.shares_a_network(node))
            .collect();
        for node in revoked {
            self.timers
                .set_by(Timer::Part(node), step.now + timers::PART);
        }
    }
}

/// Members whose admission leads through a node, and who would be out with it.
fn admitted_through(net: &Network, node: &NodeId) -> Vec<NodeId> {
    net.ledger
        .members()
        .values()
        .filter(|member| member.node() != *node)
        .filter(|member| {
            member
                .admission()
                .links()
                .iter()
                .any(|link| link.issuer() == *node || link.node() == *node)
        })
        .map(|member| member.node())
        .collect()
}

/// The invite that a node came by, closed for everybody but those who are members by it. An invite
/// with more members than a revocation can name stays open: those would be out.
fn closures_for(net: &Network, node: &NodeId) -> Vec<Closure> {
    let Some(member) = net.ledger.members().get(node) else {
        return Vec::new();
    };
    let Some(Link::Invite { grant, .. }) = member.admission().links().last() else {
        return Vec::new();
    };
    let keep: BTreeSet<NodeId> = net
        .ledger
        .members()
        .values()
        .flat_map(|member| member.admission().links())
        .filter(|link| {
            matches!(link, Link::Invite { grant: theirs, .. } if theirs.invite == grant.invite)
        })
        .map(Link::node)
        .filter(|kept| kept != node)
        .collect();
    if keep.len() > MAX_REVOKED {
        return Vec::new();
    }
    vec![Closure {
        invite: grant.invite,
        keep: keep.into_iter().collect(),
    }]
}
