//! From an invite, or from a network that was left or found, to a claim.

use crate::core::beginning::Beginning;
use crate::core::effect::Reply;
use crate::core::error::CommandError;
use crate::core::input::{JoinWith, Ticket};
use crate::core::network::{Network, Pending, Phase};
use crate::core::record::{Change, NetworkRecord};
use crate::core::timers::Timer;
use crate::core::{Core, Step};
use crate::network::accept::overlaps;
use crate::network::address;
use crate::network::admission::Admission;
use crate::network::charter::{AdmissionRule, Charter, NetworkId};
use crate::network::invite::Invite;
use crate::network::name::NetworkName;
use crate::texts;
use grid_keys::NodeId;

impl Core {
    /// Begins to join.
    pub(crate) fn join(
        &mut self,
        name: &NetworkName,
        with: JoinWith,
        listen_port: u16,
        wait: std::time::Duration,
        ticket: Ticket,
        step: &mut Step<'_>,
    ) {
        self.timers.set(Timer::Deadline(ticket), step.now + wait);
        let begun = match with {
            JoinWith::Invite(invite) => self.join_with_invite(name, *invite, listen_port, step),
            JoinWith::Peers => match self.left.get(name).cloned() {
                Some(record) => self.join_again(record, listen_port, step),
                None => {
                    self.search(name, listen_port, ticket, step.now + wait);
                    return;
                }
            },
        };
        match begun {
            Ok(network) => self.await_join(network, ticket, step),
            Err(error) => self.done(ticket, Err(error)),
        }
    }

    pub(crate) fn await_join(&mut self, network: NetworkId, ticket: Ticket, step: &mut Step<'_>) {
        let Some(net) = self.networks.get_mut(&network) else {
            return;
        };
        net.pending = Some(Pending::Join(ticket));
        let connected: Vec<NodeId> = net
            .bootstrap
            .iter()
            .map(|bootstrap| bootstrap.node)
            .filter(|node| self.links.is_up(node))
            .collect();
        let all: Vec<NodeId> = net
            .bootstrap
            .iter()
            .map(|bootstrap| bootstrap.node)
            .collect();
        for peer in all {
            self.links.hurry(&peer);
        }
        for peer in connected {
            self.greet(network, peer, step.now);
        }
    }

    pub(crate) fn join_with_invite(
        &mut self,
        name: &NetworkName,
        invite: Invite,
        listen_port: u16,
        step: &mut Step<'_>,
    ) -> Result<NetworkId, CommandError> {
        let now = step.now.timestamp();
        invite.check(name, now)?;
        self.check_charter(&invite.charter)?;
        let admission = invite.admit(self.id, now)?;
        let last_promise = self.left.remove(name).and_then(|record| {
            (record.network() == invite.charter.network())
                .then_some(record.promise)
                .flatten()
        });
        let secret =
            (invite.charter.admission == AdmissionRule::Invite).then(|| invite.secret.clone());
        let beginning = Beginning {
            charter: invite.charter,
            secret,
            admission: Some(admission),
            bootstrap: invite.bootstrap,
            last_promise,
        };
        Ok(self.begin(beginning, listen_port, step))
    }

    pub(crate) fn join_again(
        &mut self,
        record: NetworkRecord,
        listen_port: u16,
        step: &mut Step<'_>,
    ) -> Result<NetworkId, CommandError> {
        self.check_charter(&record.charter)?;
        let admission = record
            .admission
            .as_ref()
            .map(|raw| Admission::decode(raw, &record.charter, &self.id))
            .transpose()?;
        self.left.remove(record.name());
        let beginning = Beginning {
            charter: record.charter,
            secret: record.secret,
            admission,
            bootstrap: record.bootstrap,
            last_promise: record.promise,
        };
        Ok(self.begin(beginning, listen_port, step))
    }

    /// Whether this node can make the promise that a network's members make, and whether its ranges
    /// would cut this machine off from something.
    pub(crate) fn check_charter(&self, charter: &Charter) -> Result<(), CommandError> {
        if charter.contract != texts::JOIN_WIREGUARD_NET.id() {
            return Err(CommandError::OtherContract {
                name: charter.name.clone(),
                contract: charter.contract,
            });
        }
        for range in [charter.ipv4.into(), charter.ipv6.into()] {
            if let Some(connected) = self.host.connected.iter().find(|c| overlaps(c, &range)) {
                return Err(CommandError::RangeConnected {
                    range,
                    connected: *connected,
                });
            }
        }
        match self
            .networks
            .values()
            .find(|net| overlaps(&net.ranges().0.into(), &charter.ipv4.into()))
        {
            Some(net) => Err(CommandError::RangeTaken {
                range: charter.ipv4,
                other: net.name().clone(),
            }),
            None => Ok(()),
        }
    }

