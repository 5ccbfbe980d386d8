//! The core's notices, as plain sentences in the log.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use grid_keys::NodeId;
use grid_net::{CloseCode, DisconnectReason, peer_text};
use grid_promises::core::Notice;
use tracing::{debug, info, warn};

use crate::advice;
use crate::quota::{Quota, SPAN_IN_WORDS, Turn};

/// How often complaints about one peer are logged.
const EVERY: Duration = Duration::from_secs(60);
/// Lines about one member in ten minutes.
const ABOUT_A_MEMBER: u32 = 20;
/// Lines about all members together: one invite can make as many as there is room for.
const ABOUT_MEMBERS: u32 = 500;
/// Lines about all others together, whose keys cost nothing.
const ABOUT_STRANGERS: u32 = 60;
/// Lines about this node itself.
const ABOUT_ITSELF: u32 = 60;

/// Logs notices, and keeps others from filling the disk with them.
#[derive(Debug, Default)]
pub(super) struct Notices {
    /// The nodes that this one knows.
    known: BTreeSet<NodeId>,
    /// When a complaint about a peer was last logged.
    complaints: BTreeMap<NodeId, Instant>,
    quotas: Quotas,
}

/// Whom a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    Itself,
    Member(NodeId),
    Stranger,
}

/// What is logged of whom.
#[derive(Debug, Default)]
struct Quotas {
    itself: Quota,
    each: BTreeMap<NodeId, Quota>,
    members: Quota,
    strangers: Quota,
}

impl Quotas {
    /// What is said behind a line, if it may be logged.
    fn take(&mut self, about: About, now: Instant) -> Option<Last> {
        match about {
            About::Itself => Last::of(self.itself.take(ABOUT_ITSELF, now), "this node"),
            About::Stranger => {
                let turn = self.strangers.take(ABOUT_STRANGERS, now);
                Last::of(turn, "nodes that are no members")
            }
            About::Member(node) => {
                self.each.retain(|_, quota| !quota.is_over(now));
                let mut own = self.each.get(&node).copied().unwrap_or_default();
                let turn = own.take(ABOUT_A_MEMBER, now);
                if turn == Turn::Spent {
                    return None;
                }
                let all = Last::of(self.members.take(ABOUT_MEMBERS, now), "members")?;
                self.each.insert(node, own);
                match all {
                    Last(None) => Last::of(turn, &node.short()),
                    last => Some(last),
                }
            }
        }
    }
}

/// What is said behind the last line of a quota: about whom no more is logged.
#[derive(Debug)]
struct Last(Option<String>);

impl Last {
    /// `None` if the quota is spent.
    fn of(turn: Turn, whom: &str) -> Option<Self> {
        match turn {
            Turn::Next => Some(Self(None)),
            Turn::Last => Some(Self(Some(whom.to_owned()))),
            Turn::Spent => None,
        }
    }
}

impl fmt::Display for Last {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => Ok(()),
            Some(whom) => write!(f, " (no more is logged about {whom} for {SPAN_IN_WORDS})"),
        }
    }
}

impl Notices {
    /// Names the nodes that this one knows.
    pub(super) fn know(&mut self, nodes: &BTreeSet<NodeId>) {
        self.known.clone_from(nodes);
    }

