//! Names that people give: to a network, and to a node in it.
//!
//! A network's name is also the name of its interface, so it obeys the rules of both.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};

use crate::limits::MAX_LABEL;

/// Longest network name in bytes: Linux gives an interface name 16 with the final zero.
pub const MAX_NETWORK_NAME: usize = 15;

/// A network's name: 1 to 15 of `a-z`, `0-9` and `-`, beginning with a letter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct NetworkName(#[n(0)] String);

/// A node's label: 1 to 63 of `a-z`, `0-9`, `-` and `.`, as a host name. It identifies nobody.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Label(#[n(0)] String);

/// A text that cannot be a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a network name.
    #[error("a network name is 1 to 15 of a-z, 0-9 and '-', beginning with a letter")]
    Network,
    /// Not a label.
    #[error("a node's name is 1 to 63 of a-z, 0-9, '-' and '.'")]
    Label,
}

impl NetworkName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a name that came over the wire obeys the rules.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let bytes = self.0.as_bytes();
        (1..=MAX_NETWORK_NAME).contains(&bytes.len())
            && bytes[0].is_ascii_lowercase()
            && bytes
                .iter()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
            && !matches!(self.0.as_str(), "all" | "default" | "lo" | "interfaces")
    }
}

impl Label {
    /// The label as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a label that came over the wire obeys the rules.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        (1..=MAX_LABEL).contains(&self.0.len())
            && self
                .0
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
    }

    /// The nearest label to a host name: lower case, other characters replaced by `-`, cut to
    /// length; `node` when nothing is left.
    #[must_use]
    pub fn from_host_name(host: &str) -> Self {
        let text: String = host
            .chars()
            .take(MAX_LABEL)
            .map(|c| match c.to_ascii_lowercase() {
                c @ ('a'..='z' | '0'..='9' | '-' | '.') => c,
                _ => '-',
            })
            .collect();
        let label = Self(text);
        if label.is_valid() {
            label
        } else {
            Self("node".to_owned())
        }
    }
}

impl FromStr for NetworkName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let name = Self(text.to_owned());
        if name.is_valid() {
            Ok(name)
        } else {
            Err(NameError::Network)
        }
    }
}

impl FromStr for Label {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let label = Self(text.to_owned());
        if label.is_valid() {
            Ok(label)
        } else {
            Err(NameError::Label)
        }
    }
}

impl fmt::Display for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_names_are_interface_names() {
        for good in ["a", "foo", "foo-2", "abcdefghijklmno"] {
            assert!(good.parse::<NetworkName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            "2foo",
            "Foo",
            "a/b",
            "a b",
            "abcdefghijklmnop",
            "ü",
            "lo",
            "..",
        ] {
            assert_eq!(bad.parse::<NetworkName>(), Err(NameError::Network), "{bad}");
        }
    }

    #[test]
    fn any_host_name_makes_a_label() {
        assert_eq!(Label::from_host_name("Box_7.Lan").as_str(), "box-7.lan");
        assert_eq!(Label::from_host_name("").as_str(), "node");
        assert_eq!(
            Label::from_host_name(&"x".repeat(99)).as_str().len(),
            MAX_LABEL
        );
        assert_eq!(Label::from_host_name("ü").as_str(), "-");
    }
}
