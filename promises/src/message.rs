//! A message: a call or an answer under one promise.
//!
//! `grid([42(promise), 42(module) | null, [arg, ...], payload, proof | null])`. Arguments and
//! payload are byte strings; what is in them belongs to the promise. The proof is a detached
//! Ed25519 signature over the message with `null` in the place of the proof.
//!
//! What is signed begins with the grid tag (`da 67 72 69 64`) and the id of the promise, and that
//! keeps it apart from everything else a node key signs: a TLS 1.3 transcript begins with 64
//! spaces (RFC 8446 section 4.4.3) and a statement with its ASCII domain. A proof names neither
//! sender nor receiver nor time: a promise that needs them puts them into its payload.
//!
//! A message has one encoding, so the bytes that were received and the bytes that
//! [`Message::encode`] yields are the same; [`Message::decode`] accepts no other.

use minicbor::data::{Tag, Type};
use minicbor::decode::Decoder;
use minicbor::encode::{Encoder, Write};

use crate::cbor::{self, Bounds};
use crate::content_id::{ContentId, ContentIdError};
use crate::envelope::{Envelope, EnvelopeError, GRID_TAG};
use crate::wire::CID_TAG;
use grid_keys::{NodeId, NodeKey, SignatureBytes};

/// Promise, module, arguments, payload, proof.
const SLOTS: u64 = 5;

/// A message under a promise.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// The document that states the promise.
    pub promise: ContentId,
    /// The code that is to keep the promise, where the sender asks for a particular one.
    pub module: Option<ContentId>,
    /// The arguments of the call. At most [`Message::MAX_ARGS`] of [`Message::MAX_ARG_LEN`] bytes.
    pub args: Vec<Vec<u8>>,
    /// The content, at most [`Message::MAX_PAYLOAD`] bytes.
    pub payload: Vec<u8>,
    /// The sender's signature, where the promise asks for one.
    pub proof: Option<SignatureBytes>,
}

impl Message {
    /// The most arguments a message may have.
    pub const MAX_ARGS: usize = 64;
    /// The longest argument, in bytes.
    pub const MAX_ARG_LEN: usize = 4 * 1024;
    /// The longest payload, in bytes.
    pub const MAX_PAYLOAD: usize = 1024 * 1024;
    /// The longest encoding of a message, in bytes: 1 MiB of payload, 64 arguments of 4 KiB, each
    /// with its head, and 512 bytes for tag, ids and proof.
    pub const MAX_LEN: usize = Self::MAX_PAYLOAD + Self::MAX_ARGS * (Self::MAX_ARG_LEN + 3) + 512;
    /// The bounds of a message. It nests three deep (tag, array, arguments).
    pub const BOUNDS: Bounds = Bounds {
        max_bytes: Self::MAX_LEN,
        max_depth: Bounds::MAX_DEPTH,
        max_items: Self::MAX_ARGS as u64 + 16,
    };

    /// A message without module, arguments, payload and proof.
    #[must_use]
    pub const fn new(promise: ContentId) -> Self {
        Self {
            promise,
            module: None,
            args: Vec::new(),
            payload: Vec::new(),
            proof: None,
        }
    }

    /// Asks for a particular module.
    #[must_use]
    pub const fn module(mut self, module: ContentId) -> Self {
        self.module = Some(module);
        self
    }

    /// Adds an argument after those that are there.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<Vec<u8>>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Sets the payload.
    #[must_use]
    pub fn payload(mut self, payload: impl Into<Vec<u8>>) -> Self {
        self.payload = payload.into();
        self
    }

    /// Checks what [`Message::decode`] of the receiver will check. Call it before sending what came
    /// from outside.
    ///
    /// # Errors
    /// Too many arguments, or an argument or payload that is too long.
    pub fn check_limits(&self) -> Result<(), MessageError> {
        if self.args.len() > Self::MAX_ARGS {
            return Err(MessageError::TooManyArgs {
                found: self.args.len() as u64,
            });
        }
        for (index, arg) in self.args.iter().enumerate() {
            check_arg(index, arg)?;
        }
        check_payload(&self.payload)
    }

