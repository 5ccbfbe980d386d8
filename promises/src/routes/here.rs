//! The paths at one prefix.
//!
//! What dispatch looks at lies here and not with the paths, and for a single path in the node of
//! the tree itself: most prefixes have one, and every other place in memory costs a lookup more than
//! all comparisons together.

use crate::routes::slab::Index;
use crate::routes::strength::Strength;
use crate::routes::target::Class;
use crate::routes::targets::Targets;

/// A path as dispatch sees it.
#[derive(Clone, Copy)]
pub(super) struct Spot {
    pub(super) target: Index,
    pub(super) path: Index,
    pub(super) strength: Strength,
    pub(super) class: Class,
    /// Whether it ever accepted.
    pub(super) accepted: bool,
    /// Whether there is a rejection. Whether that still stands, the path says.
    pub(super) rejected: bool,
}

/// The paths at one prefix.
#[derive(Clone)]
pub(super) enum Here {
    None,
    One(Spot),
    /// At least two.
    Many(Many),
}

#[derive(Clone)]
pub(super) struct Many {
    /// By the number of the target.
    by_target: Vec<Spot>,
    /// Those that accepted: by class, then the strongest first, then by target.
    by_rank: Vec<Spot>,
}

impl Here {
    pub(super) const fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The path of a target.
    pub(super) fn get(&self, target: Index) -> Option<&Spot> {
        self.all().get(find(self.all(), target).ok()?)
    }

    /// All paths, by the numbers of their targets.
    pub(super) fn all(&self) -> &[Spot] {
        match self {
            Self::None => &[],
            Self::One(spot) => std::slice::from_ref(spot),
            Self::Many(many) => &many.by_target,
        }
    }

    /// The paths of a class that accepted, the best first: those that are not demoted, and those
    /// that are.
    pub(super) fn ranked(&self, class: Class) -> (&[Spot], &[Spot]) {
        let group = match self {
            Self::One(spot) if spot.accepted && spot.class == class => std::slice::from_ref(spot),
            Self::Many(many) => {
                let start = many.by_rank.partition_point(|spot| spot.class < class);
                let (_, rest) = many.by_rank.split_at(start);
                rest.split_at(rest.partition_point(|spot| spot.class == class))
                    .0
            }
            _ => &[],
        };
        group.split_at(group.partition_point(|spot| !spot.strength.is_demoted()))
    }

    /// Puts a path in the place of what was there of its target.
    pub(super) fn put(&mut self, spot: Spot, targets: &Targets) {
        match self {
            Self::None => *self = Self::One(spot),
            Self::One(only) if only.target == spot.target => *only = spot,
            Self::One(only) => {
                let mut many = Many {
                    by_target: Vec::with_capacity(2),
                    by_rank: Vec::with_capacity(2),
                };
                many.put(*only, targets);
                many.put(spot, targets);
                *self = Self::Many(many);
            }
            Self::Many(many) => many.put(spot, targets),
        }
    }

    /// Takes the path of a target away. The target is still known.
    pub(super) fn remove(&mut self, target: Index, targets: &Targets) {
        match self {
            Self::One(only) if only.target == target => *self = Self::None,
            Self::Many(many) => {
                many.remove(target, targets);
                match *many.by_target {
                    [] => *self = Self::None,
                    [only] => *self = Self::One(only),
                    _ => {}
                }
            }
            _ => {}
        }
    }
}

impl Many {
    fn put(&mut self, spot: Spot, targets: &Targets) {
        self.remove(spot.target, targets);
        if let Err(at) = find(&self.by_target, spot.target) {
            self.by_target.insert(at, spot);
        }
        if let Err(at) = self.place(&spot, targets)
            && spot.accepted
        {
            self.by_rank.insert(at, spot);
        }
    }

    fn remove(&mut self, target: Index, targets: &Targets) {
        if let Ok(at) = find(&self.by_target, target) {
            let spot = self.by_target.remove(at);
            if let Ok(at) = self.place(&spot, targets) {
                self.by_rank.remove(at);
            }
        }
    }

    fn place(&self, spot: &Spot, targets: &Targets) -> Result<usize, usize> {
        self.by_rank.binary_search_by(|other| {
            other
                .class
                .cmp(&spot.class)
                .then(spot.strength.cmp(&other.strength))
                .then_with(|| targets.name(other.target).cmp(&targets.name(spot.target)))
        })
    }
}

fn find(spots: &[Spot], target: Index) -> Result<usize, usize> {
    spots.binary_search_by_key(&target, |spot| spot.target)
}
