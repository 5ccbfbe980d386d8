//! The file of a network's statements: a log of changes, so that one new statement costs about its own length.
//!
//! Each record is a change: `length: u32`, `!length: u32` (both big-endian), the first eight bytes of the sha2-256 of
//! the body, and the body, CBOR: `[[place, ...], [statement, ...]]`: the places of statements that are gone, and new
//! statements. A statement's place is how many came before it in the file. Each is as the core gave it: with a
//! [seal](grid_promises::network::sealed), by which the core knows at the next start what it verified before. A seal
//! is one statement's own, so that whatever became of the file around it, it says as much.
//!
//! What a crash cut off, or left as zeros, at the end of the file was never confirmed to anybody, and the rest is whole
//! without it. But a disk that lost the end of the file later leaves the same, so that people are told. If anything else
//! does not hold, what came before it counts. Before the next change such a file is written anew, as is
//! one that holds more of what is gone than of what stands.

use std::collections::BTreeMap;
use std::path::Path;

use grid_files::FileError;
use grid_files::atomic;
use grid_files::disk::Disk;
use grid_promises::ContentId;
use grid_promises::cbor::{self, Bounds};
use grid_promises::limits::MAX_STATEMENT;
use grid_promises::network::sealed::SEAL;
use grid_promises::network::statement::MAX_STATEMENTS;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use super::error::StoreError;

/// The name of the file.
pub(super) const STATEMENTS: &str = "statements";
/// The most bytes of a full ledger, each statement at full length with its seal and the heads of its byte string and of
/// its place.
const MOST: usize = 32 + MAX_STATEMENTS * (SEAL + MAX_STATEMENT + 16);
/// The most bytes of the file: what stands, as much of what is gone, and the change that made it too much.
pub(super) const LIMIT: usize = 3 * MOST;
/// A file that is not longer is not worth writing anew, whatever is gone.
const SHORT: usize = 64 * 1024;
const CHECK: usize = 8;
const HEAD: usize = 8 + CHECK;

#[derive(Encode, Decode)]
struct Change {
    /// The places of statements that are gone.
    #[n(0)]
    gone: Vec<u32>,
    #[n(1)]
    new: Vec<ByteVec>,
}

/// What a file holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// The statements that stand, by their places.
    statements: BTreeMap<u32, Vec<u8>>,
    next_place: u32,
    /// How long the beginning is that holds.
    sound: usize,
    /// How long the file is.
    length: usize,
    /// Why what follows is not what was written; `None` if nothing follows, or only what a crash left.
    damage: Option<&'static str>,
}

impl Log {
    /// Reads a file, up to the first record that does not hold.
    #[must_use]
    pub fn read(file: &[u8]) -> Self {
        let mut log = Self {
            length: file.len(),
            ..Self::default()
        };
        while let Some(rest) = file.get(log.sound..).filter(|rest| !rest.is_empty()) {
            match next(rest) {
                Next::Body(body, consumed) => {
                    if !log.take(body) {
                        log.damage = Some("a change in it cannot be");
                        break;
                    }
                    log.sound += consumed;
                }
                // The first record came with the file.
                Next::CutOff if log.sound == 0 => {
                    log.damage = Some("it begins with nothing that was written");
                    break;
                }
                Next::CutOff => break,
                Next::Damaged => {
                    log.damage = Some("a checksum in it does not match");
                    break;
                }
            }
        }
        log
    }

    /// Returns whether the change can be; if not, nothing changed.
    fn take(&mut self, body: &[u8]) -> bool {
        let Ok(change) = cbor::decode::<Change>(body, &Bounds::bytes(MOST)) else {
            return false;
        };
        let is_next = |pair: &[u32]| matches!(pair, [a, b] if a < b);
        let can_go = change.gone.windows(2).all(is_next)
            && change
                .gone
                .iter()
                .all(|place| self.statements.contains_key(place));
        let count = u32::try_from(change.new.len()).ok();
        let Some(next_place) = count.and_then(|count| self.next_place.checked_add(count)) else {
            return false;
        };
        if can_go {
            for place in &change.gone {
                self.statements.remove(place);
            }
            let new = change.new.into_iter().map(Vec::from);
            self.statements.extend((self.next_place..).zip(new));
            self.next_place = next_place;
        }
        can_go
    }

