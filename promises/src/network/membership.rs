//! Who is a member, as far as a set of statements says.
//!
//! A node is a member if its admission leads to an owner, nobody on that way was revoked, and every
//! invite on it was used within its time and its number. All of that follows from the statements and
//! the time, so that nodes that hold the same statements agree.

use std::collections::{BTreeMap, BTreeSet};

use crate::content_id::ContentId;
use crate::limits::INVITE_GRACE;
use crate::network::admission::{Direct, Grant, Link, RawLink};
use crate::network::charter::Charter;
use crate::network::ledger::{Ledger, use_rank};
use crate::network::member::Member;
use crate::network::revocation::Revocation;
use crate::network::statement::Signed;
use crate::node_key::NodeId;
use crate::time::Timestamp;

/// Everything that owners withdrew, added up.
#[derive(Clone, Debug, Default)]
pub struct Withdrawn {
    nodes: BTreeSet<NodeId>,
    /// Nodes that were admitted by name, and the owners who did.
    readmitted: BTreeMap<NodeId, BTreeSet<NodeId>>,
    closed: BTreeMap<NodeId, BTreeSet<NodeId>>,
}

impl Withdrawn {
    /// Adds a revocation. The order does not matter.
    pub(crate) fn add(&mut self, revocation: &Signed<Revocation>) {
        self.nodes.extend(&revocation.nodes);
        for link in &revocation.readmit {
            if let RawLink::Direct(bytes) = link
                && let Ok(direct) = Signed::<Direct>::decode(bytes)
            {
                self.readmitted
                    .entry(direct.node)
                    .or_default()
                    .insert(direct.owner);
            }
        }
        for closure in &revocation.closures {
            let keep: BTreeSet<NodeId> = closure.keep.iter().copied().collect();
            self.closed
                .entry(closure.invite)
                .and_modify(|kept| kept.retain(|node| keep.contains(node)))
                .or_insert(keep);
        }
    }

    /// Whether this node was revoked by name.
    #[must_use]
    pub fn is_revoked(&self, node: &NodeId) -> bool {
        self.nodes.contains(node)
    }

    /// Whether this invite was closed.
    #[must_use]
    pub fn is_closed(&self, invite: &NodeId) -> bool {
        self.closed.contains_key(invite)
    }

    /// Whether an owner admitted this node by name when it withdrew another's admission. What an
    /// owner said who was revoked itself does not count.
    fn is_readmitted(&self, node: &NodeId) -> bool {
        !self.is_revoked(node)
            && self
                .readmitted
                .get(node)
                .is_some_and(|owners| owners.iter().any(|owner| !self.is_revoked(owner)))
    }

    /// Whether a member's admission was withdrawn: itself, someone on the way to it, or its invite.
    #[must_use]
    pub fn voids(&self, member: &Member) -> bool {
        let links = member.admission().links();
        self.is_revoked(&member.node())
            || links[self.first_that_counts(member)..]
                .iter()
                .any(|link| self.cuts(link))
    }

    /// The first link of a member's admission that its membership depends on: the one after the last
    /// node that an owner readmitted, because that node needs none of those before.
    fn first_that_counts(&self, member: &Member) -> usize {
        if self.is_readmitted(&member.node()) {
            return member.admission().links().len();
        }
        member
            .admission()
            .links()
            .iter()
            .rposition(|link| self.is_readmitted(&link.node()))
            .map_or(0, |position| position + 1)
    }

    fn cuts(&self, link: &Link) -> bool {
        self.is_revoked(&link.node())
            || self.is_revoked(&link.issuer())
            || matches!(link, Link::Invite { grant, .. }
                if self.closed.get(&grant.invite).is_some_and(|keep| !keep.contains(&link.node())))
    }
}

/// Why a node that has a verified promise is no member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAMember {
    /// An invite on its way was used by more nodes than it allows, and by others before.
    InviteSpent {
        /// The invite key.
        invite: NodeId,
    },
    /// The invite expired, and nobody who vouched saw the node join before.
    InviteExpired {
        /// The invite key.
        invite: NodeId,
    },
}