    /// A member's statements are in: the joiner knows whose addresses are taken.
    pub(crate) fn heard(&mut self, network: NetworkId, step: &mut Step<'_>) {
        if let Some(net) = self.networks.get_mut(&network) {
            net.heard = true;
        }
        self.claim(network, step);
    }

    /// Claims an address and promises it, if this node has an admission and no claim yet.
    pub(crate) fn claim(&mut self, network: NetworkId, step: &mut Step<'_>) {
        self.timers.cancel(Timer::ClaimAnyway(network));
        let own = self.id;
        let full = self.with_network(&network, step.now, |net, around, out| {
            if net.phase != Phase::Joining {
                return false;
            }
            net.refresh(around, out);
            if net.phase != Phase::Joining {
                return false;
            }
            if net.claim_address(&own).is_err() {
                return true;
            }
            net.phase = Phase::Member;
            net.promise(around, out);
            net.refresh(around, out);
            false
        });
        if full == Some(true) {
            self.fail_join(network, |net| CommandError::RangeFull(net.ranges().0));
        }
    }

    /// Answers the command that waits for the join, when it is over.
    pub(crate) fn conclude_join(&mut self, network: NetworkId, step: &mut Step<'_>) {
        let Some(net) = self.networks.get(&network) else {
            return;
        };
        let Some(Pending::Join(ticket)) = net.pending else {
            return;
        };
        match &net.phase {
            Phase::Member if net.heard => {
                if let Some(reply) = self.joined_reply(&network) {
                    if let Some(net) = self.networks.get_mut(&network) {
                        net.pending = None;
                    }
                    self.done(ticket, Ok(reply));
                }
            }
            Phase::Expelled(_) => {
                let revoked = net.ledger.withdrawn().is_revoked(&self.id);
                self.fail_join(network, |_| {
                    if revoked {
                        CommandError::Revoked
                    } else {
                        CommandError::InviteSpent
                    }
                });
            }
            _ => {}
        }
        let _ = step;
    }

    /// Ends a join that cannot succeed; the network is as if it had never been.
    pub(crate) fn fail_join(
        &mut self,
        network: NetworkId,
        error: impl FnOnce(&Network) -> CommandError,
    ) {
        let Some(net) = self.networks.get(&network) else {
            return;
        };
        let Some(Pending::Join(ticket)) = net.pending else {
            return;
        };
        let error = error(net);
        self.drop_network(network, Change::Removed);
        self.done(ticket, Err(error));
    }

    pub(crate) fn joined_reply(&self, network: &NetworkId) -> Option<Reply> {
        let net = self.networks.get(network)?;
        let claim = net.claim?;
        let (ipv4, ipv6) = net.ranges();
        Some(Reply::Joined {
            network: *network,
            ipv4: (ipv4, claim.address),
            ipv6: (ipv6, address::ipv6(ipv6, &self.id)),
            members: net.others(&self.id).count(),
        })
    }

    /// A command's time is over.
    pub(crate) fn deadline(&mut self, ticket: Ticket, step: &mut Step<'_>) {
        if self.searches.contains_key(&ticket) {
            self.conclude_search(ticket, step);
            return;
        }
        let waiting = self.networks.values().find_map(|net| match net.pending {
            Some(Pending::Join(t)) if t == ticket => Some((net.id(), true)),
            Some(Pending::Leave { ticket: t, .. }) if t == ticket => Some((net.id(), false)),
            _ => None,
        });
        match waiting {
            Some((network, true)) => {
                self.claim(network, step);
                let Some(net) = self.networks.get_mut(&network) else {
                    return;
                };
                net.pending = None;
                let name = net.name().clone();
                let error = match net.phase {
                    Phase::Waiting => CommandError::WaitsForOwner {
                        name,
                        node: self.id,
                    },
                    _ => CommandError::NobodyAnswered(name),
                };
                self.done(ticket, Err(error));
            }
            Some((network, false)) => self.finish_leaving(network),
            None => {}
        }
    }
}