    /// Why a part of the file is not what was written, if that is so.
    #[must_use]
    pub const fn damage(&self) -> Option<&'static str> {
        self.damage
    }

    /// Why statements may be missing, if they may. What a crash cut off looks the same as what a disk lost later.
    #[must_use]
    pub fn lack(&self) -> Option<&'static str> {
        let is_cut = self.sound < self.length;
        let cut =
            "its end is cut short or does not hold, as after a power cut or on a failing disk";
        self.damage.or(is_cut.then_some(cut))
    }

    /// The statements that stand, in the order in which they came.
    #[must_use]
    pub fn into_statements(self) -> Vec<Vec<u8>> {
        self.statements.into_values().collect()
    }

    /// A file that holds these.
    #[must_use]
    pub fn file(statements: &[Vec<u8>]) -> Vec<u8> {
        frame(&cbor::encode(&Change {
            gone: Vec::new(),
            new: statements.iter().cloned().map(ByteVec::from).collect(),
        }))
    }
}

enum Next<'a> {
    /// A body that holds, and how long its record is.
    Body(&'a [u8], usize),
    CutOff,
    Damaged,
}

fn next(rest: &[u8]) -> Next<'_> {
    let Some((head, behind)) = rest.split_first_chunk::<HEAD>() else {
        return Next::CutOff;
    };
    let [a, b, c, d, e, f, g, h, check @ ..] = head;
    let length = u32::from_be_bytes([*a, *b, *c, *d]);
    if u32::from_be_bytes([*e, *f, *g, *h]) != !length {
        // Of a file that grew before its content was there.
        return match rest.iter().all(|byte| *byte == 0) {
            true => Next::CutOff,
            false => Next::Damaged,
        };
    }
    let Some((body, after)) = usize::try_from(length)
        .ok()
        .and_then(|length| behind.split_at_checked(length))
    else {
        return Next::CutOff;
    };
    match (checksum(body) == *check, after.is_empty()) {
        (true, _) => Next::Body(body, HEAD + body.len()),
        // The last change may have been written in part.
        (false, true) => Next::CutOff,
        (false, false) => Next::Damaged,
    }
}

fn checksum(body: &[u8]) -> [u8; CHECK] {
    let id = ContentId::of(body);
    id.digest().first_chunk().copied().unwrap_or_default()
}

fn frame(body: &[u8]) -> Vec<u8> {
    // No change is longer than `MOST`, which is less than 4 GiB.
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let mut record = Vec::with_capacity(HEAD + body.len());
    record.extend(length.to_be_bytes());
    record.extend((!length).to_be_bytes());
    record.extend(checksum(body));
    record.extend(body);
    record
}

/// What is known of a file that was written last: where each statement is, and how long what stands is.
#[derive(Debug, Default)]
pub(super) struct Written {
    places: BTreeMap<ContentId, (u32, usize)>,
    next_place: u32,
    standing: usize,
    length: usize,
}

impl Written {
    /// Of a file that can be appended to.
    fn of(log: &Log) -> Option<Self> {
        (log.sound == log.length && log.length > 0).then(|| {
            let mut written = Self {
                next_place: log.next_place,
                length: log.length,
                ..Self::default()
            };
            for (place, statement) in &log.statements {
                written.put(ContentId::of(statement), *place, statement.len());
            }
            written
        })
    }

    fn put(&mut self, id: ContentId, place: u32, length: usize) {
        self.standing += length;
        self.places.insert(id, (place, length));
    }

