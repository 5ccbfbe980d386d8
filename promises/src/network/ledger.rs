//! The state of a network: its charter and the set of signed statements made under it.
//!
//! [`Ledger::insert`] is the merge. It is commutative, associative and idempotent: of each node the
//! promise with the highest `(sequence, content id)` stands, revocations only add up, and what a
//! revocation voids stays out in whatever order the two arrive. So nodes that were told the same
//! things hold the same set, and the same views follow from it.
//!
//! A ledger is bounded, and so it forgets what is void. That leaves three cases in which the order
//! of arrival can leave two ledgers that differ by a promise, until they next [compare](Ledger::compare):
//! an owner readmits a node whose promise was void before; a node came in again in a way that is void;
//! a node drops evidence that it had for a use of an invite that too many used.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};

use crate::content_id::ContentId;
use crate::limits::{CLOCK_SKEW, MAX_MEMBERS, MAX_REVOCATIONS, QUIET_TIME, SPARE_USES};
use crate::network::address;
use crate::network::admission::{Direct, Grant, Link, RawLink};
use crate::network::charter::Charter;
use crate::network::ids::NetworkId;
use crate::network::member::{Known, Member, MemberPromise, PromiseError};
use crate::network::revocation::Revocation;
use crate::network::statement::{Kind, Signed, StatementError, peek_kind};
use crate::network::uses::Uses;
use crate::network::withdrawn::Withdrawn;
use crate::time::Timestamp;
use grid_keys::NodeId;

/// A statement whose signatures were verified against the charter.
#[derive(Clone, Debug)]
pub enum Item {
    /// A node's promise.
    Member(Box<Member>),
    /// An owner's revocation.
    Revocation(Box<Signed<Revocation>>),
}

impl Item {
    /// The bytes as received.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Member(member) => member.promise().bytes(),
            Self::Revocation(revocation) => revocation.bytes(),
        }
    }
}

/// What a merge changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merged {
    /// The statement is new and stands.
    New,
    /// It was known.
    Known,
    /// A later promise of the same node stands.
    Stale,
}

/// Why a statement was not merged. The ledger is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A member promise that does not hold.
    #[error(transparent)]
    Promise(#[from] PromiseError),
    /// A statement that does not hold.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// A kind of statement that is not part of a network's state.
    #[error("a statement of kind {0} is not part of a network's state")]
    Kind(u8),
    /// A revocation by somebody who is no owner.
    #[error("only an owner can revoke")]
    NotAnOwner,
    /// The node, or one that vouched for it, was revoked.
    #[error("the node's admission was revoked")]
    Revoked,
    /// The network has as many members or revocations as a node keeps.
    #[error("the network is full: a node keeps {MAX_MEMBERS} members")]
    Full,
    /// An invite on the way to the node was used by more nodes than it allows and this use is far
    /// behind, or it expired before anybody saw this use of it.
    #[error("the invite was used by others before, or expired before anybody saw it used")]
    InviteSpent,
}

/// One entry of a ledger's index: enough to see who has the later statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct IndexEntry {
    /// The first 8 bytes of the node's key, or of the revocation's id with `sequence` 0.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub key: [u8; 8],
    /// The promise's sequence number; 0 for revocations.
    #[n(1)]
    pub sequence: u64,
    /// The first 8 bytes of the statement's digest.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub id: [u8; 8],
}

/// The statements of one network.
#[derive(Clone, Debug)]
pub struct Ledger {
    charter: Signed<Charter>,
    members: BTreeMap<NodeId, Member>,
    revocations: BTreeMap<ContentId, Signed<Revocation>>,
    known: BTreeSet<ContentId>,
    withdrawn: Withdrawn,
    /// The grants that members came by, which were verified with their promises.
    grants: BTreeMap<NodeId, Signed<Grant>>,
    /// Whose admissions each grant is on, by the grants' content ids.
    by_grant: BTreeMap<ContentId, BTreeSet<NodeId>>,
}

