//! What a judge answers: for each promised prefix whether it would accept it, and why.
//!
//! A judge is a module that keeps the promise `judge`: it is shown [`Records`] and nothing else, asks
//! nobody, and gives its opinions in the order of [`Records::questions`]. It is this node's own, named
//! by a person. Its opinion takes the place of "there is no rule for that"; it is not above the rules
//! that a person gave, nor above what no rule can accept: [`decide`](super::accept::decide) sees to
//! both.
//!
//! On the wire: `[1, [[accepts, why], ...]]`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;
use minicbor::{Decode, Encode};

use crate::cbor::{self, Bounds};
use crate::network::records::Records;
use crate::object::{self, ObjectError, Version};
use grid_keys::NodeId;

/// Why a judge says what it says: a short text for people, on one line.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reason(Arc<str>);

impl Reason {
    /// The longest, in bytes.
    pub const MAX_LEN: usize = 200;

    /// The text, cut to its bound, without control characters: it comes from code that this node did
    /// not write, and goes to terminals.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut kept = String::new();
        for word in text.trim().chars() {
            let shown = if word.is_control() { ' ' } else { word };
            if kept.len() + shown.len_utf8() > Self::MAX_LEN {
                break;
            }
            kept.push(shown);
        }
        Self(kept.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            f.write_str("it does not say why")
        } else {
            f.write_str(&self.0)
        }
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// What a judge thinks of one promised prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opinion {
    /// Whether it would accept it.
    pub accepts: bool,
    /// Why.
    pub why: Reason,
}

/// What a judge thinks, by member and prefix.
pub type Opinions = BTreeMap<(NodeId, IpNet), Opinion>;

/// An answer that is no judgement of these records. Nothing was changed; the judge broke its promise,
/// and will again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JudgementError {
    /// Damaged, of another version, or something else.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// Not one opinion for each question.
    #[error("it answers {found} questions, and was asked {asked}")]
    Count {
        /// How many opinions there are.
        found: usize,
        /// How many questions there were.
        asked: usize,
    },
}

/// Reads the judgement of `records` that takes up all of `bytes`.
///
/// # Errors
/// Not the encoding of a judgement, or not one of these records.
pub fn read(bytes: &[u8], records: &Records) -> Result<Opinions, JudgementError> {
    let bounds = Bounds::bytes(crate::message::Message::MAX_PAYLOAD);
    let fields: Fields = object::read("judgement", bytes, &bounds)?;
    let asked = records.questions().count();
    if fields.opinions.len() != asked {
        let found = fields.opinions.len();
        return Err(JudgementError::Count { found, asked });
    }
    let opinion = |fields: OpinionFields| Opinion {
        accepts: fields.accepts,
        why: Reason::new(&fields.why),
    };
    let opinions = fields.opinions.into_iter().map(opinion);
    Ok(records.questions().zip(opinions).collect())
}

/// The bytes of a judgement: what a judge written in this language answers.
#[must_use]
pub fn encode(opinions: &[Opinion]) -> Vec<u8> {
    let fields = |opinion: &Opinion| OpinionFields {
        accepts: opinion.accepts,
        why: opinion.why.as_str().to_owned(),
    };
    cbor::encode(&Fields {
        version: Version,
        opinions: opinions.iter().map(fields).collect(),
    })
}

#[derive(Encode, Decode)]
struct Fields {
    #[n(0)]
    version: Version,
    #[n(1)]
    opinions: Vec<OpinionFields>,
}

#[derive(Encode, Decode)]
struct OpinionFields {
    #[n(0)]
    accepts: bool,
    #[n(1)]
    why: String,
}
