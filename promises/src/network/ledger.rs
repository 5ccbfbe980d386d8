//! The state of a network: its charter and the set of signed statements made under it.
//!
//! [`Ledger::insert`] is the merge. It is commutative, associative and idempotent: acts of owners add up ([`Acts`]),
//! and of each node the promise with the highest `(sequence, content id)` stands. What owners did says which promises
//! count; those that do not are kept apart, because what owners did can turn out not to count. So nodes that
//! were told the same things hold the same set, and the same views follow from it.
//!
//! A ledger is bounded, and so it forgets. That leaves cases in which the order of arrival can leave two ledgers
//! that differ by a promise, until they next [compare](Ledger::compare): there are more acts, or more void
//! promises, than are kept; a node drops evidence that it had for a use of an invite that too many used.

use std::collections::{BTreeMap, BTreeSet};

use crate::content_id::ContentId;
use crate::limits::{CLOCK_SKEW, MAX_ACTS, MAX_MEMBERS, MAX_VOID};
use crate::network::act::Act;
use crate::network::acts::{self, Acts};
use crate::network::admission::Grant;
use crate::network::authority::Authority;
use crate::network::charter::Charter;
use crate::network::ids::NetworkId;
use crate::network::index::{Index, IndexEntry, ShortId, Source};
use crate::network::member::{Known, Member, MemberPromise, PromiseError};
use crate::network::sealed::Sealer;
use crate::network::statement::{Kind, Signed, StatementError, Trust, peek_kind};
use crate::network::tally::Tally;
use crate::network::void::Void;
use crate::time::Timestamp;
use grid_keys::NodeId;

/// A statement whose signatures were verified against the charter.
#[derive(Clone, Debug)]
pub enum Item {
    /// A node's promise.
    Member(Box<Member>),
    /// An owner's act.
    Act(Box<Signed<Act>>),
}

impl Item {
    /// The bytes as received.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Member(member) => member.promise().bytes(),
            Self::Act(act) => act.bytes(),
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
    /// An act by an office that is not known (yet), or by somebody who does not hold it.
    #[error("no owner that this node knows did that")]
    NotAnOwner,
    /// Not by what owners did, and there is no room for more of those.
    #[error("{0}")]
    Void(Void),
    /// The network has as many members, or its owners did as much, as a node keeps.
    #[error(
        "the network is full: a node keeps {MAX_MEMBERS} members and {MAX_ACTS} acts of owners"
    )]
    Full,
    /// An invite on the way to the node was used by more nodes than it allows and this use is far
    /// behind, or it expired before anybody saw this use of it.
    #[error("the invite was used by others before, or expired before anybody saw it used")]
    InviteSpent,
}

/// The statements of one network.
#[derive(Clone, Debug)]
pub struct Ledger {
    charter: Signed<Charter>,
    acts: Acts,
    /// Those whose admissions hold by what owners did.
    members: BTreeMap<NodeId, Member>,
    /// Those whose admissions do not.
    void: BTreeMap<NodeId, (Member, Void)>,
    known: BTreeSet<ContentId>,
    index: Index,
    /// The grants that members came by, which were verified with their promises.
    grants: BTreeMap<NodeId, Signed<Grant>>,
    /// Who used each grant, by the promises of the members.
    tally: Tally,
}

