//! The name of a network interface.
//!
//! The rules are the kernel's (`dev_valid_name` and the reserved names of the sysctl tree), and one
//! of our own: printable ASCII only, because the name also goes into file names and logs.

use std::fmt;
use std::str::FromStr;

/// A name that Linux accepts for an interface: 1 to 15 bytes of printable ASCII without `/`, `:`,
/// `%` and space, and none of `.`, `..`, `all` and `default`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfName(String);

/// Why a text cannot be an interface name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnIfName {
    /// Empty, or longer than the kernel's 15 bytes.
    #[error("an interface name has 1 to 15 characters, this one has {0} bytes")]
    Length(usize),
    /// A byte that the kernel or a path would misread.
    #[error("an interface name cannot hold the byte {0:#04x}: use letters, digits, '-', '_', '.'")]
    Byte(u8),
    /// `.`, `..`, `all` and `default` mean something else to the kernel.
    #[error("this interface name is reserved by the kernel")]
    Reserved,
}

impl IfName {
    /// The longest name in bytes (`IFNAMSIZ` less the terminating zero).
    pub const MAX: usize = 15;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for IfName {
    type Error = NotAnIfName;

    fn try_from(text: &str) -> Result<Self, NotAnIfName> {
        if text.is_empty() || text.len() > Self::MAX {
            return Err(NotAnIfName::Length(text.len()));
        }
        let refused = |byte: &u8| !byte.is_ascii_graphic() || matches!(byte, b'/' | b':' | b'%');
        if let Some(byte) = text.bytes().find(refused) {
            return Err(NotAnIfName::Byte(byte));
        }
        if matches!(text, "." | ".." | "all" | "default") {
            return Err(NotAnIfName::Reserved);
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for IfName {
    type Err = NotAnIfName;

    fn from_str(text: &str) -> Result<Self, NotAnIfName> {
        text.try_into()
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IfName({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_the_kernel_takes() {
        for name in ["wg0", "a", "grid-foo_1.2", "123456789012345", "..."] {
            assert_eq!(name.parse::<IfName>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn refuses_what_the_kernel_or_a_path_would_misread() {
        use NotAnIfName::{Byte, Length, Reserved};
        for (name, why) in [
            ("", Length(0)),
            ("1234567890123456", Length(16)),
            ("a/b", Byte(b'/')),
            ("a b", Byte(b' ')),
            ("eth0:1", Byte(b':')),
            ("wg%d", Byte(b'%')),
            ("wg\n", Byte(b'\n')),
            ("w\u{e9}", Byte(0xc3)),
            (".", Reserved),
            ("..", Reserved),
            ("all", Reserved),
            ("default", Reserved),
        ] {
            assert_eq!(name.parse::<IfName>(), Err(why), "{name:?}");
        }
    }
}
