//! What goes when the cache holds more than it may, and what may not go.
//!
//! What was not used for the longest time goes first, be it an object, a memoised call or an unfinished
//! download (see `loose`). Two kinds of objects stay whatever the limit says: what the roots reach, and what was put or read in the last [`GRACE`]. The second is for
//! whoever stores objects first and the table that names them afterwards. A read renews the time of an
//! object when it is older than [`RECENCY`](super::RECENCY), so [`GRACE`] less that is how long
//! somebody who just read or put an object can count on it.
//!
//! This file knows nothing of what objects mean: which other objects one names is the caller's to say.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, SystemTime};

use grid_promises::ContentId;

use super::cache::Cache;
use super::disk::{Objects, Seen};
use super::error::{CacheError, write};
use super::incoming::ABANDONED;
use super::listing::{Amount, Listed, Sizes};
use super::loose::{Gone, Kind, Loose, Share};
use grid_files::atomic::UNFINISHED;
use grid_files::disk::{Disk, Hold};

/// How long an object stays after it was put or read.
pub const GRACE: Duration = Duration::from_secs(10 * 60);
/// The most objects that roots may reach.
pub const MAX_REACHED: usize = 1_000_000;

/// What an object names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    /// An object that names none: a promise text, code. It is not read, and need not be here.
    Leaf(ContentId),
    /// An object that may name others, and names none if it is not here: a descriptor. What it named
    /// may go then; without it nobody can use that.
    Maybe(ContentId),
    /// An object that names others: a table. If it is not here, what it reaches is not known, and
    /// nothing is evicted.
    Inner(ContentId),
}

/// What the roots reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reached(BTreeMap<ContentId, Depth>);

/// How far an object is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Depth {
    Leaf,
    Maybe,
    Inner,
}

impl Reached {
    /// Whether an object is reached.
    #[must_use]
    pub fn contains(&self, id: &ContentId) -> bool {
        self.0.contains_key(id)
    }

    /// How many objects are reached; they need not all be here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Counts an object among them that names none.
    pub fn add(&mut self, id: ContentId) {
        self.note(Reference::Leaf(id));
    }

    /// Notes an object; whether it is new and has to be read.
    fn note(&mut self, reference: Reference) -> Option<ContentId> {
        let (id, depth) = match reference {
            Reference::Leaf(id) => (id, Depth::Leaf),
            Reference::Maybe(id) => (id, Depth::Maybe),
            Reference::Inner(id) => (id, Depth::Inner),
        };
        let known = self.0.entry(id).or_insert(Depth::Leaf);
        // What one object calls a leaf another may know better.
        let is_new = depth > *known;
        *known = depth.max(*known);
        is_new.then_some(id)
    }
}

/// Follows references from the roots on. `cache` is where inner objects are read from: the embedded
/// ones and the disk, and not peers. An inner object that is not in memory
/// ([`IN_MEMORY`](super::IN_MEMORY)) names nothing: nobody decodes one of that size.
///
/// # Errors
/// [`CacheError::Unreached`], [`CacheError::TooMany`], [`CacheError::Damaged`] and what the cache
/// says: what the roots reach is not known then, and nothing may be evicted.
pub fn reach(
    cache: &dyn Cache,
    roots: &[ContentId],
    references: &dyn Fn(&ContentId, &[u8]) -> Vec<Reference>,
) -> Result<Reached, CacheError> {
    let mut reached = Reached::default();
    let mut unread: Vec<ContentId> = Vec::new();
    for root in roots {
        unread.extend(reached.note(Reference::Inner(*root)));
    }
    while let Some(id) = unread.pop() {
        let object = match cache.get(&id)? {
            Some(object) => object,
            None if reached.0.get(&id) == Some(&Depth::Inner) => {
                return Err(CacheError::Unreached { id });
            }
            None => continue,
        };
        let named = object.bytes().map(|bytes| references(&id, bytes));
        for reference in named.unwrap_or_default() {
            unread.extend(reached.note(reference));
            if reached.len() > MAX_REACHED {
                return Err(CacheError::TooMany { limit: MAX_REACHED });
            }
        }
    }
    Ok(reached)
}

