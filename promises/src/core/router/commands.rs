//! What people want.

use crate::core::error::CommandError;
use crate::core::input::{Command, JoinWith, Ticket};
use crate::core::mesh::begin::Beginning;
use crate::core::networks::Founding;
use crate::core::router::Router;
use crate::core::searches::{Discovery, Search, Sought};
use crate::core::step::Step;
use crate::core::timers::{self, Timer};
use crate::limits::MAX_ENDPOINTS;
use crate::network::admission::Admission;
use crate::network::charter::AdmissionRule;
use crate::network::invite::Bootstrap;
use grid_keys::NodeId;

impl Router {
    pub(super) fn command(&mut self, command: Command, ticket: Ticket, step: &mut Step<'_>) {
        let name = command.network().clone();
        let Self {
            local,
            peers,
            networks,
            ..
        } = self;
        if command.is_act()
            && let Some(mesh) = networks.named(&name)
            && mesh.awaits_own_acts(local)
        {
            let until = step.now + timers::OWN_ACTS;
            step.timers.set(Timer::Deadline(ticket), until);
            self.deferred.insert(ticket, command);
            return;
        }
        let others = match (&command, networks.named(&name)) {
            (Command::Invite { .. } | Command::PrintAdmission { .. }, Some(mesh)) => {
                networks.bootstrap_of(mesh, local, peers)
            }
            _ => Vec::new(),
        };
        let is_waited_for = matches!(
            command,
            Command::Join {
                with: JoinWith::Admission(_),
                ..
            }
        );
        let mesh = networks.named_mut(&name);
        let Some(mesh) = mesh.filter(|mesh| !(is_waited_for && mesh.is_waiting())) else {
            self.enter(command, ticket, step);
            return;
        };
        let outcome = match command {
            Command::Join {
                with: JoinWith::Peers,
                wait,
                ..
            } if mesh.is_waiting() && !mesh.is_leaving() => {
                let until = step.now + wait;
                step.timers.set(Timer::Deadline(ticket), until);
                mesh.wait_on(ticket, local, peers, step);
                return;
            }
            Command::Create { .. } | Command::Join { .. } => Err(CommandError::NameTaken(name)),
            // Another command waits for that already.
            Command::Leave { .. } if mesh.is_leaving() => Err(CommandError::NoSuchNetwork(name)),
            Command::Leave { anyway: false, .. } if mesh.is_only_owner(local) => {
                let under_key = mesh.has_recovery_key();
                Err(CommandError::OnlyOwner { name, under_key })
            }
            Command::Leave { .. } => {
                let network = mesh.id();
                if let Some(ending) = mesh.leave(ticket, local, peers, step) {
                    networks.end(network, ending, local, peers, step);
                }
                return;
            }
            Command::Invite {
                life,
                uses,
                endpoints,
                ..
            } => mesh.invite(life, uses, endpoints, others, local, step),
            Command::Promise { prefix, .. } => mesh.promise_prefix(prefix, local, step),
            Command::Withdraw { prefix, .. } => mesh.withdraw_prefix(prefix, local, step),
            Command::SetRule {
                action,
                prefix,
                from,
                ..
            } => mesh.set_rule(action, prefix, from.as_deref(), &local.id(), step.effects),
            Command::SetJudge { judge, .. } => Ok(mesh.set_judge(judge, step.effects)),
            Command::Approve { node, only_say, .. } => mesh.approve(&node, only_say, local, step),
            Command::ForgetCode { code, .. } => Ok(mesh.forget_code(code, step)),
            Command::PrintAdmission { node, .. } => {
                mesh.print_admission(&node, others, local, step)
            }
            Command::Appoint { node, only_say, .. } => mesh.appoint(&node, only_say, local, step),
            Command::Dismiss { dismissal, .. } => mesh.dismiss(&dismissal, local, peers, step),
            Command::Acts { .. } => Ok(mesh.acts()),
            Command::Invites { .. } => Ok(mesh.invites(local)),
            Command::CloseInvite {
                invite,
                keep,
                only_say,
                ..
            } => mesh.close_invite(&invite, &keep, only_say, local, step),
            Command::Recover { key, .. } => mesh.recover(&key, local, peers, step),
            Command::Revoke {
                node,
                keep,
                only_say,
                ..
            } => mesh.revoke(&node, keep, only_say, local, step),
        };
        step.done(ticket, outcome);
    }

