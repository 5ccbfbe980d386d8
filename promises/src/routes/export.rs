//! The tree as bytes, so that it survives a restart.
//!
//! ```text
//! export = [1, 42(content id of body), body as a byte string]
//! body   = [[target, ...], [path, ...]]
//! target = [0, [name]] | [1, [42(content id)]] | [2, [node key]]
//! path   = [shared, [segment, ...], target, accepted, rejected until | null, kept, broken,
//!           strength, last used, rank]
//! ```
//!
//! Targets ascend, and each has a path; a path names its target by number. Paths stand in the order
//! of [`Routes::entries`]. Of its prefix a path carries only what differs from the one before it:
//! `shared` segments are the same. `rank` is the place of the path in the order in which they were
//! last recorded, from 0: who has to go first goes first after a restart too.
//!
//! A tree has one encoding. Whatever is not one is refused as a whole: a file that was cut, altered
//! or written for larger limits is worth less than an empty tree, which fills by use.

use std::collections::BTreeMap;

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use crate::cbor::{self, Bounds};
use crate::content_id::ContentId;
use crate::routes::Routes;
use crate::routes::error::{ImportError, VERSION};
use crate::routes::key::{Key, Prefix};
use crate::routes::path::Path;
use crate::routes::slab::Index;
use crate::routes::strength::Strength;
use crate::routes::target::{Class, Target};
use crate::routes::targets::Limits;
use crate::time::Timestamp;

/// Version, id and heads.
const FRAME: usize = 128;
/// The items of a path besides its segments: itself, the list of segments, and nine more.
const PATH_ITEMS: u64 = 11;
/// The items of a target: itself, the list of its fields, a tag and what it is.
const TARGET_ITEMS: u64 = 5;

#[derive(Encode, Decode)]
struct Export {
    #[n(0)]
    version: u8,
    #[n(1)]
    id: ContentId,
    #[cbor(n(2), with = "minicbor::bytes")]
    body: Vec<u8>,
}

#[derive(Encode, Decode)]
struct Body {
    #[n(0)]
    targets: Vec<WireTarget>,
    #[n(1)]
    paths: Vec<WirePath>,
}