impl Ledger {
    /// The ledger of a network that nobody spoke in yet.
    #[must_use]
    pub fn new(charter: Signed<Charter>) -> Self {
        Self {
            acts: Acts::new(charter.clone()),
            charter,
            members: BTreeMap::new(),
            void: BTreeMap::new(),
            known: BTreeSet::new(),
            index: Index::default(),
            grants: BTreeMap::new(),
            tally: Tally::default(),
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

    /// The standing promise of every node whose admission holds by what owners did, also lapsed and withdrawn ones
    /// within their quiet time.
    #[must_use]
    pub const fn members(&self) -> &BTreeMap<NodeId, Member> {
        &self.members
    }

    /// The acts of owners.
    #[must_use]
    pub const fn acts(&self) -> &Acts {
        &self.acts
    }

    /// What follows from the acts of owners.
    #[must_use]
    pub const fn authority(&self) -> &Authority {
        self.acts.authority()
    }

    /// The last promise of a node, whether it counts or not.
    #[must_use]
    pub fn promise_of(&self, node: &NodeId) -> Option<&Member> {
        let void = || self.void.get(node).map(|(member, _)| member);
        self.members.get(node).or_else(void)
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
        self.read(bytes, Trust::Nobody)
    }

    fn read(&self, bytes: &[u8], trust: Trust) -> Result<Item, Refusal> {
        let Some(number) = peek_kind(bytes) else {
            // No statement at all; this says what is wrong with the bytes.
            return self.read_member(bytes, trust);
        };
        match Kind::of(number) {
            Some(Kind::Member) => self.read_member(bytes, trust),
            Some(Kind::Act) => self.read_act(bytes, trust),
            None
            | Some(Kind::Charter | Kind::Grant | Kind::GrantUse | Kind::Receipt | Kind::Request) => {
                Err(Refusal::Kind(number))
            }
        }
    }

    fn read_member(&self, bytes: &[u8], trust: Trust) -> Result<Item, Refusal> {
        let promise: Signed<MemberPromise> = Signed::read(bytes, trust)?;
        let known = Known {
            predecessor: self.promise_of(&promise.node),
            grants: Some(&self.grants),
            trust,
        };
        let member = Member::verify(promise, &self.charter, &known)?;
        Ok(Item::Member(Box::new(member)))
    }

    fn read_act(&self, bytes: &[u8], trust: Trust) -> Result<Item, Refusal> {
        let act = Signed::<Act>::read(bytes, trust)?;
        if act.network != self.network() {
            return Err(PromiseError::OtherNetwork.into());
        }
        Ok(Item::Act(Box::new(act)))
    }

    /// Merges a verified statement.
    ///
    /// # Errors
    /// Why it is not merged: from the future, long lapsed, of nobody that is known, or no room.
    pub fn insert(&mut self, item: Item, now: Timestamp) -> Result<Merged, Refusal> {
        match item {
            Item::Member(member) => self.insert_member(*member, now),
            Item::Act(act) => {
                let id = act.act_id();
                if self.acts.held().contains_key(&id) {
                    return Ok(Merged::Known);
                }
                let merged = self.insert_acts([*act], now);
                if merged.new.contains(&id) {
                    Ok(Merged::New)
                } else if merged.dropped.contains(&id) {
                    Err(Refusal::Full)
                } else {
                    Err(Refusal::NotAnOwner)
                }
            }
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

    /// Merges what this node itself kept: the acts of owners first and all at once. What does not hold is left out, and
    /// comes again from the members; nothing because of its time: it was taken when that was right, and a clock may be
    /// wrong now.
    pub(crate) fn load_kept<'a>(
        &mut self,
        statements: impl Iterator<Item = (&'a [u8], Trust)>,
        now: Timestamp,
    ) {
        let mut acts = Vec::new();
        let mut others = Vec::new();
        for (bytes, trust) in statements {
            match self.read(bytes, trust) {
                Ok(Item::Act(act)) => acts.push(*act),
                Ok(other) => others.push(other),
                Err(_) => {}
            }
        }
        self.insert_acts(acts, now);
        for item in others {
            if let Item::Member(member) = item {
                let _ = self.insert_kept(*member, now);
            }
        }
    }

    fn insert_member(&mut self, member: Member, now: Timestamp) -> Result<Merged, Refusal> {
        let promise = member.promise();
        if promise.issued > now.after(CLOCK_SKEW) {
            let ahead = promise.issued.since(now).as_secs();
            return Err(PromiseError::Future { ahead }.into());
        }
        if member.retained_until() < now {
            return Err(PromiseError::Lapsed {
                expires: promise.expires,
            }
            .into());
        }
        self.insert_kept(member, now)
    }

    /// Merges a promise that this node took before, or made, whatever its time is.
    ///
    /// # Errors
    /// As [`insert`](Self::insert), but for those of time.
    pub(crate) fn insert_kept(
        &mut self,
        member: Member,
        now: Timestamp,
    ) -> Result<Merged, Refusal> {
        let node = member.node();
        // What a prune would forget stands in nobody's way, so that it does not matter when
        // each node prunes.
        if let Some(standing) = self.promise_of(&node)
            && standing.retained_until() >= now
        {
            match rank(standing).cmp(&rank(&member)) {
                std::cmp::Ordering::Equal => return Ok(Merged::Known),
                std::cmp::Ordering::Greater => return Ok(Merged::Stale),
                std::cmp::Ordering::Less => {}
            }
        }
        if let Err(why) = self.authority().rule(&self.charter, &member) {
            return self.put_apart(member, why);
        }
        if !self.members.contains_key(&node) && self.members.len() >= MAX_MEMBERS {
            return Err(Refusal::Full);
        }
        let beyond = self.beyond_with(&member, now);
        if beyond.contains(&node) {
            match self.members.get(&node) {
                Some(standing) => self.tally.put(self.acts.authority(), standing),
                None => self.tally.remove(&node),
            }
            return Err(Refusal::InviteSpent);
        }
        for loser in &beyond {
            self.remove(loser);
        }
        self.put(member);
        Ok(Merged::New)
    }

    /// Merges acts of owners, in whatever order they are given, and says what became of them. Promises that count
    /// by them, or no longer do, change their places.
    pub fn insert_acts(
        &mut self,
        acts: impl IntoIterator<Item = Signed<Act>>,
        now: Timestamp,
    ) -> acts::Merged {
        let before = self.authority().clone();
        let mut merged = self.acts.merge(acts);
        merged.new.retain(|id| {
            let is_held = self.acts.held().get(id);
            is_held.is_some_and(|act| self.known.insert(act.id()))
        });
        for id in &merged.new {
            self.index.insert(IndexEntry::of_act(id), Source::Act(*id));
        }
        if !merged.dropped.is_empty() {
            let held = self.acts.held().values().map(Signed::id);
            let promises = self.promises().map(|member| member.promise().id());
            self.known = held.chain(promises).collect();
            for id in merged.dropped.iter().chain(&merged.strange) {
                self.index.remove(&IndexEntry::of_act(id));
            }
        }
        if *self.authority() != before {
            self.rule_again(now);
        }
        merged
    }

    /// Every promise, whether it counts or not.
    pub(crate) fn promises(&self) -> impl Iterator<Item = &Member> {
        let void = self.void.values().map(|(member, _)| member);
        self.members.values().chain(void)
    }

    /// Puts every promise where it belongs by what owners did.
    fn rule_again(&mut self, now: Timestamp) {
        let acts = std::mem::replace(&mut self.acts, Acts::new(self.charter.clone()));
        let authority = acts.authority();
        let out = self.members.values().filter_map(|member| {
            let why = authority.rule(&self.charter, member).err()?;
            Some((member.clone(), why))
        });
        let out: Vec<(Member, Void)> = out.collect();
        let mut back = Vec::new();
        for (member, why) in self.void.values_mut() {
            match authority.rule(&self.charter, member) {
                Ok(()) => back.push(member.clone()),
                Err(now) => *why = now,
            }
        }
        self.acts = acts;
        for member in &back {
            self.remove(&member.node());
        }
        for (member, why) in out {
            // Where there is no room, it goes.
            let node = member.node();
            if self.put_apart(member, why).is_err() {
                self.remove(&node);
            }
        }
        // What owners did says whose word counts.
        self.tally = Tally::of(self.acts.authority(), self.members.values(), now);
        for member in back.into_iter().filter(|back| back.retained_until() >= now) {
            // Where there is no room, it goes: its own node offers it again.
            let _ = self.insert_kept(member, now);
        }
    }

    /// Keeps a promise that does not count, if it is among those for which there is room.
    fn put_apart(&mut self, member: Member, why: Void) -> Result<Merged, Refusal> {
        let node = member.node();
        self.remove(&node);
        self.know(&member);
        self.void.insert(node, (member, why));
        if self.void.len() > MAX_VOID {
            let worst = self.void.values().max_by_key(|(member, why)| {
                let links = member.admission().links().len();
                (*why, links, member.node())
            });
            if let Some(worst) = worst.map(|(member, _)| member.node()) {
                self.remove(&worst);
                if worst == node {
                    return Err(Refusal::Void(why));
                }
            }
        }
        Ok(Merged::New)
    }

    /// Keeps a promise that the tally counts already.
    fn put(&mut self, member: Member) {
        self.forget(&member.node());
        self.know(&member);
        for grant in grants_of(&member) {
            self.grants
                .entry(grant.invite)
                .or_insert_with(|| grant.clone());
        }
        self.members.insert(member.node(), member);
    }

    fn remove(&mut self, node: &NodeId) {
        self.forget(node);
        self.tally.remove(node);
    }

    fn forget(&mut self, node: &NodeId) {
        let void = self.void.remove(node).map(|(member, _)| member);
        for member in self.members.remove(node).into_iter().chain(void) {
            self.known.remove(&member.promise().id());
            self.index.remove(&IndexEntry::of_promise(&member));
        }
    }

    fn know(&mut self, member: &Member) {
        self.known.insert(member.promise().id());
        let entry = IndexEntry::of_promise(member);
        self.index.insert(entry, Source::Promise(member.node()));
    }

    /// Counts `member` in, and says who is void then because of a grant on its admission, and not kept.
    ///
    /// Every grant has a count of its own. Whoever has an invite's key and is a member could sign
    /// another grant of that key with fewer uses, and would put others out if the two were one.
    fn beyond_with(&mut self, member: &Member, now: Timestamp) -> BTreeSet<NodeId> {
        self.tally.go_to(now);
        self.tally.put(self.acts.authority(), member);
        let grants = grants_of(member).map(Signed::id);
        grants.flat_map(|grant| self.tally.beyond(&grant)).collect()
    }

    /// The grants that members came by: one for each invite.
    pub(crate) fn grants(&self) -> impl Iterator<Item = &Signed<Grant>> {
        self.grants.values()
    }

    /// The nodes that have been seen to use a grant.
    pub(crate) fn seen_users(&self, grant: &Signed<Grant>) -> BTreeSet<NodeId> {
        self.tally.seen_users(&grant.id()).copied().collect()
    }

    /// The promises that do not count by what owners did, and why, but for those that a [`prune`](Self::prune) would
    /// forget.
    pub fn void(&self, now: Timestamp) -> impl Iterator<Item = (&Member, Void)> {
        let void = self.void.values().map(|(member, why)| (member, *why));
        void.filter(move |(member, _)| member.retained_until() >= now)
    }

    /// The promises that something follows from at a moment: all but those that a
    /// [`prune`](Self::prune) would forget.
    pub(crate) fn retained(&self, now: Timestamp) -> impl Iterator<Item = &Member> {
        self.members
            .values()
            .filter(move |member| member.retained_until() >= now)
    }

    /// Forgets what lapsed so long ago that nothing follows from it, and what became void in too great
    /// a number. Says whose promises those were.
    pub fn prune(&mut self, now: Timestamp) -> Vec<NodeId> {
        let mut old: BTreeSet<NodeId> = self
            .promises()
            .filter(|member| member.retained_until() < now)
            .map(Member::node)
            .collect();
        self.tally.go_to(now);
        old.extend(self.tally.all_beyond());
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
        self.index.entries().iter().copied().collect()
    }

    /// How many statements it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.entries().len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A hash over the index: equal ledgers have equal ones.
    #[must_use]
    pub fn root(&self) -> [u8; 32] {
        self.index.root()
    }

    /// Whether there is no room for a member that it does not know.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.members.len() >= MAX_MEMBERS
    }

    /// Every statement in the form for this node's own disk, but for its own promise, which is kept by itself. What
    /// holds only in part is not sealed.
    pub(crate) fn kept(&self, own: &NodeId, sealer: &Sealer) -> Vec<Vec<u8>> {
        let acts = self.acts.held().values();
        let acts = acts.map(|act| sealer.seal(act.bytes()));
        let promises = self.promises().filter(|member| member.node() != *own);
        let promises = promises.map(|member| match member.is_whole() {
            true => sealer.seal(member.promise().bytes()),
            false => member.promise().bytes().to_vec(),
        });
        acts.chain(promises).collect()
    }

    /// The bytes of every statement, acts first, seniors before juniors, so that who speaks is known. A new field has
    /// to be named, so that no statements are held and not passed on.
    pub fn statements(&self) -> impl Iterator<Item = &[u8]> {
        let Self {
            members,
            void,
            acts,
            charter: _,
            known: _,
            index: _,
            grants: _,
            tally: _,
        } = self;
        let void = void.values().map(|(member, _)| member);
        let promises = members.values().chain(void);
        let promises = promises.map(|member| member.promise().bytes());
        acts.in_order().map(|(_, act)| act.bytes()).chain(promises)
    }

    /// The statements that belong to entries of this ledger's [`index`](Self::index), in the same order.
    pub fn statements_of(&self, wanted: &BTreeSet<ShortId>) -> impl Iterator<Item = &[u8]> {
        let (mut acts, mut nodes) = (BTreeSet::new(), BTreeSet::new());
        for source in wanted.iter().filter_map(|id| self.index.source(id)) {
            match source {
                Source::Act(id) => acts.insert(id),
                Source::Promise(node) => nodes.insert(node),
            };
        }
        // To bring them in order takes all of them.
        let all = (!acts.is_empty()).then(|| self.acts.in_order());
        let all = all.into_iter().flatten();
        let acts = all.filter(move |(id, _)| acts.contains(id));
        let promises = nodes.into_iter().filter_map(|node| self.promise_of(&node));
        acts.map(|(_, act)| act.bytes())
            .chain(promises.map(|member| member.promise().bytes()))
    }

    /// Compares with another node's index: the statements it lacks, and the ids of those that this
    /// ledger lacks. A full ledger takes no promise of a node that it does not know, so none is offered to one:
    /// `are_full` says whether theirs is.
    #[must_use]
    pub fn compare(&self, theirs: &[IndexEntry], are_full: bool) -> Difference<'_> {
        let by_key = |entry: &IndexEntry| (entry.key, *entry);
        let mine: BTreeMap<ShortId, IndexEntry> = self.index.entries().iter().map(by_key).collect();
        let their: BTreeMap<ShortId, IndexEntry> = theirs.iter().map(by_key).collect();
        let lacks =
            |entry: &IndexEntry, has: &BTreeMap<ShortId, IndexEntry>, is_full: bool| match has
                .get(&entry.key)
            {
                Some(standing) => entry.is_later_than(standing),
                None => !is_full || entry.is_act(),
            };
        let they_lack = mine.values().filter(|entry| lacks(entry, &their, are_full));
        let they_lack: BTreeSet<ShortId> = they_lack.map(|entry| entry.id).collect();
        let i_lack = theirs.iter();
        let i_lack = i_lack.filter(|entry| lacks(entry, &mine, self.is_full()));
        Difference {
            they_lack: self.statements_of(&they_lack).collect(),
            i_lack: i_lack.map(|entry| entry.id).collect(),
        }
    }

    /// Whether a promise of that number comes too late: a later one of its node stands.
    #[must_use]
    pub fn is_stale(&self, node: &NodeId, sequence: u64, now: Timestamp) -> bool {
        self.promise_of(node).is_some_and(|standing| {
            standing.promise().sequence > sequence && standing.retained_until() >= now
        })
    }
}

/// What two ledgers lack of each other.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference<'a> {
    /// Statements that the other node lacks, acts first.
    pub they_lack: Vec<&'a [u8]>,
    /// Ids of statements that this node lacks.
    pub i_lack: Vec<ShortId>,
}

/// The order in which promises of one node replace each other.
fn rank(member: &Member) -> (u64, ContentId) {
    (member.promise().sequence, member.promise().id())
}

/// The invite that admitted a node.
pub(crate) fn invite_of(member: &Member) -> Option<&Signed<Grant>> {
    let last = member.admission().links().last();
    last.map(|link| &link.grant)
}

/// The grants on a member's admission.
fn grants_of(member: &Member) -> impl Iterator<Item = &Signed<Grant>> {
    member.admission().links().iter().map(|link| &link.grant)
}
