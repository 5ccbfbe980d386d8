//! The code of a node that asks to be admitted: short enough to be read out, and too long to be ground.
//!
//! Node and owner see the same code. It is 60 bits of a hash over the network and the node's key: whoever passes
//! requests on, and wants a key of its own taken for that of another, tries 2^60 keys for one code.

use std::fmt;
use std::str::FromStr;

use crate::network::address;
use crate::network::crockford::{ALPHABET, meant};
use crate::network::ids::NetworkId;
use grid_keys::NodeId;

/// How many of them a code has.
const DIGITS: usize = 12;
/// How many of them stand together.
const GROUP: usize = 4;

/// The code of a node in a network, 60 bits. Prints as three groups of four digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(u64);

/// A text that is not a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a code is 12 of 0-9 and A-Z without U, in groups of four: 4K7J-2M3P-QR8T")]
pub struct NotACode;

impl Code {
    /// The code of `node` in `network`.
    #[must_use]
    pub fn of(network: &NetworkId, node: &NodeId) -> Self {
        let hash = address::hash("grid/1 code", &[&network.0.to_bytes(), &node.0]);
        let mut first = [0; 8];
        first.copy_from_slice(&hash[..8]);
        Self(u64::from_be_bytes(first) >> 4)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits: String = (0..DIGITS)
            .rev()
            .filter_map(|place| usize::try_from(self.0 >> (5 * place) & 31).ok())
            .filter_map(|digit| ALPHABET.chars().nth(digit))
            .collect();
        let (first, rest) = digits.split_at(GROUP);
        let (second, third) = rest.split_at(GROUP);
        f.pad(&format!("{first}-{second}-{third}"))
    }
}

/// In either case, with both hyphens or none; `I` and `L` are read as 1, and `O` as 0.
impl FromStr for Code {
    type Err = NotACode;

    fn from_str(text: &str) -> Result<Self, NotACode> {
        let groups: Vec<&str> = text.split('-').collect();
        let fits = match groups.as_slice() {
            [all] => all.len() == DIGITS,
            [_, _, _] => groups.iter().all(|group| group.len() == GROUP),
            _ => false,
        };
        if !fits {
            return Err(NotACode);
        }
        let mut bits = 0;
        for letter in groups.concat().chars() {
            let digit = meant(letter).and_then(|digit| ALPHABET.find(digit));
            let digit = digit.and_then(|digit| u64::try_from(digit).ok());
            bits = bits << 5 | digit.ok_or(NotACode)?;
        }
        Ok(Self(bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content_id::ContentId;

    #[test]
    fn it_reads_back_in_every_way_in_which_people_write_it() {
        let network = NetworkId(ContentId::of(b"a network"));
        for node in 0..=255 {
            let code = Code::of(&network, &NodeId([node; 32]));
            let text = code.to_string();
            assert_eq!(text.len(), DIGITS + 2, "{text}");
            for written in [
                text.clone(),
                text.to_ascii_lowercase(),
                text.replace('-', ""),
            ] {
                assert_eq!(written.parse(), Ok(code), "{written}");
            }
        }
        assert_eq!(Code(1).to_string(), "0000-0000-0001");
        assert_eq!("oO0o-0000-00iL".parse(), Ok(Code(33)));
        assert_eq!(Code((1 << 60) - 1).to_string(), "ZZZZ-ZZZZ-ZZZZ");
    }

    #[test]
    fn what_is_no_code_is_refused() {
        for text in [
            "",
            "web1",
            "4K7J-2M3P",
            "4K7J-2M3P-QR8",
            "4K7J-2M3P-QR8TX",
            "4K7J2-M3P-QR8T",
            "4K7J--2M3PQR8T",
            "-4K7J2M3PQR8T",
            "4K7J-2M3P-QR8U",
            "4K7J-2M3P-QRé",
            "4K7J 2M3P QR8T",
        ] {
            assert_eq!(text.parse::<Code>(), Err(NotACode), "{text}");
        }
    }

    #[test]
    fn another_node_and_another_network_have_another() {
        let network = |name: &[u8]| NetworkId(ContentId::of(name));
        let (one, other) = (NodeId([1; 32]), NodeId([2; 32]));
        let code = Code::of(&network(b"a"), &one);
        assert_ne!(code, Code::of(&network(b"a"), &other));
        assert_ne!(code, Code::of(&network(b"b"), &one));
    }
}