impl Ledger {
    /// The ledger of a network that nobody spoke in yet.
    #[must_use]
    pub fn new(charter: Signed<Charter>) -> Self {
        Self {
            charter,
            members: BTreeMap::new(),
            revocations: BTreeMap::new(),
            known: BTreeSet::new(),
            withdrawn: Withdrawn::default(),
            grants: BTreeMap::new(),
            by_grant: BTreeMap::new(),
        }
    }

    /// The charter.
    #[must_use]
    pub const fn charter(&self) -> &Signed<Charter> {
        &self.charter
    }

    /// The network.
    #[must_use]
    pub const fn network(&self) -> NetworkId {
        self.charter.network()
    }

    /// The standing promise of every node, also lapsed and withdrawn ones within their quiet time.
    #[must_use]
    pub const fn members(&self) -> &BTreeMap<NodeId, Member> {
        &self.members
    }

    /// What owners withdrew.
    #[must_use]
    pub const fn withdrawn(&self) -> &Withdrawn {
        &self.withdrawn
    }

    /// Every revocation.
    pub fn revocations(&self) -> impl Iterator<Item = &Signed<Revocation>> {
        self.revocations.values()
    }

    /// Whether exactly these bytes stand already. Spares the verification of what is pushed twice.
    #[must_use]
    pub fn knows(&self, bytes: &[u8]) -> bool {
        self.known.contains(&ContentId::of(bytes))
    }

    /// Verifies a statement against the charter without merging it. Time is not looked at.
    ///
    /// # Errors
    /// Why it does not hold.
    pub fn verify(&self, bytes: &[u8]) -> Result<Item, Refusal> {
        let Some(number) = peek_kind(bytes) else {
            // No statement at all; this says what is wrong with the bytes.
            return self.verify_member(bytes);
        };
        match Kind::of(number) {
            Some(Kind::Member) => self.verify_member(bytes),
            Some(Kind::Revocation) => self.verify_revocation(bytes),
            None
            | Some(
                Kind::Charter
                | Kind::Grant
                | Kind::GrantUse
                | Kind::Direct
                | Kind::Receipt
                | Kind::Request
                | Kind::Act,
            ) => Err(Refusal::Kind(number)),
        }
    }

    fn verify_member(&self, bytes: &[u8]) -> Result<Item, Refusal> {
        let promise: Signed<MemberPromise> = Signed::decode(bytes)?;
        let known = Known {
            predecessor: self.members.get(&promise.node),
            grants: Some(&self.grants),
        };
        let member = Member::verify(promise, &self.charter, &known)?;
        Ok(Item::Member(Box::new(member)))
    }

    fn verify_revocation(&self, bytes: &[u8]) -> Result<Item, Refusal> {
        let revocation = Signed::<Revocation>::decode(bytes)?;
        if revocation.network != self.network() {
            return Err(PromiseError::OtherNetwork.into());
        }
        if !self.charter.is_owner(&revocation.owner) {
            return Err(Refusal::NotAnOwner);
        }
        for link in &revocation.readmit {
            let RawLink::Direct(bytes) = link else {
                return Err(Refusal::NotAnOwner);
            };
            let direct = Signed::<Direct>::decode(bytes)?;
            if direct.network != self.network() || direct.owner != revocation.owner {
                return Err(Refusal::NotAnOwner);
            }
        }
        Ok(Item::Revocation(Box::new(revocation)))
    }

    /// Merges a verified statement.
    ///
    /// # Errors
    /// Why it is not merged: from the future, long lapsed, revoked, or no room.
    pub fn insert(&mut self, item: Item, now: Timestamp) -> Result<Merged, Refusal> {
        match item {
            Item::Member(member) => self.insert_member(*member, now),
            Item::Revocation(revocation) => self.insert_revocation(*revocation, now),
        }
    }

