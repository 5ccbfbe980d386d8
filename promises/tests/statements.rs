//! The statement layer from outside: what holds is taken, everything else is refused with an error
//! that names the rule, and a refusal changes nothing.
// Helpers of tests may panic as the tests do.
#![allow(clippy::panic, clippy::unwrap_used)]

mod common;

#[path = "statements/accept.rs"]
mod accept;
#[path = "statements/acts.rs"]
mod acts;
#[path = "statements/admissions.rs"]
mod admissions;
#[path = "statements/bounds.rs"]
mod bounds;
#[path = "statements/carried.rs"]
mod carried;
#[path = "statements/charters.rs"]
mod charters;
#[path = "statements/contests.rs"]
mod contests;
#[path = "statements/frames.rs"]
mod frames;
#[path = "statements/invites.rs"]
mod invites;
#[path = "statements/members.rs"]
mod members;
#[path = "statements/membership.rs"]
mod membership;
#[path = "statements/rank.rs"]
mod rank;
#[path = "statements/revocations.rs"]
mod revocations;
#[path = "statements/traces.rs"]
mod traces;
#[path = "statements/uses.rs"]
mod uses;
#[path = "statements/vectors.rs"]
mod vectors;
#[path = "statements/worth.rs"]
mod worth;

use grid_keys::NodeId;
use grid_promises::Timestamp;
use grid_promises::network::ledger::{Ledger, Refusal};

/// Offers bytes to a ledger that must refuse them and stay as it was.
#[track_caller]
fn refusal(ledger: &Ledger, bytes: &[u8], now: Timestamp) -> Refusal {
    let mut after = ledger.clone();
    let refusal = match after.insert_bytes(bytes, now) {
        Err(refusal) => refusal,
        Ok(merged) => panic!("merged: {merged:?}"),
    };
    assert_eq!(after.root(), ledger.root(), "a refusal changed the ledger");
    assert!(!after.knows(bytes), "a refusal was remembered as known");
    refusal
}

/// The node ids of these nodes, in the order of a set.
fn ids<'a>(nodes: impl IntoIterator<Item = &'a common::Node>) -> Vec<NodeId> {
    let mut ids: Vec<NodeId> = nodes.into_iter().map(common::Node::id).collect();
    ids.sort();
    ids
}