    /// Carries out a command about a network that this node is not in.
    fn enter(&mut self, command: Command, ticket: Ticket, step: &mut Step<'_>) {
        match command {
            Command::Create {
                name,
                ipv4,
                ranges,
                admission,
                recovery,
                listen_port,
            } => {
                let local = &mut self.local;
                let range = ipv4.map_or(Ok(()), |range| ranges.check(&name, range));
                let founding = Founding {
                    name,
                    ipv4,
                    admission,
                    recovery,
                };
                let outcome =
                    range.and_then(|()| self.networks.found(founding, listen_port, local, step));
                step.done(ticket, outcome);
            }
            Command::Join {
                name,
                with,
                ranges,
                listen_port,
                wait,
            } => {
                let until = step.now + wait;
                step.timers.set(Timer::Deadline(ticket), until);
                let beginning = match with {
                    JoinWith::Invite(invite) => {
                        step.clock.at_least(invite.grant.issued, step.now);
                        self.networks
                            .with_invite(&name, *invite, ranges, &self.local, step.time())
                    }
                    JoinWith::Admission(carried) => {
                        self.networks
                            .with_admission(&name, *carried, ranges, &self.local, step)
                    }
                    JoinWith::Peers => match self.networks.again(&name, &self.local) {
                        Some(beginning) => beginning,
                        None => {
                            let peers = &mut self.peers;
                            let sought = Sought {
                                name,
                                ranges,
                                listen_port,
                                until,
                            };
                            self.searches.begin(ticket, sought, peers, step);
                            return;
                        }
                    },
                };
                match beginning {
                    Ok(beginning) => self.join(beginning, listen_port, ticket, step),
                    Err(error) => step.done(ticket, Err(error)),
                }
            }
            other => {
                let name = other.network().clone();
                step.done(ticket, Err(CommandError::NoSuchNetwork(name)));
            }
        }
    }

    fn join(
        &mut self,
        beginning: Beginning,
        listen_port: u16,
        ticket: Ticket,
        step: &mut Step<'_>,
    ) {
        self.networks
            .begin(beginning, listen_port, &mut self.local, step)
            .await_join(ticket, &self.local, &mut self.peers, step);
    }

    /// A peer that should be asked cannot be reached.
    pub(super) fn search_lost(&mut self, peer: &NodeId, step: &mut Step<'_>) {
        for (ticket, search) in self.searches.lost(peer) {
            self.conclude_search(ticket, search, step);
        }
    }

    /// Joins what was found, if it is one network.
    pub(super) fn conclude_search(&mut self, ticket: Ticket, search: Search, step: &mut Step<'_>) {
        let found = search.result().and_then(|found| {
            self.networks
                .check_charter(&found.charter, found.sought.ranges, self.local.host())?;
            Ok(found)
        });
        match found {
            Ok(found) => {
                let listen_port = found.sought.listen_port;
                let until = found.sought.until.max(step.now);
                let beginning = self.beginning_of(found);
                // Set again: the command now waits for the join.
                step.timers.set(Timer::Deadline(ticket), until);
                self.join(beginning, listen_port, ticket, step);
            }
            Err(error) => step.done(ticket, Err(error)),
        }
    }

    fn beginning_of(&self, found: Discovery) -> Beginning {
        let known = self.peers.known();
        let bootstrap = found.holders.iter().filter_map(|node| {
            let mut quic = known.get(node).cloned().unwrap_or_default();
            quic.extend(self.peers.links().remote(node));
            quic.truncate(MAX_ENDPOINTS);
            (!quic.is_empty()).then_some(Bootstrap { node: *node, quic })
        });
        Beginning {
            bootstrap: bootstrap.collect(),
            awaited: Vec::new(),
            acts: Vec::new(),
            secret: None,
            admission: match found.charter.admission {
                AdmissionRule::Open => Some(Admission::default()),
                _ => None,
            },
            charter: found.charter,
            last_promise: None,
        }
    }

    /// Carries out what waited for members' word on this node's acts, if that is here.
    pub(super) fn resume(&mut self, step: &mut Step<'_>) {
        let (local, networks) = (&self.local, &self.networks);
        let waits = |command: &Command| {
            let mesh = networks.named(command.network());
            mesh.is_some_and(|mesh| mesh.awaits_own_acts(local))
        };
        for (ticket, command) in self
            .deferred
            .extract_if(.., |_, command| !waits(command))
            .collect::<Vec<_>>()
        {
            step.timers.cancel(Timer::Deadline(ticket));
            self.command(command, ticket, step);
        }
    }

    /// A command has run out of time.
    pub(super) fn deadline(&mut self, ticket: Ticket, step: &mut Step<'_>) {
        if let Some(command) = self.deferred.get(&ticket) {
            // Nobody answers: what it knows itself has to do. It is carried out when this step settles.
            if let Some(mesh) = self.networks.named_mut(command.network()) {
                mesh.act_anyway();
            }
        } else if let Some(search) = self.searches.end(ticket) {
            self.conclude_search(ticket, search, step);
        } else if let Some(network) = self.networks.waiting_for(ticket) {
            self.with_network(&network, step, |mesh, local, _, step| {
                mesh.deadline(local, step)
            });
        }
    }
}