    /// Verifies and merges in one step.
    ///
    /// # Errors
    /// As [`verify`](Self::verify) and [`insert`](Self::insert).
    pub fn insert_bytes(&mut self, bytes: &[u8], now: Timestamp) -> Result<Merged, Refusal> {
        if self.knows(bytes) {
            return Ok(Merged::Known);
        }
        let item = self.verify(bytes)?;
        self.insert(item, now)
    }

    fn insert_member(&mut self, member: Member, now: Timestamp) -> Result<Merged, Refusal> {
        let promise = member.promise();
        if promise.issued > now.after(CLOCK_SKEW) {
            let ahead = promise.issued.since(now).as_secs();
            return Err(PromiseError::Future { ahead }.into());
        }
        if retained_until(&member) < now {
            return Err(PromiseError::Lapsed {
                expires: promise.expires,
            }
            .into());
        }
        if self.withdrawn.voids(&member) {
            return Err(Refusal::Revoked);
        }
        let node = member.node();
        match self.members.get(&node) {
            // What a prune would forget stands in nobody's way, so that it does not matter when
            // each node prunes.
            Some(standing) if retained_until(standing) >= now => {
                match rank(standing).cmp(&rank(&member)) {
                    std::cmp::Ordering::Equal => return Ok(Merged::Known),
                    std::cmp::Ordering::Greater => return Ok(Merged::Stale),
                    std::cmp::Ordering::Less => {}
                }
            }
            None if self.members.len() >= MAX_MEMBERS => return Err(Refusal::Full),
            _ => {}
        }
        let beyond = self.beyond(&member, now);
        if beyond.contains(&node) {
            return Err(Refusal::InviteSpent);
        }
        for loser in &beyond {
            self.remove(loser);
        }
        self.put(member);
        Ok(Merged::New)
    }

    fn insert_revocation(
        &mut self,
        revocation: Signed<Revocation>,
        now: Timestamp,
    ) -> Result<Merged, Refusal> {
        if revocation.issued > now.after(CLOCK_SKEW) {
            let ahead = revocation.issued.since(now).as_secs();
            return Err(PromiseError::Future { ahead }.into());
        }
        if self.revocations.contains_key(&revocation.id()) {
            return Ok(Merged::Known);
        }
        if self.revocations.len() >= MAX_REVOCATIONS {
            return Err(Refusal::Full);
        }
        self.known.insert(revocation.id());
        self.withdrawn.add(&revocation);
        self.revocations.insert(revocation.id(), revocation);
        let void: Vec<NodeId> = self
            .members
            .values()
            .filter(|m| self.withdrawn.voids(m))
            .map(Member::node)
            .collect();
        for node in void {
            self.remove(&node);
        }
        Ok(Merged::New)
    }

    fn put(&mut self, member: Member) {
        self.remove(&member.node());
        self.known.insert(member.promise().id());
        for grant in grants_of(&member) {
            self.grants
                .entry(grant.invite)
                .or_insert_with(|| grant.clone());
            self.by_grant
                .entry(grant.id())
                .or_default()
                .insert(member.node());
        }
        self.members.insert(member.node(), member);
    }

    fn remove(&mut self, node: &NodeId) {
        let Some(member) = self.members.remove(node) else {
            return;
        };
        self.known.remove(&member.promise().id());
        for grant in grants_of(&member) {
            if let Some(nodes) = self.by_grant.get_mut(&grant.id()) {
                nodes.remove(node);
                if nodes.is_empty() {
                    self.by_grant.remove(&grant.id());
                }
            }
        }
    }

    /// Who is void because of a grant on `member`'s admission, and not kept ([`Uses::beyond`]), once
    /// `member` is in.
    ///
    /// Every grant has a count of its own. Whoever has an invite's key and is a member could sign
    /// another grant of that key with fewer uses, and would put others out if the two were one.
    fn beyond(&self, member: &Member, now: Timestamp) -> BTreeSet<NodeId> {
        grants_of(member)
            .flat_map(|grant| self.beyond_one(grant, Some(member), now))
            .collect()
    }

