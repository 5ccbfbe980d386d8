//! Since when others have seen what a member claims, and what their word is worth.
//!
//! A receipt is worth no more than the standing of its witness: it cannot speak of a time before the
//! witness itself was seen as a member, by an owner or by one who vouched for it and whose own word is
//! bounded in the same way. So two identities of one person, who joined late, cannot date each other's
//! claims back and take the address of one who was there before them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::network::admission::is_heard;
use crate::network::ledger::Ledger;
use crate::network::member::Member;
use crate::network::receipt::Receipt;
use crate::time::Timestamp;
use grid_keys::NodeId;
use grid_keys::WgPublicKey;

/// What receipts say of every member at a moment, as far as the standing of their witnesses reaches.
#[derive(Debug)]
pub struct Evidence<'a> {
    ledger: &'a Ledger,
    now: Timestamp,
    standings: BTreeMap<NodeId, Timestamp>,
}

impl<'a> Evidence<'a> {
    /// That of everybody whose promise something follows from.
    ///
    /// Standings are found for all at once, the oldest first: members who vouch for one another in a
    /// circle, or by many receipts, cost no more than others.
    #[must_use]
    pub fn of(ledger: &'a Ledger, now: Timestamp) -> Self {
        let (charter, authority) = (ledger.charter(), ledger.authority());
        let mut vouched: BTreeMap<NodeId, Vec<(Timestamp, NodeId)>> = BTreeMap::new();
        let mut next = BinaryHeap::new();
        for member in ledger.retained(now) {
            let node = member.node();
            if node == charter.founder {
                next.push(Reverse((charter.created, node)));
                continue;
            }
            for receipt in member.membership_receipts() {
                if let Some(floor) = authority.owner_since(&receipt.witness, charter) {
                    next.push(Reverse((receipt.member_since.max(floor), node)));
                } else if is_heard(&receipt.witness, member.admission().links(), authority) {
                    let by = vouched.entry(receipt.witness).or_default();
                    by.push((receipt.member_since, node));
                }
            }
        }
        let mut standings = BTreeMap::new();
        while let Some(Reverse((since, node))) = next.pop() {
            if standings.contains_key(&node) {
                continue;
            }
            standings.insert(node, since);
            for (said, subject) in vouched.remove(&node).unwrap_or_default() {
                next.push(Reverse((said.max(since), subject)));
            }
        }
        Self {
            ledger,
            now,
            standings,
        }
    }

    /// Since when a node has been seen as a member: by an owner, or by those who vouched for it, as
    /// far as their own standing reaches. The founder was there before anybody could see it.
    #[must_use]
    pub fn member_since(&self, node: &NodeId) -> Option<Timestamp> {
        self.standings.get(node).copied()
    }

    /// Since when a member has been seen to claim this address.
    #[must_use]
    pub fn address_since(&self, member: &Member, address: Ipv4Addr) -> Option<Timestamp> {
        self.claim_since(member, |receipt| {
            (receipt.address == address).then_some(receipt.address_since)
        })
    }

    /// Since when a member has been seen to promise this WireGuard key.
    #[must_use]
    pub fn key_since(&self, member: &Member, key: &WgPublicKey) -> Option<Timestamp> {
        self.claim_since(member, |receipt| {
            (receipt.public_key == *key).then_some(receipt.key_since)
        })
    }

    /// When the freshest receipt that counts for this address was signed.
    #[must_use]
    pub fn last_seen(&self, member: &Member, address: Ipv4Addr) -> Option<Timestamp> {
        member
            .receipts()
            .iter()
            .filter(|receipt| receipt.address == address)
            .filter(|receipt| self.floor(receipt).is_some())
            .map(|receipt| receipt.issued)
            .max()
    }

    /// The earliest time that a receipt gives for a claim, as far as its witness's standing reaches.
    /// For the founder, the charter is the evidence; nobody else's is as old.
    fn claim_since(
        &self,
        member: &Member,
        since: impl Fn(&Receipt) -> Option<Timestamp>,
    ) -> Option<Timestamp> {
        let charter = self.ledger.charter();
        if member.node() == charter.founder {
            return Some(charter.created);
        }
        let earliest = charter.created.after(Duration::from_secs(1));
        member
            .receipts()
            .iter()
            .filter_map(|receipt| Some(since(receipt)?.max(self.floor(receipt)?)))
            .min()
            .map(|since| since.max(earliest))
    }

    /// The earliest time that this receipt can speak of; `None` if it does not count (any longer).
    fn floor(&self, receipt: &Receipt) -> Option<Timestamp> {
        let charter = self.ledger.charter();
        if self.now > receipt.until() {
            return None;
        }
        let authority = self.ledger.authority();
        authority
            .owner_since(&receipt.witness, charter)
            .or_else(|| self.member_since(&receipt.witness))
    }
}
