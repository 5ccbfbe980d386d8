//! Becoming a member, and answering the command that waits for it.

use std::collections::BTreeSet;

use crate::core::effect::Reply;
use crate::core::error::CommandError;
use crate::core::expulsion::Expulsion;
use crate::core::input::Ticket;
use crate::core::local::Local;
use crate::core::mesh::Mesh;
use crate::core::mesh::own_promise::{Making, OwnPromise, Terms};
use crate::core::mesh::phase::{Ending, Pending, Phase};
use crate::core::peers::Peers;
use crate::core::record::Change;
use crate::core::step::Step;
use crate::core::timers::NetworkTimer;
use crate::network::address;
use crate::network::admission::Admission;
use crate::network::code::Code;
use crate::network::member::Claim;

impl Mesh {
    /// Answers `ticket` once this node has joined. Greets the bootstrap nodes that are connected.
    pub(crate) fn await_join(
        &mut self,
        ticket: Ticket,
        local: &Local,
        peers: &mut Peers,
        step: &mut Step<'_>,
    ) {
        self.pending = Some(Pending::Join(ticket));
        for bootstrap in &self.bootstrap {
            peers.hurry(&bootstrap.node);
        }
        for peer in self.connected_bootstrap(peers) {
            self.greet(peer, local, peers, step);
        }
    }

    /// Goes on waiting for an owner, for another command: the one before is told how things stand.
    pub(crate) fn wait_on(
        &mut self,
        ticket: Ticket,
        local: &Local,
        peers: &mut Peers,
        step: &mut Step<'_>,
    ) {
        if let Some(Pending::Join(before)) = self.pending {
            step.done(before, Err(self.waits_for_owner(local)));
        }
        self.await_join(ticket, local, peers, step);
    }

    /// Goes on to join, if this node had no admission and what owners did makes it a member.
    pub(super) fn join_by_name(&mut self, local: &Local, peers: &mut Peers, step: &mut Step<'_>) {
        let never_promised = matches!(
            self.phase,
            Phase::Waiting | Phase::Expelled { last: None, .. }
        );
        let is_rooted = self.roster.ledger().authority().is_rooted(&local.id());
        // What cannot be written down is asked for again.
        if !never_promised || !is_rooted || !local.remembers() {
            return;
        }
        let admission = Admission::default();
        self.roster
            .store(Change::Admission(admission.raw()), step.effects);
        self.phase = Phase::new(Some(admission));
        step.timers.cancel(NetworkTimer::AskAgain.of(self.id()));
        self.set_timers(step);
        for peer in self.connected_bootstrap(peers) {
            self.greet(peer, local, peers, step);
        }
    }

    /// Claims an address and promises it, if this node has an admission and no claim yet.
    pub(crate) fn claim(&mut self, local: &Local, step: &mut Step<'_>) -> Option<Ending> {
        step.timers.cancel(NetworkTimer::ClaimAnyway.of(self.id()));
        if !matches!(self.phase, Phase::Joining { .. }) || !local.remembers() {
            return None;
        }
        self.refresh(local, step);
        let Phase::Joining {
            admission,
            receipts,
        } = &self.phase
        else {
            return None;
        };
        // The first candidate that nobody is known to hold.
        let held = self.roster.view().held_by_others(&local.id());
        let range = self.roster.charter().ipv4;
        let Some((number, address)) = address::first_free(&self.id(), range, &local.id(), 0, &held)
        else {
            return self.fail_join(CommandError::RangeFull(range));
        };
        let terms = Terms {
            admission: admission.clone(),
            claim: Claim { address, number },
            prefixes: BTreeSet::new(),
            receipts: receipts.clone(),
        };
        let making = Making {
            roster: &self.roster,
            device: &self.device,
            ipv6: self.ipv6,
            local,
            overtake: self.rival.overtake(),
            now: step.time(),
        };
        if let Some(own) = OwnPromise::first(terms, &making) {
            let member = own.standing().clone();
            self.phase = Phase::Member(own);
            self.publish(member, step);
        }
        self.refresh(local, step);
        None
    }

    /// Answers the command that waits for the join, when it is over.
    pub(crate) fn conclude_join(&mut self, local: &Local, step: &mut Step<'_>) -> Option<Ending> {
        let Some(Pending::Join(ticket)) = self.pending else {
            return None;
        };
        match &self.phase {
            Phase::Member(own) if self.heard => {
                let reply = self.joined(own, local);
                self.pending = None;
                step.done(ticket, Ok(reply));
                None
            }
            Phase::Expelled { why, .. } => self.fail_join(match why {
                Expulsion::InviteSpent | Expulsion::InviteExpired => CommandError::InviteSpent,
                why => CommandError::PutOut {
                    name: self.name().clone(),
                    node: local.id(),
                    why: *why,
                },
            }),
            _ => None,
        }
    }

    /// Ends a join that cannot succeed, if a command waits for it.
    fn fail_join(&self, error: CommandError) -> Option<Ending> {
        match self.pending {
            Some(Pending::Join(ticket)) => Some(Ending::NotJoined { ticket, error }),
            _ => None,
        }
    }

    /// What the person who founded or joined it is told.
    pub(crate) fn joined_reply(&self, local: &Local) -> Result<Reply, CommandError> {
        match &self.phase {
            Phase::Member(own) => Ok(self.joined(own, local)),
            _ => Err(CommandError::RangeFull(self.ranges().0)),
        }
    }

    fn joined(&self, own: &OwnPromise, local: &Local) -> Reply {
        let (ipv4, ipv6) = self.ranges();
        Reply::Joined {
            network: self.id(),
            ipv4: (ipv4, own.claim().address),
            ipv6: (ipv6, self.ipv6.address),
            members: self.roster.others(&local.id()).count(),
        }
    }

    /// Ends the wait for an owner: a person brought what this node waited for. A command that waits is answered.
    pub(crate) fn give_way(&self, local: &Local, step: &mut Step<'_>) {
        step.timers.cancel_network(self.id());
        if let Some(Pending::Join(ticket)) = self.pending {
            step.done(ticket, Err(self.waits_for_owner(local)));
        }
    }

    fn waits_for_owner(&self, local: &Local) -> CommandError {
        CommandError::WaitsForOwner {
            name: self.name().clone(),
            node: local.id(),
            code: Code::of(&self.id(), &local.id()),
        }
    }

    /// Whether a command waits for this network.
    pub(crate) fn waits(&self, ticket: Ticket) -> bool {
        match self.pending {
            Some(
                Pending::Join(waiting)
                | Pending::Leave {
                    ticket: waiting, ..
                },
            ) => waiting == ticket,
            None => false,
        }
    }

    /// The command that waits for this network has run out of time.
    pub(crate) fn deadline(&mut self, local: &Local, step: &mut Step<'_>) -> Option<Ending> {
        match self.pending {
            Some(Pending::Join(ticket)) => {
                let failed = self.claim(local, step);
                if failed.is_none() {
                    self.pending = None;
                    let error = match self.phase {
                        Phase::Waiting => self.waits_for_owner(local),
                        _ => CommandError::NobodyAnswered(self.name().clone()),
                    };
                    step.done(ticket, Err(error));
                }
                failed
            }
            Some(Pending::Leave {
                ticket, ref told, ..
            }) => Some(Ending::Left {
                ticket,
                told: told.len(),
            }),
            None => None,
        }
    }
}
