//! This node's own promise in a network: the claim, the renewal, the receipts.

use std::collections::BTreeSet;

use ipnet::IpNet;
use minicbor::bytes::ByteVec;

use crate::core::effect::{Notice, Reply};
use crate::core::endpoints;
use crate::core::error::{CommandError, Unpromisable};
use crate::core::local::Local;
use crate::core::mesh::device::Device;
use crate::core::mesh::roster::Roster;
use crate::core::status::AddressMove;
use crate::core::step::Queue;
use crate::limits::{CLOCK_SKEW, MAX_PREFIXES, PROMISE_LIFETIME, PROMISE_RENEWAL};
use crate::network::address;
use crate::network::admission::{Admission, is_heard};
use crate::network::member::{Claim, Known, Member, MemberPromise, Standing};
use crate::network::receipt::Receipt;
use crate::network::statement::Signed;
use crate::time::Timestamp;
use grid_keys::{NodeId, WgPublicKey};

/// The part of a promise that a node chooses; the rest follows from its machine.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) admission: Admission,
    pub(crate) claim: Claim,
    pub(crate) prefixes: BTreeSet<IpNet>,
    pub(crate) receipts: Vec<Signed<Receipt>>,
}

/// What a promise is made with, besides its terms.
pub(crate) struct Making<'a> {
    pub(crate) roster: &'a Roster,
    pub(crate) device: &'a Device,
    pub(crate) local: &'a Local,
    /// The sequence number that the promise has to exceed.
    pub(crate) overtake: u64,
    pub(crate) now: Timestamp,
}

impl Making<'_> {
    fn compose(
        &self,
        terms: &Terms,
        last: Option<&MemberPromise>,
        standing: Standing,
    ) -> MemberPromise {
        let charter = self.roster.charter();
        let own = self.local.id();
        // At the very last number only chance decides which of two promises stands.
        let sequence = self.next_after(last).unwrap_or(u64::MAX);
        // A clock that was set back must not make the promise older than its predecessor.
        let issued = self
            .now
            .max(last.map_or(charter.created, |last| last.issued));
        MemberPromise {
            network: self.roster.id(),
            node: own,
            sequence,
            issued,
            expires: issued.after(PROMISE_LIFETIME),
            standing,
            public_key: self.device.public_key(),
            ipv6: address::ipv6(charter.ipv6, &own),
            ipv4: terms.claim,
            wireguard: endpoints::wireguard(self.local, self.device.listen_port()),
            quic: endpoints::quic(self.local),
            prefixes: terms.prefixes.iter().copied().collect(),
            label: self.local.label().clone(),
            admission: terms.admission.raw(),
            receipts: terms
                .receipts
                .iter()
                .map(|r| ByteVec::from(r.bytes().to_vec()))
                .collect(),
        }
    }

    /// The number of the next promise; `None` if there is none left.
    fn next_after(&self, last: Option<&MemberPromise>) -> Option<u64> {
        let last = last.map_or(0, |last| last.sequence);
        last.max(self.overtake).checked_add(1)
    }

    /// `None` if the promise does not verify, which only a bug of this node can cause; the last one then
    /// stands.
    fn sign(&self, body: MemberPromise, predecessor: Option<&Member>) -> Option<Member> {
        let signed = Signed::sign(body, self.local.key()).ok()?;
        let known = Known {
            predecessor,
            grants: None,
        };
        Member::verify(signed, self.roster.charter(), &known).ok()
    }
}

/// The promise of this node that stands, and what the next one will say.
#[derive(Debug)]
pub(crate) struct OwnPromise {
    terms: Terms,
    /// The last one that was signed, verified.
    standing: Member,
    /// Addresses that were lost to others since this node started, oldest first.
    moves: Vec<AddressMove>,
    /// Whether it was reported that no other address is free.
    range_full: bool,
}

impl OwnPromise {
    /// Makes the first promise.
    pub(crate) fn first(terms: Terms, making: &Making<'_>) -> Option<Self> {
        let body = making.compose(&terms, None, Standing::Promised);
        let standing = making.sign(body, None)?;
        Some(Self::new(terms, standing))
    }

    /// Restores a promise from disk. An admission that was stored beside it takes precedence.
    pub(crate) fn restored(standing: Member, admission: Option<Admission>) -> Self {
        let terms = Terms {
            admission: admission.unwrap_or_else(|| standing.admission().clone()),
            claim: standing.promise().ipv4,
            prefixes: standing.promise().prefixes.iter().copied().collect(),
            receipts: standing.receipts().to_vec(),
        };
        Self::new(terms, standing)
    }

