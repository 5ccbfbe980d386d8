//! The tree that is at once the history and the routing table of a node's dispatch.
//!
//! It starts empty and learns by use. A *path* says of a target (a builtin, a fetched module, a
//! peer) what is known of it at a prefix of keys: that it accepted messages with this prefix, that
//! it rejected one lately, and how well it kept what it accepted. A key is the promise of a message,
//! then the module that it asks for, then its arguments ([`Key`]).
//!
//! Record at the prefix that a target spoke about, not at the whole key of every message: a tree of
//! whole keys repeats the past and says nothing of the next message.
//!
//! # Order of dispatch
//!
//! 1. The longest accepting prefix of a target counts. A target that rejected lately at that prefix
//!    or at a longer one is left out: the more particular knowledge wins.
//! 2. Longer prefixes come first; of one prefix builtins, then fetched modules, then peers; of one
//!    class the strongest, and of equal strength the lower target.
//! 3. A *demoted* path ([`Strength`]) stands behind all others of its class, also behind those at
//!    shorter prefixes. It does not move among the other classes further than that takes it.
//!
//! # What it refuses
//!
//! It asks nobody, reads no clock, and does not judge whether a target should be asked: that a
//! message may be handed to a peer at all is for the caller to say. It is bounded ([`Limits`]); what
//! is beyond the bounds of a key is refused. It believes its caller: only what this node measured
//! itself may be recorded, never what a peer says of another.

mod candidates;
mod entry;
mod error;
mod export;
mod here;
mod key;
mod path;
mod segment;
mod slab;
mod strength;
mod target;
mod targets;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::BTreeSet;
use std::time::Duration;

pub use candidates::{Candidate, Candidates};
pub use entry::{Entry, Sign};
pub use error::ImportError;
pub use key::{Key, Prefix, RouteError};
pub use strength::Strength;
pub use target::{ByClass, Class, Target};
pub use targets::{ClassLimits, Limits, Quota};

use here::Spot;
use path::Path;
use slab::{Index, Slab};
use targets::Targets;
use tree::{ROOT, Tree};

use crate::time::Timestamp;

/// How long a rejection is remembered. Ten minutes: long enough that a flood of equal messages is
/// rejected once, short enough that somebody who begins to take part is not overlooked for long.
pub const REJECTION_LIFETIME: Duration = Duration::from_secs(10 * 60);

/// The tree. See the module's documentation.
///
/// Recording takes time in proportion to the depth of the key and the logarithm of what is there;
/// so does dispatch, which allocates nothing.
#[derive(Clone)]
pub struct Routes {
    tree: Tree,
    paths: Slab<Path>,
    targets: Targets,
    /// The rejections, in the order in which they lapse.
    lapsing: BTreeSet<(Timestamp, Index)>,
    /// The number that the next recording gets.
    turn: u64,
    limits: Limits,
}

impl Default for Routes {
    fn default() -> Self {
        Self::new(Limits::STANDARD)
    }
}

