//! Since when others have seen what a member claims, and what their word is worth.
//!
//! A receipt is worth no more than the standing of its witness: it cannot speak of a time before the
//! witness itself was seen as a member, by an owner or by one who vouched for it and whose own word is
//! bounded in the same way. So two identities of one person, who joined late, cannot date each other's
//! claims back and take the address of one who was there before them.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::limits::MAX_CHAIN;
use crate::network::ledger::Ledger;
use crate::network::member::Member;
use crate::network::receipt::Receipt;
use crate::node_key::NodeId;
use crate::time::Timestamp;
use crate::wireguard::WgPublicKey;

/// Since when a member has been seen as one: by an owner, or by those who vouched for it, as far as
/// their own standing reaches. The founder was there before anybody could see it.
#[must_use]
pub fn member_since(ledger: &Ledger, member: &Member) -> Option<Timestamp> {
    standing(ledger, member, MAX_CHAIN)
}

fn standing(ledger: &Ledger, member: &Member, depth: usize) -> Option<Timestamp> {
    let charter = ledger.charter();
    if member.node() == charter.founder {
        return Some(charter.created);
    }
    let vouched = |node: &NodeId| member.admission().issuers().any(|issuer| issuer == *node);
    member
        .receipts()
        .iter()
        .filter_map(|receipt| {
            if charter.is_owner(&receipt.witness) {
                return Some(receipt.member_since);
            }
            // Chains grow by a link with each who vouches, so that this ends; the depth makes sure.
            let witness = ledger.members().get(&receipt.witness)?;
            if !vouched(&receipt.witness) || depth == 0 {
                return None;
            }
            standing(ledger, witness, depth - 1).map(|floor| floor.max(receipt.member_since))
        })
        .min()
}

/// Since when a member has been seen to claim this address.
#[must_use]
pub fn address_since(
    ledger: &Ledger,
    member: &Member,
    address: Ipv4Addr,
    now: Timestamp,
) -> Option<Timestamp> {
    claim_since(ledger, member, now, |receipt| {
        (receipt.address == address).then_some(receipt.address_since)
    })
}

/// Since when a member has been seen to promise this WireGuard key.
#[must_use]
pub fn key_since(
    ledger: &Ledger,
    member: &Member,
    key: &WgPublicKey,
    now: Timestamp,
) -> Option<Timestamp> {
    claim_since(ledger, member, now, |receipt| {
        (receipt.public_key == *key).then_some(receipt.key_since)
    })
}

/// When the freshest receipt that counts for this address was signed.
#[must_use]
pub fn last_seen(
    ledger: &Ledger,
    member: &Member,
    address: Ipv4Addr,
    now: Timestamp,
) -> Option<Timestamp> {
    member
        .receipts()
        .iter()
        .filter(|receipt| receipt.address == address)
        .filter(|receipt| floor(ledger, receipt, now).is_some())
        .map(|receipt| receipt.issued)
        .max()
}

/// The earliest time that a receipt gives for a claim, as far as its witness's standing reaches. For
/// the founder, the charter is the evidence; nobody else's is as old.
fn claim_since(
    ledger: &Ledger,
    member: &Member,
    now: Timestamp,
    since: impl Fn(&Receipt) -> Option<Timestamp>,
) -> Option<Timestamp> {
    let charter = ledger.charter();
    if member.node() == charter.founder {
        return Some(charter.created);
    }
    let earliest = charter.created.after(Duration::from_secs(1));
    member
        .receipts()
        .iter()
        .filter_map(|receipt| Some(since(receipt)?.max(floor(ledger, receipt, now)?)))
        .min()
        .map(|since| since.max(earliest))
}

/// The earliest time that this receipt can speak of; `None` if it does not count (any longer).
fn floor(ledger: &Ledger, receipt: &Receipt, now: Timestamp) -> Option<Timestamp> {
    let charter = ledger.charter();
    if now > receipt.until() || ledger.withdrawn().is_revoked(&receipt.witness) {
        return None;
    }
    if charter.is_owner(&receipt.witness) {
        return Some(charter.created);
    }
    member_since(ledger, ledger.members().get(&receipt.witness)?)
}
