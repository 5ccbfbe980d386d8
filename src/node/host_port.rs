//! Places that people name: `HOST:PORT`, which is looked up when it is used.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use crate::exit::{Exit, Failure, Outcome};

/// How long looking up a host name may take.
const LOOKUP: Duration = Duration::from_secs(10);

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort(String);

/// A text that is not of this form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not HOST:PORT (an IPv6 address stands in brackets: [2001:db8::1]:51821)")]
pub struct NotHostPort(String);

impl From<NotHostPort> for Failure {
    fn from(error: NotHostPort) -> Self {
        Self::usage(error.to_string())
    }
}

impl FromStr for HostPort {
    type Err = NotHostPort;

    fn from_str(text: &str) -> Result<Self, NotHostPort> {
        let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port != 0);
        match text.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && is_port(port) => Ok(Self(text.to_owned())),
            _ => Err(NotHostPort(text.to_owned())),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl HostPort {
    /// Its addresses, at least one.
    ///
    /// # Errors
    /// The host name has none, or could not be looked up in time.
    pub async fn resolve(&self) -> Outcome<Vec<SocketAddr>> {
        if let Ok(address) = self.0.parse() {
            return Ok(vec![address]);
        }
        let looked_up = tokio::time::timeout(LOOKUP, tokio::net::lookup_host(&self.0)).await;
        let found: Vec<SocketAddr> = match looked_up {
            Ok(Ok(found)) => found.collect(),
            Ok(Err(error)) => {
                return Err(Failure::failed(format!(
                    "{self} cannot be looked up: {error}"
                )));
            }
            Err(_) => {
                return Err(Failure::new(
                    Exit::TimedOut,
                    format!("{self} could not be looked up in time; try again, or give an address"),
                ));
            }
        };
        if found.is_empty() {
            return Err(Failure::failed(format!("{self} has no address")));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn places_have_a_host_and_a_port() {
        for bad in ["127.0.0.1", "127.0.0.1:0", ":7", "host:x", "::1:7:8:x", ""] {
            let said = bad.parse::<HostPort>().unwrap_err().to_string();
            assert!(said.contains("HOST:PORT"), "{bad}: {said}");
        }
        for good in ["127.0.0.1:7", "[::1]:7"] {
            let place: HostPort = good.parse().unwrap();
            assert_eq!(place.resolve().await.unwrap(), [good.parse().unwrap()]);
            assert_eq!(place.to_string(), good);
        }
    }
}
