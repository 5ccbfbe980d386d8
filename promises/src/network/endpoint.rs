//! Where a node says that it can be reached.

use std::net::SocketAddr;

use minicbor::{Decode, Encode};

use crate::wire;

/// How a node came to know one of its endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum EndpointKind {
    /// A person configured it.
    #[n(0)]
    Static,
    /// An address of one of its interfaces.
    #[n(1)]
    Local,
    /// Where another node saw it come from.
    #[n(2)]
    Observed,
}

impl EndpointKind {
    /// The word for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Local => "local",
            Self::Observed => "observed",
        }
    }
}

/// A UDP address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Endpoint {
    /// How the node came to know it.
    #[n(0)]
    pub kind: EndpointKind,
    /// Address and port.
    #[n(1)]
    #[cbor(with = "wire::socket_addr")]
    pub addr: SocketAddr,
}

impl Endpoint {
    /// Whether packets can be sent there: a unicast address and a port. Loopback passes, because
    /// nodes on one machine reach one another there.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        is_reachable(&self.addr)
    }
}

/// Whether packets can be sent to an address: unicast, not unspecified, not broadcast, with a port.
#[must_use]
pub fn is_reachable(addr: &SocketAddr) -> bool {
    let unicast = match addr {
        SocketAddr::V4(v4) => !v4.ip().is_multicast() && !v4.ip().is_broadcast(),
        SocketAddr::V6(v6) => !v6.ip().is_multicast() && v6.ip().to_ipv4_mapped().is_none(),
    };
    unicast && !addr.ip().is_unspecified() && addr.port() != 0
}
