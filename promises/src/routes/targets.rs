//! The targets that the tree knows, by number, and who holds how much of it.

use std::collections::BTreeMap;

use crate::routes::slab::{Index, Slab};
use crate::routes::target::{ByClass, Class, Target};

/// How much of the tree somebody may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Paths.
    pub paths: usize,
    /// Bytes of memory, as the tree counts them: each path as if it shared no segment of its key
    /// with another, so that the memory in use is less.
    pub bytes: usize,
}

/// How much of the tree the targets of a class may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassLimits {
    /// All of them together.
    pub all: Quota,
    /// Each of them.
    pub each: Quota,
}

/// How large the tree may become. Where something new would go beyond a limit, the path of the same
/// target, or else of the same class, that was recorded longest ago goes. So no class can push out
/// what was learned of another, and no target more than its quota of its own class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits(pub ByClass<ClassLimits>);

impl Limits {
    /// What a node has room for: 131,072 paths and 128 MiB at the very most.
    pub const STANDARD: Self = Self(ByClass {
        builtin: ClassLimits::of(16, 4),
        module: ClassLimits::of(48, 8),
        peer: ClassLimits::of(64, 4),
    });

    /// The bytes of all classes together.
    pub(super) fn bytes(&self) -> usize {
        self.sum(|quota| quota.bytes)
    }

    /// The paths of all classes together.
    pub(super) fn paths(&self) -> usize {
        self.sum(|quota| quota.paths)
    }

    fn sum(&self, of: impl Fn(&Quota) -> usize) -> usize {
        let each = Class::ALL
            .into_iter()
            .map(|class| of(&self.0.get(class).all));
        each.fold(0, usize::saturating_add)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::STANDARD
    }
}

impl ClassLimits {
    /// In 1024 paths of 1024 bytes on average.
    const fn of(all: usize, each: usize) -> Self {
        Self {
            all: Quota::of(all),
            each: Quota::of(each),
        }
    }
}

impl Quota {
    const fn of(thousands: usize) -> Self {
        Self {
            paths: thousands << 10,
            bytes: thousands << 20,
        }
    }
}

/// The paths of a target or of a class, in the order in which they were last recorded.
#[derive(Clone, Default)]
pub(super) struct Held {
    bytes: usize,
    order: BTreeMap<u64, Index>,
}

impl Held {
    pub(super) fn add(&mut self, turn: u64, path: Index, bytes: usize) {
        self.bytes += bytes;
        self.order.insert(turn, path);
    }

    pub(super) fn remove(&mut self, turn: u64, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.order.remove(&turn);
    }

    /// Whether this is more than the quota allows.
    pub(super) fn exceeds(&self, quota: &Quota) -> bool {
        self.order.len() > quota.paths || self.bytes > quota.bytes
    }

    /// The path that has to go: the one that was recorded longest ago, if there is more than one.
    pub(super) fn excess(&self, quota: &Quota) -> Option<Index> {
        if !self.exceeds(quota) || self.order.len() < 2 {
            return None;
        }
        self.order.values().next().copied()
    }

    /// All paths, those that were recorded longest ago first.
    pub(super) fn paths(&self) -> impl Iterator<Item = (u64, Index)> {
        self.order.iter().map(|(turn, path)| (*turn, *path))
    }
}

/// The targets that have paths.
#[derive(Clone)]
pub(super) struct Targets {
    numbers: BTreeMap<Target, Index>,
    known: Slab<Known>,
    classes: ByClass<Held>,
}

#[derive(Clone)]
struct Known {
    target: Target,
    held: Held,
}

impl Targets {
    pub(super) fn new() -> Self {
        Self {
            numbers: BTreeMap::new(),
            known: Slab::new(),
            classes: ByClass::default(),
        }
    }

    pub(super) fn name(&self, number: Index) -> Option<&Target> {
        self.known.get(number).map(|known| &known.target)
    }

    pub(super) fn find(&self, target: &Target) -> Option<Index> {
        self.numbers.get(target).copied()
    }

    /// The number of a target, which is known from now on. It is forgotten with its last path.
    pub(super) fn make(&mut self, target: &Target) -> Index {
        if let Some(number) = self.find(target) {
            return number;
        }
        let number = self.known.insert(Known {
            target: target.clone(),
            held: Held::default(),
        });
        self.numbers.insert(target.clone(), number);
        number
    }

    /// All of them in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Target, Index)> {
        self.numbers
            .iter()
            .map(|(target, number)| (target, *number))
    }

    pub(super) fn of_target(&self, number: Index) -> Option<&Held> {
        self.known.get(number).map(|known| &known.held)
    }

    pub(super) const fn of_class(&self, class: Class) -> &Held {
        self.classes.get(class)
    }

    /// Books a path.
    pub(super) fn add(&mut self, number: Index, turn: u64, path: Index, bytes: usize) {
        if let Some(known) = self.known.get_mut(number) {
            known.held.add(turn, path, bytes);
            let class = self.classes.get_mut(known.target.class());
            class.add(turn, path, bytes);
        }
    }

    /// Takes a path from the books. The target stays known until [`Targets::trim`].
    pub(super) fn remove(&mut self, number: Index, turn: u64, bytes: usize) {
        if let Some(known) = self.known.get_mut(number) {
            known.held.remove(turn, bytes);
            let class = self.classes.get_mut(known.target.class());
            class.remove(turn, bytes);
        }
    }

    /// Forgets a target that has no paths.
    pub(super) fn trim(&mut self, number: Index) {
        let empty = |known: &Known| known.held.order.is_empty();
        if self.known.get(number).is_some_and(empty)
            && let Some(known) = self.known.remove(number)
        {
            self.numbers.remove(&known.target);
        }
    }
}