impl Routes {
    /// An empty tree.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            tree: Tree::new(),
            paths: Slab::new(),
            targets: Targets::new(),
            lapsing: BTreeSet::new(),
            turn: 0,
            limits,
        }
    }

    /// How many paths there are, of all signs.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.paths.len()
    }

    /// Whether nothing is known.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The targets that accept messages with this key, best first, as the module's documentation
    /// says. Allocates nothing, and finds each candidate when it is asked for.
    pub fn dispatch(&self, key: Key<'_>, now: Timestamp) -> Candidates<'_> {
        Candidates::new(&self.tree, &self.paths, &self.targets, &key, now)
    }

    /// Whether a target is known to reject messages with this key, so that there is no use in asking
    /// it: the longest prefix at which something counts of it is a rejection that still stands.
    #[must_use]
    pub fn rejects(&self, key: Key<'_>, target: &Target, now: Timestamp) -> bool {
        let Some(number) = self.targets.find(target) else {
            return false;
        };
        (1..=key.depth().min(Key::MAX_DEPTH))
            .rev()
            .filter_map(|depth| self.path(&key.prefix(depth), number))
            .find(|path| path.accepted || path.is_rejecting(now))
            .is_some_and(|path| path.is_rejecting(now))
    }

    /// The target accepted a message with this prefix. Ends a rejection at the same prefix.
    ///
    /// # Errors
    /// The key is too long or the name of the builtin is (see [`RouteError`]).
    pub fn accepted(
        &mut self,
        prefix: Key<'_>,
        target: &Target,
        now: Timestamp,
    ) -> Result<(), RouteError> {
        let path = self.learn(&prefix, target)?;
        self.change(path, now, |path| {
            path.accepted = true;
            path.rejected_until = None;
        });
        self.make_room(target);
        Ok(())
    }

    /// The target rejected a message with this prefix. That stands for [`REJECTION_LIFETIME`] from
    /// now; what it accepted and kept before at this prefix counts again after that.
    ///
    /// # Errors
    /// The key is too long or the name of the builtin is (see [`RouteError`]).
    pub fn rejected(
        &mut self,
        prefix: Key<'_>,
        target: &Target,
        now: Timestamp,
    ) -> Result<(), RouteError> {
        let path = self.learn(&prefix, target)?;
        self.change(path, now, |path| {
            path.rejected_until = Some(now.after(REJECTION_LIFETIME));
        });
        self.make_room(target);
        Ok(())
    }

    /// The target handled well what it accepted at this prefix. Says whether that was recorded: it
    /// is not where the tree does not know that the target accepted there, as after
    /// [`Routes::forget_target`].
    pub fn kept(&mut self, prefix: Key<'_>, target: &Target, now: Timestamp) -> bool {
        self.outcome(&prefix, target, now, |path| {
            path.kept = path.kept.saturating_add(1);
            path.strength = path.strength.kept();
        })
    }

    /// The target failed at what it accepted at this prefix: it gave an error, a wrong answer, or
    /// none in time. Says whether that was recorded, as [`Routes::kept`] does.
    pub fn broken(&mut self, prefix: Key<'_>, target: &Target, now: Timestamp) -> bool {
        self.outcome(&prefix, target, now, |path| {
            path.broken = path.broken.saturating_add(1);
            path.strength = path.strength.broken();
        })
    }

    /// Forgets everything about a target: a module that was removed, a node that is no peer any
    /// more. Returns how many paths that were.
    pub fn forget_target(&mut self, target: &Target) -> usize {
        let number = self.targets.find(target);
        let Some(held) = number.and_then(|number| self.targets.of_target(number)) else {
            return 0;
        };
        let paths: Vec<Index> = held.paths().map(|(_, path)| path).collect();
        for path in &paths {
            self.remove(*path);
        }
        paths.len()
    }

    /// Drops the rejections that have lapsed, and the paths that consisted of nothing else. Returns
    /// how many paths went. Nothing else depends on when it is called.
    pub fn prune(&mut self, now: Timestamp) -> usize {
        let mut gone = 0;
        while let Some(&(until, index)) = self.lapsing.first()
            && until <= now
        {
            self.lapsing.pop_first();
            match self.paths.get_mut(index) {
                Some(path) if path.accepted => {
                    path.rejected_until = None;
                    let path = *path;
                    self.list(index, &path);
                }
                _ => {
                    self.remove(index);
                    gone += 1;
                }
            }
        }
        gone
    }

    /// All entries, in the order of their prefixes (a prefix before those that go on from it), at
    /// one prefix in the order of targets. Entries whose rejection has lapsed are among them until
    /// [`Self::prune`].
    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        self.walk().filter_map(|(node, index)| {
            let path = self.paths.get(index)?;
            Some(Entry {
                prefix: self.tree.prefix(node)?,
                target: self.targets.name(path.target)?.clone(),
                accepted: path.accepted,
                rejected_until: path.rejected_until,
                kept: path.kept,
                broken: path.broken,
                strength: path.strength,
                last_used: path.last_used,
            })
        })
    }

    /// All paths with their nodes, in the order of [`Self::entries`].
    pub(super) fn walk(&self) -> impl Iterator<Item = (Index, Index)> {
        let mut open = vec![ROOT];
        let nodes = std::iter::from_fn(move || {
            let node = open.pop()?;
            open.extend(self.tree.children(node).rev());
            Some(node)
        });
        nodes.flat_map(|node| {
            let here = self.tree.here(node);
            let mut paths: Vec<(Index, &Path)> = here
                .into_iter()
                .flat_map(|here| here.all())
                .filter_map(|spot| Some((spot.path, self.paths.get(spot.path)?)))
                .collect();
            paths.sort_by_key(|(_, path)| self.targets.name(path.target));
            paths.into_iter().map(move |(index, _)| (node, index))
        })
    }

    fn path(&self, prefix: &Key<'_>, target: Index) -> Option<&Path> {
        self.paths.get(self.find(prefix, target)?)
    }

    fn find(&self, prefix: &Key<'_>, target: Index) -> Option<Index> {
        let here = self.tree.here(self.tree.find(prefix)?)?;
        here.get(target).map(|spot| spot.path)
    }

    /// The path of a target at a prefix, made where it is not there. It is in no order yet.
    fn learn(&mut self, prefix: &Key<'_>, target: &Target) -> Result<Index, RouteError> {
        prefix.check()?;
        if !target.is_valid() {
            return Err(RouteError::Name);
        }
        let node = self.tree.make(prefix);
        let number = self.targets.make(target);
        if let Some(path) = self.tree.here(node).and_then(|here| here.get(number)) {
            return Ok(path.path);
        }
        let turn = self.next_turn();
        Ok(self.insert(Path {
            node,
            target: number,
            accepted: false,
            rejected_until: None,
            kept: 0,
            broken: 0,
            strength: Strength::START,
            last_used: Timestamp::default(),
            turn,
            bytes: prefix.cost(),
        }))
    }

    fn next_turn(&mut self) -> u64 {
        self.turn += 1;
        self.turn
    }

    /// Puts a path where it belongs.
    fn insert(&mut self, path: Path) -> Index {
        let index = self.paths.insert(path);
        self.targets.add(path.target, path.turn, index, path.bytes);
        self.list(index, &path);
        index
    }

    /// Says what dispatch has to know of a path, and when its rejection lapses.
    fn list(&mut self, index: Index, path: &Path) {
        if let Some(until) = path.rejected_until {
            self.lapsing.insert((until, index));
        }
        let target = self.targets.name(path.target);
        if let (Some(target), Some(here)) = (target, self.tree.here_mut(path.node)) {
            let spot = Spot {
                target: path.target,
                path: index,
                strength: path.strength,
                class: target.class(),
                accepted: path.accepted,
                rejected: path.rejected_until.is_some(),
            };
            here.put(spot, &self.targets);
        }
    }

    /// Changes what is known of a path, which makes it the one that was recorded last.
    fn change(&mut self, index: Index, now: Timestamp, change: impl FnOnce(&mut Path)) {
        let turn = self.next_turn();
        let Some(before) = self.paths.get(index).copied() else {
            return;
        };
        let mut after = Path {
            turn,
            last_used: now,
            ..before
        };
        change(&mut after);
        if let Some(until) = before.rejected_until {
            self.lapsing.remove(&(until, index));
        }
        self.targets
            .remove(before.target, before.turn, before.bytes);
        if let Some(path) = self.paths.get_mut(index) {
            *path = after;
        }
        self.targets.add(after.target, turn, index, after.bytes);
        self.list(index, &after);
    }

    fn outcome(
        &mut self,
        prefix: &Key<'_>,
        target: &Target,
        now: Timestamp,
        change: impl FnOnce(&mut Path),
    ) -> bool {
        let number = self.targets.find(target);
        let index = number.and_then(|number| self.find(prefix, number));
        let path = index.and_then(|index| self.paths.get(index));
        let (Some(index), Some(Path { accepted: true, .. })) = (index, path) else {
            return false;
        };
        self.change(index, now, change);
        true
    }

    /// Takes away what is too much of a target and of its class.
    fn make_room(&mut self, target: &Target) {
        let class = target.class();
        let ClassLimits { all, each } = *self.limits.0.get(class);
        let number = self.targets.find(target);
        let of_target = |targets: &Targets| targets.of_target(number?)?.excess(&each);
        while let Some(path) = of_target(&self.targets) {
            self.remove(path);
        }
        while let Some(path) = self.targets.of_class(class).excess(&all) {
            self.remove(path);
        }
    }

    fn remove(&mut self, index: Index) {
        let Some(path) = self.paths.get(index).copied() else {
            return;
        };
        if let Some(until) = path.rejected_until {
            self.lapsing.remove(&(until, index));
        }
        if let Some(here) = self.tree.here_mut(path.node) {
            here.remove(path.target, &self.targets);
        }
        self.targets.remove(path.target, path.turn, path.bytes);
        self.targets.trim(path.target);
        self.tree.trim(path.node);
        self.paths.remove(index);
    }
}

impl std::fmt::Debug for Routes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.entries()).finish()
    }
}
