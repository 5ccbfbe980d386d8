//! The dispatch tree behind its lock. Nothing waits while it holds the lock, and the path of the mesh's
//! own messages does not allocate.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use grid_promises::Message;
use grid_promises::routes::{Key, Routes, Target};
use parking_lot::{Mutex, MutexGuard};
use tracing::debug;

use super::saved::RoutesFile;
use crate::clock::now;

/// The most known targets that are tried for one message.
const MAX_TRIED: usize = 16;
/// A rejection is recorded only if the arguments of the rejected key are within these bounds.
const MAX_ARGS: usize = 4;
/// See [`MAX_ARGS`]: the total, in bytes.
const MAX_BYTES: usize = 128;

/// How a target dealt with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Observed {
    /// The target rejected it.
    Rejected,
    /// The target handled it as promised.
    Kept,
    /// The target accepted it and then failed.
    Broken,
}

/// A target known to accept such messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Who.
    pub(super) target: Target,
    /// Whether it breaks too many promises to be tried before others.
    pub(super) is_demoted: bool,
}

/// The tree.
pub(super) struct DispatchTree {
    tree: Mutex<Routes>,
    changed: AtomicBool,
    file: RoutesFile,
}

impl DispatchTree {
    /// The tree as last saved. Blocks.
    pub(super) fn new(file: RoutesFile) -> Self {
        Self {
            tree: Mutex::new(file.read_or_empty()),
            changed: AtomicBool::new(false),
            file,
        }
    }

    fn tree(&self) -> MutexGuard<'_, Routes> {
        self.tree.lock()
    }

    /// The targets that accept messages with this key, best first.
    pub(super) fn known(&self, key: Key<'_>) -> Vec<Candidate> {
        let tree = self.tree();
        let known = tree.dispatch(key, now()).take(MAX_TRIED);
        let known = known.map(|candidate| Candidate {
            target: candidate.target.clone(),
            is_demoted: candidate.strength.is_demoted(),
        });
        known.collect()
    }

    /// Whether a target recently rejected messages with this key.
    pub(super) fn rejects(&self, key: Key<'_>, target: &Target) -> bool {
        self.tree().rejects(key, target, now())
    }

    /// Records that a target accepts messages with this key. If that is known, this is one look into the
    /// tree.
    pub(super) fn learn_once(&self, key: Key<'_>, target: &Target) {
        let mut tree = self.tree();
        let now = now();
        let depth = key.depth();
        let mut known = tree.dispatch(key, now);
        if !known.any(|candidate| candidate.target == target && candidate.depth == depth) {
            let learned = tree.accepted(key, target, now);
            drop(tree);
            self.changed(learned.is_ok());
        }
    }

    /// Records how a target dealt with a message.
    pub(super) fn note(&self, key: Key<'_>, target: &Target, what: Observed) {
        let now = now();
        let mut tree = self.tree();
        let noted = match what {
            Observed::Rejected => tree.rejected(key, target, now).map(|()| true),
            Observed::Kept => Ok(tree.kept(key, target, now)),
            Observed::Broken => Ok(tree.broken(key, target, now)),
        };
        drop(tree);
        match noted {
            Ok(noted) => self.changed(noted),
            Err(error) => debug!("{what:?} is not recorded: {error}"),
        }
    }

    /// Forgets a target that is gone.
    pub(super) fn forget(&self, target: &Target) {
        let gone = self.tree().forget_target(target);
        self.changed(gone > 0);
    }

    fn changed(&self, is_so: bool) {
        if is_so {
            self.changed.store(true, Ordering::Relaxed);
        }
    }

    /// A copy of the tree.
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

/// The key at which acceptance and kept or broken promises are recorded: it also covers the next message.
pub(super) fn general(message: &Message) -> Key<'_> {
    match message.module {
        Some(_) => Key::of(message).prefix(2),
        None => Key::promise(message.promise),
    }
}

/// The key at which a module's rejection is recorded: the whole key, or none. It says nothing about other
/// arguments, and a peer that tries many of them must not fill the tree.
pub(super) fn particular(message: &Message) -> Option<Key<'_>> {
    let bytes: usize = message.args.iter().map(Vec::len).sum();
    (message.args.len() <= MAX_ARGS && bytes <= MAX_BYTES).then(|| Key::of(message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache_dir::CacheDir;
    use grid_promises::ContentId;

    fn ways(dir: &tempfile::TempDir) -> DispatchTree {
        DispatchTree::new(RoutesFile::of(&CacheDir::new(dir.path().join("cache"))))
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
        first.note(general(&message), &target, Observed::Kept);
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
            ways.note(general(message), &target, Observed::Kept);
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
        ways.note(particular(&bad).unwrap(), &target, Observed::Rejected);
        assert!(ways.rejects(Key::of(&bad), &target));
        assert!(!ways.rejects(Key::of(&good), &target));
        assert!(ways.known(Key::of(&bad)).is_empty());
        assert_eq!(ways.known(Key::of(&good)).len(), 1);
        let long = good.arg(vec![0; MAX_BYTES]);
        assert!(particular(&long).is_none());
    }
}
