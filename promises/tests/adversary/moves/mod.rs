//! What the adversary can do, one thing at a time.

mod acts;
mod claims;
mod crowds;
mod noise;
mod readers;
mod scene;

use super::play::Play;

/// A thing to do, and what it is called where a run is told.
pub type Move = (&'static str, fn(&mut Play));

/// All of them. What is here twice is done twice as often.
pub const ALL: &[Move] = &[
    ("says where others are", noise::observe),
    ("says where others are", noise::observe),
    ("hangs up", noise::hang_up),
    ("sends what is stale", noise::stale),
    ("sends forgeries", noise::forgeries),
    ("sends what is malformed", noise::malformed),
    ("sends what is oversized", noise::oversized),
    ("replays", noise::replay),
    ("compares without end", readers::compare),
    ("reads by an admission that is none", readers::read),
    ("reads by an admission that is none", readers::read),
    ("pulls", readers::pull),
    ("asks to be admitted under many keys", readers::apply),
    ("lets sybils in", crowds::sybils),
    ("lets sybils in", crowds::sybils),
    ("uses an invite that is dated back", crowds::dated_back),
    ("uses a closed invite", crowds::closed),
    ("renews without end", crowds::renew),
    ("claims an address", claims::address),
    ("claims an address", claims::address),
    ("claims an address", claims::address),
    ("promises from the future", claims::future),
    ("promises two things at once", claims::equivocate),
    ("promises a key of others", claims::wireguard_key),
    ("promises the ranges of others", claims::ranges),
    ("leaves and comes back", claims::withdraw),
    ("acts by no office", acts::by_nobody),
    ("acts by a stolen office", acts::by_thief),
    ("forks a chain", acts::fork),
    ("floods acts", acts::flood),
    ("restarts an honest machine", scene::restart),
    ("splits the network", scene::split),
    ("joins the network again", scene::heal),
    ("copies a machine", scene::copy),
    ("the founder revokes one of them", scene::revoke),
    ("an hour passes", scene::hour),
];
