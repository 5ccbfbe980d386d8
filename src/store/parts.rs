//! The forms of the parts of a network's record: one file each.
//!
//! Statements stay the bytes that were signed. Rules and codes are text that a person can read and edit.

use std::fmt::Write as _;
use std::path::Path;

use data_encoding::HEXLOWER;
use grid_promises::ContentId;
use grid_promises::Timestamp;
use grid_promises::cbor::{self, Bounds};
use grid_promises::core::{Expected, Issued};
use grid_promises::limits::{MAX_CHAIN, MAX_STATEMENT};
use grid_promises::network::accept::{Action, Rule};
use grid_promises::network::act::ActId;
use grid_promises::network::admission::RawLink;
use grid_promises::network::invite::Bootstrap;

use super::error::StoreError;

const ADMISSION_LIMIT: usize = MAX_CHAIN * 2 * (MAX_STATEMENT + 16);
const BOOTSTRAP_LIMIT: usize = 256 * 1024;

pub(super) fn encode_admission(links: &[RawLink]) -> Vec<u8> {
    cbor::encode(links)
}

pub(super) fn decode_admission(path: &Path, bytes: &[u8]) -> Result<Vec<RawLink>, StoreError> {
    cbor::decode(bytes, &Bounds::bytes(ADMISSION_LIMIT))
        .map_err(|error| StoreError::damaged(path, error.to_string()))
}

pub(super) fn encode_bootstrap(nodes: &[Bootstrap]) -> Vec<u8> {
    cbor::encode(nodes)
}

pub(super) fn decode_bootstrap(path: &Path, bytes: &[u8]) -> Result<Vec<Bootstrap>, StoreError> {
    cbor::decode(bytes, &Bounds::bytes(BOOTSTRAP_LIMIT))
        .map_err(|error| StoreError::damaged(path, error.to_string()))
}

/// One code a line, and until when it is kept, in Unix time.
pub(super) fn encode_codes(codes: &[Expected]) -> String {
    let mut text = String::from(
        "# Whose code stands here is admitted if it asks by that time. Written by grid.\n",
    );
    for kept in codes {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{} {}", kept.code, kept.until.0);
    }
    text
}

pub(super) fn decode_codes(path: &Path, text: &str) -> Result<Vec<Expected>, StoreError> {
    let read = |line: &str| {
        let (code, until) = line.split_once(' ')?;
        let code = code.parse().ok()?;
        let until = Timestamp(until.parse().ok()?);
        Some(Expected { code, until })
    };
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let codes: Option<Vec<Expected>> = lines.map(read).collect();
    // Cut short, the last line might name another time than it did.
    codes
        .filter(|_| text.ends_with('\n'))
        .ok_or_else(|| StoreError::damaged(path, "a line of it is not \"CODE TIME\""))
}

/// One invite a line: its id, how many nodes it may admit, when it was made and until when it can be used, in Unix time.
pub(super) fn encode_invites(invites: &[Issued]) -> String {
    let mut text = String::from(
        "# The invites that this node made: id, uses, made, expires. Written by grid.\n",
    );
    for made in invites {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{} {} {} {}",
            made.invite, made.uses, made.issued.0, made.expires.0
        );
    }
    text
}

pub(super) fn decode_invites(path: &Path, text: &str) -> Result<Vec<Issued>, StoreError> {
    let read = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let [invite, uses, issued, expires] = words.as_slice() else {
            return None;
        };
        Some(Issued {
            invite: invite.parse().ok()?,
            uses: uses.parse().ok()?,
            issued: Timestamp(issued.parse().ok()?),
            expires: Timestamp(expires.parse().ok()?),
        })
    };
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let invites: Option<Vec<Issued>> = lines.map(read).collect();
    // Cut short, the last line might name another time than it did.
    invites
        .filter(|_| text.ends_with('\n'))
        .ok_or_else(|| StoreError::damaged(path, "a line of it is not \"ID USES MADE EXPIRES\""))
}

/// One act a line, by its id.
pub(super) fn encode_awaited(acts: &[ActId]) -> String {
    let mut text = String::from(
        "# Acts of owners that the invite named, and that have not come in. Written by grid.\n",
    );
    for act in acts {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{act}");
    }
    text
}

pub(super) fn decode_awaited(path: &Path, text: &str) -> Result<Vec<ActId>, StoreError> {
    let read = |line: &str| {
        let bytes = HEXLOWER.decode(line.as_bytes()).ok()?;
        Some(ActId(bytes.try_into().ok()?))
    };
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let acts: Option<Vec<ActId>> = lines.map(read).collect();
    acts.ok_or_else(|| StoreError::damaged(path, "a line of it is not the id of an act"))
}

/// What decides about promises, as its file holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Deciding {
    /// Rules of acceptance, oldest first.
    pub(super) rules: Vec<Rule>,
    /// The judge: the content id of its code.
    pub(super) judge: Option<ContentId>,
}

/// One rule a line, oldest first: `accept PREFIX from NODE` or `reject PREFIX [from NODE]`; before
/// them `judge ID`, if there is a judge.
pub(super) fn encode_rules(rules: &[Rule], judge: Option<&ContentId>) -> String {
    let mut text =
        String::from("# Of several rules that match, the last one counts. Written by grid.\n");
    if let Some(judge) = judge {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "judge {judge}");
    }
    for rule in rules {
        let _ = writeln!(text, "{rule}");
    }
    text
}

