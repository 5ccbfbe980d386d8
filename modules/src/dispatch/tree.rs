//! The tree behind its lock. Nothing under the lock waits for anything, and nothing allocates on the
//! way of the mesh's own messages.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use grid_promises::Message;
use grid_promises::routes::{Key, Routes, Target};
use tracing::debug;

use super::saved::RoutesFile;
use crate::clock::now;

/// The most targets that one message is tried with, of those that the tree knows.
const MAX_TRIED: usize = 16;
/// A rejection is recorded at the key that was rejected if its arguments are within these bounds.
const MAX_ARGS: usize = 4;
/// See [`MAX_ARGS`]; in bytes, of all of them.
const MAX_BYTES: usize = 128;

/// What came of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// The target would not have it.
    Rejected,
    /// The target handled it as it promised.
    Kept,
    /// The target took it and failed at it.
    Broken,
}

/// A target that is known to take such messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Way {
    /// Who.
    pub(super) target: Target,
    /// Whether it breaks too many of its promises to be asked before others.
    pub(super) is_demoted: bool,
}

/// The tree.
pub(super) struct Ways {
    tree: Mutex<Routes>,
    changed: AtomicBool,
    file: RoutesFile,
}

impl Ways {
    /// As it was saved. Blocks.
    pub(super) fn new(file: RoutesFile) -> Self {
        Self {
            tree: Mutex::new(file.read_or_empty()),
            changed: AtomicBool::new(false),
            file,
        }
    }

    fn tree(&self) -> MutexGuard<'_, Routes> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who takes messages with this key, best first.
    pub(super) fn known(&self, key: Key<'_>) -> Vec<Way> {
        let tree = self.tree();
        let known = tree.dispatch(key, now()).take(MAX_TRIED);
        let known = known.map(|candidate| Way {
            target: candidate.target.clone(),
            is_demoted: candidate.strength.is_demoted(),
        });
        known.collect()
    }

    /// Whether a target rejected messages with this key lately.
    pub(super) fn rejects(&self, key: Key<'_>, target: &Target) -> bool {
        self.tree().rejects(key, target, now())
    }

    /// Records that a target takes messages with this key, unless that is known. A look into the tree
    /// where it is.
    pub(super) fn learn_once(&self, key: Key<'_>, target: &Target) {
        let mut tree = self.tree();
        let now = now();
        let depth = key.depth();
        let mut known = tree.dispatch(key, now);
        if !known.any(|way| way.target == target && way.depth == depth) {
            let learned = tree.accepted(key, target, now);
            drop(tree);
            self.changed(learned.is_ok());
        }
    }

    /// Records what came of a message.
    pub(super) fn note(&self, key: Key<'_>, target: &Target, what: What) {
        let now = now();
        let mut tree = self.tree();
        let noted = match what {
            What::Rejected => tree.rejected(key, target, now).map(|()| true),
            What::Kept => Ok(tree.kept(key, target, now)),
            What::Broken => Ok(tree.broken(key, target, now)),
        };
        drop(tree);
        match noted {
            Ok(noted) => self.changed(noted),
            Err(error) => debug!("{what:?} is not recorded: {error}"),
        }
    }

    /// Forgets a target that is not there any more.
    pub(super) fn forget(&self, target: &Target) {
        let gone = self.tree().forget_target(target);
        self.changed(gone > 0);
    }

    fn changed(&self, is_so: bool) {
        if is_so {
            self.changed.store(true, Ordering::Relaxed);
        }
    }

    /// The tree as it is.
    pub(super) fn snapshot(&self) -> Routes {
        self.tree().clone()
    }

    /// Saves the tree, if it changed. Blocks.
    pub(super) fn save(&self) -> io::Result<()> {
        if !self.changed.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let pruned = {
            let mut tree = self.tree();
            tree.prune(now());
            tree.clone()
        };
        let saved = self.file.write(&pruned.export());
        self.changed(saved.is_err());
        saved
    }
}

/// Where it is recorded that somebody accepted a message, kept or broke it: what is said there speaks
/// of the next message too.
pub(super) fn general(message: &Message) -> Key<'_> {
    match message.module {
        Some(_) => Key::of(message).prefix(2),
        None => Key::promise(message.promise),
    }
}

/// Where it is recorded that a module rejected a message: at all of its key, or nowhere. It says
/// nothing of other arguments, and a peer that tries many of them is not to fill the tree.
pub(super) fn particular(message: &Message) -> Option<Key<'_>> {
    let bytes: usize = message.args.iter().map(Vec::len).sum();
    (message.args.len() <= MAX_ARGS && bytes <= MAX_BYTES).then(|| Key::of(message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache_dir::CacheDir;
    use grid_promises::ContentId;

    fn ways(dir: &tempfile::TempDir) -> Ways {
        Ways::new(RoutesFile::of(&CacheDir::new(dir.path().join("cache"))))
    }

    #[test]
    fn what_was_learned_survives_and_is_written_only_when_it_changed() {
        let dir = tempfile::tempdir().unwrap();
        let first = ways(&dir);
        let message = Message::new(ContentId::of(b"p")).arg("a");
        let target = Target::Module(ContentId::of(b"m"));
        first.save().unwrap();
        assert!(!dir.path().join("cache/routes").exists());
        first.learn_once(general(&message), &target);
        first.note(general(&message), &target, What::Kept);
        first.save().unwrap();
        let again = ways(&dir);
        assert_eq!(again.snapshot().export(), first.snapshot().export());
        let known = again.known(Key::of(&message));
        assert_eq!(known.len(), 1);
        assert_eq!((&known[0].target, known[0].is_demoted), (&target, false));
        std::fs::remove_file(dir.path().join("cache/routes")).unwrap();
        again.learn_once(general(&message), &target);
        again.save().unwrap();
        assert!(!dir.path().join("cache/routes").exists());
    }

    #[test]
    fn what_is_known_of_a_promise_is_learned_again_of_a_module_that_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let ways = ways(&dir);
        let code = ContentId::of(b"m");
        let target = Target::Module(code);
        let any = Message::new(ContentId::of(b"p")).arg("a");
        let this = any.clone().module(code);
        for message in [&any, &this, &this] {
            ways.learn_once(general(message), &target);
            ways.note(general(message), &target, What::Kept);
        }
        let kept: Vec<u32> = ways.snapshot().entries().map(|entry| entry.kept).collect();
        assert_eq!(kept, [1, 2]);
    }

    #[test]
    fn a_rejection_closes_nothing_but_what_was_rejected() {
        let dir = tempfile::tempdir().unwrap();
        let ways = ways(&dir);
        let target = Target::Module(ContentId::of(b"m"));
        let good = Message::new(ContentId::of(b"p")).arg("a");
        let bad = good.clone().arg("b");
        ways.learn_once(general(&good), &target);
        ways.note(particular(&bad).unwrap(), &target, What::Rejected);
        assert!(ways.rejects(Key::of(&bad), &target));
        assert!(!ways.rejects(Key::of(&good), &target));
        assert!(ways.known(Key::of(&bad)).is_empty());
        assert_eq!(ways.known(Key::of(&good)).len(), 1);
        let long = good.arg(vec![0; MAX_BYTES]);
        assert!(particular(&long).is_none());
    }
}
