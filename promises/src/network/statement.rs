//! The frame of every signed statement, and the one way in.
//!
//! On the wire a statement is the deterministic CBOR array `[kind, body, signature]`: `body` a byte
//! string with the canonical CBOR of the statement, `signature` 64 bytes of Ed25519 (RFC 8032) over
//! `"grid/1 " || kind's name || 0x00 || body`. The kind in the signed bytes keeps a signature made
//! for one purpose from serving another.
//!
//! A [`Signed`] value exists only if its signature and its own rules hold; it keeps the exact bytes
//! that were received. Whether its content is *believed* is decided elsewhere.

use std::fmt;
use std::sync::Arc;

use minicbor::{Decode, Encode};

use crate::cbor::{self, Bounds, CborError};
use crate::content_id::ContentId;
use crate::limits::{MAX_ACTS, MAX_DEPTH, MAX_MEMBERS, MAX_STATEMENT, MAX_TRACES, MAX_VOID};
use grid_keys::{NodeId, NodeKey, SignatureBytes};

/// The bounds that every statement and body is checked against before it is read.
pub const STATEMENT_BOUNDS: Bounds = Bounds {
    max_bytes: MAX_STATEMENT,
    max_depth: MAX_DEPTH,
    max_items: 2048,
};

/// Generates [`Kind`] from one list, so that no list of all kinds can lack one.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $number:literal, $name:literal;)*) => {
        /// What a statement is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind {
            $($(#[$doc])* $kind = $number,)*
        }

        impl Kind {
            /// Every kind, by ascending number.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// The kind's name, as signed and as shown to people.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }

            /// The kind of a number.
            #[must_use]
            pub const fn of(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$kind),)*
                    _ => None,
                }
            }
        }
    };
}

// Numbers and names enter the signed bytes and never change.
kinds! {
    /// Founds a network.
    Charter = 1, "charter";
    /// Lets the holder of an invite key admit nodes.
    Grant = 2, "invite grant";
    /// The holder of an invite key admits one node.
    GrantUse = 3, "invite use";
    /// An owner acts.
    Act = 4, "act";
    /// A node speaks for itself.
    Member = 5, "member promise";
    /// A node saw what another promised.
    Receipt = 6, "receipt";
    /// A node asks the owners to admit it.
    Request = 7, "admission request";
    /// How a member who is gone came in. It is made of statements that are signed, and is not signed itself.
    Trace = 8, "trace";
}

impl Kind {
    /// How many of it a ledger keeps; 0 if it is not [state](Self::is_state).
    #[must_use]
    pub const fn most_kept(self) -> usize {
        match self {
            Self::Member => MAX_MEMBERS + MAX_VOID,
            Self::Act => MAX_ACTS,
            Self::Trace => MAX_TRACES,
            Self::Charter | Self::Grant | Self::GrantUse | Self::Receipt | Self::Request => 0,
        }
    }

    /// Whether it is state: a ledger merges it, and nodes compare and push it. A node that gets another
    /// kind of state than it knows takes the sender for hostile, so all nodes under one text of
    /// `join-wireguard-net` have to agree on this.
    #[must_use]
    pub const fn is_state(self) -> bool {
        self.most_kept() > 0
    }
}

/// How many statements a full ledger has. Payloads and files have to hold that many.
pub const MAX_STATEMENTS: usize = {
    let mut most = 0;
    let mut kinds = Kind::ALL;
    while let [kind, rest @ ..] = kinds {
        most += kind.most_kept();
        kinds = rest;
    }
    most
};

/// Why bytes are not a statement. The state is as it was before; the same bytes will fail again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// Not well-formed or not deterministic CBOR, or not of the statement's shape.
    #[error("the {kind} is damaged: {source}")]
    Encoding {
        /// What was expected.
        kind: &'static str,
        /// Where and how it is wrong.
        source: CborError,
    },
    /// A statement of another kind.
    #[error("expected a {expected}, got a statement of kind {got}")]
    Kind {
        /// What was expected.
        expected: &'static str,
        /// The kind number that was found.
        got: u8,
    },
    /// The signature is not the signer's.
    #[error("the {0}'s signature is wrong: it was altered, or its signer is another")]
    Signature(&'static str),
    /// Well-formed and signed, and still not something that can be promised.
    #[error("the {kind} is not valid: {why}")]
    Invalid {
        /// What was expected.
        kind: &'static str,
        /// The rule that it breaks.
        why: &'static str,
    },
}

/// A body that can be signed.
pub trait Statement: Encode<()> + for<'b> Decode<'b, ()> {
    /// Its kind.
    const KIND: Kind;

    /// Whose signature it must carry.
    fn signer(&self) -> NodeId;

    /// The rules that need nothing but the body itself.
    ///
    /// # Errors
    /// The rule that is broken, as a sentence without a full stop.
    fn check(&self) -> Result<(), &'static str>;
}

/// Whether signatures have to be verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Each of them.
    #[default]
    Nobody,
    /// This node has verified all of them in the same bytes.
    Verified,
}