    const fn new(terms: Terms, standing: Member) -> Self {
        Self {
            terms,
            standing,
            moves: Vec::new(),
            range_full: false,
        }
    }

    /// The last one that was signed, verified.
    pub(crate) const fn standing(&self) -> &Member {
        &self.standing
    }

    pub(crate) const fn admission(&self) -> &Admission {
        &self.terms.admission
    }

    pub(crate) const fn claim(&self) -> Claim {
        self.terms.claim
    }

    pub(crate) const fn prefixes(&self) -> &BTreeSet<IpNet> {
        &self.terms.prefixes
    }

    pub(crate) fn moves(&self) -> &[AddressMove] {
        &self.moves
    }

    /// Signs the promise again if it says something new or is due for renewal. Returns whether it did.
    pub(crate) fn renew(&mut self, making: &Making<'_>) -> bool {
        let last = self.standing.promise();
        let body = making.compose(&self.terms, Some(last), Standing::Promised);
        let due = making.now.since(last.issued) >= PROMISE_RENEWAL
            || last.sequence <= making.overtake
            || !says_the_same(last, &body);
        // With no number left, nothing that is signed would last.
        due && making.next_after(Some(last)).is_some() && self.replace(body, making)
    }

    /// Signs the promise again, whatever it said before. Returns whether that worked.
    pub(crate) fn remake(&mut self, making: &Making<'_>) -> bool {
        let last = self.standing.promise();
        let body = making.compose(&self.terms, Some(last), Standing::Promised);
        self.replace(body, making)
    }

    /// Withdraws the promise. Returns whether that worked.
    pub(crate) fn withdraw(&mut self, making: &Making<'_>) -> bool {
        let last = self.standing.promise();
        let mut body = making.compose(&self.terms, Some(last), Standing::Withdrawn);
        body.wireguard.clear();
        body.quic.clear();
        body.prefixes.clear();
        self.replace(body, making)
    }

    fn replace(&mut self, body: MemberPromise, making: &Making<'_>) -> bool {
        match making.sign(body, Some(&self.standing)) {
            Some(member) => {
                self.standing = member;
                true
            }
            None => false,
        }
    }

    /// Adds a prefix to the terms. After a change, the promise has to be signed again.
    pub(crate) fn add_prefix(&mut self, prefix: IpNet) -> Result<Reply, CommandError> {
        if self.terms.prefixes.len() >= MAX_PREFIXES {
            return Err(CommandError::CannotPromise {
                prefix,
                why: Unpromisable::TooMany,
            });
        }
        Ok(if self.terms.prefixes.insert(prefix) {
            Reply::Changed
        } else {
            Reply::Unchanged
        })
    }

    /// Removes a prefix from the terms. Returns whether it was there.
    pub(crate) fn remove_prefix(&mut self, prefix: &IpNet) -> bool {
        self.terms.prefixes.remove(prefix)
    }

    /// Gives up an address that another member holds, and claims the next candidate. Returns whether it
    /// did; then the promise has to be signed again.
    pub(crate) fn move_if_lost(
        &mut self,
        roster: &Roster,
        own: &NodeId,
        now: Timestamp,
        effects: &mut Queue,
    ) -> bool {
        let claim = self.terms.claim;
        let holder = match roster.view().addresses.get(&claim.address) {
            Some(holder) if holder != own => *holder,
            _ => return false,
        };
        let range = roster.charter().ipv4;
        let held = roster.view().held_by_others(own);
        let after = claim.number.saturating_add(1);
        let Some((number, address)) = address::first_free(&roster.id(), range, own, after, &held)
        else {
            if !std::mem::replace(&mut self.range_full, true) {
                effects.notice(Notice::RangeFull {
                    name: roster.name().clone(),
                    range,
                });
            }
            return false;
        };
        self.range_full = false;
        self.terms.claim = Claim { address, number };
        let (from, to) = (claim.address, address);
        self.moves.push(AddressMove {
            at: now,
            from,
            to,
            holder,
        });
        effects.notice(Notice::AddressMoved {
            name: roster.name().clone(),
            from,
            to,
            holder,
        });
        true
    }