    /// The bytes to send. Limits are not checked here: see [`Message::check_limits`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // A buffer that grew would leave copies of what may be secret.
        let args: usize = self.args.iter().map(|arg| arg.len() + 3).sum();
        let room = self.payload.len() + args + 512;
        let parts = Parts {
            message: self,
            proof: self.proof.as_ref(),
        };
        cbor::encode_into(Vec::with_capacity(room), &parts)
    }

    /// The content id of the encoded message, which is that of the received bytes.
    #[must_use]
    pub fn id(&self) -> ContentId {
        ContentId::of(&self.encode())
    }

    /// Reads a message that takes up all of `bytes`. Use [`Message::BOUNDS`], or less.
    ///
    /// The proof is not checked: see [`Message::verify`].
    ///
    /// # Errors
    /// Not an envelope, not the five slots of a message, or over a limit.
    pub fn decode(bytes: &[u8], bounds: &Bounds) -> Result<Self, MessageError> {
        let envelope = Envelope::decode(bytes, bounds)?;
        let &[module, args, payload, proof] = envelope.slots() else {
            return Err(MessageError::SlotCount {
                found: envelope.slots().len() + 1,
            });
        };
        Ok(Self {
            promise: *envelope.promise(),
            module: read_module(module)?,
            args: read_args(args)?,
            payload: read_payload(payload)?,
            proof: read_proof(proof)?,
        })
    }

    /// The bytes that a proof signs: the encoding with `null` for the proof.
    #[must_use]
    pub fn signing_bytes(&self) -> Vec<u8> {
        cbor::encode(&Parts {
            message: self,
            proof: None,
        })
    }

    /// Signs the message; a proof that was there is replaced.
    pub fn sign(&mut self, key: &NodeKey) {
        self.proof = Some(key.sign(&self.signing_bytes()));
    }

    /// Checks that `sender` signed the message as it is.
    ///
    /// # Errors
    /// There is no proof, or it is not that node's signature over this message.
    pub fn verify(&self, sender: &NodeId) -> Result<(), ProofError> {
        let proof = self.proof.as_ref().ok_or(ProofError::Missing)?;
        if sender.verify(&self.signing_bytes(), proof) {
            Ok(())
        } else {
            Err(ProofError::Wrong)
        }
    }
}

/// Shows ids and sizes. The content stays out of logs: an argument may be an invite.
impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let args: Vec<usize> = self.args.iter().map(Vec::len).collect();
        f.debug_struct("Message")
            .field("promise", &self.promise)
            .field("module", &self.module)
            .field("arg_lengths", &args)
            .field("payload_length", &self.payload.len())
            .field("signed", &self.proof.is_some())
            .finish()
    }
}

fn check_arg(index: usize, arg: &[u8]) -> Result<(), MessageError> {
    if arg.len() > Message::MAX_ARG_LEN {
        return Err(MessageError::ArgTooLong {
            index,
            found: arg.len(),
        });
    }
    Ok(())
}

fn check_payload(payload: &[u8]) -> Result<(), MessageError> {
    if payload.len() > Message::MAX_PAYLOAD {
        return Err(MessageError::PayloadTooLong {
            found: payload.len(),
        });
    }
    Ok(())
}

// The slots passed the CBOR check with the envelope: only their shape can be wrong from here on.

fn is_null(slot: &[u8]) -> bool {
    Decoder::new(slot)
        .datatype()
        .is_ok_and(|kind| kind == Type::Null)
}

fn read_module(slot: &[u8]) -> Result<Option<ContentId>, MessageError> {
    if is_null(slot) {
        return Ok(None);
    }
    let mut decoder = Decoder::new(slot);
    match decoder.tag() {
        Ok(tag) if tag.as_u64() == CID_TAG => {}
        _ => return Err(MessageError::ModuleShape),
    }
    let bytes = decoder.bytes().map_err(|_| MessageError::ModuleShape)?;
    let binary = bytes.strip_prefix(&[0]).ok_or(MessageError::ModuleShape)?;
    ContentId::from_bytes(binary)
        .map(Some)
        .map_err(MessageError::Module)
}