/// A statement whose signature and own rules hold, with the bytes it came in.
pub struct Signed<T> {
    bytes: Arc<[u8]>,
    id: ContentId,
    body: T,
}

#[derive(Encode, Decode)]
struct Frame<'a> {
    #[n(0)]
    kind: u8,
    #[b(1)]
    #[cbor(with = "minicbor::bytes")]
    body: &'a [u8],
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    signature: SignatureBytes,
}

impl<T: Statement> Signed<T> {
    /// Signs a body.
    ///
    /// # Errors
    /// [`StatementError::Invalid`] if the body breaks its own rules, is too long, or the key is not
    /// the one it must be signed with.
    pub fn sign(body: T, key: &NodeKey) -> Result<Self, StatementError> {
        let invalid = |why| StatementError::Invalid {
            kind: T::KIND.name(),
            why,
        };
        body.check().map_err(invalid)?;
        if key.id() != body.signer() {
            return Err(invalid("it has to be signed by another key"));
        }
        let encoded = cbor::encode(&body);
        let signature = key.sign(&signed_bytes(T::KIND, &encoded));
        let bytes = cbor::encode(&Frame {
            kind: T::KIND as u8,
            body: &encoded,
            signature,
        });
        if bytes.len() > MAX_STATEMENT {
            return Err(invalid("it is longer than a statement may be"));
        }
        Ok(Self {
            id: ContentId::of(&bytes),
            bytes: bytes.into(),
            body,
        })
    }

    /// Reads and verifies a statement.
    ///
    /// # Errors
    /// Every way in which bytes can fail to be a statement of this kind.
    pub fn decode(bytes: &[u8]) -> Result<Self, StatementError> {
        Self::read(bytes, Trust::Nobody)
    }

    /// The same of bytes that may have been verified before.
    pub(crate) fn read(bytes: &[u8], trust: Trust) -> Result<Self, StatementError> {
        let kind = T::KIND.name();
        let encoding = |source| StatementError::Encoding { kind, source };
        let frame: Frame<'_> = read_frame(bytes, T::KIND, |frame: &Frame<'_>| frame.kind)?;
        let body: T = cbor::decode(frame.body, &STATEMENT_BOUNDS).map_err(encoding)?;
        let is_signed = || {
            let signed = signed_bytes(T::KIND, frame.body);
            body.signer().verify(&signed, &frame.signature)
        };
        if trust == Trust::Nobody && !is_signed() {
            return Err(StatementError::Signature(kind));
        }
        body.check()
            .map_err(|why| StatementError::Invalid { kind, why })?;
        Ok(Self {
            bytes: bytes.into(),
            id: ContentId::of(bytes),
            body,
        })
    }
}

impl<T> Signed<T> {
    /// The bytes as they were received or signed.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The content id of the bytes.
    #[must_use]
    pub const fn id(&self) -> ContentId {
        self.id
    }

    /// What was said.
    #[must_use]
    pub const fn body(&self) -> &T {
        &self.body
    }
}

impl<T> std::ops::Deref for Signed<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.body
    }
}

impl<T: Clone> Clone for Signed<T> {
    fn clone(&self) -> Self {
        Self {
            bytes: Arc::clone(&self.bytes),
            id: self.id,
            body: self.body.clone(),
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Signed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.body.fmt(f)
    }
}

impl<T> PartialEq for Signed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl<T> Eq for Signed<T> {}

/// Reads the frame of a statement of this kind; `found` is the kind in it.
pub(crate) fn read_frame<'b, F: Decode<'b, ()> + Encode<()>>(
    bytes: &'b [u8],
    kind: Kind,
    found: impl Fn(&F) -> u8,
) -> Result<F, StatementError> {
    let expected = kind.name();
    let encoding = |source| StatementError::Encoding {
        kind: expected,
        source,
    };
    let frame: F = cbor::decode(bytes, &STATEMENT_BOUNDS).map_err(encoding)?;
    let got = found(&frame);
    if got == kind as u8 {
        Ok(frame)
    } else {
        Err(StatementError::Kind { expected, got })
    }
}

/// The kind that a statement says it is, without looking further.
#[must_use]
pub fn peek_kind(bytes: &[u8]) -> Option<u8> {
    // `[kind, body, signature]` begins with the array header 0x83, what is not signed with 0x82; kinds are below 24.
    match bytes {
        [0x82 | 0x83, kind, ..] if *kind < 24 => Some(*kind),
        _ => None,
    }
}

/// The body of a statement, without verifying anything: only to look up what was verified before.
pub(crate) fn peek_body<T: Statement>(bytes: &[u8]) -> Option<T> {
    let frame: Frame<'_> = minicbor::decode(bytes).ok()?;
    minicbor::decode(frame.body).ok()
}

fn signed_bytes(kind: Kind, body: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(8 + kind.name().len() + body.len());
    message.extend_from_slice(b"grid/1 ");
    message.extend_from_slice(kind.name().as_bytes());
    message.push(0);
    message.extend_from_slice(body);
    message
}
