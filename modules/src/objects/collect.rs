//! Garbage collection: what is evicted when the cache is over its limit, and what is not.
//!
//! The least recently used goes first, be it an object, a memoised call or an unfinished download (see
//! `loose`). Two kinds of objects stay whatever the limit: those that the roots reach, and those put or read
//! within the last [`GRACE`](super::GRACE), for callers that store objects first and the table that names
//! them afterwards. Reading an object renews its time if that is older than [`RECENCY`](super::RECENCY), so
//! whoever just read or put an object can rely on it for [`GRACE`](super::GRACE) less that.
//!
//! What the roots reach is found out beforehand, in `reach`.

use std::io;
use std::time::SystemTime;

use grid_files::atomic::UNFINISHED;
use grid_files::disk::{Disk, Hold};

use super::disk::{Objects, Seen};
use super::error::{CacheError, write};
use super::limits::ABANDONED;
use super::listing::{Amount, Listed, Sizes};
use super::loose::{Gone, Kind, Loose};
use super::policy::{Policy, Share, is_recent};
use super::reach::Reached;

/// Why an object was not evicted when it was its turn.
#[derive(Debug)]
pub enum Why {
    /// The roots reach it.
    Reached,
    /// It was put or read recently.
    Recent,
    /// It was put, read or removed during the collection.
    Changed,
    /// The system refused.
    Failed(CacheError),
}

/// An object that was not evicted when it was its turn.
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
    /// What was skipped on the way to the limit, and why.
    pub passed: Vec<Passed>,
    /// Memoised calls that went.
    pub calls: Amount,
    /// Unfinished downloads that went.
    pub partial: Amount,
    /// Calls and downloads that the system would not remove.
    pub stuck: Vec<CacheError>,
    /// Abandoned files, which went first.
    pub abandoned: Amount,
}

impl Collected {
    /// Whether the cache is within its limit now.
    #[must_use]
    pub const fn is_within(&self) -> bool {
        self.after <= self.limit
    }
}

impl<D: Disk> Objects<D> {
    /// Evicts the least recently used until the cache is within its limit. Whoever has an evicted object open
    /// can go on reading it. Concurrent collections evict no more than one would alone.
    ///
    /// The caller finds out what is [`reach`](super::reach)ed just before: what a root reaches since then is safe
    /// only for what is left of [`GRACE`](super::GRACE).
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

    /// Removes an object unless it was put or read since it was listed. Not durable, and need not be: an
    /// object that a power cut brings back is intact.
    fn remove_if_still(&self, object: &Listed) -> Result<bool, CacheError> {
        let path = self.path(&object.id);
        let _lock = self.lock(Hold::Alone)?;
        if self.look(&path)?.map(Seen::from) != Some(object.seen()) {
            return Ok(false);
        }
        self.disk().remove_file(&path).map_err(write(&path))?;
        Ok(true)
    }

    /// Removes unfinished files that were abandoned.
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
    /// Trims one kind to its share, and returns what is left of it.
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
        // Of equal age, calls and downloads go first: they are cheaper to get back.
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
