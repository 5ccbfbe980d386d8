//! Prefixes as people type them: `192.168.7.0/24`, or a single address.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// A prefix without host bits. A single address counts as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix(IpNet);

impl Prefix {
    /// The same as the core has it.
    #[must_use]
    pub const fn net(self) -> IpNet {
        self.0
    }
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |_| "not a prefix such as 192.168.7.0/24 or fd00:7::/48";
        let prefix = match text.parse::<IpNet>() {
            Ok(prefix) => prefix,
            Err(_) => text.parse::<IpAddr>().map(IpNet::from).map_err(wrong)?,
        };
        if prefix == prefix.trunc() {
            Ok(Self(prefix))
        } else {
            Err(format!(
                "host bits are set; did you mean {}?",
                prefix.trunc()
            ))
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Prefix, String> {
        text.parse()
    }

    #[test]
    fn prefixes_are_taken_as_people_write_them() {
        assert_eq!(parse("10.0.0.0/8").unwrap().to_string(), "10.0.0.0/8");
        assert_eq!(parse("10.1.2.3").unwrap().to_string(), "10.1.2.3/32");
        assert_eq!(parse("fd00::1").unwrap().to_string(), "fd00::1/128");
        assert!(parse("10.1.2.3/8").unwrap_err().contains("10.0.0.0/8"));
        assert!(parse("box").is_err());
    }
}
