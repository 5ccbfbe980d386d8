//! The nodes of the tree: one for each prefix that has paths, and for each on the way to one.
//!
//! A node's children are ordered, not hashed: a lookup compares as many segments as the logarithm
//! of the number of siblings, whoever chose them, and needs no secret against chosen keys. An only
//! child needs no index at all; most nodes of long keys have one child.

use std::collections::BTreeMap;

use crate::routes::here::Here;
use crate::routes::key::{Key, Prefix, SegmentBytes};
use crate::routes::segment::Segment;
use crate::routes::slab::{Index, Slab};

/// The node of the empty prefix. It has no paths.
pub(super) const ROOT: Index = 0;

/// The tree of prefixes.
#[derive(Clone)]
pub(super) struct Tree {
    nodes: Slab<Node>,
}

#[derive(Clone)]
struct Node {
    /// The root is its own parent.
    parent: Index,
    segment: Segment,
    children: Children,
    here: Here,
}

#[derive(Clone)]
enum Children {
    None,
    One(Index),
    Many(BTreeMap<Segment, Index>),
}

impl Tree {
    pub(super) fn new() -> Self {
        let mut nodes = Slab::new();
        nodes.insert(Node {
            parent: ROOT,
            segment: Segment::from(&[][..]),
            children: Children::None,
            here: Here::None,
        });
        Self { nodes }
    }

    /// The child of a node by its segment.
    pub(super) fn child(&self, node: Index, segment: &[u8]) -> Option<Index> {
        match &self.nodes.get(node)?.children {
            Children::None => None,
            Children::One(child) => {
                let only = self.nodes.get(*child)?;
                (only.segment.as_slice() == segment).then_some(*child)
            }
            Children::Many(children) => children.get(segment).copied(),
        }
    }

