//! This node's own promise in a network: the claim, the renewal, the receipts.
//!
//! A claim is on disk before it is used: the effect that stores the promise comes before those that
//! configure WireGuard or tell anybody.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use minicbor::bytes::ByteVec;

use crate::core::effect::Effect;
use crate::core::network::{Network, Outgoing, Phase, Surroundings};
use crate::core::record::Change;
use crate::limits::{MAX_ENDPOINTS, PROMISE_LIFETIME, PROMISE_RENEWAL, RECEIPT_RENEWAL};
use crate::network::address;
use crate::network::admission::{Admission, Grant, is_heard};
use crate::network::endpoint::{Endpoint, EndpointKind, is_reachable};
use crate::network::evidence::Evidence;
use crate::network::ledger::{Item, invite_of};
use crate::network::member::{Claim, Known, Member, MemberPromise, Standing};
use crate::network::membership::evidence_of_use;
use crate::network::receipt::Receipt;
use crate::network::statement::Signed;
use grid_keys::NodeId;

/// The range has no free address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RangeIsFull;

impl Network {
    /// Claims an address, if there is none yet: the first candidate that nobody is known to hold.
    pub(crate) fn claim_address(&mut self, own: &NodeId) -> Result<(), RangeIsFull> {
        if self.claim.is_some() {
            return Ok(());
        }
        let held = self.view.held_by_others(own);
        let range = self.ledger.charter().ipv4;
        let (number, address) =
            address::first_free(&self.id(), range, own, 0, &held).ok_or(RangeIsFull)?;
        self.claim = Some(Claim { address, number });
        Ok(())
    }

    /// Makes the promise if it says something new or is due for renewal.
    pub(crate) fn renew(&mut self, around: &Surroundings<'_>, out: &mut VecDeque<Effect>) -> bool {
        let Some(body) = self.compose(around, Standing::Promised) else {
            return false;
        };
        let due = self.own.as_ref().is_none_or(|standing| {
            around.now.timestamp().since(standing.issued) >= PROMISE_RENEWAL
                || standing.sequence < self.sequence_floor
                || !says_the_same(standing, &body)
        });
        due && self.publish(body, around, out)
    }

    /// Makes the promise, whatever it said before.
    pub(crate) fn promise(
        &mut self,
        around: &Surroundings<'_>,
        out: &mut VecDeque<Effect>,
    ) -> bool {
        let body = self.compose(around, Standing::Promised);
        body.is_some_and(|body| self.publish(body, around, out))
    }

    /// Withdraws the promise.
    pub(crate) fn withdraw(&mut self, around: &Surroundings<'_>, out: &mut VecDeque<Effect>) {
        if let Some(mut body) = self.compose(around, Standing::Withdrawn) {
            body.wireguard.clear();
            body.quic.clear();
            body.prefixes.clear();
            self.publish(body, around, out);
        }
    }

    fn compose(&self, around: &Surroundings<'_>, standing: Standing) -> Option<MemberPromise> {
        let charter = self.ledger.charter();
        let last = self.own.as_ref();
        let sequence = last.map_or(0, |own| own.sequence).max(self.sequence_floor) + 1;
        // A clock that was set back must not make the promise older than its predecessor.
        let issued = around
            .now
            .timestamp()
            .max(last.map_or(charter.created, |own| own.issued));
        Some(MemberPromise {
            network: self.id(),
            node: around.id,
            sequence,
            issued,
            expires: issued.after(PROMISE_LIFETIME),
            standing,
            public_key: self.public_key,
            ipv6: address::ipv6(charter.ipv6, &around.id),
            ipv4: self.claim?,
            wireguard: self.wireguard_endpoints(around),
            quic: quic_endpoints(around),
            prefixes: self.prefixes.iter().copied().collect(),
            label: around.label.clone(),
            admission: self.admission.as_ref()?.raw(),
            receipts: self
                .receipts
                .iter()
                .map(|r| ByteVec::from(r.bytes().to_vec()))
                .collect(),
        })
    }

    fn publish(
        &mut self,
        body: MemberPromise,
        around: &Surroundings<'_>,
        out: &mut VecDeque<Effect>,
    ) -> bool {
        // Only a local mistake can make the own promise invalid; the last one stands then.
        let Ok(signed) = Signed::sign(body, around.key) else {
            return false;
        };
        let known = Known {
            predecessor: self.own_member.as_ref(),
            grants: None,
        };
        let charter = self.ledger.charter();
        let Ok(member) = Member::verify(signed.clone(), charter, &known) else {
            return false;
        };
        let bytes = signed.bytes().to_vec();
        self.own = Some(signed);
        self.own_member = Some(member.clone());
        self.store(Change::Promise(bytes.clone()), out);
        let now = around.now.timestamp();
        if self
            .ledger
            .insert(Item::Member(Box::new(member)), now)
            .is_ok()
        {
            self.outbox.push(Outgoing {
                bytes,
                source: None,
            });
        }
        self.dirty = true;
        true
    }

