//! What lies in the cache besides objects and may go: memoised calls and unfinished downloads.
//!
//! Losing one costs computing or fetching again, and nothing else. So they count against the limit of
//! the cache as objects do, in the one order of when each was used last. Besides, each kind has a share
//! of its own: a peer that asks for much, or gives half of everything, pushes out what came by peers
//! before, and no objects.
//!
//! A call may go at any time. A download that was written to in the last [`GRACE`](super::GRACE) stays:
//! it is under way.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::collect::{Policy, is_recent};
use super::disk::{Objects, Seen};
use super::error::{CacheError, write};
use super::listing::Amount;
use grid_files::disk::{Disk, Hold};

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// The result of a call: one file.
    Call,
    /// An object as far as it was fetched, with the note beside it.
    Partial,
}

/// How many of a kind may stay, and how many bytes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// How many.
    pub count: u64,
    /// Their bytes together.
    pub bytes: u64,
}

/// Something that may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loose {
    pub(super) kind: Kind,
    /// When it was written or read last.
    pub(super) used: SystemTime,
    /// Its files, and what they were when they were listed.
    files: Vec<(PathBuf, Seen)>,
    pub(super) len: u64,
}

impl Loose {
    /// One of a kind comes first that was not used for the longest time.
    pub(super) fn order(&self) -> (SystemTime, Option<&Path>) {
        (
            self.used,
            self.files.first().map(|(path, _)| path.as_path()),
        )
    }
}

/// Whether something went.
pub(super) enum Gone {
    Yes,
    /// It is in use.
    InUse,
    /// The system refused.
    Failed(CacheError),
}

impl<D: Disk> Objects<D> {
    /// All calls.
    pub(super) fn list_calls(&self) -> Result<Vec<Loose>, CacheError> {
        let mut all = Vec::new();
        self.each_below(self.calls(), &mut |path, about| {
            all.push(Loose {
                kind: Kind::Call,
                used: about.modified,
                len: about.len,
                files: vec![(path, Seen::from(*about))],
            });
        })?;
        Ok(all)
    }

    /// All downloads: of each the file and its note, whichever of them are there.
    pub(super) fn list_partials(&self) -> Result<Vec<Loose>, CacheError> {
        let mut all: BTreeMap<PathBuf, Loose> = BTreeMap::new();
        self.each_below(self.partial(), &mut |path, about| {
            let one = all.entry(path.with_extension("")).or_insert_with(|| Loose {
                kind: Kind::Partial,
                used: about.modified,
                files: Vec::new(),
                len: 0,
            });
            one.used = one.used.max(about.modified);
            one.len = one.len.saturating_add(about.len);
            one.files.push((path, Seen::from(*about)));
        })?;
        Ok(all.into_values().collect())
    }

    /// Removes it, unless it is in use.
    pub(super) fn remove_loose(&self, loose: &Loose, policy: &Policy, now: SystemTime) -> Gone {
        let is_partial = loose.kind == Kind::Partial;
        if is_partial && is_recent(loose.used, now, policy.grace) {
            return Gone::InUse;
        }
        if policy.is_rehearsal {
            return Gone::Yes;
        }
        let removed = match loose.kind {
            Kind::Call => self.remove_call(loose).map(|()| true),
            Kind::Partial => self.remove_partial(loose),
        };
        match removed {
            Ok(true) => Gone::Yes,
            Ok(false) => Gone::InUse,
            Err(error) => Gone::Failed(error),
        }
    }

