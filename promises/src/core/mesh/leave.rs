//! Leaving a network: the members are told, and all is forgotten but what joining again takes.

use std::collections::BTreeSet;

use crate::core::input::Ticket;
use crate::core::local::Local;
use crate::core::mesh::Mesh;
use crate::core::mesh::own_promise::OwnPromise;
use crate::core::mesh::phase::{Ending, Pending};
use crate::core::peers::Peers;
use crate::core::record::{Change, NetworkRecord};
use crate::core::step::{Queue, Step};
use crate::core::timers::{self, Timer};
use crate::network::admission::Admission;
use crate::network::invite::Bootstrap;
use grid_keys::NodeId;

impl Mesh {
    pub(crate) const fn is_leaving(&self) -> bool {
        matches!(self.pending, Some(Pending::Leave { .. }))
    }

    /// Whether there are other members, and this node is the only one that can decide for them.
    pub(crate) fn is_only_owner(&self, local: &Local) -> bool {
        let own = local.id();
        let above = self.roster.charter().recovery;
        let mut owners = self.roster.ledger().authority().owners();
        self.phase.is_member()
            && self.roster.is_owner(&own)
            && owners.all(|owner| *owner == own || Some(*owner) == above)
            && self.roster.others(&own).next().is_some()
    }

    pub(crate) fn has_recovery_key(&self) -> bool {
        self.roster.charter().recovery.is_some()
    }

    /// Withdraws the promise and tells the members.
    pub(crate) fn leave(
        &mut self,
        ticket: Ticket,
        local: &Local,
        peers: &mut Peers,
        step: &mut Step<'_>,
    ) -> Option<Ending> {
        self.outbox.clear();
        if self.phase.is_member() {
            self.make(local, step, OwnPromise::withdraw);
        }
        self.pending = Some(Pending::Leave {
            ticket,
            waiting: 0,
            told: BTreeSet::new(),
        });
        step.timers
            .set(Timer::Deadline(ticket), step.now + timers::LEAVE);
        self.flush(peers, step);
        self.left_if_told()
    }

    /// This member confirmed that this node leaves; of `None`, one that was told failed to.
    pub(super) fn leave_told(&mut self, confirmed: Option<NodeId>) -> Option<Ending> {
        if let Some(Pending::Leave { waiting, told, .. }) = &mut self.pending {
            *waiting = waiting.saturating_sub(1);
            told.extend(confirmed);
        }
        self.left_if_told()
    }

    fn left_if_told(&self) -> Option<Ending> {
        match &self.pending {
            Some(Pending::Leave {
                ticket,
                waiting: 0,
                told,
            }) => Some(Ending::Left {
                ticket: *ticket,
                told: told.len(),
            }),
            _ => None,
        }
    }

    /// What is kept of a network that was left, to join it again; `None` of one that this node was
    /// expelled from.
    pub(crate) fn left_record(&self, bootstrap: Vec<Bootstrap>) -> Option<NetworkRecord> {
        (!self.phase.is_expelled()).then(|| NetworkRecord {
            charter: self.roster.charter().clone(),
            secret: self.secret.clone(),
            private_key: None,
            listen_port: self.device.listen_port(),
            admission: self.phase.admission().map(Admission::raw),
            promise: self
                .phase
                .own()
                .map(|own| own.standing().promise().bytes().to_vec()),
            statements: Vec::new(),
            rules: Vec::new(),
            judge: None,
            expected: Vec::new(),
            issued: Vec::new(),
            bootstrap,
            awaited: Vec::new(),
        })
    }

    /// Takes the interface down and stores the end.
    pub(crate) fn end(&mut self, change: Change, effects: &mut Queue) {
        self.device.configure(None, &self.roster, effects);
        self.roster.store(change, effects);
    }
}