    fn wireguard_endpoints(&self, around: &Surroundings<'_>) -> Vec<Endpoint> {
        let fixed = around
            .host
            .fixed_quic
            .iter()
            .map(|addr| (EndpointKind::Static, addr.ip()));
        let local = around
            .host
            .addresses
            .iter()
            .map(|ip| (EndpointKind::Local, *ip));
        let seen = around
            .seen_at
            .iter()
            .map(|addr| (EndpointKind::Observed, addr.ip()));
        endpoints(
            fixed
                .chain(local)
                .chain(seen)
                .map(|(kind, ip)| (kind, SocketAddr::new(ip, self.listen_port))),
            around,
        )
    }

    /// Takes a receipt for the own promise. Says whether the promise is better with it.
    pub(crate) fn keep_receipt(
        &mut self,
        receipt: Signed<Receipt>,
        around: &Surroundings<'_>,
    ) -> bool {
        let now = around.now.timestamp();
        let fits = receipt.network == self.id()
            && receipt.subject == around.id
            && receipt.issued <= now.after(crate::limits::CLOCK_SKEW)
            && (self.view.members.contains_key(&receipt.witness)
                || self.ledger.charter().is_owner(&receipt.witness));
        if !fits || self.receipts.contains(&receipt) {
            return false;
        }
        let mut all = std::mem::take(&mut self.receipts);
        let before = all.clone();
        all.push(receipt);
        self.receipts = self.best_receipts(all, around);
        self.receipts != before
    }