    /// The children of a node, in the order of their segments.
    pub(super) fn children(&self, node: Index) -> impl DoubleEndedIterator<Item = Index> {
        let (one, many) = match self.nodes.get(node).map(|node| &node.children) {
            None | Some(Children::None) => (None, None),
            Some(Children::One(child)) => (Some(*child), None),
            Some(Children::Many(children)) => (None, Some(children.values().copied())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// The paths at a node.
    pub(super) fn here(&self, node: Index) -> Option<&Here> {
        self.nodes.get(node).map(|node| &node.here)
    }

    /// The paths at a node, to be changed. Call [`Tree::trim`] after a removal.
    pub(super) fn here_mut(&mut self, node: Index) -> Option<&mut Here> {
        self.nodes.get_mut(node).map(|node| &mut node.here)
    }

    /// The node of a key.
    pub(super) fn find(&self, key: &Key<'_>) -> Option<Index> {
        let mut node = ROOT;
        for level in 0..key.depth() {
            let mut room = SegmentBytes::new();
            node = self.child(node, key.segment(level, &mut room)?)?;
        }
        Some(node)
    }

    /// The node of a key, made with those before it where it is not there.
    pub(super) fn make(&mut self, key: &Key<'_>) -> Index {
        let mut node = ROOT;
        for level in 0..key.depth() {
            let mut room = SegmentBytes::new();
            let segment = key.segment(level, &mut room).unwrap_or_default();
            node = match self.child(node, segment) {
                Some(child) => child,
                None => self.add(node, segment),
            };
        }
        node
    }

    fn add(&mut self, parent: Index, segment: &[u8]) -> Index {
        let segment = Segment::from(segment);
        let child = self.nodes.insert(Node {
            parent,
            segment: segment.clone(),
            children: Children::None,
            here: Here::None,
        });
        let only = match self.nodes.get(parent).map(|node| &node.children) {
            Some(Children::One(only)) => Some(*only),
            _ => None,
        };
        let only = only.and_then(|only| Some((self.nodes.get(only)?.segment.clone(), only)));
        if let Some(node) = self.nodes.get_mut(parent) {
            match (&mut node.children, only) {
                (Children::Many(children), _) => _ = children.insert(segment, child),
                (children, None) => *children = Children::One(child),
                (children, Some(only)) => {
                    *children = Children::Many([only, (segment, child)].into());
                }
            }
        }
        child
    }

    /// Takes away a node that has no paths and no children, and what is only on the way to it.
    pub(super) fn trim(&mut self, node: Index) {
        let mut at = node;
        while let Some(node) = self.nodes.get(at) {
            if at == ROOT || !node.here.is_empty() || !matches!(node.children, Children::None) {
                return;
            }
            let Some(gone) = self.nodes.remove(at) else {
                return;
            };
            at = gone.parent;
            if let Some(parent) = self.nodes.get_mut(at) {
                parent.children.remove(gone.segment.as_slice());
            }
        }
    }

    /// The segments from the promise to a node.
    pub(super) fn segments(&self, node: Index) -> Vec<&[u8]> {
        let mut segments = Vec::new();
        let mut at = node;
        while let Some(node) = self.nodes.get(at).filter(|_| at != ROOT) {
            segments.push(node.segment.as_slice());
            at = node.parent;
        }
        segments.reverse();
        segments
    }

    /// The prefix that a node stands for; none for the root.
    pub(super) fn prefix(&self, node: Index) -> Option<Prefix> {
        Prefix::from_segments(self.segments(node))
    }

    /// How many nodes there are, without the root.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.nodes.len() - 1
    }
}

impl Children {
    fn remove(&mut self, segment: &[u8]) {
        match self {
            Self::None => {}
            Self::One(_) => *self = Self::None,
            Self::Many(children) => {
                children.remove(segment);
                let mut left = children.values().copied();
                if let (Some(only), None) = (left.next(), left.next()) {
                    *self = Self::One(only);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content_id::ContentId;
    use crate::routes::here::Spot;
    use crate::routes::strength::Strength;
    use crate::routes::target::Class;
    use crate::routes::targets::Targets;

    #[test]
    fn nodes_come_and_go_with_what_they_lead_to() {
        let mut tree = Tree::new();
        let id = ContentId::of(b"");
        let args = ["a", "b", "c"].map(|arg| vec![arg.as_bytes().to_vec()]);
        let keys = args.each_ref().map(|args| Key::call(id, None, args));
        for round in 0..2 {
            let nodes = keys.map(|key| tree.make(&key));
            assert_eq!(tree.len(), 5, "{round}");
            for (key, node) in keys.iter().zip(nodes) {
                assert_eq!(tree.make(key), node);
                assert_eq!(tree.find(key), Some(node));
                assert!(tree.prefix(node).is_some_and(|prefix| prefix.key() == *key));
            }
            let middle = tree.find(&keys[0].prefix(2)).unwrap();
            assert_eq!(tree.children(middle).collect::<Vec<_>>(), nodes);
            for (at, node) in [1, 0, 2].into_iter().zip([4, 3, 0]) {
                tree.trim(nodes[at]);
                assert_eq!(tree.find(&keys[at]), None);
                assert_eq!(tree.len(), node);
            }
        }
    }

    #[test]
    fn a_node_with_paths_or_children_stays() {
        let mut tree = Tree::new();
        let key = Key::call(ContentId::of(b""), None, &[]);
        let node = tree.make(&key);
        let spot = Spot {
            target: 7,
            path: 8,
            strength: Strength::START,
            class: Class::Peer,
            accepted: true,
            rejected: false,
        };
        tree.here_mut(node).unwrap().put(spot, &Targets::new());
        tree.trim(node);
        tree.trim(tree.find(&key.prefix(1)).unwrap());
        assert_eq!(tree.find(&key), Some(node));
        assert_eq!(tree.here(node).unwrap().all().len(), 1);
        tree.here_mut(node).unwrap().remove(7, &Targets::new());
        tree.trim(node);
        assert_eq!(tree.len(), 0);
        tree.trim(ROOT);
        assert_eq!(tree.prefix(ROOT), None);
    }
}
