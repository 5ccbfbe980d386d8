//! What all code that keeps a promise has in common: two entry points, and what they are shown.

use grid_promises::{ContentId, Message};

use super::error::CallError;

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
pub(super) fn shown(parms: &Message, payload: &[u8]) -> Result<Vec<u8>, CallError> {
    let message = shown_message(parms, payload);
    message.check_limits().map_err(CallError::Parms)?;
    Ok(message.encode())
}

pub(super) fn shown_message(parms: &Message, payload: &[u8]) -> Message {
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
    use super::super::error::Fault;
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
