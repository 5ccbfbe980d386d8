//! The core's notices, as plain sentences in the log.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use grid_keys::NodeId;
use grid_net::{CloseCode, DisconnectReason, peer_text};
use grid_promises::core::Notice;
use tracing::{debug, info, warn};

use crate::advice;

/// How often complaints about one peer are logged.
const EVERY: Duration = Duration::from_secs(60);

/// Logs notices, and keeps peers from filling the disk with them.
#[derive(Debug, Default)]
pub(super) struct Notices {
    /// When a complaint about a peer was last logged.
    complaints: BTreeMap<NodeId, Instant>,
}

impl Notices {
    pub(super) fn write(&mut self, notice: Notice) {
        match notice {
            Notice::MemberJoined {
                name,
                node,
                label,
                address,
            } => {
                info!("{name}: {label} ({}) joined with {address}", node.short());
            }
            Notice::MemberGone { name, node, why } => {
                info!("{name}: {} is gone: {why}", node.short());
            }
            Notice::AddressMoved {
                name,
                from,
                to,
                holder,
            } => {
                warn!(
                    "{name}: {from} belongs to {}, which has the older claim; this node moves to {to}",
                    holder.short()
                );
            }
            Notice::KeyElsewhere { name, elsewhere } => {
                warn!("{name}: {}", advice::on_elsewhere(&elsewhere));
            }
            Notice::RangeFull { name, range } => {
                warn!(
                    "{name}: every address of {range} is taken; the network needs a wider range or \
                     fewer members"
                );
            }
            Notice::Expelled { name, why } => {
                warn!("{name}: this node is no longer a member: {why}");
            }
            Notice::PromiseRefused {
                name,
                node,
                prefix,
                objection,
            } => {
                warn!(
                    "{name}: {} promises {prefix}, which is not accepted: {objection}",
                    node.short()
                );
            }
            Notice::AdmissionAsked {
                name,
                node,
                label,
                code,
            } => {
                let advice = advice::admits(name.as_str(), &code.to_string());
                info!(
                    "{name}: {label} ({}) asks to be admitted; if it shows the code {code}, {advice}",
                    node.short()
                );
            }
            Notice::JudgeFailed { name, why } => {
                // Only a build that can ask one can dismiss it.
                let hint = if cfg!(feature = "modules") {
                    format!("; {}", advice::dismisses_the_judge(&name))
                } else {
                    String::new()
                };
                warn!(
                    "{name}: its judge failed: {why}; its earlier verdicts stand, and nobody \
                     else is let in{hint}"
                );
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
        warn!(
            "{} {what} (further complaints about it are not logged for a minute)",
            peer.short()
        );
        self.complaints.insert(peer, now);
    }
}