    fn beyond_one(
        &self,
        grant: &Signed<Grant>,
        newcomer: Option<&Member>,
        now: Timestamp,
    ) -> Vec<NodeId> {
        let replaced = newcomer.map(Member::node);
        let members: Vec<&Member> = self
            .by(&grant.id())
            .filter(|member| retained_until(member) >= now && Some(member.node()) != replaced)
            .chain(newcomer)
            .collect();
        // So few are kept in any case.
        if members.len() <= SPARE_USES {
            return Vec::new();
        }
        let uses = Uses::of(grant, &self.charter, members.iter().copied());
        uses.beyond(&self.charter, &self.withdrawn, &members, now)
    }

    /// The promises whose admissions a grant is on.
    fn by(&self, grant: &ContentId) -> impl Iterator<Item = &Member> {
        let nodes = self.by_grant.get(grant).into_iter().flatten();
        nodes.filter_map(|node| self.members.get(node))
    }

    /// The nodes that have been seen to use a grant.
    pub(crate) fn seen_users(&self, grant: &Signed<Grant>) -> BTreeSet<NodeId> {
        let uses = Uses::of(grant, &self.charter, self.by(&grant.id()));
        uses.seen().copied().collect()
    }

    /// The promises that something follows from at a moment: all but those that a
    /// [`prune`](Self::prune) would forget.
    pub(crate) fn retained(&self, now: Timestamp) -> impl Iterator<Item = &Member> {
        self.members
            .values()
            .filter(move |member| retained_until(member) >= now)
    }

    /// Forgets what lapsed so long ago that nothing follows from it, and what became void in too great
    /// a number. Says whose promises those were.
    pub fn prune(&mut self, now: Timestamp) -> Vec<NodeId> {
        let mut old: BTreeSet<NodeId> = self
            .members
            .values()
            .filter(|member| retained_until(member) < now)
            .map(Member::node)
            .collect();
        let mut seen = BTreeSet::new();
        for grant in self.members.values().flat_map(grants_of) {
            if seen.insert(grant.id()) {
                old.extend(self.beyond_one(grant, None, now));
            }
        }
        for node in &old {
            self.remove(node);
        }
        if !old.is_empty() {
            let used: BTreeSet<NodeId> = self
                .members
                .values()
                .flat_map(grants_of)
                .map(|grant| grant.invite)
                .collect();
            self.grants.retain(|invite, _| used.contains(invite));
        }
        old.into_iter().collect()
    }

    /// What this ledger holds, in a fixed order.
    #[must_use]
    pub fn index(&self) -> Vec<IndexEntry> {
        let (promises, revocations) = self.held();
        promises.chain(revocations).map(|held| held.entry).collect()
    }

    /// A hash over the index: equal ledgers have equal ones.
    #[must_use]
    pub fn root(&self) -> [u8; 32] {
        let mut bytes = Vec::new();
        for entry in self.index() {
            bytes.extend_from_slice(&entry.key);
            bytes.extend_from_slice(&entry.sequence.to_be_bytes());
            bytes.extend_from_slice(&entry.id);
        }
        address::hash("grid/1 ledger", &[&bytes])
    }

    /// The bytes of every statement, revocations first.
    pub fn statements(&self) -> impl Iterator<Item = &[u8]> {
        self.to_send().map(|held| held.bytes)
    }

