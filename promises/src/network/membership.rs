//! Who is a member, as far as a set of statements says.
//!
//! A node is a member if its admission holds by what owners did ([`ruling`](crate::network::ruling)), and every
//! invite on it was used within its time and its number. All of that follows from the statements and
//! the time, so that nodes that hold the same statements agree.

use std::collections::{BTreeMap, BTreeSet};

use crate::content_id::ContentId;
use crate::network::ledger::Ledger;
use crate::network::member::Member;
use crate::network::trace::Trace;
use crate::network::uses::Uses;
use crate::network::void::Void;
use crate::time::Timestamp;
use grid_keys::NodeId;

pub use crate::network::uses::evidence_of_use;

/// Why a node that has a verified promise is no member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAMember {
    /// By what owners did.
    Void(Void),
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

/// Decides for every node of the ledger whether it is a member now.
#[must_use]
pub fn decide(ledger: &Ledger, now: Timestamp) -> BTreeMap<NodeId, Result<(), NotAMember>> {
    let authority = ledger.authority();
    let traces = ledger.traces(now).filter(|trace| ledger.counts(trace));
    let uses = Uses::of_all(authority, ledger.users(now), traces.map(Trace::admission));
    let won: BTreeMap<&ContentId, BTreeSet<NodeId>> = uses
        .iter()
        .filter_map(|(grant, uses)| Some((grant, uses.winners()?)))
        .collect();
    let is_lost = |grant: &ContentId, node: &NodeId| {
        won.get(grant)
            .is_some_and(|winners| !winners.contains(node))
    };
    let verdict = |member: &Member| {
        let first = authority.first_that_counts(member.admission(), &member.node());
        for (position, link) in member.admission().links().iter().enumerate().skip(first) {
            let grant = &link.grant;
            let (invite, user) = (grant.invite, link.node());
            if is_lost(&grant.id(), &user) {
                return Err(NotAMember::InviteSpent { invite });
            }
            let in_time = uses
                .get(&grant.id())
                .is_some_and(|uses| uses.is_in_time(authority, member, position, now));
            if !in_time {
                return Err(NotAMember::InviteExpired { invite });
            }
        }
        Ok(())
    };
    let by_owners = ledger
        .void(now)
        .map(|(member, why)| (member.node(), Err(NotAMember::Void(why))));
    let members = ledger.retained(now);
    let members = members.map(|member| (member.node(), verdict(member)));
    by_owners.chain(members).collect()
}