pub(super) fn decode_rules(path: &Path, text: &str) -> Result<Deciding, StoreError> {
    // Cut short, the last line might be another rule than it was.
    if !text.ends_with('\n') {
        return Err(StoreError::damaged(path, "its last line is cut short"));
    }
    let mut deciding = Deciding::default();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let number = index + 1;
        if let Some(id) = line.strip_prefix("judge ") {
            let id = id.parse().ok().filter(|_| deciding.judge.is_none());
            deciding.judge = Some(id.ok_or_else(|| {
                let why = format!("line {number} does not name one judge by its content id");
                StoreError::damaged(path, why)
            })?);
            continue;
        }
        deciding.rules.push(decode_rule(line).ok_or_else(|| {
            let why = format!(
                "line {number} is not \"accept PREFIX from NODE\", \"reject PREFIX [from NODE]\" \
                 or \"judge ID\""
            );
            StoreError::damaged(path, why)
        })?);
    }
    Ok(deciding)
}

fn decode_rule(line: &str) -> Option<Rule> {
    let mut words = line.split_whitespace();
    let action = match words.next()? {
        "accept" => Action::Accept,
        "reject" => Action::Reject,
        _ => return None,
    };
    let prefix = words.next()?.parse().ok()?;
    let from = match words.next() {
        None => None,
        Some("from") => Some(words.next()?.parse().ok()?),
        Some(_) => return None,
    };
    let whole = words.next().is_none() && (from.is_some() || action == Action::Reject);
    whole.then_some(Rule {
        action,
        prefix,
        from,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use grid_keys::NodeKey;
    use grid_keys::Secret;

    #[test]
    fn codes_read_back() {
        let path = Path::new("expected");
        let code = |text: &str, until| Expected {
            code: text.parse().unwrap(),
            until: Timestamp(until),
        };
        let codes = vec![
            code("4K7J-2M3P-QR8T", 1_800_000_000),
            code("0000-0000-0001", 0),
        ];
        let text = encode_codes(&codes);
        assert_eq!(decode_codes(path, &text).unwrap(), codes);
        assert_eq!(decode_codes(path, &encode_codes(&[])).unwrap(), []);
        for cut in 1..text.len() {
            if let Ok(some) = decode_codes(path, &text[..cut]) {
                assert!(codes.starts_with(&some), "cut at {cut}");
            }
        }
        for bad in ["\n", "4K7J-2M3P-QR8T\n", "web1 1\n", "4K7J-2M3P-QR8T -1\n"] {
            assert!(decode_codes(path, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn invites_read_back() {
        let path = Path::new("invites");
        let made = |key: u8, uses| Issued {
            invite: NodeKey::from_seed(&Secret::new([key; 32])).id(),
            uses,
            issued: Timestamp(1_800_000_000),
            expires: Timestamp(1_800_086_400),
        };
        let invites = vec![made(1, 1), made(2, 250)];
        let text = encode_invites(&invites);
        assert_eq!(decode_invites(path, &text).unwrap(), invites);
        assert_eq!(decode_invites(path, &encode_invites(&[])).unwrap(), []);
        for cut in 1..text.len() {
            if let Ok(some) = decode_invites(path, &text[..cut]) {
                assert!(invites.starts_with(&some), "cut at {cut}");
            }
        }
        let id = invites[0].invite;
        for bad in [
            "\n",
            &format!("{id}\n"),
            &format!("{id} 1 2 -3\n"),
            "web1 1 2 3\n",
        ] {
            assert!(decode_invites(path, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn awaited_acts_read_back() {
        let path = Path::new("awaited");
        let acts = vec![ActId([7; 32]), ActId([0xff; 32])];
        let text = encode_awaited(&acts);
        assert_eq!(decode_awaited(path, &text).unwrap(), acts);
        assert_eq!(decode_awaited(path, &encode_awaited(&[])).unwrap(), []);
        for bad in ["\n", "07\n", &"g".repeat(64)] {
            assert!(decode_awaited(path, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rules_read_back() {
        let from = Some(NodeKey::from_seed(&Secret::new([1; 32])).id());
        let rules = vec![
            Rule {
                action: Action::Accept,
                prefix: "192.168.7.0/24".parse().unwrap(),
                from,
            },
            Rule {
                action: Action::Reject,
                prefix: "::/0".parse().unwrap(),
                from: None,
            },
        ];
        let id = ContentId::of(b"a judge");
        let path = Path::new("rules");
        for judge in [None, Some(id)] {
            for rules in [rules.clone(), Vec::new()] {
                let text = encode_rules(&rules, judge.as_ref());
                let expected = Deciding { rules, judge };
                assert_eq!(decode_rules(path, &text).unwrap(), expected);
            }
        }
        let text = encode_rules(&rules, Some(&id));
        for bad in [
            "judge me\n",
            &format!("judge {id}\njudge {id}\n"),
            "accept 10.0.0.0/8\n",
            "accept 10.0.0.0/8 from x\n",
            "allow 10.0.0.0/8\n",
            "reject 10.0.0.0/8 to\n",
            "reject 10.0.0.0/8",
        ] {
            assert!(decode_rules(path, bad).is_err(), "{bad}");
        }
        for cut in 0..text.len() {
            if let Ok(some) = decode_rules(path, &text[..cut]) {
                assert!(rules.starts_with(&some.rules), "cut at {cut}");
                assert!(some.judge.is_none_or(|judge| judge == id), "cut at {cut}");
            }
        }
    }
}
