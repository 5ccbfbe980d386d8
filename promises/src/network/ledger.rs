//! The state of a network: its charter and the set of signed statements made under it.
//!
//! [`Ledger::insert`] is the merge. It is commutative, associative and idempotent: acts of owners add up ([`Acts`]),
//! and of each node the promise with the highest `(sequence, content id)` stands. What owners did says which promises
//! count; those that do not are kept apart, because what owners did can turn out not to count. Earlier promises that
//! showed other admissions keep those in their places (`held.rs`), and of members who are gone, a
//! [`Trace`] remains. So nodes that were told the same things hold the same set, and the same views follow from it.
//!
//! A ledger is bounded, and so it forgets; who has [room] follows from the set as well. That leaves
//! cases in which the order of arrival can leave two ledgers that differ by a promise, until they next
//! [compare](Ledger::compare): there are more acts, or more void promises, than are kept; a node drops evidence that it
//! had; what owners did changes who has room.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use crate::content_id::ContentId;
use crate::limits::{CLOCK_SKEW, MAX_ACTS, MAX_MEMBERS, MAX_VOID, SPARE_USES};
use crate::network::act::Act;
use crate::network::acts::{self, Acts};
use crate::network::admission::{Admission, Grant};
use crate::network::authority::Authority;
use crate::network::charter::Charter;
use crate::network::held::{Held, Place, place_of, rank};
use crate::network::ids::NetworkId;
use crate::network::index::{Index, IndexEntry, ShortId, Source};
use crate::network::member::{Known, Member, MemberPromise, PromiseError};
use crate::network::room::{self, NoRoom, Room, Size};
use crate::network::sealed::Sealer;
use crate::network::statement::{Kind, Signed, StatementError, Trust, peek_kind};
use crate::network::tally::Tally;
use crate::network::trace::{Trace, TraceId};
use crate::network::uses;
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
    /// What remains of a member who is gone.
    Trace(Box<Trace>),
}

impl Item {
    /// The bytes as received.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Member(member) => member.promise().bytes(),
            Self::Act(act) => act.bytes(),
            Self::Trace(trace) => trace.bytes(),
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
    /// There is no room for more acts.
    #[error("the network is full: a node keeps {MAX_ACTS} acts of owners")]
    ActsFull,
    /// There is no room for this node, next to those that rank before it.
    #[error(
        "there is no room for this node: the network has as many members as a node keeps ({MAX_MEMBERS}), or there are \
         as many as it keeps of those who came the same way"
    )]
    NoRoom,
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
    held: Held,
    /// Which of the admissions that count have room: all that are held.
    room: Room<Place>,
    /// What remains of members who are gone.
    traces: BTreeMap<TraceId, Trace>,
    trace_room: Room<TraceId>,
    known: BTreeSet<ContentId>,
    index: Index,
    /// The grants that members came by, which were verified with their promises.
    grants: BTreeMap<NodeId, Signed<Grant>>,
    /// Who used each grant, by the promises of the members and the traces.
    tally: Tally,
}

impl Ledger {
    /// The ledger of a network that nobody spoke in yet.
    #[must_use]
    pub fn new(charter: Signed<Charter>) -> Self {
        Self::with_room(charter, Size::OF_MEMBERS)
    }

    /// The same with another room for members, for tests: all nodes of a network have to have the same.
    #[must_use]
    pub fn with_room(charter: Signed<Charter>, room: Size) -> Self {
        Self {
            acts: Acts::new(charter.clone()),
            charter,
            held: Held::default(),
            room: Room::new(room),
            traces: BTreeMap::new(),
            trace_room: Room::new(Size::OF_TRACES),
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
        self.held.members()
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
        self.held.last_of(node)
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
            Some(Kind::Trace) => self.read_trace(bytes, trust),
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
            trust,
            ..self.known_grants()
        };
        let member = Member::verify(promise, &self.charter, &known)?;
        Ok(Item::Member(Box::new(member)))
    }