    /// The change to these statements, and what is known once it is written. `None` for the change if there is none.
    fn change_to(&mut self, statements: &[Vec<u8>]) -> Option<Change> {
        let mut gone = std::mem::take(&mut self.places);
        self.standing = 0;
        let mut new = Vec::new();
        for statement in statements {
            let id = ContentId::of(statement);
            let place = match gone.remove(&id) {
                Some((place, _)) => place,
                None if self.places.contains_key(&id) => continue,
                None => {
                    new.push(ByteVec::from(statement.clone()));
                    let place = self.next_place;
                    // Each place takes bytes of a file that is shorter than 4 GiB.
                    self.next_place = place.saturating_add(1);
                    place
                }
            };
            self.put(id, place, statement.len());
        }
        let mut gone: Vec<u32> = gone.into_values().map(|(place, _)| place).collect();
        gone.sort_unstable();
        (!(gone.is_empty() && new.is_empty())).then_some(Change { gone, new })
    }
}

/// Brings the file in a folder to hold these statements, durably. `written` is what is known of it, if anything is.
pub(super) fn write<D: Disk>(
    disk: &D,
    folder: &Path,
    written: &mut Option<Written>,
    statements: &[Vec<u8>],
) -> Result<(), StoreError> {
    let path = folder.join(STATEMENTS);
    // Until it is known again: a change that fails may be there in part.
    let known = match written.take() {
        Some(known) => Some(known),
        None => disk
            .read(&path, LIMIT as u64)
            .ok()
            .and_then(|found| Written::of(&Log::read(&found.bytes))),
    };
    let is_there = |known: &Written| {
        let about = disk.about(&path);
        about.is_ok_and(|about| about.len == known.length as u64)
    };
    if let Some(mut known) = known.filter(is_there) {
        let before = known.length;
        let record = match known.change_to(statements) {
            None => Vec::new(),
            Some(change) => frame(&cbor::encode(&change)),
        };
        known.length += record.len();
        if known.length <= SHORT.max(2 * known.standing) || known.length == before {
            if !record.is_empty() {
                append(disk, &path, &record)?;
            }
            *written = Some(known);
            return Ok(());
        }
    }
    let file = Log::file(statements);
    atomic::write_file(disk, folder, STATEMENTS, &file)?;
    *written = Written::of(&Log::read(&file));
    Ok(())
}

fn append<D: Disk>(disk: &D, path: &Path, record: &[u8]) -> Result<(), StoreError> {
    let written = disk
        .append(path, record)
        .and_then(|()| disk.sync_file(path));
    written.map_err(|source| {
        FileError::Write {
            path: path.to_owned(),
            source,
        }
        .into()
    })
}

#[cfg(test)]
mod tests {
    use grid_files::crash::CutDisk;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

    use super::*;

    fn statement(number: u32, length: usize) -> Vec<u8> {
        let mut bytes = number.to_be_bytes().to_vec();
        bytes.resize(length, 7);
        bytes
    }

    fn file(disk: &CutDisk) -> Vec<u8> {
        let path = Path::new("/n").join(STATEMENTS);
        disk.read(&path, u64::MAX).unwrap().bytes.to_vec()
    }

    #[test]
    fn whatever_changes_the_file_holds_what_stands() {
        let folder = Path::new("/n");
        let disk = CutDisk::new(&[folder]);
        let mut random = ChaCha8Rng::seed_from_u64(5);
        let (mut written, mut list, mut number) = (None, Vec::new(), 0);
        let mut anew = 0;
        for _ in 0..600 {
            for _ in 0..random.next_u32() % 4 {
                number += 1;
                list.push(statement(number, 4 + (random.next_u32() % 900) as usize));
            }
            while list.len() > 60 || !list.is_empty() && random.next_u32().is_multiple_of(3) {
                list.swap_remove(random.next_u32() as usize % list.len());
            }
            // As after a restart.
            if random.next_u32().is_multiple_of(20) {
                written = None;
            }
            let before = file_or_none(&disk);
            write(&disk, folder, &mut written, &list).unwrap();
            let now = file(&disk);
            anew += u32::from(!now.starts_with(&before));
            let log = Log::read(&now);
            assert_eq!(log.damage(), None);
            let (mut held, mut expected) = (log.into_statements(), list.clone());
            held.sort();
            expected.sort();
            assert_eq!(held, expected);
            assert!(now.len() <= SHORT + 2 * 60 * 1000);
        }
        assert!((2..100).contains(&anew), "written anew {anew} times");
    }