    /// Also the folders that are empty then. Not durable, and need not be: what a power cut brings back
    /// is as good as it was.
    fn remove_call(&self, call: &Loose) -> Result<(), CacheError> {
        let root = self.calls();
        for (path, _) in &call.files {
            self.remove_file_if_there(path)?;
            let folders = path
                .ancestors()
                .skip(1)
                .take_while(|folder| *folder != root);
            for folder in folders {
                // Not empty, or somebody else was faster.
                if self.disk().remove_dir(folder).is_err() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Under the lock that whoever goes on with a download takes too, and only if nobody has since it
    /// was listed. The note goes first: a file without a note is begun anew.
    fn remove_partial(&self, partial: &Loose) -> Result<bool, CacheError> {
        let _lock = self.lock(Hold::Alone)?;
        for (path, seen) in &partial.files {
            if self
                .look(path)?
                .is_none_or(|about| Seen::from(about) != *seen)
            {
                return Ok(false);
            }
        }
        for (path, _) in partial.files.iter().rev() {
            self.remove_file_if_there(path)?;
        }
        Ok(true)
    }

    fn remove_file_if_there(&self, path: &Path) -> Result<(), CacheError> {
        match self.disk().remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(write(path)),
        }
    }
}

impl Share {
    /// Whether so much is within it.
    pub(super) const fn holds(&self, amount: &Amount) -> bool {
        amount.count <= self.count && amount.bytes <= self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::time::Duration;

    use grid_promises::content_id::HashCode;
    use grid_promises::{ContentId, Message};

    use super::super::collect::{Collected, GRACE, Reached};
    use super::*;
    use crate::CacheDir;
    use crate::memos::Memos;

    const NO_BOUND: Share = Share {
        count: u64::MAX,
        bytes: u64::MAX,
    };

    struct Place {
        dir: tempfile::TempDir,
        objects: Objects,
        memos: Memos,
    }

    impl Place {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let cache = CacheDir::new(dir.path().join("cache"));
            Self {
                objects: Objects::of(&cache),
                memos: Memos::of(&cache),
                dir,
            }
        }

        /// An object that was put so many hours ago.
        fn object(&self, bytes: &[u8], hours: u32) -> ContentId {
            let id = self.objects.put(HashCode::Sha2_256, bytes).unwrap().id;
            age(&self.objects.path(&id), hours);
            id
        }

        /// A result that was kept so many hours ago.
        fn call(&self, arg: &str, hours: u32) {
            self.memos.keep(&call(arg), &call("its result"));
            for loose in self.objects.list_calls().unwrap() {
                let (path, _) = &loose.files[0];
                if path.parent().is_some_and(|folder| folder.ends_with(arg)) {
                    age(path, hours);
                }
            }
        }

        fn has_call(&self, arg: &str) -> bool {
            self.memos.get(&call(arg)).is_some()
        }

        /// Half of an object and its note, written so many hours ago.
        fn partial(&self, name: &str, hours: u32) -> PathBuf {
            let folder = self.dir.path().join("cache/partial");
            fs::create_dir_all(&folder).unwrap();
            for (suffix, length) in [("part", 1000), ("progress", 10)] {
                let path = folder.join(format!("{name}.{suffix}"));
                fs::write(&path, vec![0; length]).unwrap();
                age(&path, hours);
            }
            folder.join(format!("{name}.part"))
        }

        fn collect(&self, policy: Policy) -> Collected {
            self.objects.collect(&Reached::default(), &policy).unwrap()
        }

        /// How many folders there are below that of the calls.
        fn folders(&self) -> usize {
            let mut folders = vec![self.objects.calls()];
            let mut count = 0;
            while let Some(folder) = folders.pop() {
                count += 1;
                for entry in fs::read_dir(folder).unwrap() {
                    let entry = entry.unwrap();
                    if entry.file_type().unwrap().is_dir() {
                        folders.push(entry.path());
                    }
                }
            }
            count - 1
        }
    }

    fn age(path: &Path, hours: u32) {
        let then = SystemTime::now() - Duration::from_secs(3600) * hours;
        File::open(path).unwrap().set_modified(then).unwrap();
    }

    fn call(arg: &str) -> Message {
        Message::new(ContentId::of(b"p")).arg(arg)
    }

    fn policy(limit: u64) -> Policy {
        Policy {
            limit,
            calls: NO_BOUND,
            partial: NO_BOUND,
            grace: GRACE,
            is_rehearsal: false,
        }
    }

    #[test]
    fn calls_beyond_their_share_go_and_nothing_else() {
        let place = Place::new();
        let object = place.object(b"older than any call", 100);
        for (arg, hours) in [("a", 3), ("b", 9), ("c", 2), ("d", 0)] {
            place.call(arg, hours);
        }
        // Read again: it was used now.
        assert!(place.has_call("b"));
        let few = Share {
            count: 2,
            bytes: u64::MAX,
        };
        let share = Policy {
            calls: few,
            ..policy(1 << 30)
        };
        let rehearsed = place.collect(Policy {
            is_rehearsal: true,
            ..share
        });
        assert_eq!((rehearsed.calls.count, place.folders()), (2, 6));
        let collected = place.collect(share);
        assert_eq!(
            (collected.calls, collected.after),
            (rehearsed.calls, rehearsed.after)
        );
        assert_eq!(collected.after, place.objects.sizes().unwrap().total());
        assert!(collected.evicted.is_empty() && place.objects.has(&object).unwrap());
        let left = ["a", "b", "c", "d"].map(|arg| place.has_call(arg));
        assert_eq!(left, [false, true, false, true]);
        // What is empty then goes too, and comes again.
        assert_eq!(place.folders(), 4);
        place.call("a", 0);
        assert!(place.has_call("a"));

        let one = place.objects.sizes().unwrap().calls.bytes / 3;
        let bytes = Share {
            bytes: one,
            ..NO_BOUND
        };
        let collected = place.collect(Policy {
            calls: bytes,
            ..policy(1 << 30)
        });
        assert_eq!((collected.calls.count, collected.calls.bytes), (2, 2 * one));
    }

    #[test]
    fn what_was_used_longest_ago_goes_first_of_whatever_kind() {
        let place = Place::new();
        let old = place.object(&[1; 5000], 7);
        place.call("a", 6);
        let partial = place.partial("half", 5);
        let middle = place.object(&[2; 5000], 4);
        place.call("b", 3);
        let all = place.objects.sizes().unwrap();
        assert_eq!((all.partial.count, all.partial.bytes), (2, 1010));
        let mut left = all.total();
        let one = all.calls.bytes / 2;
        let here = || {
            let has = |id| place.objects.has(id).unwrap();
            let calls = ["a", "b"].map(|arg| {
                let list = place.objects.list_calls().unwrap();
                list.iter()
                    .any(|one| one.files[0].0.parent().unwrap().ends_with(arg))
            });
            [
                has(&old),
                calls[0],
                partial.exists(),
                has(&middle),
                calls[1],
            ]
        };
        for (gone, bytes) in [(1, 5000), (2, one), (3, 1010), (4, 5000), (5, one)] {
            left -= bytes;
            let collected = place.collect(policy(left));
            assert_eq!((collected.after, collected.is_within()), (left, true));
            assert_eq!(here(), std::array::from_fn(|index| index >= gone), "{gone}");
        }
        assert_eq!(place.objects.sizes().unwrap().total(), 0);
        assert_eq!(place.folders(), 0);
    }

    #[test]
    fn a_download_that_is_under_way_stays() {
        let place = Place::new();
        let (old, new) = (place.partial("old", 5), place.partial("new", 0));
        let again = place.partial("again", 5);
        // Its file was written to, its note was not.
        age(&again, 0);
        let collected = place.collect(policy(0));
        assert_eq!(
            (collected.partial.count, collected.partial.bytes),
            (1, 1010)
        );
        assert!(!collected.is_within() && collected.stuck.is_empty());
        assert_eq!(
            [&old, &new, &again].map(|path| path.exists()),
            [false, true, true]
        );
        assert!(!old.with_extension("progress").exists());

        // Somebody goes on with it after it was judged.
        age(&new, 5);
        age(&new.with_extension("progress"), 5);
        let listed = place.objects.list_partials().unwrap();
        age(&new, 4);
        for loose in listed {
            let gone = place
                .objects
                .remove_loose(&loose, &policy(0), SystemTime::now());
            assert!(matches!(gone, Gone::InUse));
        }
        assert!(new.exists() && new.with_extension("progress").exists());
        let share = Policy {
            partial: Share {
                count: 1,
                ..NO_BOUND
            },
            ..policy(1 << 30)
        };
        assert_eq!(place.collect(share).partial.count, 1);
        assert_eq!([&new, &again].map(|path| path.exists()), [false, true]);
    }

    #[test]
    fn the_call_with_the_longest_path_is_counted_and_goes() {
        let place = Place::new();
        let message = Message {
            args: vec![b"x".to_vec(); Message::MAX_ARGS],
            ..call("")
        };
        place.memos.keep(&message, &call("its result"));
        assert!(place.memos.get(&message).is_some());
        assert_eq!(place.folders(), Message::MAX_ARGS + 2);
        let sizes = place.objects.sizes().unwrap();
        assert_eq!((sizes.calls.count, sizes.total()), (1, sizes.calls.bytes));
        assert_eq!(place.collect(policy(0)).calls.count, 1);
        assert_eq!(
            (place.folders(), place.objects.sizes().unwrap().total()),
            (0, 0)
        );
    }

    #[test]
    fn what_cannot_be_removed_is_said_and_holds_up_nothing() {
        let place = Place::new();
        place.call("a", 9);
        fs::create_dir_all(
            place
                .dir
                .path()
                .join(format!("cache/calls{}", "/f".repeat(70))),
        )
        .unwrap();
        place.call("b", 8);
        let collected = place.collect(policy(0));
        assert_eq!((collected.calls.count, collected.stuck.len()), (2, 1));
    }
}
