//! This node's own promise in a network: the claim, the renewal, the receipts.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

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
use crate::limits::{CLOCK_SKEW, MAX_PREFIXES, PROMISE_LIFETIME, PROMISE_RENEWAL, RECEIPT_RENEWAL};
use crate::network::address;
use crate::network::admission::{Admission, is_heard};
use crate::network::ids::AdmissionId;
use crate::network::member::{Claim, Ipv6Claim, Known, Member, MemberPromise, Standing};
use crate::network::receipt::Receipt;
use crate::network::statement::Signed;
use crate::time::Timestamp;
use grid_keys::NodeId;

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
    pub(crate) ipv6: Ipv6Claim,
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
        // A clock that is set back a little must not make the promise older than its predecessor. One that the others
        // would not take yet is none.
        let floor = last.map_or(charter.created, |last| last.issued);
        let issued = if self.is_of_the_future(floor) {
            self.now
        } else {
            self.now.max(floor)
        };
        MemberPromise {
            network: self.roster.id(),
            node: own,
            sequence,
            issued,
            expires: issued.after(PROMISE_LIFETIME),
            standing,
            public_key: self.device.public_key(),
            possession: self.device.possession(),
            ipv6: self.ipv6,
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

    /// Whether others refuse what was made then because its time has not come.
    fn is_of_the_future(&self, issued: Timestamp) -> bool {
        issued > self.now.after(CLOCK_SKEW)
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
            ..Known::default()
        };
        Member::verify(signed, self.roster.charter(), &known).ok()
    }
}

/// What a receipt speaks of.
type Taken = (Ipv4Addr, AdmissionId);