    fn file_or_none(disk: &CutDisk) -> Vec<u8> {
        let path = Path::new("/n").join(STATEMENTS);
        let found = disk.read(&path, u64::MAX);
        found.map(|found| found.bytes.to_vec()).unwrap_or_default()
    }

    #[test]
    fn a_changed_promise_among_a_thousand_costs_its_own_length() {
        const LENGTH: usize = 900;
        let folder = Path::new("/n");
        let disk = CutDisk::new(&[folder]);
        let mut list: Vec<_> = (0..1000).map(|number| statement(number, LENGTH)).collect();
        let mut written = None;
        write(&disk, folder, &mut written, &list).unwrap();
        let (before, changes) = (disk.used(), 3000);
        for number in 0..changes {
            let at = number as usize * 7 % list.len();
            list[at] = statement(10_000 + number, LENGTH);
            write(&disk, folder, &mut written, &list).unwrap();
        }
        // As much again for what is written anew now and then.
        let each = (disk.used() - before) / u64::from(changes);
        assert!(each < 2 * LENGTH as u64 + 100, "{each} bytes for each");
        let now = disk.used();
        write(&disk, folder, &mut written, &list).unwrap();
        assert_eq!(disk.used(), now, "no change costs nothing");
    }

    #[test]
    fn a_torn_end_is_ignored_and_damage_is_said() {
        let folder = Path::new("/n");
        let disk = CutDisk::new(&[folder]);
        let mut written = None;
        let first = vec![statement(1, 40), statement(2, 50)];
        write(&disk, folder, &mut written, &first).unwrap();
        let whole = file(&disk).len();
        write(
            &disk,
            folder,
            &mut written,
            &[statement(2, 50), statement(3, 30)],
        )
        .unwrap();
        let bytes = file(&disk);
        for cut in whole..bytes.len() {
            let log = Log::read(&bytes[..cut]);
            assert_eq!(log.damage(), None, "cut at {cut}");
            assert_eq!(log.lack().is_some(), cut > whole, "cut at {cut}");
            assert_eq!(log.into_statements(), first, "cut at {cut}");
            // The file system had made it longer, and its content was not there yet.
            let mut zeros = bytes[..cut].to_vec();
            zeros.resize(bytes.len(), 0);
            let log = Log::read(&zeros);
            assert!(
                log.damage().is_none() || cut > whole && cut < whole + 8,
                "{cut}"
            );
            assert!(log.lack().is_some(), "zeros from {cut}");
            assert_eq!(log.into_statements(), first, "zeros from {cut}");
        }
        for at in 0..whole {
            let mut spoilt = bytes.clone();
            spoilt[at] ^= 1;
            let log = Log::read(&spoilt);
            assert!(log.damage().is_some(), "spoilt at {at}");
            assert_eq!(log.lack(), log.damage(), "spoilt at {at}");
            assert_eq!(log.into_statements(), [[0; 0]; 0], "spoilt at {at}");
        }
        // Neither is appended to.
        let path = folder.join(STATEMENTS);
        disk.append(&path, &[1, 2, 3]).unwrap();
        write(&disk, folder, &mut written, &first).unwrap();
        assert_eq!(file(&disk), Log::file(&first));
        disk.spoil(&path);
        let next = [statement(4, 10)];
        write(&disk, folder, &mut None, &next).unwrap();
        assert_eq!(file(&disk), Log::file(&next));
    }
}