fn read_args(slot: &[u8]) -> Result<Vec<Vec<u8>>, MessageError> {
    let mut decoder = Decoder::new(slot);
    let count = match decoder.array() {
        Ok(Some(count)) => count,
        _ => return Err(MessageError::ArgsShape),
    };
    if count > Message::MAX_ARGS as u64 {
        return Err(MessageError::TooManyArgs { found: count });
    }
    let mut args = Vec::new();
    for index in 0..Message::MAX_ARGS.min(usize::try_from(count).unwrap_or(usize::MAX)) {
        let arg = decoder
            .bytes()
            .map_err(|_| MessageError::ArgShape { index })?;
        check_arg(index, arg)?;
        args.push(arg.to_vec());
    }
    Ok(args)
}

fn read_payload(slot: &[u8]) -> Result<Vec<u8>, MessageError> {
    let payload = Decoder::new(slot)
        .bytes()
        .map_err(|_| MessageError::PayloadShape)?;
    check_payload(payload)?;
    Ok(payload.to_vec())
}

fn read_proof(slot: &[u8]) -> Result<Option<SignatureBytes>, MessageError> {
    if is_null(slot) {
        return Ok(None);
    }
    let proof = Decoder::new(slot)
        .bytes()
        .map_err(|_| MessageError::ProofShape)?;
    proof
        .try_into()
        .map(Some)
        .map_err(|_| MessageError::ProofShape)
}

/// A message with the proof that is to be encoded, which is none where it is to be signed.
struct Parts<'a> {
    message: &'a Message,
    proof: Option<&'a SignatureBytes>,
}

impl<C> minicbor::Encode<C> for Parts<'_> {
    fn encode<W: Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.tag(Tag::new(GRID_TAG))?.array(SLOTS)?;
        self.message.promise.encode(e, ctx)?;
        self.message.module.encode(e, ctx)?;
        e.array(self.message.args.len() as u64)?;
        for arg in &self.message.args {
            e.bytes(arg)?;
        }
        e.bytes(&self.message.payload)?;
        match self.proof {
            Some(proof) => e.bytes(proof)?.ok(),
            None => e.null()?.ok(),
        }
    }
}

/// Bytes that are not a message, or a message over a limit. Nothing was changed; the same bytes
/// will fail again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Not an envelope.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// An envelope of another form than this project's messages have.
    #[error("a message has 5 slots, not {found}")]
    SlotCount {
        /// How many there are, with the promise.
        found: usize,
    },
    /// Slot 1 is neither null nor tag 42 over a zero byte and a CID.
    #[error("the module of a message must be a content id (tag 42) or null")]
    ModuleShape,
    /// Slot 1 does not hold a content id that this version can verify.
    #[error("the module id cannot be used: {0}")]
    Module(ContentIdError),
    /// Slot 2 is not an array.
    #[error("the arguments of a message must be an array")]
    ArgsShape,
    /// An argument that is not a byte string.
    #[error("argument {index} is not a byte string")]
    ArgShape {
        /// Which one, from 0.
        index: usize,
    },
    /// More than [`Message::MAX_ARGS`] arguments.
    #[error("{found} arguments, more than the {} allowed", Message::MAX_ARGS)]
    TooManyArgs {
        /// How many there are.
        found: u64,
    },
    /// An argument of more than [`Message::MAX_ARG_LEN`] bytes.
    #[error(
        "argument {index} has {found} bytes, more than the {} allowed",
        Message::MAX_ARG_LEN
    )]
    ArgTooLong {
        /// Which one, from 0.
        index: usize,
        /// Its length, in bytes.
        found: usize,
    },
    /// Slot 3 is not a byte string.
    #[error("the payload of a message must be a byte string")]
    PayloadShape,
    /// A payload of more than [`Message::MAX_PAYLOAD`] bytes.
    #[error(
        "the payload has {found} bytes, more than the {} allowed",
        Message::MAX_PAYLOAD
    )]
    PayloadTooLong {
        /// Its length, in bytes.
        found: usize,
    },
    /// Slot 4 is neither null nor a byte string of 64 bytes.
    #[error("the proof of a message must be a signature of 64 bytes or null")]
    ProofShape,
}

/// A message whose proof does not hold. Drop it; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// There is no proof.
    #[error("the message is not signed")]
    Missing,
    /// The proof is not the sender's signature over this message.
    #[error("the signature of the message is wrong")]
    Wrong,
}
