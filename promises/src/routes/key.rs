//! The hierarchical key of a message: its promise, then its module or none, then its arguments.
//!
//! A key of depth 1 is a promise, of depth 2 a promise and a module (or that none was asked for),
//! of depth 2 + n also the first n arguments. A message has a whole key; what is recorded is
//! recorded at a prefix of it. In the tree every segment is a byte string: an id is its multihash
//! code and its digest, no module is the empty string.

use crate::content_id::ContentId;
use crate::message::Message;
use crate::routes::target::Target;

/// The longest segment of an id: the hash code and the longest digest.
const MAX_ID: usize = 1 + 64;
/// What stands before the digest in a binary content id of which only the hash code is stored:
/// CID version 1, codec raw.
const CID_HEAD: [u8; 2] = [0x01, 0x55];

/// A key or a prefix of one. Borrows the arguments.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key<'a> {
    promise: ContentId,
    /// None: the key ends with the promise.
    module: Option<Option<ContentId>>,
    args: &'a [Vec<u8>],
}

impl<'a> Key<'a> {
    /// The most arguments of a key that is recorded. Those behind are not looked at.
    pub const MAX_ARGS: usize = 16;
    /// The deepest key that is recorded.
    pub const MAX_DEPTH: usize = 2 + Self::MAX_ARGS;
    /// The most bytes that the arguments of a recorded key have together.
    pub const MAX_BYTES: usize = 1024;

    /// The key of every message under a promise.
    #[must_use]
    pub const fn promise(promise: ContentId) -> Self {
        Self {
            promise,
            module: None,
            args: &[],
        }
    }

    /// The key of every message under a promise that asks for this module (or for none) and begins
    /// with these arguments.
    #[must_use]
    pub const fn call(promise: ContentId, module: Option<ContentId>, args: &'a [Vec<u8>]) -> Self {
        Self {
            promise,
            module: Some(module),
            args,
        }
    }

    /// The whole key of a message.
    #[must_use]
    pub fn of(message: &'a Message) -> Self {
        Self::call(message.promise, message.module, &message.args)
    }

    /// How many segments it has: at least 1.
    #[must_use]
    pub const fn depth(&self) -> usize {
        match self.module {
            None => 1,
            Some(_) => 2 + self.args.len(),
        }
    }

    /// Its first `depth` segments; at least the promise, at most all.
    #[must_use]
    pub fn prefix(&self, depth: usize) -> Self {
        let args = depth.saturating_sub(2).min(self.args.len());
        Self {
            promise: self.promise,
            module: self.module.filter(|_| depth > 1),
            args: self.args.split_at(args).0,
        }
    }

    /// Its longest prefix that can be recorded.
    #[must_use]
    pub fn within_bounds(&self) -> Self {
        let mut left = Self::MAX_BYTES;
        let fits = |arg: &&Vec<u8>| {
            let rest = left.checked_sub(arg.len());
            left = rest.unwrap_or(left);
            rest.is_some()
        };
        let args = self
            .args
            .iter()
            .take(Self::MAX_ARGS)
            .take_while(fits)
            .count();
        Self {
            args: self.args.split_at(args).0,
            ..*self
        }
    }

    /// Checks that it can be recorded.
    pub(super) fn check(&self) -> Result<(), RouteError> {
        if self.args.len() > Self::MAX_ARGS {
            return Err(RouteError::TooManyArgs {
                found: self.args.len(),
            });
        }
        let found = self.args.iter().map(Vec::len).sum();
        if found > Self::MAX_BYTES {
            return Err(RouteError::TooLong { found });
        }
        Ok(())
    }

    /// What a path at this key is counted as, in bytes: the memory that it takes at most, as if it
    /// shared no segment with another.
    pub(super) fn cost(&self) -> usize {
        let segments = (0..self.depth()).map(|level| {
            let mut room = SegmentBytes::new();
            SEGMENT_COST + self.segment(level, &mut room).map_or(0, <[u8]>::len)
        });
        PATH_COST + segments.sum::<usize>()
    }

    /// One segment of it; level 0 is the promise.
    pub(super) fn segment<'b>(&self, level: usize, room: &'b mut SegmentBytes) -> Option<&'b [u8]>
    where
        'a: 'b,
    {
        match level {
            0 => Some(room.id(&self.promise)),
            1 => Some(match &self.module? {
                Some(id) => room.id(id),
                None => &[],
            }),
            _ => self.args.get(level - 2).map(Vec::as_slice),
        }
    }
}

/// Counted for every path: its record, its places in the indexes, its target.
const PATH_COST: usize = 384;
/// Counted for every segment besides its bytes: its node, and its place among its siblings.
const SEGMENT_COST: usize = 256;

/// Room for a segment that is not in memory as it is stored, so that looking one up allocates
/// nothing.
pub(super) struct SegmentBytes([u8; MAX_ID]);

impl SegmentBytes {
    pub(super) const fn new() -> Self {
        Self([0; MAX_ID])
    }

    fn id(&mut self, id: &ContentId) -> &[u8] {
        let digest = id.digest();
        let (segment, _) = self.0.split_at_mut((1 + digest.len()).min(MAX_ID));
        if let Some((head, rest)) = segment.split_first_mut()
            && rest.len() == digest.len()
        {
            *head = id.hash_code() as u8;
            rest.copy_from_slice(digest);
        }
        segment
    }
}

/// The prefix of an entry, as a value of its own. The order is that of the segments.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix {
    /// The promise.
    pub promise: ContentId,
    /// None where the prefix ends with the promise; then whether a module is asked for.
    pub module: Option<Option<ContentId>>,
    /// The arguments; empty where the prefix ends before them.
    pub args: Vec<Vec<u8>>,
}

