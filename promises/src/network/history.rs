//! What a node decided about promises, when, and why: enough to decide it again at any later time.
//!
//! A history is a sequence of decisions. Each is written when something about it changed, as what
//! changed since the one before, and now and then as a whole, so that a file of them can be cut off at
//! its beginning. A decision holds the [`Records`] that it was made about: with them, and the judge
//! that it names, anybody can decide again and compare ([`Decision::decide_again`]).
//!
//! An entry is framed: four bytes of its length, big-endian, the first eight of its sha2-256, then
//! `[is whole, at, judge | null, failure | null, here | null, [member, ...], [node, ...],
//! [[node, [[accepted, why], ...]], ...]]`: what is new of this node, new or other members, members that
//! are gone, new or other verdicts. An entry that was cut off ends the history.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};
use sha2::{Digest as _, Sha256};

use crate::cbor::{self, Bounds};
use crate::content_id::ContentId;
use crate::network::accept::{self, Verdicts};
use crate::network::judgement::{Opinions, Reason};
use crate::network::records::{HereFields, MemberFields, Records};
use crate::time::Timestamp;
use grid_keys::NodeId;

/// How many bytes of changes follow a whole decision before the next whole one.
const WHOLE_EVERY: usize = 256 * 1024;
/// Length and checksum of an entry.
const FRAME: usize = 4 + CHECK;
const CHECK: usize = 8;
/// The longest entry, in bytes: records, and a verdict of 250 bytes for each of their prefixes.
const MAX_ENTRY: usize = 16 * Records::MAX_LEN;

/// One line of a verdict, as people read it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Line {
    /// Whether the prefix was accepted.
    #[n(0)]
    pub accepted: bool,
    /// Why, or why not.
    #[n(1)]
    pub why: String,
}

/// Verdicts as people read them: for each member a line for each prefix, in the order of
/// [`Promised::all`](super::records::Promised::all).
pub type Lines = BTreeMap<NodeId, Vec<Line>>;

/// What a node decided at a moment, and about what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// When it was made.
    pub at: Timestamp,
    /// The judge of the network, if it had one: the content id of its code.
    pub judge: Option<ContentId>,
    /// Why the judge did not speak about these records. What it had said before stood.
    pub failure: Option<Reason>,
    /// What was decided about.
    pub records: Records,
    /// What was decided.
    pub lines: Lines,
}

impl Decision {
    /// Decides again. `opinions` is what the judge says about the [`records`](Self::records), if the
    /// decision names one.
    #[must_use]
    pub fn decide_again(&self, opinions: Option<&Opinions>) -> Lines {
        lines(&accept::decide(&self.records, opinions))
    }

    fn says_the_same(&self, other: &Self) -> bool {
        let Self {
            at: _,
            judge,
            failure,
            records,
            lines,
        } = self;
        *judge == other.judge
            && *failure == other.failure
            && *records == other.records
            && *lines == other.lines
    }
}

/// Verdicts as people read them.
#[must_use]
pub fn lines(verdicts: &Verdicts) -> Lines {
    let line = |verdict: &accept::Verdict| match &verdict.verdict {
        Ok(grounds) => Line {
            accepted: true,
            why: grounds.to_string(),
        },
        Err(objection) => Line {
            accepted: false,
            why: objection.to_string(),
        },
    };
    let of =
        |(node, list): (&NodeId, &Vec<accept::Verdict>)| (*node, list.iter().map(line).collect());
    verdicts.iter().map(of).collect()
}

/// Writes a history.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    last: Option<Decision>,
    since_whole: usize,
}

/// An entry that is to be put behind the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    /// Whether it stands without those before it: a file may begin with it.
    pub is_whole: bool,
    /// Frame and entry.
    pub bytes: Vec<u8>,
}

impl Writer {
    /// The entry for a decision; `None` if it says what the last one said. The first one is whole.
    pub fn write(&mut self, decision: Decision) -> Option<NewEntry> {
        if let Some(last) = &self.last
            && last.says_the_same(&decision)
        {
            return None;
        }
        let since = self
            .last
            .as_ref()
            .filter(|_| self.since_whole < WHOLE_EVERY);
        let is_whole = since.is_none();
        let bytes = frame(&cbor::encode(&Entry::between(since, &decision)));
        self.since_whole = if is_whole {
            0
        } else {
            self.since_whole + bytes.len()
        };
        self.last = Some(decision);
        Some(NewEntry { is_whole, bytes })
    }
}

/// What a history says about a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The decision that stood.
    pub decision: Decision,
    /// When the next one was made; `None` if it stands still, or to the end of the history.
    pub until: Option<Timestamp>,
}

/// Why a history does not say what stood at a moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// There is none.
    #[error("nothing was decided yet")]
    Empty,
    /// It begins later.
    #[error("the history begins at {begins:?}, later than that")]
    TooEarly {
        /// When the first decision in it was made.
        begins: Timestamp,
    },
}

