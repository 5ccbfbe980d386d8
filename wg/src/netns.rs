//! The name of a network namespace.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where ip-netns(8) keeps the names of network namespaces.
const NAMES: &str = "/run/netns";

/// A network namespace: a name that ip-netns(8) has given, or the absolute path of a file that refers
/// to one, such as `/proc/PID/ns/net`. Prints as it was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Netns(String);

/// Why a text cannot name a network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotANetns {
    /// Empty, or longer than a file name (255 bytes) or path (4095 bytes) can be.
    #[error(
        "the name of a network namespace has 1 to 255 bytes, its path up to 4095; this has {0}"
    )]
    Length(usize),
    /// `.` and `..`, a relative path, or a control character.
    #[error(
        "this is neither the name of a network namespace (as `ip netns list` shows them) nor an \
         absolute path"
    )]
    Form,
}

impl Netns {
    /// The file that refers to the namespace.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        // Joining an absolute path drops the folder.
        Path::new(NAMES).join(&self.0)
    }
}

impl TryFrom<&str> for Netns {
    type Error = NotANetns;

    fn try_from(text: &str) -> Result<Self, NotANetns> {
        let absolute = text.starts_with('/');
        let longest = if absolute { 4095 } else { 255 };
        if text.is_empty() || text.len() > longest {
            return Err(NotANetns::Length(text.len()));
        }
        let is_name = !text.contains('/') && !matches!(text, "." | "..");
        if text.chars().any(char::is_control) || !(absolute || is_name) {
            return Err(NotANetns::Form);
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for Netns {
    type Err = NotANetns;

    fn from_str(text: &str) -> Result<Self, NotANetns> {
        text.try_into()
    }
}

impl fmt::Display for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_a_path_name_a_namespace() {
        let path = |text: &str| text.parse::<Netns>().unwrap().path();
        assert_eq!(path("blue"), Path::new("/run/netns/blue"));
        assert_eq!(path("/proc/1/ns/net"), Path::new("/proc/1/ns/net"));
        assert_eq!("...".parse::<Netns>().unwrap().to_string(), "...");
    }

    #[test]
    fn what_could_lead_elsewhere_is_refused() {
        let long = "a".repeat(256);
        for (text, why) in [
            ("", NotANetns::Length(0)),
            (long.as_str(), NotANetns::Length(256)),
            (".", NotANetns::Form),
            ("..", NotANetns::Form),
            ("../blue", NotANetns::Form),
            ("a/b", NotANetns::Form),
            ("a\nb", NotANetns::Form),
            ("/a\0b", NotANetns::Form),
        ] {
            assert_eq!(text.parse::<Netns>(), Err(why), "{text:?}");
        }
    }
}