    /// The statements that belong to entries of this ledger's [`index`](Self::index).
    pub fn statements_of<'a>(
        &'a self,
        wanted: &BTreeSet<[u8; 8]>,
    ) -> impl Iterator<Item = &'a [u8]> {
        self.to_send()
            .filter(move |held| wanted.contains(&held.entry.id))
            .map(|held| held.bytes)
    }

    /// Every statement, revocations first, so that what they void is not merged in the first place.
    fn to_send(&self) -> impl Iterator<Item = Held<'_>> {
        let (promises, revocations) = self.held();
        revocations.chain(promises)
    }

    /// Every statement by kind: promises and revocations. Whatever else goes through all statements
    /// begins here. A new field has to be named, so that no statements are held and not passed on.
    fn held(
        &self,
    ) -> (
        impl Iterator<Item = Held<'_>>,
        impl Iterator<Item = Held<'_>>,
    ) {
        let Self {
            members,
            revocations,
            charter: _,
            known: _,
            withdrawn: _,
            grants: _,
            by_grant: _,
        } = self;
        let promises = members.iter().map(|(node, member)| {
            let promise = member.promise();
            Held::new(&node.0, promise.sequence, promise)
        });
        let revocations = revocations
            .iter()
            .map(|(id, revocation)| Held::new(id.digest(), 0, revocation));
        (promises, revocations)
    }

    /// Compares with another node's index: the statements it lacks, and the ids of those that this
    /// ledger lacks.
    #[must_use]
    pub fn compare(&self, theirs: &[IndexEntry]) -> Difference<'_> {
        let mine: BTreeMap<[u8; 8], IndexEntry> = self
            .index()
            .into_iter()
            .map(|entry| (entry.key, entry))
            .collect();
        let their: BTreeMap<[u8; 8], &IndexEntry> =
            theirs.iter().map(|entry| (entry.key, entry)).collect();
        let later = |a: &IndexEntry, b: &IndexEntry| (a.sequence, a.id) > (b.sequence, b.id);
        let lacks: BTreeSet<[u8; 8]> = mine
            .values()
            .filter(|entry| their.get(&entry.key).is_none_or(|t| later(entry, t)))
            .map(|entry| entry.id)
            .collect();
        Difference {
            they_lack: self.statements_of(&lacks).collect(),
            i_lack: theirs
                .iter()
                .filter(|entry| mine.get(&entry.key).is_none_or(|m| later(entry, m)))
                .map(|entry| entry.id)
                .collect(),
        }
    }
}

/// A statement that stands, with its entry in the index.
struct Held<'a> {
    entry: IndexEntry,
    bytes: &'a [u8],
}

impl<'a> Held<'a> {
    /// Of the statements with one key, the one with the highest `(sequence, id)` is the latest.
    fn new<T>(key: &[u8], sequence: u64, statement: &'a Signed<T>) -> Self {
        Self {
            entry: IndexEntry {
                key: first_8(key),
                sequence,
                id: first_8(statement.id().digest()),
            },
            bytes: statement.bytes(),
        }
    }
}

/// What two ledgers lack of each other.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference<'a> {
    /// Statements that the other node lacks, revocations first.
    pub they_lack: Vec<&'a [u8]>,
    /// Ids of statements that this node lacks.
    pub i_lack: Vec<[u8; 8]>,
}

/// The order in which promises of one node replace each other.
fn rank(member: &Member) -> (u64, ContentId) {
    (member.promise().sequence, member.promise().id())
}

/// The invite that admitted a node.
pub(crate) fn invite_of(member: &Member) -> Option<&Signed<Grant>> {
    match member.admission().links().last() {
        Some(Link::Invite { grant, .. }) => Some(grant),
        _ => None,
    }
}

/// The grants on a member's admission.
fn grants_of(member: &Member) -> impl Iterator<Item = &Signed<Grant>> {
    let links = member.admission().links().iter();
    links.filter_map(|link| match link {
        Link::Invite { grant, .. } => Some(grant),
        Link::Direct(_) => None,
    })
}

/// Until when a promise matters: the address's quiet time, and as long as its invite could be used
/// by another.
fn retained_until(member: &Member) -> Timestamp {
    let quiet = member.promise().expires.after(QUIET_TIME);
    match member.admission().links().last() {
        Some(Link::Invite { grant, .. }) => quiet.max(grant.expires.after(QUIET_TIME)),
        _ => quiet,
    }
}

fn first_8(bytes: &[u8]) -> [u8; 8] {
    let mut first = [0; 8];
    for (to, from) in first.iter_mut().zip(bytes) {
        *to = *from;
    }
    first
}