    const fn known_grants(&self) -> Known<'_> {
        Known {
            predecessor: None,
            grants: Some(&self.grants),
            trust: Trust::Nobody,
        }
    }

    fn read_trace(&self, bytes: &[u8], trust: Trust) -> Result<Item, Refusal> {
        let known = self.known_grants();
        let trace = Trace::read(bytes, &self.charter, trust, |grant| known.grant(grant))?;
        Ok(Item::Trace(Box::new(trace)))
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
            Item::Trace(trace) => self.insert_trace(*trace, now),
            Item::Act(act) => {
                let id = act.act_id();
                if self.acts.held().contains_key(&id) {
                    return Ok(Merged::Known);
                }
                let merged = self.insert_acts([*act], now);
                if merged.new.contains(&id) {
                    Ok(Merged::New)
                } else if merged.dropped.contains(&id) {
                    Err(Refusal::ActsFull)
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
            let _ = match item {
                Item::Member(member) => self.insert_kept(*member, now),
                Item::Trace(trace) => self.insert_trace(*trace, now),
                Item::Act(_) => Ok(Merged::Known),
            };
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
        let place = place_of(&member);
        // What a prune would forget stands in nobody's way, so that it does not matter when
        // each node prunes.
        let stands = |standing: &&Member| standing.retained_until() >= now;
        if let Some(standing) = self.held.at(&place).filter(stands) {
            match rank(standing).cmp(&rank(&member)) {
                Ordering::Equal => return Ok(Merged::Known),
                Ordering::Greater => return Ok(Merged::Stale),
                Ordering::Less => {}
            }
        }
        if let Err(why) = self.authority().rule(&self.charter, &member) {
            self.seat(member, Err(why), now);
            return match self.bound_void() {
                Some(worst) if worst == place => Err(Refusal::Void(why)),
                _ => Ok(Merged::New),
            };
        }
        let claim = self.claim(&member);
        if let Err(NoRoom) = self.room.in_the_way(&place, &claim) {
            return Err(Refusal::NoRoom);
        }
        self.make_way(&member, now)?;
        // Whoever made way leaves no less room.
        if let Ok(Some(other)) = self.room.put(place, claim) {
            self.drop_place(&other);
        }
        self.seat(member, Ok(()), now);
        Ok(Merged::New)
    }

    /// Counts the use of its invite by the node of a promise, and lets those go who are beyond what is kept then.
    fn make_way(&mut self, member: &Member, now: Timestamp) -> Result<(), Refusal> {
        let beyond = self.beyond_with(member, now);
        let place = place_of(member);
        if beyond.contains(&place) {
            self.tally.remove(&place);
            self.count(&place);
            return Err(Refusal::InviteSpent);
        }
        for loser in &beyond {
            self.drop_place(loser);
        }
        Ok(())
    }

    /// What room the admission of a member asks for.
    fn claim(&self, member: &Member) -> room::Claim {
        let authority = self.authority();
        let rank = authority.rank(member);
        let size = self.room.size();
        let (admission, node) = (member.admission(), member.node());
        room::Claim::new(size, authority, admission, &node, rank, None)
    }

    /// Merges a trace.
    fn insert_trace(&mut self, trace: Trace, now: Timestamp) -> Result<Merged, Refusal> {
        let key = trace.key();
        let signed = trace.receipt().map(|seen| seen.issued);
        if let Some(issued) = signed.filter(|issued| *issued > now.after(CLOCK_SKEW)) {
            let ahead = issued.since(now).as_secs();
            return Err(PromiseError::Future { ahead }.into());
        }
        if trace.until() < now {
            let expires = trace.until();
            return Err(PromiseError::Lapsed { expires }.into());
        }
        if let Some(standing) = self.traces.get(&key) {
            if standing.id() == trace.id() {
                return Ok(Merged::Known);
            }
            if !IndexEntry::of_trace(&trace).is_later_than(&IndexEntry::of_trace(standing)) {
                return Ok(Merged::Stale);
            }
        }
        match self.trace_room.put(key, self.claim_of_trace(&trace)) {
            Err(NoRoom) => return Err(Refusal::NoRoom),
            Ok(Some(other)) => self.remove_trace(&other),
            Ok(None) => {}
        }
        self.put_trace(trace, now);
        Ok(Merged::New)
    }

    /// What room a trace asks for. There is little for those that do not count: what owners did can turn out not to.
    fn claim_of_trace(&self, trace: &Trace) -> room::Claim {
        let authority = self.authority();
        let (admission, node) = (trace.admission(), trace.node());
        let rank = authority.rank_shown(&self.network(), admission, &node);
        let size = self.trace_room.size();
        if !self.counts(trace) {
            return room::Claim::void(size, rank, MAX_VOID);
        }
        let uses = trace
            .last()
            .map(|link| link.grant.uses as usize + SPARE_USES);
        room::Claim::new(size, authority, admission, &node, rank, uses)
    }

    fn put_trace(&mut self, trace: Trace, now: Timestamp) {
        let key = trace.key();
        self.forget_trace(&key);
        self.known.insert(trace.id());
        self.index
            .insert(IndexEntry::of_trace(&trace), Source::Trace(key));
        self.tally.go_to(now);
        if self.counts(&trace) {
            self.tally.put_trace(self.acts.authority(), &trace);
        } else {
            self.tally.remove_trace(&key);
        }
        let grants = trace.admission().links().iter().map(|link| link.grant.id());
        let beyond: BTreeSet<Place> = grants.flat_map(|id| self.tally.beyond(&id)).collect();
        self.traces.insert(key, trace);
        for loser in &beyond {
            self.drop_place(loser);
        }
    }

    fn remove_trace(&mut self, key: &TraceId) {
        self.forget_trace(key);
        self.trace_room.remove(key);
        self.tally.remove_trace(key);
    }

    fn forget_trace(&mut self, key: &TraceId) {
        if let Some(trace) = self.traces.remove(key) {
            self.known.remove(&trace.id());
            self.index.remove(&IndexEntry::of_trace(&trace));
        }
    }

    /// As [`Acts::belong_to`].
    pub fn belong_to(&mut self, node: NodeId) {
        self.acts.belong_to(node);
    }

    /// As [`Acts::go_on_from`].
    pub fn go_on_from(&mut self, act: Signed<Act>) {
        self.acts.go_on_from(act);
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
            let promises = self.held.all().map(|member| member.promise().id());
            let traces = self.traces.values().map(Trace::id);
            self.known = held.chain(promises).chain(traces).collect();
            for id in merged.dropped.iter().chain(&merged.strange) {
                self.index.remove(&IndexEntry::of_act(id));
            }
        }
        if *self.authority() != before {
            self.rule_again(now);
        }
        merged
    }

    /// The last promise of every node, whether it counts or not.
    pub(crate) fn promises(&self) -> impl Iterator<Item = &Member> {
        let void = self.held.void().map(|(member, _)| member);
        let members = self.held.members().values();
        members.chain(void.filter(|member| self.is_last(member)))
    }

    fn is_last(&self, member: &Member) -> bool {
        let last = self.promise_of(&member.node());
        last.is_some_and(|last| rank(last) == rank(member))
    }

    /// Puts every promise where it belongs by what owners did.
    fn rule_again(&mut self, now: Timestamp) {
        let rule = |member: &Member| self.authority().rule(&self.charter, member);
        let counting = self.held.counting();
        let out = counting.filter_map(|member| Some((place_of(member), rule(member).err()?)));
        let void = self.held.void().map(|(member, _)| member);
        let rulings: Vec<(Place, Result<(), Void>)> = out
            .map(|(place, why)| (place, Err(why)))
            .chain(void.map(|member| (place_of(member), rule(member))))
            .collect();
        let mut back = Vec::new();
        for (place, ruling) in rulings {
            let Some(member) = self.take(&place) else {
                continue;
            };
            match ruling {
                Err(why) => self.seat(member, Err(why), now),
                Ok(()) => back.push(member),
            }
        }
        self.bound_void();
        self.settle_again();
        // What owners did says whose word counts.
        let authority = self.acts.authority();
        let traces = self.traces.values().filter(|trace| self.counts(trace));
        self.tally = Tally::of(authority, self.held.counting(), traces, now);
        for member in back.into_iter().filter(|back| back.retained_until() >= now) {
            // Where there is no room, it goes: its own node offers it again.
            let _ = self.insert_kept(member, now);
        }
    }

    /// Gives room to members and traces anew, because what owners did says how they rank. Whoever has none any longer goes: its own
    /// node offers it again.
    fn settle_again(&mut self) {
        let members = self.held.counting();
        let claims = members.map(|member| (place_of(member), self.claim(member)));
        let (room, out) = Room::among(self.room.size(), claims);
        self.room = room;
        for place in &out {
            self.drop_place(place);
        }
        let traces = self.traces.iter();
        let claims = traces.map(|(key, trace)| (*key, self.claim_of_trace(trace)));
        let (room, out) = Room::among(self.trace_room.size(), claims);
        self.trace_room = room;
        for key in &out {
            self.forget_trace(key);
        }
    }

    /// Puts a promise into its place, and finds out by which its node is a member now.
    fn seat(&mut self, member: Member, ruling: Result<(), Void>, now: Timestamp) {
        let place = place_of(&member);
        self.forget_lapsed(&place.0, now);
        if let Some(before) = self.held.take(&place) {
            self.unknow(&before);
        }
        if ruling.is_err() {
            self.room.remove(&place);
            self.tally.remove(&place);
        } else {
            for grant in grants_of(&member) {
                let known = self.grants.entry(grant.invite);
                known.or_insert_with(|| grant.clone());
            }
        }
        self.know(&member);
        self.held.put(member, ruling);
        self.count(&place);
        self.held.seat(&place.0);
    }

    /// Counts the uses of invites that the promise in a place shows, if it counts.
    fn count(&mut self, place: &Place) {
        if let Some(member) = self.held.counting_at(place) {
            self.tally.put(self.acts.authority(), member);
        }
    }

    /// Forgets those promises of a node that do not count for which there is no room. Returns the place of one of them.
    fn bound_void(&mut self) -> Option<Place> {
        let mut dropped = None;
        while self.held.void_len() > MAX_VOID {
            let worst = self.held.void().max_by_key(|(member, why)| {
                let links = member.admission().links().len();
                (*why, links, place_of(member))
            });
            let worst = worst.map(|(member, _)| place_of(member))?;
            self.drop_place(&worst);
            dropped = Some(worst);
        }
        dropped
    }

    /// Takes a promise out of its place, and forgets it but for that.
    fn take(&mut self, place: &Place) -> Option<Member> {
        self.room.remove(place);
        self.tally.remove(place);
        let member = self.held.take(place)?;
        self.unknow(&member);
        Some(member)
    }

    /// Forgets the promise that holds a place. If it is the last one of its node, the one before it is then.
    fn drop_place(&mut self, place: &Place) {
        self.take(place);
        self.held.seat(&place.0);
    }

    fn know(&mut self, member: &Member) {
        self.known.insert(member.promise().id());
        let entry = IndexEntry::of_promise(member);
        self.index.insert(entry, Source::Promise(place_of(member)));
    }

    fn unknow(&mut self, member: &Member) {
        self.known.remove(&member.promise().id());
        self.index.remove(&IndexEntry::of_promise(member));
    }

    /// Counts `member` in, and says who is void then because of a grant on its admission, and not kept.
    ///
    /// Every grant has a count of its own. Whoever has an invite's key and is a member could sign
    /// another grant of that key with fewer uses, and would put others out if the two were one.
    fn beyond_with(&mut self, member: &Member, now: Timestamp) -> BTreeSet<Place> {
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
        let void = self.held.void();
        void.filter(move |(member, _)| member.retained_until() >= now && self.is_last(member))
    }

    /// The promises that something follows from at a moment: all but those that a
    /// [`prune`](Self::prune) would forget.
    pub(crate) fn retained(&self, now: Timestamp) -> impl Iterator<Item = &Member> {
        let members = self.held.members().values();
        members.filter(move |member| member.retained_until() >= now)
    }

    /// Whether the use of which this is a trace counts, by what owners did.
    pub(crate) fn counts(&self, trace: &Trace) -> bool {
        let (admission, node) = (trace.admission(), trace.node());
        let authority = self.authority();
        let ruling = authority.rule_shown(&self.charter, admission, &node);
        ruling.is_ok() && trace.since(authority).is_some()
    }

    /// What remains of members who are gone, as far as it still matters.
    pub(crate) fn traces(&self, now: Timestamp) -> impl Iterator<Item = &Trace> {
        let traces = self.traces.values();
        traces.filter(move |trace| trace.until() >= now)
    }

    /// The members whose uses of invites count at a moment: those who are retained, and of the others those who leave a
    /// trace.
    pub(crate) fn users(&self, now: Timestamp) -> impl Iterator<Item = &Member> {
        let authority = self.authority();
        let members = self.held.counting();
        members.filter(move |member| uses::count_until(authority, member) >= now)
    }

    /// Forgets what lapsed so long ago that nothing follows from it, and what became void in too great
    /// a number. Says whose promises those were. Of members, traces remain.
    pub fn prune(&mut self, now: Timestamp) -> Vec<NodeId> {
        let over = self.traces.values().filter(|trace| trace.until() < now);
        for key in over.map(Trace::key).collect::<Vec<_>>() {
            self.remove_trace(&key);
        }
        let is_old = |member: &&Member| member.retained_until() < now;
        let old: BTreeSet<Place> = self.held.all().filter(is_old).map(place_of).collect();
        for place in &old {
            self.leave_trace(place, now);
        }
        self.tally.go_to(now);
        let old: BTreeSet<Place> = self.tally.all_beyond().chain(old).collect();
        for place in &old {
            self.take(place);
        }
        let old: Vec<NodeId> = old.into_iter().map(|(node, _)| node).collect();
        for node in &old {
            self.held.seat(node);
        }
        self.forget_grants();
        old
    }

    /// Forgets the grants that nobody has come by who is still held: also those of whoever had to make room.
    fn forget_grants(&mut self) {
        let counting = self.held.counting();
        let used: BTreeSet<NodeId> = counting
            .flat_map(grants_of)
            .map(|grant| grant.invite)
            .collect();
        self.grants.retain(|invite, _| used.contains(invite));
    }

    /// Forgets what a prune would of a node.
    fn forget_lapsed(&mut self, node: &NodeId, now: Timestamp) {
        for place in self.held.places_of(node) {
            let standing = self.held.at(&place);
            if standing.is_some_and(|standing| standing.retained_until() < now) {
                self.leave_trace(&place, now);
                self.drop_place(&place);
            }
        }
    }

    /// Keeps what remains of the promise in a place, if it counts. Where there is no room, those who rank before it have
    /// it.
    fn leave_trace(&mut self, place: &Place, now: Timestamp) {
        let counting = self.held.counting_at(place);
        let trace = counting.and_then(|gone| Trace::of(gone, &self.charter, self.acts.authority()));
        if let Some(trace) = trace {
            let _ = self.insert_trace(trace, now);
        }
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

    /// Every statement in the form for this node's own disk, but for its own promise, which is kept by itself. What
    /// holds only in part is not sealed.
    pub(crate) fn kept(&self, own: &NodeId, sealer: &Sealer) -> Vec<Vec<u8>> {
        let acts = self.acts.held().values().chain(self.acts.aside());
        let acts = acts.map(|act| sealer.seal(act.bytes()));
        let promises = self.held.all().filter(|member| member.node() != *own);
        let promises = promises.map(|member| match member.is_whole() {
            true => sealer.seal(member.promise().bytes()),
            false => member.promise().bytes().to_vec(),
        });
        let traces = self.traces.values();
        let traces = traces.map(|trace| sealer.seal(trace.bytes()));
        acts.chain(promises).chain(traces).collect()
    }

    /// The bytes of every statement, acts first, seniors before juniors, so that who speaks is known. A new field has
    /// to be named, so that no statements are held and not passed on.
    pub fn statements(&self) -> impl Iterator<Item = &[u8]> {
        let Self {
            held,
            acts,
            traces,
            charter: _,
            known: _,
            index: _,
            grants: _,
            tally: _,
            room: _,
            trace_room: _,
        } = self;
        let promises = held.all().map(|member| member.promise().bytes());
        let acts = acts.in_order().map(|(_, act)| act.bytes());
        let traces = traces.values().map(Trace::bytes);
        acts.chain(promises).chain(traces)
    }

    /// The statements that belong to entries of this ledger's [`index`](Self::index), in the same order.
    pub fn statements_of(&self, wanted: &BTreeSet<ShortId>) -> impl Iterator<Item = &[u8]> {
        let (mut acts, mut places, mut traces) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for source in wanted.iter().filter_map(|id| self.index.source(id)) {
            match source {
                Source::Act(id) => acts.insert(id),
                Source::Promise(place) => places.insert(place),
                Source::Trace(key) => traces.insert(key),
            };
        }
        // To bring them in order takes all of them.
        let all = (!acts.is_empty()).then(|| self.acts.in_order());
        let all = all.into_iter().flatten();
        let acts = all.filter(move |(id, _)| acts.contains(id));
        let promises = places.into_iter().filter_map(|place| self.held.at(&place));
        let traces = traces.into_iter().filter_map(|key| self.traces.get(&key));
        acts.map(|(_, act)| act.bytes())
            .chain(promises.map(|member| member.promise().bytes()))
            .chain(traces.map(Trace::bytes))
    }

    /// The statements that show who came by a grant.
    pub(crate) fn users_of<'a>(&'a self, grant: &'a ContentId) -> impl Iterator<Item = &'a [u8]> {
        let promises = self.held.counting();
        let promises = promises.filter(move |member| came_by(member, grant));
        let promises = promises.map(|member| member.promise().bytes());
        let traces = self.traces.values();
        let traces = traces.filter(move |trace| {
            let last = trace.last();
            last.is_some_and(|link| link.grant.id() == *grant)
        });
        promises.chain(traces.map(Trace::bytes))
    }

    /// The admissions that count, also those that their nodes show no longer or that are traces, for each use of an invite
    /// at least one.
    pub(crate) fn admissions(&self) -> impl Iterator<Item = &Admission> {
        let promised = self.held.counting().map(Member::admission);
        promised.chain(self.traces.values().map(Trace::admission))
    }

    /// Compares with another node's index: the statements it lacks, and the ids of those that this
    /// ledger lacks.
    #[must_use]
    pub fn compare(&self, theirs: &[IndexEntry]) -> Difference<'_> {
        let by_key = |entry: &IndexEntry| (entry.key, *entry);
        let mine: BTreeMap<ShortId, IndexEntry> = self.index.entries().iter().map(by_key).collect();
        let their: BTreeMap<ShortId, IndexEntry> = theirs.iter().map(by_key).collect();
        let lacks = |entry: &IndexEntry, has: &BTreeMap<ShortId, IndexEntry>| {
            let standing = has.get(&entry.key);
            standing.is_none_or(|standing| entry.is_later_than(standing))
        };
        let they_lack = mine.values().filter(|entry| lacks(entry, &their));
        let they_lack: BTreeSet<ShortId> = they_lack.map(|entry| entry.id).collect();
        let i_lack = theirs.iter().filter(|entry| lacks(entry, &mine));
        Difference {
            they_lack: self.statements_of(&they_lack).collect(),
            i_lack: i_lack.map(|entry| entry.id).collect(),
        }
    }

    /// Whether what may be a promise comes too late: a later one of its node shows the same admission. Nothing in it is
    /// verified.
    #[must_use]
    pub fn is_stale(&self, bytes: &[u8], now: Timestamp) -> bool {
        let Some((_, node, sequence)) = MemberPromise::peek(bytes) else {
            return false;
        };
        let is_later = |member: &Member| {
            member.promise().sequence > sequence && member.retained_until() >= now
        };
        let Some(last) = self.promise_of(&node).filter(|last| is_later(last)) else {
            return false;
        };
        let Some(shown) = MemberPromise::peek_admission(bytes) else {
            return false;
        };
        last.promise().admission == shown || {
            let held = Admission::peek_id(&shown).and_then(|id| self.held.at(&(node, id)));
            held.is_some_and(is_later)
        }
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

/// The invite that admitted a node.
pub(crate) fn invite_of(member: &Member) -> Option<&Signed<Grant>> {
    let last = member.admission().links().last();
    last.map(|link| &link.grant)
}

/// Whether a member came by this grant: a second one of the same invite key is another.
pub(crate) fn came_by(member: &Member, grant: &ContentId) -> bool {
    invite_of(member).is_some_and(|theirs| theirs.id() == *grant)
}

/// The grants on a member's admission.
fn grants_of(member: &Member) -> impl Iterator<Item = &Signed<Grant>> {
    member.admission().links().iter().map(|link| &link.grant)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::charter::AdmissionRule;
    use crate::network::testing::{self, T0, link};

    /// Guests of node 2 come by an invite each, until there is room for few of them.
    #[test]
    fn invites_of_those_who_had_to_make_room_are_forgotten() {
        let charter = testing::charter(AdmissionRule::Invite);
        let size = room::Size {
            all: 64,
            by_themselves: 32,
            through: 4,
        };
        let mut ledger = Ledger::with_room(charter.clone(), size);
        let host = link(&charter, 1, 10, 2);
        for n in 20..60 {
            let links = vec![host.clone(), link(&charter, 2, n + 100, n)];
            let mut promise = testing::promise(&charter, n, 1);
            promise.admission = Admission::from_links(links).raw();
            let _ = ledger.insert_bytes(&testing::signed(promise, n), T0);
        }
        let held = ledger.len();
        assert!(ledger.grants.len() > held + 1);
        ledger.prune(T0);
        assert_eq!((ledger.len(), ledger.grants.len()), (held, held + 1));
    }
}