    pub(super) fn write(&mut self, notice: Notice) {
        match notice {
            Notice::MemberJoined {
                name,
                node,
                label,
                address,
            } => {
                let line = format!("{name}: {label} ({}) joined with {address}", node.short());
                self.inform(About::Member(node), &line);
            }
            Notice::MemberGone { name, node, why } => {
                let line = format!("{name}: {} is gone: {why}", node.short());
                self.inform(About::Member(node), &line);
            }
            Notice::AddressMoved {
                name,
                from,
                to,
                holder,
            } => {
                let line = format!(
                    "{name}: {from} belongs to {}, which has the older claim; this node moves to {to}",
                    holder.short()
                );
                self.warn(About::Itself, &line);
            }
            Notice::KeyElsewhere { name, elsewhere } => {
                let line = format!("{name}: {}", advice::on_elsewhere(&elsewhere));
                self.warn(About::Itself, &line);
            }
            Notice::KeyRenewed { name } => {
                let line = format!(
                    "{name}: this machine's clock went back; this node has a new WireGuard key, as members take no \
                     handshake that is older than the last one of the same key"
                );
                self.warn(About::Itself, &line);
            }
            Notice::RangeFull { name, range } => {
                let line = format!(
                    "{name}: every address of {range} is taken; the network needs a wider range or \
                     fewer members"
                );
                self.warn(About::Itself, &line);
            }
            Notice::Expelled { name, why } => {
                let line = format!("{name}: this node is no longer a member: {why}");
                self.warn(About::Itself, &line);
            }
            Notice::PromiseRefused {
                name,
                node,
                prefix,
                objection,
            } => {
                let line = format!(
                    "{name}: {} promises {prefix}, which is not accepted: {objection}",
                    node.short()
                );
                self.warn(About::Member(node), &line);
            }
            Notice::AdmissionAsked {
                name,
                node,
                label,
                code,
            } => {
                let advice = advice::admits(name.as_str(), &code.to_string());
                let line = format!(
                    "{name}: {label} ({}) asks to be admitted; if it shows the code {code}, {advice}",
                    node.short()
                );
                self.inform(About::Stranger, &line);
            }
            Notice::JudgeFailed { name, why } => {
                // Only a build that can ask one can dismiss it.
                let hint = if cfg!(feature = "modules") {
                    format!("; {}", advice::dismisses_the_judge(&name))
                } else {
                    String::new()
                };
                let line = format!(
                    "{name}: its judge failed: {why}; its earlier verdicts stand, and nobody \
                     else is let in{hint}"
                );
                self.warn(About::Itself, &line);
            }
            Notice::BadMessage { peer, why } => {
                self.complain(peer, &format!("sent something invalid: {why}"));
            }
            Notice::Refused { peer, why } => {
                let why = peer_text(why);
                self.complain(peer, &format!("refused a request: {why}"));
            }
        }
    }

    /// Logs how a connection ended: at the default level only if the peer broke the rules of `grid/1`.
    pub(super) fn parted(&mut self, peer: NodeId, reason: &DisconnectReason) {
        match reason {
            DisconnectReason::Local(
                CloseCode::PROTOCOL | CloseCode::FLOOD | CloseCode::TOO_SLOW,
            ) => self.complain(peer, &format!("was disconnected: {reason}")),
            _ => debug!("{} was disconnected: {reason}", peer.short()),
        }
    }

    /// Logs at most once a minute for each peer: being wrong costs a peer nothing.
    fn complain(&mut self, peer: NodeId, what: &str) {
        let now = Instant::now();
        self.complaints
            .retain(|_, since| now.duration_since(*since) < EVERY);
        if self.complaints.contains_key(&peer) {
            return;
        }
        let about = match self.known.contains(&peer) {
            true => About::Member(peer),
            false => About::Stranger,
        };
        let line = format!(
            "{} {what} (further complaints about it are not logged for a minute)",
            peer.short()
        );
        if self.warn(about, &line) {
            self.complaints.insert(peer, now);
        }
    }

    fn inform(&mut self, about: About, line: &str) {
        match self.quotas.take(about, Instant::now()) {
            Some(last) => info!("{line}{last}"),
            None => debug!("{line}"),
        }
    }

    /// Returns whether it is logged.
    fn warn(&mut self, about: About, line: &str) -> bool {
        let turn = self.quotas.take(about, Instant::now());
        match &turn {
            Some(last) => warn!("{line}{last}"),
            None => debug!("{line}"),
        }
        turn.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u32) -> NodeId {
        let mut bytes = [7; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        NodeId(bytes)
    }

    /// How many of many lines are logged.
    fn logged(quotas: &mut Quotas, about: impl Fn(u32) -> About) -> usize {
        let now = Instant::now();
        let turns = (0..100_000).filter_map(|number| quotas.take(about(number), now));
        turns.count()
    }

    #[test]
    fn nobody_fills_the_log() {
        let mut quotas = Quotas::default();
        let one = logged(&mut quotas, |_| About::Member(node(1)));
        assert_eq!(one, 20);
        // Keys cost a stranger nothing, and one with an invite for many little.
        let strangers = logged(&mut quotas, |_| About::Stranger);
        assert_eq!(strangers, 60);
        let members = logged(&mut quotas, |number| About::Member(node(number % 10_000)));
        assert_eq!(members, 500 - 20);
        assert!(quotas.each.len() <= 500);
        assert_eq!(logged(&mut quotas, |_| About::Itself), 60);
    }

    #[test]
    fn a_member_leaves_the_others_their_lines() {
        let mut quotas = Quotas::default();
        logged(&mut quotas, |_| About::Member(node(1)));
        logged(&mut quotas, |_| About::Stranger);
        let other = quotas.take(About::Member(node(2)), Instant::now());
        assert!(matches!(other, Some(Last(None))), "{other:?}");
    }
}
