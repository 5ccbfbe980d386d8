//! An owner withdraws a node's admission.

use std::collections::BTreeSet;

use crate::core::error::CommandError;
use crate::core::local::Local;
use crate::core::mesh::roster::Roster;
use crate::limits::MAX_REVOKED;
use crate::network::admission::{Direct, Link, RawLink};
use crate::network::revocation::{Closure, Revocation};
use crate::network::statement::Signed;
use crate::time::Timestamp;
use grid_keys::NodeId;

/// Admissions by name in one revocation, so that it stays within a statement's length.
const READMITTED_AT_ONCE: usize = 20;

/// What withdraws a node's admission, and the nodes that came in through it and stay.
pub(crate) struct Revoked {
    pub(crate) statements: Vec<Signed<Revocation>>,
    pub(crate) kept: Vec<NodeId>,
}

/// Signs the revocations of a node.
pub(crate) fn revoke(
    node: &NodeId,
    roster: &Roster,
    local: &Local,
    now: Timestamp,
) -> Result<Revoked, CommandError> {
    let network = roster.id();
    let owner = local.id();
    let kept = admitted_through(roster, node);
    let mut readmit = Vec::with_capacity(kept.len());
    for node in &kept {
        let direct = Direct {
            network,
            owner,
            node: *node,
            issued: now,
        };
        let signed = Signed::sign(direct, local.key())?;
        readmit.push(RawLink::Direct(signed.bytes().to_vec()));
    }
    let mut closures = closures_for(roster, node);
    let mut parts: Vec<Vec<RawLink>> = readmit
        .chunks(READMITTED_AT_ONCE)
        .map(<[RawLink]>::to_vec)
        .collect();
    if parts.is_empty() {
        parts.push(Vec::new());
    }
    let mut statements = Vec::with_capacity(parts.len());
    for readmit in parts {
        let body = Revocation {
            network,
            owner,
            nodes: vec![*node],
            closures: std::mem::take(&mut closures),
            readmit,
            issued: now,
        };
        statements.push(Signed::sign(body, local.key())?);
    }
    Ok(Revoked { statements, kept })
}

/// The members whose admission leads through a node, who would lose it with the node.
fn admitted_through(roster: &Roster, node: &NodeId) -> Vec<NodeId> {
    roster
        .ledger()
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

/// Closes the invite that a node came by, for everybody who is not a member by it already. An invite with
/// more members than a revocation can name stays open, or they would lose their admission.
fn closures_for(roster: &Roster, node: &NodeId) -> Vec<Closure> {
    let Some(member) = roster.ledger().members().get(node) else {
        return Vec::new();
    };
    let Some(Link::Invite { grant, .. }) = member.admission().links().last() else {
        return Vec::new();
    };
    let keep: BTreeSet<NodeId> = roster
        .ledger()
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