#[derive(Encode, Decode)]
enum WireTarget {
    #[n(0)]
    Builtin(#[n(0)] Box<str>),
    #[n(1)]
    Module(#[n(0)] ContentId),
    #[n(2)]
    Peer(#[n(0)] grid_keys::NodeId),
}

#[derive(Encode, Decode)]
struct WirePath {
    #[n(0)]
    shared: u8,
    #[n(1)]
    segments: Vec<ByteVec>,
    #[n(2)]
    target: u32,
    #[n(3)]
    accepted: bool,
    #[n(4)]
    rejected_until: Option<Timestamp>,
    #[n(5)]
    kept: u32,
    #[n(6)]
    broken: u32,
    #[n(7)]
    strength: u16,
    #[n(8)]
    last_used: Timestamp,
    #[n(9)]
    rank: u32,
}

impl From<&Target> for WireTarget {
    fn from(target: &Target) -> Self {
        match target {
            Target::Builtin(name) => Self::Builtin(name.clone()),
            Target::Module(id) => Self::Module(*id),
            Target::Peer(node) => Self::Peer(*node),
        }
    }
}

impl From<WireTarget> for Target {
    fn from(target: WireTarget) -> Self {
        match target {
            WireTarget::Builtin(name) => Self::Builtin(name),
            WireTarget::Module(id) => Self::Module(id),
            WireTarget::Peer(node) => Self::Peer(node),
        }
    }
}

impl Routes {
    /// The bytes of the tree, for [`Routes::import`].
    #[must_use]
    pub fn export(&self) -> Vec<u8> {
        let numbers: BTreeMap<Index, u32> = self
            .targets
            .iter()
            .map(|(_, index)| index)
            .zip(0..)
            .collect();
        let mut turns: Vec<u64> = self.paths.iter().map(|(_, path)| path.turn).collect();
        turns.sort_unstable();
        let mut before: Vec<&[u8]> = Vec::new();
        let paths = self.walk().filter_map(|(node, index)| {
            let path = self.paths.get(index)?;
            let segments = self.tree.segments(node);
            let shared = before
                .iter()
                .zip(&segments)
                .take_while(|(a, b)| a == b)
                .count();
            let new = segments.iter().skip(shared);
            let wire = WirePath {
                shared: u8::try_from(shared).ok()?,
                segments: new.map(|segment| segment.to_vec().into()).collect(),
                target: *numbers.get(&path.target)?,
                accepted: path.accepted,
                rejected_until: path.rejected_until,
                kept: path.kept,
                broken: path.broken,
                strength: path.strength.0,
                last_used: path.last_used,
                rank: u32::try_from(turns.binary_search(&path.turn).ok()?).ok()?,
            };
            before = segments;
            Some(wire)
        });
        let paths = paths.collect();
        let body = cbor::encode(&Body {
            targets: self
                .targets
                .iter()
                .map(|(target, _)| target.into())
                .collect(),
            paths,
        });
        cbor::encode(&Export {
            version: VERSION,
            id: ContentId::of(&body),
            body,
        })
    }

    /// Reads what [`Routes::export`] wrote.
    ///
    /// # Errors
    /// Anything else, and a tree that is larger than `limits` allow. Go on with an empty tree: it
    /// fills by use.
    pub fn import(bytes: &[u8], limits: Limits) -> Result<Self, ImportError> {
        let max_bytes = limits.bytes().saturating_add(FRAME);
        let export: Export = cbor::decode(bytes, &Bounds::bytes(max_bytes))?;
        if export.version != VERSION {
            return Err(ImportError::Version {
                found: export.version,
            });
        }
        if ContentId::of(&export.body) != export.id {
            return Err(ImportError::Damaged);
        }
        let most = limits.paths();
        let per_path = PATH_ITEMS + TARGET_ITEMS + Key::MAX_DEPTH as u64;
        let bounds = Bounds {
            max_items: (most as u64).saturating_mul(per_path).saturating_add(3),
            ..Bounds::bytes(max_bytes)
        };
        let body: Body = cbor::decode(&export.body, &bounds)?;
        if body.paths.len() > most {
            return Err(ImportError::OverLimits);
        }
        Reader::new(limits, body.paths.len()).read(body)
    }

    /// Whether some target or class holds more than it may.
    fn is_over_limits(&self) -> bool {
        let of_target = |(target, number): (&Target, Index)| {
            let limits = self.limits.0.get(target.class());
            let held = self.targets.of_target(number);
            held.is_some_and(|held| held.exceeds(&limits.each))
        };
        let of_class = |class| {
            let limits = self.limits.0.get(class);
            self.targets.of_class(class).exceeds(&limits.all)
        };
        self.targets.iter().any(of_target) || Class::ALL.into_iter().any(of_class)
    }
}

/// A tree that is being read.
struct Reader {
    routes: Routes,
    targets: Vec<Target>,
    /// Which ranks have been seen.
    ranks: Vec<bool>,
    /// The segments and the target of the path before.
    before: Option<(Vec<ByteVec>, u32)>,
}

impl Reader {
    fn new(limits: Limits, paths: usize) -> Self {
        Self {
            routes: Routes::new(limits),
            targets: Vec::new(),
            ranks: vec![false; paths],
            before: None,
        }
    }

    fn read(mut self, body: Body) -> Result<Routes, ImportError> {
        self.targets = body.targets.into_iter().map(Target::from).collect();
        if !self.targets.is_sorted_by(|a, b| a < b) || !self.targets.iter().all(Target::is_valid) {
            return Err(ImportError::Targets);
        }
        for (index, wire) in body.paths.into_iter().enumerate() {
            self.path(wire).ok_or(ImportError::Path { index })?;
        }
        if self.routes.targets.iter().count() != self.targets.len() {
            return Err(ImportError::Targets);
        }
        if self.routes.is_over_limits() {
            return Err(ImportError::OverLimits);
        }
        self.routes.turn = self.ranks.len() as u64;
        Ok(self.routes)
    }

    /// Takes one path in. None for one that no export has.
    fn path(&mut self, wire: WirePath) -> Option<()> {
        let segments = self.segments(&wire)?;
        let prefix = Prefix::from_segments(segments.iter().map(|segment| segment.as_slice()))?;
        let target = self.targets.get(usize::try_from(wire.target).ok()?)?;
        let rank = self.ranks.get_mut(usize::try_from(wire.rank).ok()?)?;
        let untried = wire.kept == 0 && wire.broken == 0 && wire.strength == Strength::START.0;
        let sound = wire.accepted || (wire.rejected_until.is_some() && untried);
        if std::mem::replace(rank, true) || !sound {
            return None;
        }
        let path = Path {
            node: self.routes.tree.make(&prefix.key()),
            target: self.routes.targets.make(target),
            accepted: wire.accepted,
            rejected_until: wire.rejected_until,
            kept: wire.kept,
            broken: wire.broken,
            strength: Strength(wire.strength),
            last_used: wire.last_used,
            turn: u64::from(wire.rank),
            bytes: prefix.key().cost(),
        };
        self.routes.insert(path);
        self.before = Some((segments, wire.target));
        Some(())
    }

    /// All segments of a path, if it stands behind the one before it and repeats none of them.
    fn segments(&self, wire: &WirePath) -> Option<Vec<ByteVec>> {
        let shared = usize::from(wire.shared);
        let Some((before, target)) = &self.before else {
            return (shared == 0).then(|| wire.segments.clone());
        };
        let in_order = match (wire.segments.first(), before.get(shared)) {
            // The same prefix: another target. A shorter prefix would have come before.
            (None, next) => next.is_none() && shared == before.len() && wire.target > *target,
            (Some(_), None) => shared == before.len(),
            (Some(first), Some(next)) => first.as_slice() > next.as_slice(),
        };
        let head = before.get(..shared).filter(|_| in_order)?;
        Some([head, &wire.segments].concat())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cbor::CborFault;
    use grid_keys::NodeId;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn import(bytes: &[u8]) -> Result<Routes, ImportError> {
        Routes::import(bytes, Limits::STANDARD)
    }

    /// A tree with something of everything.
    fn some_tree() -> Routes {
        let mut routes = Routes::default();
        let id = ContentId::of(b"p");
        let words = [b"a".to_vec(), b"b".to_vec()];
        let key = Key::call(id, Some(id), &words);
        let (x, module) = (Target::builtin("x"), Target::Module(id));
        let peer = Target::Peer(NodeId([7; 32]));
        for (depth, target) in [(4, &x), (2, &x), (2, &module), (4, &peer)] {
            routes.accepted(key.prefix(depth), target, NOW).unwrap();
        }
        routes
            .accepted(Key::call(id, None, &words), &peer, NOW)
            .unwrap();
        routes.rejected(key.prefix(3), &module, NOW).unwrap();
        routes.rejected(key, &x, NOW).unwrap();
        routes.kept(key.prefix(2), &module, NOW);
        routes.broken(key, &peer, NOW);
        routes
    }

    /// The body of an export, to be changed, and a good frame around what it was changed to.
    fn altered(routes: &Routes, alter: impl FnOnce(&mut Body)) -> Vec<u8> {
        let export = routes.export();
        let export: Export = cbor::decode(&export, &Bounds::bytes(1 << 20)).unwrap();
        let mut body: Body = cbor::decode(&export.body, &Bounds::bytes(1 << 20)).unwrap();
        alter(&mut body);
        framed(VERSION, cbor::encode(&body))
    }

    fn framed(version: u8, body: Vec<u8>) -> Vec<u8> {
        let id = ContentId::of(&body);
        cbor::encode(&Export { version, id, body })
    }

    #[test]
    fn a_tree_survives() {
        for routes in [Routes::default(), some_tree()] {
            let bytes = routes.export();
            let again = import(&bytes).unwrap();
            assert!(again.entries().eq(routes.entries()));
            assert_eq!(again.export(), bytes);
        }
        let lines = some_tree().entries().count();
        assert_eq!(lines, 6);
    }

    /// Who was recorded longest ago goes first, also after a restart.
    #[test]
    fn the_order_of_use_survives() {
        let mut limits = Limits::STANDARD;
        limits.0.builtin.all.paths = 3;
        let mut routes = Routes::new(limits);
        let x = Target::builtin("x");
        let ids = ["a", "b", "c", "d"].map(|name| ContentId::of(name.as_bytes()));
        for id in [2, 0, 1, 2] {
            routes.accepted(Key::promise(ids[id]), &x, NOW).unwrap();
        }
        let mut routes = Routes::import(&routes.export(), limits).unwrap();
        routes.accepted(Key::promise(ids[3]), &x, NOW).unwrap();
        let mut left: Vec<ContentId> = routes.entries().map(|entry| entry.prefix.promise).collect();
        let mut expected = vec![ids[1], ids[2], ids[3]];
        left.sort();
        expected.sort();
        assert_eq!(left, expected);
    }

    #[test]
    fn what_no_tree_has_is_refused() {
        type Alter = fn(&mut Body);
        let tree = some_tree();
        assert!(import(&altered(&tree, |_| ())).is_ok());
        let cases: [(Alter, ImportError); 17] = [
            (|body| body.targets.swap(0, 1), ImportError::Targets),
            (
                |body| body.targets.push(WireTarget::Peer(NodeId([9; 32]))),
                ImportError::Targets,
            ),
            (
                |body| body.targets[0] = WireTarget::Builtin("".into()),
                ImportError::Targets,
            ),
            (
                |body| _ = body.targets.pop(),
                ImportError::Path { index: 0 },
            ),
            (|body| body.paths.swap(0, 1), ImportError::Path { index: 0 }),
            (|body| body.paths.swap(1, 2), ImportError::Path { index: 1 }),
            (
                |body| body.paths[2].target = body.paths[1].target,
                ImportError::Path { index: 2 },
            ),
            (
                |body| body.paths[0].rank = body.paths[1].rank,
                ImportError::Path { index: 1 },
            ),
            (
                |body| body.paths[0].rank = 6,
                ImportError::Path { index: 0 },
            ),
            (
                |body| body.paths[0].shared = 1,
                ImportError::Path { index: 0 },
            ),
            (
                |body| body.paths[2].shared = 0,
                ImportError::Path { index: 2 },
            ),
            (
                |body| body.paths[2].shared = 9,
                ImportError::Path { index: 2 },
            ),
            (
                |body| {
                    // Repeats a segment that is shared.
                    let repeated = body.paths[0].segments[0].clone();
                    body.paths[1].segments.insert(0, repeated);
                    body.paths[1].shared = 0;
                },
                ImportError::Path { index: 1 },
            ),
            (
                |body| body.paths[0].segments[0][0] = 0,
                ImportError::Path { index: 0 },
            ),
            (
                |body| body.paths[0].segments[2] = vec![0; 1025].into(),
                ImportError::Path { index: 0 },
            ),
            (
                // A path that says nothing.
                |body| {
                    body.paths[0].accepted = false;
                    body.paths[0].rejected_until = None;
                },
                ImportError::Path { index: 0 },
            ),
            (
                // Promises kept by one who accepted none.
                |body| {
                    body.paths[0].accepted = false;
                    body.paths[0].rejected_until = Some(NOW);
                    body.paths[0].kept = 1;
                },
                ImportError::Path { index: 0 },
            ),
        ];
        for (number, (alter, error)) in cases.into_iter().enumerate() {
            let result = import(&altered(&tree, alter));
            assert_eq!(result.err(), Some(error), "case {number}");
        }
    }

    #[test]
    fn another_frame_is_refused() {
        let tree = some_tree();
        let bytes = tree.export();
        let export: Export = cbor::decode(&bytes, &Bounds::bytes(1 << 20)).unwrap();
        let other = import(&framed(2, export.body.clone())).err();
        assert_eq!(other, Some(ImportError::Version { found: 2 }));
        let other_id = cbor::encode(&Export {
            id: ContentId::of(b""),
            ..export
        });
        assert_eq!(import(&other_id).err(), Some(ImportError::Damaged));
        assert!(matches!(
            import(&framed(1, vec![])).err(),
            Some(ImportError::Cbor(_))
        ));
        assert!(matches!(import(b"").err(), Some(ImportError::Cbor(_))));
    }

    #[test]
    fn what_is_larger_than_the_limits_is_refused() {
        let bytes = some_tree().export();
        let small = |change: fn(&mut Limits)| {
            let mut limits = Limits::STANDARD;
            change(&mut limits);
            Routes::import(&bytes, limits).err()
        };
        let over = Some(ImportError::OverLimits);
        assert_eq!(small(|limits| limits.0.peer.each.paths = 1), over);
        assert_eq!(small(|limits| limits.0.peer.all.paths = 1), over);
        assert_eq!(small(|limits| limits.0.module.each.bytes = 1000), over);
        assert_eq!(small(|limits| limits.0.peer.each.paths = 2), None);
        let none = small(|limits| {
            for class in Class::ALL {
                limits.0.get_mut(class).all.paths = 1;
            }
        });
        assert!(matches!(none, Some(ImportError::OverLimits)), "{none:?}");
        let tiny = small(|limits| {
            for class in Class::ALL {
                limits.0.get_mut(class).all.bytes = 20;
            }
        });
        let Some(ImportError::Cbor(error)) = tiny else {
            panic!("{tiny:?}");
        };
        assert!(matches!(error.fault, CborFault::TooLarge { .. }));
    }

    /// A full tree is within the bounds of its own import: the bounds on items and bytes have room.
    #[test]
    fn a_tree_at_its_limits_can_be_read() {
        let mut limits = Limits::STANDARD;
        for class in Class::ALL {
            limits.0.get_mut(class).all.paths = 200;
        }
        let mut routes = Routes::new(limits);
        for number in 0..300u16 {
            let mut words = vec![vec![]; Key::MAX_ARGS];
            words[0] = number.to_be_bytes().to_vec();
            let key = Key::call(ContentId::of(&words[0]), None, &words);
            let peer = Target::Peer(NodeId(
                *ContentId::of(&words[0]).digest().first_chunk().unwrap(),
            ));
            routes.accepted(key, &peer, NOW).unwrap();
            routes
                .accepted(key, &Target::Module(ContentId::of(&words[0])), NOW)
                .unwrap();
            routes
                .accepted(key, &Target::builtin(&format!("{number}")), NOW)
                .unwrap();
        }
        assert_eq!(routes.len(), 600);
        let bytes = routes.export();
        assert_eq!(Routes::import(&bytes, limits).unwrap().export(), bytes);
    }

    proptest! {
        #[test]
        fn damage_is_found_out(at: prop::sample::Index, flip in 1..=255u8) {
            let bytes = some_tree().export();
            let mut damaged = bytes.clone();
            damaged[at.index(bytes.len())] ^= flip;
            prop_assert!(import(&damaged).is_err());
            prop_assert!(import(&bytes[..at.index(bytes.len())]).is_err());
        }
    }
}
