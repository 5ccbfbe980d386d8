//! The order in which targets are asked.
//!
//! Nothing is computed before it is asked for, and nothing is allocated: the first candidate is
//! usually the last one that is needed.

use crate::routes::here::{Here, Spot};
use crate::routes::key::{Key, SegmentBytes};
use crate::routes::path::Path;
use crate::routes::slab::{Index, Slab};
use crate::routes::strength::Strength;
use crate::routes::target::{Class, Target};
use crate::routes::targets::Targets;
use crate::routes::tree::{ROOT, Tree};
use crate::time::Timestamp;

/// A target that accepts a message, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// Who.
    pub target: &'a Target,
    /// How many segments its longest accepting prefix has: record what comes of it at
    /// [`Key::prefix`] of this depth.
    pub depth: usize,
    /// How well it has kept its promises there.
    pub strength: Strength,
}

/// The candidates for a message, best first. See [`dispatch`](super::Routes::dispatch).
#[derive(Clone)]
pub struct Candidates<'a> {
    tree: &'a Tree,
    paths: &'a Slab<Path>,
    targets: &'a Targets,
    chain: Chain,
    now: Timestamp,
    /// Where in the chain, from its deepest node.
    level: usize,
    /// Which class there: its number in [`Class::ALL`].
    class: usize,
    /// Which group of the class, and which of the group.
    group: Group,
    index: usize,
    /// Of each class: the level of the shallowest candidate that is not demoted, once it was looked
    /// for.
    last_sound: [Option<Option<usize>>; 3],
}

#[derive(Clone, Copy)]
enum Group {
    /// Those that are not demoted.
    Sound,
    /// The demoted ones of this level.
    Demoted(usize),
}

impl<'a> Candidates<'a> {
    pub(super) fn new(
        tree: &'a Tree,
        paths: &'a Slab<Path>,
        targets: &'a Targets,
        key: &Key<'_>,
        now: Timestamp,
    ) -> Self {
        Self {
            tree,
            paths,
            targets,
            chain: Chain::new(tree, key),
            now,
            level: 0,
            class: 0,
            group: Group::Sound,
            index: 0,
            last_sound: [None; 3],
        }
    }

    /// The candidate that an entry is, unless its target is left out or came before.
    fn candidate(&self, level: usize, entry: &Spot) -> Option<Candidate<'a>> {
        if self.is_rejecting(entry) || self.is_known_deeper(level, entry.target) {
            return None;
        }
        Some(Candidate {
            target: self.targets.name(entry.target)?,
            depth: usize::from(self.chain.get(level)?.depth),
            strength: entry.strength,
        })
    }

    fn group(&self, level: usize, class: Class) -> (&'a [Spot], &'a [Spot]) {
        match self.here(level) {
            Some(here) => here.ranked(class),
            None => (&[], &[]),
        }
    }

    fn here(&self, level: usize) -> Option<&'a Here> {
        self.tree.here(self.chain.get(level)?.node)
    }

    fn is_rejecting(&self, spot: &Spot) -> bool {
        let path = || self.paths.get(spot.path);
        spot.rejected && path().is_some_and(|path| path.is_rejecting(self.now))
    }

    /// Whether a deeper node knows something of a target that counts: the more particular knowledge
    /// wins, whether it accepts or rejects.
    fn is_known_deeper(&self, level: usize, target: Index) -> bool {
        (0..level).any(|level| {
            let spot = self.here(level).and_then(|here| here.get(target));
            spot.is_some_and(|spot| spot.accepted || self.is_rejecting(spot))
        })
    }

    /// The demoted ones that follow the sound ones of this level: none if sound ones of the same
    /// class are still to come, those of all deeper levels too if these were the last.
    fn first_demoted(&mut self, class: Class) -> Option<usize> {
        let last = match self.last_sound.get(self.class).copied().flatten() {
            Some(known) => known,
            None => {
                let found = (0..self.chain.len()).rev().find(|level| {
                    let sound = self.group(*level, class).0;
                    sound
                        .iter()
                        .any(|entry| self.candidate(*level, entry).is_some())
                });
                if let Some(place) = self.last_sound.get_mut(self.class) {
                    *place = Some(found);
                }
                found
            }
        };
        match last {
            Some(last) if last > self.level => None,
            Some(last) if last == self.level => Some(0),
            _ => Some(self.level),
        }
    }

    fn next_class(&mut self) {
        self.group = Group::Sound;
        self.index = 0;
        self.class += 1;
        if self.class == Class::ALL.len() {
            self.class = 0;
            self.level += 1;
        }
    }
}

impl<'a> Iterator for Candidates<'a> {
    type Item = Candidate<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.level < self.chain.len() {
            let class = *Class::ALL.get(self.class)?;
            let (level, entry) = match self.group {
                Group::Sound => (self.level, self.group(self.level, class).0.get(self.index)),
                Group::Demoted(level) => (level, self.group(level, class).1.get(self.index)),
            };
            self.index += 1;
            match (entry, self.group) {
                (Some(entry), _) => {
                    if let Some(candidate) = self.candidate(level, entry) {
                        return Some(candidate);
                    }
                }
                (None, Group::Sound) => match self.first_demoted(class) {
                    Some(level) => {
                        self.group = Group::Demoted(level);
                        self.index = 0;
                    }
                    None => self.next_class(),
                },
                (None, Group::Demoted(level)) if level < self.level => {
                    self.group = Group::Demoted(level + 1);
                    self.index = 0;
                }
                (None, Group::Demoted(_)) => self.next_class(),
            }
        }
        None
    }
}

/// The nodes on the way of a key that have paths.
#[derive(Clone)]
struct Chain {
    /// The deepest last.
    links: [Link; Key::MAX_DEPTH],
    length: usize,
}

#[derive(Clone, Copy)]
struct Link {
    node: Index,
    depth: u8,
}

impl Chain {
    fn new(tree: &Tree, key: &Key<'_>) -> Self {
        let unused = Link {
            node: ROOT,
            depth: 0,
        };
        let mut chain = Self {
            links: [unused; Key::MAX_DEPTH],
            length: 0,
        };
        let mut node = ROOT;
        let mut room = SegmentBytes::new();
        for (depth, level) in (1..).zip(0..key.depth().min(Key::MAX_DEPTH)) {
            let segment = key.segment(level, &mut room);
            let Some(child) = segment.and_then(|segment| tree.child(node, segment)) else {
                break;
            };
            node = child;
            if tree.here(node).is_some_and(|here| !here.is_empty())
                && let Some(place) = chain.links.get_mut(chain.length)
            {
                *place = Link { node, depth };
                chain.length += 1;
            }
        }
        chain
    }

    const fn len(&self) -> usize {
        self.length
    }

    /// A link, counted from the deepest.
    fn get(&self, level: usize) -> Option<&Link> {
        self.links.get(self.length.checked_sub(level + 1)?)
    }
}