/// The promise of this node that stands, and what the next one will say.
#[derive(Debug)]
pub(crate) struct OwnPromise {
    terms: Terms,
    /// The last one that was signed, verified.
    standing: Member,
    /// Addresses that were lost to others since this node started, oldest first.
    moves: Vec<AddressMove>,
    /// The last receipt of each witness that this node took since it started, and when, also of those that gave way to
    /// others.
    taken: BTreeMap<NodeId, (Taken, Timestamp)>,
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
            taken: BTreeMap::new(),
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
            || making.is_of_the_future(last.issued)
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
        now: Timestamp,
    ) -> bool {
        let fits = receipt.network == roster.id()
            && receipt.subject == *own
            && receipt.issued <= now.after(CLOCK_SKEW)
            && (roster.is_member(&receipt.witness) || roster.is_owner(&receipt.witness));
        if !fits || !self.is_news(&receipt, now) {
            return false;
        }
        let about = (receipt.address, receipt.admission);
        let witness = receipt.witness;
        let mut all = self.terms.receipts.clone();
        all.push(receipt);
        let best = self.best_receipts(&all, roster, own, now);
        let before = std::mem::replace(&mut self.terms.receipts, best);
        let is_taken = self.terms.receipts != before;
        if is_taken {
            self.taken.insert(witness, (about, now));
        }
        is_taken
    }

    /// Whether a receipt can say more than those that are kept: one by the same witness of the same claim is taken at
    /// times only, so that nobody can make this node sign promise after promise; nor can several whose receipts
    /// displace one another.
    fn is_news(&mut self, receipt: &Receipt, now: Timestamp) -> bool {
        let is_recent = |at: Timestamp| now.since(at) < RECEIPT_RENEWAL / 2;
        self.taken.retain(|_, (_, at)| is_recent(*at));
        let admission = self.terms.admission.id();
        let says_no_more = |(address, by): Taken| {
            address == receipt.address && (by == admission || receipt.admission != admission)
        };
        let is_the_same = |kept: &Signed<Receipt>| {
            kept.witness == receipt.witness
                && says_no_more((kept.address, kept.admission))
                && receipt.issued.since(kept.issued) < RECEIPT_RENEWAL / 2
        };
        let taken = self.taken.get(&receipt.witness);
        !taken.is_some_and(|(taken, _)| says_no_more(*taken))
            && !self.terms.receipts.iter().any(is_the_same)
    }

    /// The receipts worth carrying: the best for the membership (of those who decide contests for the invite, if there
    /// is one) and for the address, and a fresh one for the address by somebody else than the best. What
    /// its witness's standing does not reach dates nothing; a receipt of an owner, or of one from elsewhere, gives way
    /// to no other.
    fn best_receipts(
        &self,
        all: &[Signed<Receipt>],
        roster: &Roster,
        own: &NodeId,
        now: Timestamp,
    ) -> Vec<Signed<Receipt>> {
        let authority = roster.ledger().authority();
        let evidence = roster.evidence(now);
        let links = self.terms.admission.links();
        let last = links.last().map_or(&[][..], std::slice::from_ref);
        let admission = self.terms.admission.id();
        let address = self.terms.claim.address;
        let line = evidence.line(&self.terms.admission, own);
        // Those of a witness that this node does not know (yet) come last; they are not dropped for better ones of
        // which there are none.
        let rank = |r: &&Signed<Receipt>| {
            let worth = evidence.worth(r, line);
            let is_owner = authority.is_owner(&r.witness);
            (worth.is_none(), worth, !is_owner, Reverse(r.issued))
        };
        let live = |r: &&Signed<Receipt>| now <= r.until();
        let of_address = |r: &&Signed<Receipt>| live(r) && r.address == address;
        let of_membership = |r: &&Signed<Receipt>| {
            r.admission == admission && is_heard(&r.witness, links, authority)
        };
        let membership = all.iter().filter(of_membership).min_by_key(|r| {
            let floor = evidence.floor(&r.witness);
            let since = floor.map(|floor| r.member_since.max(floor));
            let is_deciding = is_heard(&r.witness, last, authority);
            (!is_deciding, since.is_none(), since, r.issued)
        });
        let best = all.iter().filter(of_address);
        let best = best.min_by_key(rank);
        let others = |r: &&Signed<Receipt>| best.is_some_and(|best| best.witness != r.witness);
        let fresh = all.iter().filter(of_address).filter(others);
        let fresh = fresh.min_by_key(|r| {
            let worth = evidence.worth(r, line);
            (
                worth.is_none_or(|worth| worth.is_of_own_line),
                Reverse(r.issued),
            )
        });
        let mut kept: Vec<Signed<Receipt>> = Vec::new();
        for receipt in [membership, best, fresh].into_iter().flatten() {
            if !kept.contains(receipt) {
                kept.push(receipt.clone());
            }
        }
        kept
    }

    /// Whether a member could give this node evidence that it lacks: whoever can say of its address what no receipt of
    /// late says as well; and those who decide contests for its invite.
    pub(crate) fn lacks_receipt_of(&self, peer: &NodeId, roster: &Roster, now: Timestamp) -> bool {
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
        if decides(peer) && !is_decided {
            return true;
        }
        let evidence = roster.evidence(now);
        let address = self.standing.promise().ipv4.address;
        let line = evidence.line(&self.terms.admission, &self.standing.node());
        evidence
            .offered(peer, &self.terms.receipts, address, line)
            .is_some_and(|(_, seen)| seen.is_none_or(|seen| now.since(seen) >= RECEIPT_RENEWAL))
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
        receipts.sort_by_key(|receipt| Reverse(receipt.member_since));
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::network::admission::Link;
    use crate::network::charter::{AdmissionRule, Charter};
    use crate::network::ledger::{Item, Ledger};
    use crate::network::testing::{self, DAY, T0, key};
    use grid_keys::{Secret, WgSecretKey};

    fn charter() -> Signed<Charter> {
        testing::charter(AdmissionRule::Invite)
    }

    /// How `issuer` lets `node` in, each by an invite of its own.
    fn link(issuer: u8, node: u8) -> Link {
        testing::link(&charter(), issuer, 100 + node, node)
    }

    /// What `witness` says at `issued`: that it saw all of this since `since`.
    fn says(witness: u8, of: &Member, since: Timestamp, issued: Timestamp) -> Signed<Receipt> {
        let receipt = Receipt {
            network: charter().network(),
            witness: key(witness).id(),
            subject: of.node(),
            admission: of.admission_id(),
            member_since: since,
            address: of.promise().ipv4.address,
            address_since: since,
            issued,
        };
        Signed::sign(receipt, &key(witness)).unwrap()
    }

    struct Scene {
        roster: Roster,
    }

    impl Scene {
        /// A node by these links promises, once bare and once with a receipt of `witness` of then.
        fn member(&mut self, n: u8, links: Vec<Link>, witness: u8, since: Timestamp) -> OwnPromise {
            let label = format!("node-{n}").parse().unwrap();
            let local = Local::new(key(n), label);
            let wireguard = WgSecretKey::from_bytes(&Secret::new([n; 32]));
            let device = Device::new(wireguard, 51820, &self.roster.id(), &local.id());
            let address = address::candidate(
                &self.roster.id(),
                "10.7.0.0/16".parse().unwrap(),
                &local.id(),
                0,
            );
            let terms = Terms {
                admission: Admission::from_links(links),
                claim: Claim { address, number: 0 },
                prefixes: BTreeSet::new(),
                receipts: Vec::new(),
            };
            let making = |roster| Making {
                roster,
                device: &device,
                ipv6: Ipv6Claim::first(&charter(), &local.id(), 0).unwrap(),
                local: &local,
                overtake: since.0,
                now: since,
            };
            let mut own = OwnPromise::first(terms, &making(&self.roster)).unwrap();
            let seen = says(witness, own.standing(), since, since);
            own.terms.receipts.push(seen);
            assert!(own.remake(&making(&self.roster)));
            let item = Item::Member(Box::new(own.standing().clone()));
            self.roster.insert(item, since).unwrap();
            own
        }

        /// The receipts that are kept, if one more changes them.
        fn take(
            &mut self,
            own: &mut OwnPromise,
            receipt: &Signed<Receipt>,
            now: Timestamp,
        ) -> Option<Vec<Signed<Receipt>>> {
            self.roster.review(now);
            let id = own.standing().node();
            own.keep_receipt(receipt.clone(), &self.roster, &id, now)
                .then(|| own.terms.receipts.clone())
        }
    }

    /// A node that was let in late says at the highest of its voice that it saw all of it at the beginning.
    #[test]
    fn no_good_receipt_gives_way_to_one_that_is_worth_less() {
        let mut scene = Scene {
            roster: Roster::new(Ledger::new(charter())),
        };
        let late = T0.after(DAY / 2);
        let mut own = scene.member(2, vec![link(1, 2)], 1, T0.after(DAY / 4));
        let guest = [link(1, 2), link(2, 5)];
        scene.member(3, vec![link(1, 3)], 1, late);
        scene.member(5, guest.to_vec(), 2, late);
        let now = late.after(DAY / 4);
        let by_founder = own.terms.receipts.clone();
        let standing = own.standing().clone();
        // By one who came late, and by the node's own guest, who says that it was there before the network.
        for (witness, since) in [(3, T0), (5, Timestamp(0)), (3, Timestamp(0)), (5, T0)] {
            let kept = scene.take(&mut own, &says(witness, &standing, since, now), now);
            if let Some(receipts) = kept {
                assert!(receipts.contains(&by_founder[0]), "{receipts:?}");
            }
        }
        // The same claim by the same witness again and again changes nothing.
        for seconds in 1..100 {
            let now = now.after(Duration::from_secs(seconds));
            let word = says(3, &standing, Timestamp(T0.0 - seconds), now);
            assert_eq!(scene.take(&mut own, &word, now), None);
        }
        // The guest's word alone would not do: one from elsewhere is kept when the founder's has lapsed.
        let later = T0.after(9 * DAY);
        scene.member(3, vec![link(1, 3)], 1, later);
        scene.member(5, guest.to_vec(), 2, later);
        let fresh = says(3, &standing, later, later);
        let kept = scene.take(&mut own, &fresh, later).unwrap();
        assert!(kept.contains(&fresh));
        let kept = scene.take(&mut own, &says(5, &standing, T0, later), later);
        assert!(kept.is_none_or(|kept| kept.contains(&fresh)));
        // The founder says again of the address what it said first, which speaks of the membership alone by then.
        let last = later.after(DAY);
        scene.member(3, vec![link(1, 3)], 1, last);
        scene.member(5, guest.to_vec(), 2, last);
        let again = says(1, &standing, T0.after(DAY / 4), last);
        let kept = scene.take(&mut own, &again, last).unwrap();
        assert!(kept.contains(&again));
        let soon = last.after(Duration::from_secs(1));
        for (witness, since) in [(5, Timestamp(0)), (3, T0)] {
            let kept = scene.take(&mut own, &says(witness, &standing, since, soon), soon);
            assert!(kept.is_none_or(|kept| kept.contains(&again)));
        }
    }

    /// Three members who came at the same time say by turns that they saw it, each a little earlier.
    #[test]
    fn those_who_displace_each_other_s_receipts_make_it_sign_once_each() {
        let mut scene = Scene {
            roster: Roster::new(Ledger::new(charter())),
        };
        let came = T0.after(DAY / 4);
        let mut own = scene.member(2, vec![link(1, 2)], 1, came);
        for witness in [3, 4, 5] {
            scene.member(witness, vec![link(1, witness)], 1, came);
        }
        let standing = own.standing().clone();
        let mut changes = 0;
        for (seconds, witness) in (1..300).zip([3, 4, 5].into_iter().cycle()) {
            let now = came.after(Duration::from_secs(1000 + seconds));
            let since = came.after(Duration::from_secs(1000 - seconds));
            let word = says(witness, &standing, since, now);
            changes += u64::from(scene.take(&mut own, &word, now).is_some());
        }
        assert!(changes <= 3, "{changes}");
    }
}