    /// The receipts worth carrying: the earliest for the membership (of those who decide contests for the
    /// invite, if there is one), for the address and for the key, and the freshest.
    fn best_receipts(
        &self,
        all: Vec<Signed<Receipt>>,
        around: &Surroundings<'_>,
    ) -> Vec<Signed<Receipt>> {
        let now = around.now.timestamp();
        let charter = self.ledger.charter();
        let links = self.admission.as_ref().map_or(&[][..], Admission::links);
        let last = links.last().map_or(&[][..], std::slice::from_ref);
        let admission = self.admission.as_ref().map(Admission::id);
        let address = self.claim.map(|claim| claim.address);
        let live = |r: &&Signed<Receipt>| now <= r.until();
        let of_address = |r: &&Signed<Receipt>| live(r) && Some(r.address) == address;
        let of_key = |r: &&Signed<Receipt>| live(r) && r.public_key == self.public_key;
        let best = [
            all.iter()
                .filter(|r| Some(r.admission) == admission && is_heard(&r.witness, links, charter))
                .min_by_key(|r| {
                    (
                        !is_heard(&r.witness, last, charter),
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

    /// Whether a member could give this node evidence that it lacks: who decides contests for its invite,
    /// or anybody, while nobody vouches for its address.
    pub(crate) fn lacks_receipt_of(&self, peer: &NodeId) -> bool {
        let charter = self.ledger.charter();
        let Some(own) = self.own.as_ref().filter(|_| self.phase == Phase::Member) else {
            return false;
        };
        if own.node == charter.founder || !self.view.members.contains_key(peer) {
            return false;
        }
        let links = self.admission.as_ref().map_or(&[][..], Admission::links);
        let last = links.last().map_or(&[][..], std::slice::from_ref);
        let decides = |node: &NodeId| !last.is_empty() && is_heard(node, last, charter);
        let admission = self.admission.as_ref().map(Admission::id);
        let speaks = |r: &Signed<Receipt>| Some(r.admission) == admission && decides(&r.witness);
        let is_decided = self.receipts.iter().any(speaks);
        let address = own.ipv4.address;
        let is_vouched = self
            .receipts
            .iter()
            .any(|receipt| receipt.address == address);
        !is_vouched || (decides(peer) && !is_decided)
    }

    /// The own admission for those who come after, with the oldest receipt for it: so they can show that
    /// this node used its invite in time when its own promise is long gone.
    pub(crate) fn shown_admission(&self) -> Admission {
        let charter = self.ledger.charter();
        let mut receipts: Vec<&Signed<Receipt>> = self.receipts.iter().collect();
        receipts.sort_by_key(|receipt| std::cmp::Reverse(receipt.member_since));
        let admission = self.admission.clone().unwrap_or_default();
        receipts.into_iter().fold(admission, |admission, receipt| {
            admission.seen(receipt, charter)
        })
    }

    /// Remembers to have vouched for a use of an invite, before its node shows the receipt.
    pub(crate) fn witness(&mut self, subject: &NodeId) {
        let member = self.ledger.members().get(subject);
        if let Some(grant) = member.and_then(invite_of).map(Signed::id) {
            self.witnessed.entry(grant).or_default().insert(*subject);
        }
    }

    /// Those whose use of a grant was seen, by others or by this node itself.
    pub(crate) fn known_users(&self, grant: &Signed<Grant>) -> BTreeSet<NodeId> {
        let mut users = self.ledger.seen_users(grant);
        users.extend(self.witnessed.get(&grant.id()).into_iter().flatten());
        users
    }

    /// Whether this node knows others to have used up the invite that a member came by. Seconds decide
    /// contests, so that a receipt for a late one could put out the first.
    fn is_late(&self, member: &Member) -> bool {
        let Some(grant) = invite_of(member) else {
            return false;
        };
        let users = self.known_users(grant);
        !users.contains(&member.node()) && users.len() >= grant.uses as usize
    }

    /// A receipt for what another member promised to this node directly, where it lacks one.
    pub(crate) fn receipt_for(
        &self,
        subject: &NodeId,
        around: &Surroundings<'_>,
    ) -> Option<Signed<Receipt>> {
        let charter = self.ledger.charter();
        let member = self.ledger.members().get(subject)?;
        let view = self.view.members.get(subject)?;
        let promise = member.promise();
        if *subject == around.id
            || *subject == charter.founder
            || self.phase != Phase::Member
            || view.ipv4 != Some(promise.ipv4.address)
            || view.public_key != Some(promise.public_key)
            || self.is_late(member)
        {
            return None;
        }
        let now = around.now.timestamp();
        let evidence = Evidence::of(&self.ledger, now);
        let is_owner = charter.is_owner(&around.id);
        // A receipt is worth what its witness's standing is worth.
        if !is_owner {
            evidence.member_since(&around.id)?;
        }
        let address = promise.ipv4.address;
        let links = member.admission().links();
        let decides = links
            .last()
            .is_some_and(|link| is_owner || link.issuer() == around.id);
        // Those who decide contests for the invite hand on what one of them said, and nobody else's word.
        let membership = if decides {
            evidence_of_use(charter, member)
        } else {
            evidence.member_since(subject)
        };
        let vouches = decides || is_heard(&around.id, links, charter);
        let key_since = evidence.key_since(member, &promise.public_key);
        let stale = evidence
            .last_seen(member, address)
            .is_none_or(|seen| now.since(seen) >= RECEIPT_RENEWAL);
        if !(stale || key_since.is_none() || (vouches && membership.is_none())) {
            return None;
        }
        let address_since = evidence.address_since(member, address);
        let body = Receipt {
            network: self.id(),
            witness: around.id,
            subject: *subject,
            admission: member.admission_id(),
            member_since: membership.unwrap_or(now).min(now),
            public_key: promise.public_key,
            key_since: key_since.unwrap_or(now).min(now),
            address,
            address_since: address_since.unwrap_or(now).min(now),
            issued: now,
        };
        Signed::sign(body, around.key).ok()
    }
}

fn quic_endpoints(around: &Surroundings<'_>) -> Vec<Endpoint> {
    let host = around.host;
    let fixed = host
        .fixed_quic
        .iter()
        .map(|addr| (EndpointKind::Static, *addr));
    let local = host.local_quic().map(|addr| (EndpointKind::Local, addr));
    let seen = around
        .seen_at
        .iter()
        .map(|addr| (EndpointKind::Observed, *addr));
    endpoints(fixed.chain(local).chain(seen), around)
}

/// Each address once, the best reason first; nothing inside the tunnels themselves.
fn endpoints(
    all: impl Iterator<Item = (EndpointKind, SocketAddr)>,
    around: &Surroundings<'_>,
) -> Vec<Endpoint> {
    let mut seen = BTreeSet::new();
    let tunnel = |ip: IpAddr| {
        around.facts.ranges.values().any(|(v4, v6)| match ip {
            IpAddr::V4(ip) => v4.contains(&ip),
            IpAddr::V6(ip) => v6.contains(&ip),
        })
    };
    // Where others see this node is only news if it is not one of its own addresses.
    let own = |kind, ip| kind == EndpointKind::Observed && around.host.addresses.contains(&ip);
    all.filter(|(kind, addr)| {
        is_reachable(addr) && !tunnel(addr.ip()) && !own(*kind, addr.ip()) && seen.insert(*addr)
    })
    .map(|(kind, addr)| Endpoint { kind, addr })
    .take(MAX_ENDPOINTS)
    .collect()
}

/// Whether two promises differ in nothing but their number and time.
fn says_the_same(a: &MemberPromise, b: &MemberPromise) -> bool {
    let mut a = a.clone();
    a.sequence = b.sequence;
    a.issued = b.issued;
    a.expires = b.expires;
    a == *b
}