/// How much may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// For all of `cache/`, in bytes.
    pub limit: u64,
    /// What of it memoised calls may have.
    pub calls: Share,
    /// What of it unfinished downloads may have.
    pub partial: Share,
    /// How long an object stays after it was put or read, and a download after it was written to:
    /// [`GRACE`], unless a test knows better.
    pub grace: Duration,
    /// Say what would go, and remove nothing.
    pub is_rehearsal: bool,
}

/// Why an object stayed though its turn had come.
#[derive(Debug)]
pub enum Why {
    /// The roots reach it.
    Reached,
    /// It was put or read a short time ago.
    Recent,
    /// It was put or read, or removed, while others were evicted.
    Changed,
    /// The system refused.
    Failed(CacheError),
}

/// An object that stayed though its turn had come.
#[derive(Debug)]
pub struct Passed {
    /// The object.
    pub object: Listed,
    /// Why it stayed.
    pub why: Why,
}

/// What a collection did.
#[derive(Debug)]
pub struct Collected {
    /// What was there before, in `cache/`.
    pub before: Sizes,
    /// What there is after it, in bytes.
    pub after: u64,
    /// The limit, in bytes.
    pub limit: u64,
    /// What went, the least recently used first.
    pub evicted: Vec<Listed>,
    /// What would have gone before the cache was below its limit, and why it did not.
    pub passed: Vec<Passed>,
    /// Memoised calls that went.
    pub calls: Amount,
    /// Unfinished downloads that went.
    pub partial: Amount,
    /// Calls and downloads that the system would not remove.
    pub stuck: Vec<CacheError>,
    /// Unfinished files without a writer, which went first.
    pub abandoned: Amount,
}

impl Collected {
    /// Whether the cache is within its limit now.
    #[must_use]
    pub const fn is_within(&self) -> bool {
        self.after <= self.limit
    }
}

/// An object may have been put since `now` was taken. A time further ahead is one from a wrong clock,
/// and says nothing of use.
pub(super) fn is_recent(used: SystemTime, now: SystemTime, grace: Duration) -> bool {
    let apart = now
        .duration_since(used)
        .unwrap_or_else(|ahead| ahead.duration());
    apart < grace
}

impl<D: Disk> Objects<D> {
    /// Evicts what was not used for the longest time until the cache is within its limit. Readers that
    /// have an evicted object open read on. Two collections at once evict no more than one alone would
    /// for each.
    ///
    /// The caller finds out what is [`reach`]ed just before: what a root reaches since then is safe
    /// only for what is left of [`GRACE`].
    ///
    /// # Errors
    /// The list cannot be read. What is wrong with single objects is in [`Collected::passed`].
    pub fn collect(&self, reached: &Reached, policy: &Policy) -> Result<Collected, CacheError> {
        let before = self.sizes()?;
        let now = SystemTime::now();
        let abandoned = self.sweep(now, policy)?;
        let mut collected = Collected {
            before,
            after: before.total().saturating_sub(abandoned.bytes),
            limit: policy.limit,
            evicted: Vec::new(),
            passed: Vec::new(),
            calls: Amount::default(),
            partial: Amount::default(),
            stuck: Vec::new(),
            abandoned,
        };
        let run = Run {
            objects: self,
            reached,
            policy,
            now,
        };
        let mut rest = run.trim(self.list_calls()?, policy.calls, &mut collected);
        rest.extend(run.trim(self.list_partials()?, policy.partial, &mut collected));
        if !collected.is_within() {
            run.evict_all(self.list()?, rest, &mut collected);
        }
        Ok(collected)
    }

    /// `None` if it went.
    fn evict(
        &self,
        object: &Listed,
        reached: &Reached,
        policy: &Policy,
        now: SystemTime,
    ) -> Option<Why> {
        if reached.contains(&object.id) {
            return Some(Why::Reached);
        }
        if is_recent(object.used, now, policy.grace) {
            return Some(Why::Recent);
        }
        if policy.is_rehearsal {
            return None;
        }
        match self.remove_if_still(object) {
            Ok(true) => None,
            Ok(false) => Some(Why::Changed),
            Err(error) => Some(Why::Failed(error)),
        }
    }