impl Prefix {
    /// As a key, to record or look up.
    #[must_use]
    pub fn key(&self) -> Key<'_> {
        Key {
            promise: self.promise,
            module: self.module,
            args: &self.args,
        }
    }

    /// From the segments of the tree. None for what is not the segments of a key within the bounds.
    pub(super) fn from_segments<'s>(segments: impl IntoIterator<Item = &'s [u8]>) -> Option<Self> {
        let mut segments = segments.into_iter();
        let promise = read_id(segments.next()?)?;
        let module = match segments.next() {
            None => None,
            Some([]) => Some(None),
            Some(id) => Some(Some(read_id(id)?)),
        };
        let args = segments.map(<[u8]>::to_vec).collect();
        let prefix = Self {
            promise,
            module,
            args,
        };
        prefix.key().check().is_ok().then_some(prefix)
    }
}

fn read_id(segment: &[u8]) -> Option<ContentId> {
    let (code, digest) = segment.split_first()?;
    let length = u8::try_from(digest.len()).ok()?;
    let [version, codec] = CID_HEAD;
    let binary = [&[version, codec, *code, length], digest].concat();
    ContentId::from_bytes(&binary).ok()
}

/// Something that the tree has no room for. Nothing was recorded, and the same will fail again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// More arguments than a recorded key may have. Record at [`Key::within_bounds`].
    #[error(
        "the key has {found} arguments, more than the {} that are recorded",
        Key::MAX_ARGS
    )]
    TooManyArgs {
        /// How many there are.
        found: usize,
    },
    /// More bytes of arguments than a recorded key may have. Record at [`Key::within_bounds`].
    #[error(
        "the arguments of the key have {found} bytes, more than the {} that are recorded",
        Key::MAX_BYTES
    )]
    TooLong {
        /// How many there are.
        found: usize,
    },
    /// A builtin with an empty or a very long name: a mistake in this program.
    #[error("the name of a builtin has 1 to {} bytes", Target::MAX_NAME)]
    Name,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content_id::HashCode;

    fn segments(key: &Key<'_>) -> Vec<Vec<u8>> {
        (0..key.depth())
            .map(|level| {
                let mut room = SegmentBytes::new();
                key.segment(level, &mut room).unwrap().to_vec()
            })
            .collect()
    }

    #[test]
    fn a_key_is_read_back_from_its_segments() {
        let args = [b"".to_vec(), b"a".to_vec(), vec![0xff; 300]];
        for code in [HashCode::Sha2_256, HashCode::Sha2_512, HashCode::Blake3] {
            let id = ContentId::with(code, b"x");
            for key in [
                Key::promise(id),
                Key::call(id, None, &[]),
                Key::call(id, Some(id), &[]),
                Key::call(id, Some(id), &args),
                Key::call(id, None, &args),
            ] {
                let segments = segments(&key);
                assert_eq!(segments.len(), key.depth());
                let back = Prefix::from_segments(segments.iter().map(Vec::as_slice)).unwrap();
                assert!(back.key() == key);
            }
        }
    }

    #[test]
    fn the_order_of_ids_is_that_of_their_segments() {
        let mut ids: Vec<ContentId> = (0..50u8)
            .flat_map(|n| {
                [HashCode::Sha2_256, HashCode::Sha2_512, HashCode::Blake3]
                    .map(|code| ContentId::with(code, &[n]))
            })
            .collect();
        ids.sort();
        let of = |id: &ContentId| segments(&Key::promise(*id));
        assert!(ids.is_sorted_by(|a, b| of(a) < of(b)));
    }

    #[test]
    fn a_prefix_ends_where_it_is_told_to() {
        let id = ContentId::of(b"");
        let args = [b"a".to_vec(), b"b".to_vec()];
        let key = Key::call(id, None, &args);
        for (depth, expected) in [
            (0, Key::promise(id)),
            (1, Key::promise(id)),
            (2, Key::call(id, None, &[])),
            (3, Key::call(id, None, &args[..1])),
            (4, key),
            (99, key),
        ] {
            assert!(key.prefix(depth) == expected, "{depth}");
        }
        assert_eq!(Key::promise(id).prefix(9).depth(), 1);
    }

    #[test]
    fn what_is_beyond_the_bounds_is_cut_off_or_refused() {
        let id = ContentId::of(b"");
        let many = vec![b"a".to_vec(); 17];
        let long = [vec![0; 1000], vec![0; 24], vec![0; 1], vec![]];
        let key = Key::call(id, None, &many);
        assert_eq!(key.check(), Err(RouteError::TooManyArgs { found: 17 }));
        assert_eq!(key.within_bounds().depth(), Key::MAX_DEPTH);
        let key = Key::call(id, None, &long);
        assert_eq!(key.check(), Err(RouteError::TooLong { found: 1025 }));
        assert_eq!(key.within_bounds().depth(), 4);
        assert_eq!(key.within_bounds().check(), Ok(()));
        assert_eq!(Key::promise(id).within_bounds().depth(), 1);
    }

    #[test]
    fn what_is_no_key_is_not_read() {
        let mut room = SegmentBytes::new();
        let id = room.id(&ContentId::of(b"")).to_vec();
        let cases: [Vec<&[u8]>; 6] = [
            vec![],
            vec![b""],
            vec![b"x"],
            vec![&id, b"x"],
            vec![id.split_at(32).0],
            vec![&id, b"", &[0; 1025]],
        ];
        for segments in cases {
            assert_eq!(Prefix::from_segments(segments), None);
        }
    }
}
