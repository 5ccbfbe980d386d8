//! The kernel's network configuration, by rtnetlink(7): links, addresses, routes, policy rules.
//!
//! Both back ends share it. What it refuses to do: start `ip`, or cache the state of the host.

mod address;
mod codec;
mod interface;
mod link;
mod route;
mod rule;
mod socket;

pub(crate) use address::Address;
pub(crate) use link::Link;
pub(crate) use rule::is_our_rule;
pub(crate) use socket::Rtnetlink;
