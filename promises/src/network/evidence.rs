//! Since when others have seen what a member claims, and what their word is worth.
//!
//! A receipt is worth no more than the standing of its witness: it cannot speak of a time before the
//! witness itself was seen as a member, by an owner or by one who vouched for it and whose own word is
//! bounded in the same way. So two identities of one person, who joined late, cannot date each other's
//! claims back and take the address of one who was there before them.
//!
//! Nor can they if they joined early, as long as one of them let the other in: what only those saw who came in under
//! the same first link as the holder comes after what anybody else saw.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::network::admission::{Admission, heard_since, is_heard};
use crate::network::ledger::Ledger;
use crate::network::member::Member;
use crate::network::receipt::Receipt;
use crate::network::statement::Signed;
use crate::time::Timestamp;
use grid_keys::NodeId;

/// What it is worth that a claim was seen. The lesser is the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Worth {
    /// Whether nobody saw it but those who came in under the same first link, and are no owners.
    pub is_of_own_line: bool,
    /// Since when it was seen, as far as the standing of who saw it reaches.
    pub since: Timestamp,
}

/// Since when each node has been seen as a member.
pub type Standings = BTreeMap<NodeId, Timestamp>;

/// What receipts say of every member at a moment, as far as the standing of their witnesses reaches.
#[derive(Debug)]
pub struct Evidence<'a> {
    ledger: &'a Ledger,
    now: Timestamp,
    standings: Cow<'a, Standings>,
}

impl<'a> Evidence<'a> {
    /// That of everybody whose promise something follows from.
    ///
    /// Standings are found for all at once, the oldest first: members who vouch for one another in a
    /// circle, or by many receipts, cost no more than others.
    #[must_use]
    pub fn of(ledger: &'a Ledger, now: Timestamp) -> Self {
        let standings = Cow::Owned(Self::standings_of(ledger, now));
        Self {
            ledger,
            now,
            standings,
        }
    }

    /// The same where the standings were found before, for a view of the same ledger.
    #[must_use]
    pub const fn with(ledger: &'a Ledger, standings: &'a Standings, now: Timestamp) -> Self {
        Self {
            ledger,
            now,
            standings: Cow::Borrowed(standings),
        }
    }

    fn standings_of(ledger: &Ledger, now: Timestamp) -> Standings {
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
                if let Some(floor) = authority.owner_since(&receipt.witness) {
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
        standings
    }

    /// Since when everybody has been seen as a member.
    #[must_use]
    pub fn into_standings(self) -> Standings {
        self.standings.into_owned()
    }

    /// Since when a node has been seen as a member: by an owner, or by those who vouched for it, as
    /// far as their own standing reaches. The founder was there before anybody could see it.
    #[must_use]
    pub fn member_since(&self, node: &NodeId) -> Option<Timestamp> {
        self.standings.get(node).copied()
    }

    /// Since when a member has been seen to claim this address, and by whom. For the founder, the charter is the
    /// evidence; nobody else's is as old.
    #[must_use]
    pub fn address_worth(&self, member: &Member, address: Ipv4Addr) -> Option<Worth> {
        let charter = self.ledger.charter();
        if member.node() == charter.founder {
            return Some(Worth {
                is_of_own_line: false,
                since: charter.created,
            });
        }
        // Nobody can have claimed anything before it was a member, whatever an older accomplice says.
        let came = self.came(member).unwrap_or(self.now);
        let earliest = came.max(charter.created.after(Duration::from_secs(1)));
        let line = self.line(member.admission(), &member.node());
        let receipts = member.receipts().iter();
        let worths = receipts
            .filter(|receipt| receipt.address == address)
            .filter_map(|receipt| self.worth(receipt, line));
        worths.min().map(|worth| Worth {
            since: worth.since.max(earliest),
            ..worth
        })
    }

    /// Since when a member has been seen as one, also by what its last link shows.
    fn came(&self, member: &Member) -> Option<Timestamp> {
        let in_link = || {
            let link = member.admission().links().last()?;
            let seen = link.seen.as_ref()?;
            let links = std::slice::from_ref(link);
            let since = heard_since(seen, links, self.ledger.authority())?;
            Some(since.max(self.floor(&seen.witness)?))
        };
        self.member_since(&member.node()).or_else(in_link)
    }

    /// What a receipt of `witness` for this address is worth to a node of this line, if it is signed now, and when one
    /// of these that is worth as much was signed last. It hands on what others saw, as far as the witness was there, but
    /// from elsewhere nothing that only those of one line saw. `None` if its word counts for nothing.
    #[must_use]
    pub fn offered(
        &self,
        witness: &NodeId,
        receipts: &[Signed<Receipt>],
        address: Ipv4Addr,
        line: Option<NodeId>,
    ) -> Option<(Worth, Option<Timestamp>)> {
        let of_address = receipts.iter().filter(|receipt| receipt.address == address);
        let worths: Vec<(Worth, Timestamp)> = of_address
            .filter_map(|r| Some((self.worth(r, line)?, r.issued)))
            .collect();
        let fresh = self.worth_of_word(witness, self.now, line)?;
        let seen = worths.iter().map(|(worth, _)| *worth).min();
        let handed_on = seen.filter(|seen| seen.is_of_own_line <= fresh.is_of_own_line);
        let offered = handed_on.map_or(Some(fresh), |seen| {
            self.worth_of_word(witness, seen.since, line)
        })?;
        let as_good = worths.iter().filter(|(worth, _)| *worth <= offered);
        Some((offered, as_good.map(|(_, issued)| *issued).max()))
    }

    /// What a receipt for an address is worth to a node of this line. `None` if it does not count (any longer).
    #[must_use]
    pub fn worth(&self, receipt: &Receipt, line: Option<NodeId>) -> Option<Worth> {
        if self.now > receipt.until() {
            return None;
        }
        self.worth_of_word(&receipt.witness, receipt.address_since, line)
    }

    fn worth_of_word(
        &self,
        witness: &NodeId,
        since: Timestamp,
        line: Option<NodeId>,
    ) -> Option<Worth> {
        let floor = self.floor(witness)?;
        Some(Worth {
            is_of_own_line: !self.is_from_elsewhere(witness, line),
            since: since.max(floor),
        })
    }

    /// The earliest time that a witness can speak of; `None` if its word counts for nothing.
    #[must_use]
    pub fn floor(&self, witness: &NodeId) -> Option<Timestamp> {
        let owner = self.ledger.authority().owner_since(witness);
        owner.or_else(|| self.member_since(witness))
    }

    /// Under whom a node came in ([`Authority::line`](crate::network::authority::Authority::line)).
    #[must_use]
    pub fn line(&self, admission: &Admission, node: &NodeId) -> Option<NodeId> {
        self.ledger.authority().line(admission, node)
    }

    /// Whether a witness is an owner, or came in under another first link than those of `line`.
    fn is_from_elsewhere(&self, witness: &NodeId, line: Option<NodeId>) -> bool {
        if self.ledger.authority().is_owner(witness) {
            return true;
        }
        let witness = self.ledger.members().get(witness);
        let theirs = witness.and_then(|member| self.line(member.admission(), &member.node()));
        theirs.is_some() && theirs != line
    }
}