/// Since when those who vouched for a node, or an owner, have seen it as a member.
#[must_use]
pub fn evidence_of_membership(charter: &Signed<Charter>, member: &Member) -> Option<Timestamp> {
    witnessed_by(charter, member, member.admission().links())
}

/// The same, counting only the witnesses above and at the last of `links`.
fn witnessed_by(charter: &Signed<Charter>, member: &Member, links: &[Link]) -> Option<Timestamp> {
    member
        .receipts()
        .iter()
        .filter(|receipt| {
            charter.is_owner(&receipt.witness)
                || links.iter().any(|link| link.issuer() == receipt.witness)
        })
        .map(|receipt| receipt.member_since)
        .min()
}

/// Who wins each invite that was used more often than it allows, by the content id of its grant.
struct Spent(BTreeMap<ContentId, BTreeSet<NodeId>>);

impl Spent {
    fn of(ledger: &Ledger, now: Timestamp) -> Self {
        let mut uses: BTreeMap<ContentId, (&Signed<Grant>, BTreeSet<NodeId>)> = BTreeMap::new();
        for link in ledger.retained(now).flat_map(|m| m.admission().links()) {
            if let Link::Invite { grant, .. } = link {
                uses.entry(grant.id())
                    .or_insert_with(|| (grant, BTreeSet::new()))
                    .1
                    .insert(link.node());
            }
        }
        uses.retain(|_, (grant, nodes)| nodes.len() > grant.uses as usize);
        let winners = uses.into_iter().map(|(id, (grant, nodes))| {
            let mut ranked: Vec<_> = nodes
                .into_iter()
                .map(|node| {
                    let member = ledger.retained_of(&node, now);
                    (use_rank(ledger.charter(), grant, &node, member), node)
                })
                .collect();
            ranked.sort();
            let winners = ranked.into_iter().take(grant.uses as usize);
            (id, winners.map(|(_, node)| node).collect())
        });
        Self(winners.collect())
    }

    fn lost(&self, grant: &Signed<Grant>, node: &NodeId) -> bool {
        self.0
            .get(&grant.id())
            .is_some_and(|winners| !winners.contains(node))
    }
}

/// Decides for every node of the ledger whether it is a member now.
#[must_use]
pub fn decide(ledger: &Ledger, now: Timestamp) -> BTreeMap<NodeId, Result<(), NotAMember>> {
    let spent = Spent::of(ledger, now);
    ledger
        .retained(now)
        .map(|member| (member.node(), decide_one(ledger, &spent, member, now)))
        .collect()
}

fn decide_one(
    ledger: &Ledger,
    spent: &Spent,
    member: &Member,
    now: Timestamp,
) -> Result<(), NotAMember> {
    let links = member.admission().links();
    let first = ledger.withdrawn().first_that_counts(member);
    for (position, link) in links.iter().enumerate().skip(first) {
        let Link::Invite { grant, .. } = link else {
            continue;
        };
        let invite = grant.invite;
        if spent.lost(grant, &link.node()) {
            return Err(NotAMember::InviteSpent { invite });
        }
        let deadline = grant.expires.after(INVITE_GRACE);
        if now > deadline && !seen_in_time(ledger, member, &links[..=position], now, deadline) {
            return Err(NotAMember::InviteExpired { invite });
        }
    }
    Ok(())
}

/// Whether somebody who vouched, or an owner, saw the node of the last of `links` join in time; or,
/// when that node's own promise is gone, sees the node at the end of the chain as a member at all.
/// Without this, whoever finds an old invite could date a use of it back.
fn seen_in_time(
    ledger: &Ledger,
    member: &Member,
    links: &[Link],
    now: Timestamp,
    deadline: Timestamp,
) -> bool {
    let charter = ledger.charter();
    let Some(last) = links.last() else {
        return true;
    };
    let in_time = |m: &Member| witnessed_by(charter, m, links).is_some_and(|t| t <= deadline);
    if last.node() == member.node() {
        return in_time(member);
    }
    ledger.retained_of(&last.node(), now).is_some_and(in_time)
        || witnessed_by(charter, member, links).is_some()
}