    /// Removes an object that nobody put or read since it was listed. Not durable, and need not be: an
    /// object that a power cut brings back is whole.
    fn remove_if_still(&self, object: &Listed) -> Result<bool, CacheError> {
        let path = self.path(&object.id);
        let _lock = self.lock(Hold::Alone)?;
        if self.look(&path)?.map(Seen::from) != Some(object.seen()) {
            return Ok(false);
        }
        self.disk().remove_file(&path).map_err(write(&path))?;
        Ok(true)
    }

    /// Removes unfinished files that have no writer any more.
    fn sweep(&self, now: SystemTime, policy: &Policy) -> Result<Amount, CacheError> {
        let folder = self.incoming();
        let mut gone = Amount::default();
        for entry in self.entries(&folder)? {
            let path = folder.join(&entry.name);
            let Some(about) = self.look(&path)? else {
                continue;
            };
            let is_old = now
                .duration_since(about.modified)
                .is_ok_and(|age| age >= ABANDONED);
            if !is_old || !about.is_regular || !entry.name.ends_with(UNFINISHED) {
                continue;
            }
            if !policy.is_rehearsal {
                match self.disk().remove_file(&path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    other => other.map_err(write(&path))?,
                }
            }
            gone.add(about.len);
        }
        Ok(gone)
    }
}

/// Something whose turn may come.
enum Candidate {
    Object(Listed),
    Loose(Loose),
}

/// One collection.
struct Run<'a, D> {
    objects: &'a Objects<D>,
    reached: &'a Reached,
    policy: &'a Policy,
    now: SystemTime,
}

impl<D: Disk> Run<'_, D> {
    /// Brings one kind within its share; what is left of it.
    fn trim(&self, mut all: Vec<Loose>, share: Share, collected: &mut Collected) -> Vec<Loose> {
        all.sort_by(|a, b| a.order().cmp(&b.order()));
        let mut left = Amount::default();
        for loose in &all {
            left.add(loose.len);
        }
        all.retain(|loose| {
            let stays = share.holds(&left) || !self.remove(loose, collected);
            if !stays {
                left.subtract(loose.len);
            }
            stays
        });
        all
    }

    /// Evicts objects, calls and downloads in one order until the cache is within its limit.
    fn evict_all(&self, objects: Vec<Listed>, loose: Vec<Loose>, collected: &mut Collected) {
        let mut all: Vec<(SystemTime, Candidate)> = Vec::new();
        all.extend(
            loose
                .into_iter()
                .map(|one| (one.used, Candidate::Loose(one))),
        );
        // Of one time calls and downloads go first: they cost less to have again.
        all.extend(
            objects
                .into_iter()
                .map(|one| (one.used, Candidate::Object(one))),
        );
        all.sort_by_key(|(used, _)| *used);
        for (_, candidate) in all {
            if collected.is_within() {
                break;
            }
            match candidate {
                Candidate::Loose(loose) => _ = self.remove(&loose, collected),
                Candidate::Object(object) => self.evict(object, collected),
            }
        }
    }

    fn evict(&self, object: Listed, collected: &mut Collected) {
        let evicted = self
            .objects
            .evict(&object, self.reached, self.policy, self.now);
        match evicted {
            None => {
                collected.after = collected.after.saturating_sub(object.len);
                collected.evicted.push(object);
            }
            Some(why) => collected.passed.push(Passed { object, why }),
        }
    }

    /// Whether it went.
    fn remove(&self, loose: &Loose, collected: &mut Collected) -> bool {
        match self.objects.remove_loose(loose, self.policy, self.now) {
            Gone::Yes => {
                collected.after = collected.after.saturating_sub(loose.len);
                match loose.kind {
                    Kind::Call => collected.calls.add(loose.len),
                    Kind::Partial => collected.partial.add(loose.len),
                }
                true
            }
            Gone::InUse => false,
            Gone::Failed(error) => {
                collected.stuck.push(error);
                false
            }
        }
    }
}
