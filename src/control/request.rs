//! A request on the control socket: a message under the promise of its command, with the request as JSON in
//! the payload and the sender's version in the argument.
//!
//! A request without content is a bare message, which every version understands: a program can ask a
//! server of any other version for its status, and stop it.
//!
//! What a server does not understand it refuses: requests reject unknown fields. Servers of the first
//! version parse the arguments as a command line; the argument here is one that every command line rejects.

use grid_promises::{ContentId, Message};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::confidential::{self, Confidential};
use crate::advice;
use crate::exit::{Failure, Outcome};

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// How the argument begins; the version follows.
const FORM: &str = "--request-of=";
/// A request without content.
const BARE: &[u8] = b"{}";

/// Puts a request into a message.
///
/// # Errors
/// The request cannot be written as JSON.
pub fn encode(promise: ContentId, request: &impl Serialize) -> Outcome<Confidential> {
    let mut payload = confidential::json(request)
        .map_err(|error| Failure::failed(format!("the command cannot be written: {error}")))?;
    if *payload == BARE {
        return Ok(Message::new(promise).into());
    }
    let form = format!("{FORM}{VERSION}");
    let message = Message::new(promise).arg(form);
    Ok(message.payload(std::mem::take(&mut *payload)).into())
}

/// Reads the request from a message.
///
/// # Errors
/// Another version of the program sent it, and this one does not understand it.
pub fn decode<T: DeserializeOwned>(message: &Message) -> Outcome<T> {
    let payload = &message.payload;
    let read = |bytes: &[u8]| serde_json::from_slice(bytes).ok();
    let (request, from) = match message.args.as_slice() {
        [] if payload.is_empty() => (read(BARE), None),
        [arg] => match std::str::from_utf8(arg)
            .ok()
            .and_then(|arg| arg.strip_prefix(FORM))
        {
            Some(version) => (read(payload), Some(version)),
            None => (None, None),
        },
        _ => (None, None),
    };
    // The error of serde is dropped: it may quote a secret field.
    request.ok_or_else(|| not_understood(from))
}

fn not_understood(from: Option<&str>) -> Failure {
    let from =
        match from.filter(|from| from.len() < 64 && from.bytes().all(|b| b.is_ascii_graphic())) {
            Some(version) if version == VERSION => "of another build of this version".to_owned(),
            Some(version) => format!("of version {version}"),
            None => "of another version".to_owned(),
        };
    Failure::usage(format!(
        "this command was given by a program {from}, and the server, which is of version {VERSION}, \
         does not understand it; {}",
        advice::restart()
    ))
}

/// Explains the refusal of a server of the first version, which took the argument for a person's.
pub(super) fn explain(refusal: Failure) -> Failure {
    if !refusal.text.contains(FORM.trim_end_matches('=')) {
        return refusal;
    }
    Failure::usage(format!(
        "the server is older than this program, which is of version {VERSION}, and does not \
         understand it; {}",
        advice::restart()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use grid_promises::texts;
    use serde::Deserialize;

    #[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Request {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        net: Option<String>,
    }

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Needy {
        net: String,
    }

    fn message() -> Message {
        Message::new(texts::STATUS.id())
    }

    #[test]
    fn requests_read_back() {
        let net = Some("foo".to_owned());
        for request in [Request::default(), Request { net }] {
            let message = encode(texts::STATUS.id(), &request).unwrap();
            assert_eq!(message.promise, texts::STATUS.id());
            assert_eq!(decode::<Request>(&message).unwrap(), request);
        }
    }

    #[test]
    fn what_asks_for_no_more_than_its_promise_is_a_bare_message() {
        let bare = encode(texts::STATUS.id(), &Request::default()).unwrap();
        assert_eq!(*bare, message());
        assert!(decode::<Needy>(&bare).is_err());
    }

    #[test]
    fn what_another_version_asks_is_refused_with_both_versions() {
        let newer = || message().arg("--request-of=9.9.9");
        for (message, said) in [
            (newer().payload(r#"{"net":"foo","more":1}"#), "9.9.9"),
            (newer().payload(r#"{"net":7}"#), "9.9.9"),
            (newer().payload("junk"), "9.9.9"),
            (newer(), "9.9.9"),
            (message().arg("foo"), "another version"),
            (message().arg("--request-of=\u{1b}[2J"), "another version"),
            (message().payload("{}"), "another version"),
        ] {
            let failure = decode::<Request>(&message).unwrap_err();
            assert_eq!(failure.exit, crate::exit::Exit::Usage);
            assert!(failure.text.contains(said), "{failure}");
            assert!(failure.text.contains(VERSION), "{failure}");
            assert!(failure.text.contains("grid stop-server"), "{failure}");
        }
    }

    #[test]
    fn a_server_that_reads_words_is_told_from_one_that_refuses() {
        let old = Failure::usage("error: unexpected argument '--request-of' found\n\nUsage: grid");
        let said = explain(old).text;
        assert!(said.contains("older") && said.contains(VERSION), "{said}");
        let other = Failure::refused("no");
        assert_eq!(explain(other.clone()), other);
    }
}