/// Reads what stood at a moment, out of files of entries, oldest first.
///
/// # Errors
/// The history is empty, or begins after that moment. A part that is damaged ends the file that it
/// stands in, and changes to what is not there say nothing; what is readable counts.
pub fn at(files: &[&[u8]], moment: Timestamp) -> Result<Moment, HistoryError> {
    let mut now: Option<Decision> = None;
    for file in files {
        // A file begins with a whole decision.
        let mut follows = false;
        for (entry, _) in Entries(file, 0) {
            let base = now.as_ref().filter(|_| follows);
            let next = entry.after(base);
            follows = next.is_some();
            let Some(next) = next else { continue };
            if next.at > moment {
                return match now {
                    Some(decision) => Ok(Moment {
                        decision,
                        until: Some(next.at),
                    }),
                    None => Err(HistoryError::TooEarly { begins: next.at }),
                };
            }
            now = Some(next);
        }
    }
    match now {
        Some(decision) => Ok(Moment {
            decision,
            until: None,
        }),
        None => Err(HistoryError::Empty),
    }
}

/// How many bytes at the beginning of a file are whole entries. What follows was cut off, or is
/// damaged.
#[must_use]
pub fn sound_length(file: &[u8]) -> usize {
    Entries(file, 0).last().map_or(0, |(_, end)| end)
}

/// The entries of a file, and where each ends.
struct Entries<'a>(&'a [u8], usize);

impl Iterator for Entries<'_> {
    type Item = (Entry, usize);

    fn next(&mut self) -> Option<(Entry, usize)> {
        let rest = self.0.get(self.1..)?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (check, rest) = rest.split_first_chunk::<CHECK>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let bytes = rest.get(..length)?;
        if checksum(bytes) != *check {
            return None;
        }
        let entry = cbor::decode(bytes, &Bounds::bytes(MAX_ENTRY)).ok()?;
        self.1 += FRAME + length;
        Some((entry, self.1))
    }
}

fn checksum(bytes: &[u8]) -> [u8; CHECK] {
    let digest = Sha256::digest(bytes);
    digest.first_chunk().copied().unwrap_or_default()
}

fn frame(entry: &[u8]) -> Vec<u8> {
    // No entry is that long: MAX_ENTRY is less.
    let length = u32::try_from(entry.len()).unwrap_or(u32::MAX);
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(&checksum(entry));
    bytes.extend_from_slice(entry);
    bytes
}

#[derive(Encode, Decode)]
struct Entry {
    #[n(0)]
    is_whole: bool,
    #[n(1)]
    at: Timestamp,
    #[n(2)]
    judge: Option<ContentId>,
    #[n(3)]
    failure: Option<String>,
    #[n(4)]
    here: Option<HereFields>,
    #[n(5)]
    members: Vec<MemberFields>,
    #[n(6)]
    gone: Vec<NodeId>,
    #[n(7)]
    lines: Vec<LinesFields>,
}

#[derive(Encode, Decode)]
struct LinesFields {
    #[n(0)]
    node: NodeId,
    #[n(1)]
    lines: Vec<Line>,
}

impl Entry {
    /// What is new in `next`; all of it if there is nothing before.
    fn between(last: Option<&Decision>, next: &Decision) -> Self {
        let was = |node: &NodeId| last.and_then(|last| last.records.members.get(node));
        let said = |node: &NodeId| last.and_then(|last| last.lines.get(node));
        let here = Some(&next.records.here) != last.map(|last| &last.records.here);
        let changed = next.records.members.iter();
        let changed = changed
            .filter(|(node, now)| was(node) != Some(now))
            .map(|(node, now)| (*node, now.clone()))
            .collect();
        let gone = last
            .into_iter()
            .flat_map(|last| last.records.members.keys());
        let lines = next.lines.iter();
        Self {
            is_whole: last.is_none(),
            at: next.at,
            judge: next.judge,
            failure: next.failure.as_ref().map(|why| why.as_str().to_owned()),
            here: here.then(|| HereFields::of(&next.records.here)),
            members: MemberFields::list(&changed),
            gone: gone
                .filter(|node| !next.records.members.contains_key(node))
                .copied()
                .collect(),
            lines: lines
                .filter(|(node, now)| said(node) != Some(now))
                .map(|(node, lines)| LinesFields {
                    node: *node,
                    lines: lines.clone(),
                })
                .collect(),
        }
    }

    /// The decision that follows; `None` if this does not follow.
    fn after(self, last: Option<&Decision>) -> Option<Decision> {
        let last = last.filter(|_| !self.is_whole);
        if last.is_none() && !self.is_whole {
            return None;
        }
        let here = match self.here {
            Some(here) => here.read().ok()?,
            None => last?.records.here.clone(),
        };
        let mut members = last
            .map(|last| last.records.members.clone())
            .unwrap_or_default();
        let mut lines = last.map(|last| last.lines.clone()).unwrap_or_default();
        let gone: BTreeSet<NodeId> = self.gone.into_iter().collect();
        members.retain(|node, _| !gone.contains(node));
        lines.retain(|node, _| !gone.contains(node));
        members.extend(MemberFields::read_list(self.members).ok()?);
        lines.extend(
            self.lines
                .into_iter()
                .map(|fields| (fields.node, fields.lines)),
        );
        Some(Decision {
            at: self.at,
            judge: self.judge,
            failure: self.failure.as_deref().map(Reason::new),
            records: Records { here, members },
            lines,
        })
    }
}
