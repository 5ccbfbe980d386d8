//! How code that keeps a promise is run.
//!
//! | file | concept |
//! |---|---|
//! | `manifest` | what a WebAssembly module says about itself, read without running it |
//! | `wasm` | modules in WebAssembly: the engine, a fresh instance per call, what guests may ask |
//! | `native` | executables of this machine's own kind, allowed one by one |
//! | `builtin` | code that is part of this program |
//! | `limits`, `error`, `objects` | what code may use; what goes wrong; where guests get objects |
//!
//! All three are called in one way, by the trait [`Executor`]. There are two entry points:
//!
//! - *accept* is shown the parameters of a call: a message with promise, module and arguments, with
//!   an empty payload and without proof. It answers with a message that is led by one of two
//!   well-known promises ([`Verdicts`]): it will handle such a call, or it will not.
//! - *handle* is shown the same message with the payload, and answers with any message.
//!
//! The bytes that cross are those of [`Message::encode`], both ways; see `docs/modules.md`. Between
//! the two calls nothing is kept. A module that says yes and then yields no answer has broken its
//! promise; [`CallError::fault`] tells that from trouble of this node.
//!
//! Calls block: make them on a thread that may (`tokio::task::spawn_blocking`). Nothing here decides
//! *whether* code may run, but for one thing that cannot be left out: native code runs only with an
//! [`native::Allowed`], which an allow-list alone gives.

pub mod builtin;
mod error;
mod guest_log;
mod limits;
mod manifest;
pub mod native;
mod objects;
pub mod wasm;

pub use error::{ABI, CallError, Fault, ModuleError};
pub use limits::{Budget, Limits, MAX_EXECUTABLE, MAX_MODULE};
pub use manifest::{Manifest, SectionFault};
pub use objects::{NoObjects, ObjectError, Objects};

use grid_promises::{ContentId, Message};

/// Code that keeps a promise.
pub trait Executor: Send + Sync {
    /// Asks whether the code takes such a call. Payload and proof of `parms` are not shown to it.
    ///
    /// # Errors
    /// No verdict: see [`CallError::fault`] for what to make of it.
    fn accept(&self, parms: &Message) -> Result<Verdict, CallError>;

    /// Makes the call. `payload` stands in the place of that of `parms`; the proof is not shown to
    /// the code.
    ///
    /// # Errors
    /// No answer: see [`CallError::fault`] for what to make of it.
    fn handle(&self, parms: &Message, payload: &[u8]) -> Result<Message, CallError>;
}

/// The two promises that lead an answer to *accept*.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdicts {
    /// The code will handle such a call.
    pub accept: ContentId,
    /// It will not. The payload may say why, in UTF-8.
    pub reject: ContentId,
}

/// What code answered to *accept*.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It will handle such a call.
    Accepted(Message),
    /// It will not.
    Rejected(Message),
}

impl Verdicts {
    /// Reads the answer to *accept*.
    ///
    /// # Errors
    /// [`CallError::NotAVerdict`]: the message is led by neither of the two.
    pub fn read(&self, answer: Message) -> Result<Verdict, CallError> {
        if answer.promise == self.accept {
            Ok(Verdict::Accepted(answer))
        } else if answer.promise == self.reject {
            Ok(Verdict::Rejected(answer))
        } else {
            Err(CallError::NotAVerdict {
                promise: answer.promise,
            })
        }
    }
}

/// What the code is shown, in bytes.
fn shown(parms: &Message, payload: &[u8]) -> Result<Vec<u8>, CallError> {
    let message = shown_message(parms, payload);
    message.check_limits().map_err(CallError::Parms)?;
    Ok(message.encode())
}

fn shown_message(parms: &Message, payload: &[u8]) -> Message {
    Message {
        promise: parms.promise,
        module: parms.module,
        args: parms.args.clone(),
        payload: payload.to_vec(),
        proof: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts() -> Verdicts {
        Verdicts {
            accept: ContentId::of(b"yes"),
            reject: ContentId::of(b"no"),
        }
    }

    #[test]
    fn a_verdict_is_read_from_what_leads_the_answer() {
        let yes = Message::new(ContentId::of(b"yes")).payload("why");
        let no = Message::new(ContentId::of(b"no"));
        assert_eq!(
            verdicts().read(yes.clone()).unwrap(),
            Verdict::Accepted(yes)
        );
        assert_eq!(verdicts().read(no.clone()).unwrap(), Verdict::Rejected(no));
        let other = verdicts().read(Message::new(ContentId::of(b"perhaps")));
        assert!(
            matches!(other, Err(CallError::NotAVerdict { promise }) if promise == ContentId::of(b"perhaps"))
        );
    }

    #[test]
    fn code_is_shown_neither_the_proof_nor_another_payload() {
        let mut parms = Message::new(ContentId::of(b"p")).arg("a").payload("secret");
        parms.proof = Some([7; 64]);
        let seen = Message::decode(&shown(&parms, b"other").unwrap(), &Message::BOUNDS).unwrap();
        assert_eq!(
            seen,
            Message::new(ContentId::of(b"p")).arg("a").payload("other")
        );
    }

    #[test]
    fn what_cannot_be_a_message_is_the_callers_fault() {
        let parms = Message::new(ContentId::of(b"p")).arg(vec![0; Message::MAX_ARG_LEN + 1]);
        let error = shown(&parms, b"").unwrap_err();
        assert!(matches!(error, CallError::Parms(_)));
        assert_eq!(error.fault(), Fault::Caller);
    }
}
