//! The rtnetlink socket of a back end.

use std::collections::BTreeSet;
use std::io;

use grid_netlink::{Netlink, Traffic};

use crate::routing::Family;

/// A socket in the network namespace in which it was opened.
pub(crate) struct Rtnetlink {
    pub(super) netlink: Netlink,
    /// Families for which the kernel is known to have policy rules.
    pub(super) with_rules: BTreeSet<Family>,
}

impl Rtnetlink {
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self {
            netlink: Netlink::route()?,
            with_rules: BTreeSet::new(),
        })
    }

    /// What this socket has sent and received so far.
    pub(crate) const fn traffic(&self) -> Traffic {
        self.netlink.traffic()
    }
}