    /// Takes a receipt for the promise. Returns whether the promise is better with it.
    pub(crate) fn keep_receipt(
        &mut self,
        receipt: Signed<Receipt>,
        roster: &Roster,
        own: &NodeId,
        public_key: &WgPublicKey,
        now: Timestamp,
    ) -> bool {
        let fits = receipt.network == roster.id()
            && receipt.subject == *own
            && receipt.issued <= now.after(CLOCK_SKEW)
            && (roster.is_member(&receipt.witness) || roster.is_owner(&receipt.witness));
        if !fits || self.terms.receipts.contains(&receipt) {
            return false;
        }
        let mut all = self.terms.receipts.clone();
        all.push(receipt);
        let best = self.best_receipts(&all, roster, public_key, now);
        let before = std::mem::replace(&mut self.terms.receipts, best);
        self.terms.receipts != before
    }

    /// The receipts worth carrying: the earliest for the membership (of those who decide contests for the
    /// invite, if there is one), for the address and for the key, and the freshest.
    fn best_receipts(
        &self,
        all: &[Signed<Receipt>],
        roster: &Roster,
        public_key: &WgPublicKey,
        now: Timestamp,
    ) -> Vec<Signed<Receipt>> {
        let authority = roster.ledger().authority();
        let links = self.terms.admission.links();
        let last = links.last().map_or(&[][..], std::slice::from_ref);
        let admission = self.terms.admission.id();
        let address = self.terms.claim.address;
        let live = |r: &&Signed<Receipt>| now <= r.until();
        let of_address = |r: &&Signed<Receipt>| live(r) && r.address == address;
        let of_key = |r: &&Signed<Receipt>| live(r) && r.public_key == *public_key;
        let best = [
            all.iter()
                .filter(|r| r.admission == admission && is_heard(&r.witness, links, authority))
                .min_by_key(|r| {
                    (
                        !is_heard(&r.witness, last, authority),
                        r.member_since,
                        r.issued,
                    )
                }),
            all.iter()
                .filter(of_address)
                .min_by_key(|r| (r.address_since, r.issued)),
            all.iter()
                .filter(of_key)
                .min_by_key(|r| (r.key_since, r.issued)),
            all.iter().filter(of_address).max_by_key(|r| r.issued),
        ];
        let mut kept: Vec<Signed<Receipt>> = Vec::new();
        for receipt in best.into_iter().flatten() {
            if !kept.contains(receipt) {
                kept.push(receipt.clone());
            }
        }
        kept
    }

    /// Whether a member could give this node evidence that it lacks: anybody, while nobody vouches for its
    /// address; else those who decide contests for its invite.
    pub(crate) fn lacks_receipt_of(&self, peer: &NodeId, roster: &Roster) -> bool {
        let authority = roster.ledger().authority();
        if self.standing.node() == roster.charter().founder || !roster.is_member(peer) {
            return false;
        }
        let links = self.terms.admission.links();
        let last = links.last().map_or(&[][..], std::slice::from_ref);
        let decides = |node: &NodeId| !last.is_empty() && is_heard(node, last, authority);
        let admission = self.terms.admission.id();
        let speaks = |r: &Signed<Receipt>| r.admission == admission && decides(&r.witness);
        let is_decided = self.terms.receipts.iter().any(speaks);
        let address = self.standing.promise().ipv4.address;
        let is_vouched = self
            .terms
            .receipts
            .iter()
            .any(|receipt| receipt.address == address);
        !is_vouched || (decides(peer) && !is_decided)
    }

    /// The admission for those who are invited, with the oldest receipt for it: with that they can show that
    /// this node used its invite in time, even when its own promise is long gone. Empty for whoever needs nobody
    /// else to be a member.
    pub(crate) fn shown_admission(&self, roster: &Roster) -> Admission {
        let authority = roster.ledger().authority();
        if authority.is_rooted(&self.standing.node()) {
            return Admission::default();
        }
        let mut receipts: Vec<&Signed<Receipt>> = self.terms.receipts.iter().collect();
        receipts.sort_by_key(|receipt| std::cmp::Reverse(receipt.member_since));
        let admission = self.terms.admission.clone();
        receipts.into_iter().fold(admission, |admission, receipt| {
            admission.seen(receipt, roster.charter(), authority)
        })
    }
}

/// Whether two promises differ in nothing but their number and time.
fn says_the_same(a: &MemberPromise, b: &MemberPromise) -> bool {
    let mut a = a.clone();
    a.sequence = b.sequence;
    a.issued = b.issued;
    a.expires = b.expires;
    a == *b
}
