//! This node's part in one network: what it knows of it, what it promises in it, and the tunnel that
//! follows.
//!
//! Statements turn into configuration in one place, [`Mesh::refresh`]. It is idempotent: without news it
//! does nothing. A claim is on disk before it is used: the effect that stores the promise comes before
//! those that configure WireGuard or tell anybody.

pub(crate) mod acceptance;
pub(crate) mod applicants;
pub(crate) mod device;
pub(crate) mod ingest;
pub(crate) mod outbox;
pub(crate) mod own_promise;
pub(crate) mod paths;
pub(crate) mod phase;
pub(crate) mod respond;
pub(crate) mod revoke;
pub(crate) mod roster;
mod talk;
mod wishes;
pub(crate) mod witness;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use ipnet::{Ipv4Net, Ipv6Net};

use crate::content_id::ContentId;
use crate::core::effect::{Notice, Reply};
use crate::core::endpoints;
use crate::core::error::CommandError;
use crate::core::input::{PeerObservation, Ticket};
use crate::core::links::{Links, jitter};
use crate::core::local::Local;
use crate::core::mesh::acceptance::Acceptance;
use crate::core::mesh::applicants::Applicants;
use crate::core::mesh::device::Device;
use crate::core::mesh::outbox::Outbox;
use crate::core::mesh::own_promise::{Making, OwnPromise, Terms};
use crate::core::mesh::paths::{Path, Paths};
use crate::core::mesh::phase::{Expulsion, Pending, Phase};
use crate::core::mesh::roster::Roster;
use crate::core::mesh::witness::Witness;
use crate::core::peers::Peers;
use crate::core::record::{Change, NetworkRecord};
use crate::core::status::{NetworkStatus, OwnStanding, PeerStatus};
use crate::core::step::{Queue, Step};
use crate::core::timers::{self, Timer};
use crate::network::address;
use crate::network::admission::Admission;
use crate::network::charter::{AdmissionRule, Charter};
use crate::network::ids::NetworkId;
use crate::network::invite::Bootstrap;
use crate::network::ledger::{Item, Ledger};
use crate::network::member::{Claim, Member, Standing};
use crate::network::name::NetworkName;
use crate::network::statement::Signed;
use crate::time::{Millis, Timestamp};
use grid_keys::{NodeId, Secret, WgPublicKey, WgSecretKey};

/// This node's part in one network.
pub(crate) struct Mesh {
    roster: Roster,
    /// What every member knows, in networks that admit by invite.
    secret: Option<Secret<32>>,
    /// Nodes to begin with.
    bootstrap: Vec<Bootstrap>,
    phase: Phase,
    /// The number of a promise of this node that others hold, or held; the next one overtakes it.
    overtake: u64,
    pending: Option<Pending>,
    /// Whether statements were compared with a member since this node started.
    heard: bool,
    acceptance: Acceptance,
    applicants: Applicants,
    witness: Witness,
    outbox: Outbox,
    paths: Paths,
    device: Device,
    /// Whether anything changed since the last refresh.
    dirty: bool,
    refreshed_at: Option<Millis>,
    /// When newcomers were last written down at once.
    saved_at: Option<Millis>,
}

/// What a new network of this node begins with.
pub(crate) struct Beginning {
    pub(crate) charter: Signed<Charter>,
    pub(crate) secret: Option<Secret<32>>,
    pub(crate) admission: Option<Admission>,
    pub(crate) bootstrap: Vec<Bootstrap>,
    /// The last promise, in a network that was left before.
    pub(crate) last_promise: Option<Vec<u8>>,
}

/// How it ends with a network.
#[derive(Debug)]
pub(crate) enum Ending {
    /// Joining cannot succeed; the network is as if it had never been.
    NotJoined { ticket: Ticket, error: CommandError },
    /// It was left, and so many members confirmed that they know.
    Left { ticket: Ticket, told: usize },
}

/// The life of a membership.
impl Mesh {
    fn new(
        ledger: Ledger,
        secret: Option<Secret<32>>,
        device: Device,
        acceptance: Acceptance,
        bootstrap: Vec<Bootstrap>,
        phase: Phase,
    ) -> Self {
        Self {
            roster: Roster::new(ledger),
            secret,
            bootstrap,
            phase,
            overtake: 0,
            pending: None,
            heard: false,
            acceptance,
            applicants: Applicants::default(),
            witness: Witness::default(),
            outbox: Outbox::default(),
            paths: Paths::default(),
            device,
            dirty: true,
            refreshed_at: None,
            saved_at: None,
        }
    }

    /// Takes a network over that was found on disk.
    pub(crate) fn restore(
        record: NetworkRecord,
        private_key: WgSecretKey,
        local: &Local,
        now: Millis,
    ) -> Self {
        let now = now.timestamp();
        let mut ledger = Ledger::new(record.charter.clone());
        for bytes in &record.statements {
            // What lapsed meanwhile, or is damaged, is had again from the members.
            let _ = ledger.insert_bytes(bytes, now);
        }
        let admission = record
            .admission
            .and_then(|raw| Admission::decode(&raw, &record.charter, &local.id()).ok());
        let mut mesh = Self::new(
            ledger,
            record.secret,
            Device::new(private_key, record.listen_port),
            Acceptance::new(record.rules, record.judge),
            record.bootstrap,
            Phase::new(admission.clone()),
        );
        if let Some(bytes) = &record.promise
            && let Ok(own) = Member::decode(bytes, &record.charter)
            && own.node() == local.id()
        {
            mesh.restore_promise(own, admission, now);
        }
        mesh
    }

    fn restore_promise(&mut self, own: Member, admission: Option<Admission>, now: Timestamp) {
        if own.promise().standing == Standing::Withdrawn {
            // Killed between withdrawing and leaving, or joining again: the next promise overtakes it.
            self.overtake = own.promise().sequence;
            self.phase = Phase::Joining {
                admission: admission.unwrap_or_else(|| own.admission().clone()),
                receipts: own.receipts().to_vec(),
            };
            return;
        }
        let bytes = own.promise().bytes().to_vec();
        let item = Item::Member(Box::new(own.clone()));
        if self.roster.insert(item, now).is_ok() {
            self.outbox.push(bytes, None);
        }
        self.phase = Phase::Member(OwnPromise::restored(own, admission));
    }

    /// Makes a network one of this node, and has it written down.
    pub(crate) fn begin(beginning: Beginning, listen_port: u16, step: &mut Step<'_>) -> Self {
        let Beginning {
            charter,
            secret,
            admission,
            bootstrap,
            last_promise,
        } = beginning;
        let private_key = WgSecretKey::generate(step.entropy);
        let record = NetworkRecord {
            charter: charter.clone(),
            secret: secret.clone(),
            private_key: Some(private_key.clone()),
            listen_port,
            admission: admission.as_ref().map(Admission::raw),
            promise: last_promise.clone(),
            statements: Vec::new(),
            rules: Vec::new(),
            judge: None,
            bootstrap: bootstrap.clone(),
        };
        let mut mesh = Self::new(
            Ledger::new(charter),
            secret,
            Device::new(private_key, listen_port),
            Acceptance::new(Vec::new(), None),
            bootstrap,
            Phase::new(admission),
        );
        if let Some(last) =
            last_promise.and_then(|bytes| Member::decode(&bytes, mesh.roster.charter()).ok())
        {
            mesh.overtake = last.promise().sequence;
        }
        mesh.roster
            .store(Change::Network(Box::new(record)), step.effects);
        mesh
    }

    pub(crate) fn set_timers(&self, step: &mut Step<'_>) {
        let (network, now) = (self.id(), step.now);
        let pause = jitter(timers::ANTI_ENTROPY, step.entropy);
        let timers = &mut step.timers;
        timers.set(Timer::AntiEntropy(network), now + pause);
        timers.set(Timer::Housekeeping(network), now + timers::HOUSEKEEPING);
        match &self.phase {
            Phase::Member(_) => timers.set(Timer::Resign(network), now + timers::RESIGN),
            Phase::Joining { .. } => {
                timers.set(Timer::ClaimAnyway(network), now + timers::CLAIM_ANYWAY);
            }
            Phase::Waiting => timers.set(Timer::AskAgain(network), now + timers::ASK_AGAIN),
            Phase::Expelled { .. } => {}
        }
    }

    /// Has a command answered when this node has joined. Begins to ask those to begin with.
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

    /// Claims an address and promises it, if this node has an admission and no claim yet.
    pub(crate) fn claim(&mut self, local: &Local, step: &mut Step<'_>) -> Option<Ending> {
        step.timers.cancel(Timer::ClaimAnyway(self.id()));
        if !matches!(self.phase, Phase::Joining { .. }) {
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
            local,
            overtake: self.overtake,
            now: step.now.timestamp(),
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
            Phase::Expelled { .. } => self.fail_join(if self.roster.is_revoked(&local.id()) {
                CommandError::Revoked
            } else {
                CommandError::InviteSpent
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

    /// What is told to a person who founded or joined it.
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
            ipv6: (ipv6, address::ipv6(ipv6, &local.id())),
            members: self.roster.others(&local.id()).count(),
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

    /// The time of the command that waits for this network is over.
    pub(crate) fn deadline(&mut self, local: &Local, step: &mut Step<'_>) -> Option<Ending> {
        match self.pending {
            Some(Pending::Join(ticket)) => {
                let failed = self.claim(local, step);
                if failed.is_none() {
                    self.pending = None;
                    let name = self.name().clone();
                    let error = match self.phase {
                        Phase::Waiting => CommandError::WaitsForOwner {
                            name,
                            node: local.id(),
                        },
                        _ => CommandError::NobodyAnswered(name),
                    };
                    step.done(ticket, Err(error));
                }
                failed
            }
            Some(Pending::Leave { ticket, told, .. }) => Some(Ending::Left { ticket, told }),
            None => None,
        }
    }

    pub(crate) const fn is_leaving(&self) -> bool {
        matches!(self.pending, Some(Pending::Leave { .. }))
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
            told: 0,
        });
        step.timers
            .set(Timer::Deadline(ticket), step.now + timers::LEAVE);
        self.flush(peers, step);
        self.left_if_told()
    }

    /// A member confirmed, or did not, that this node leaves.
    fn leave_told(&mut self, confirmed: bool) -> Option<Ending> {
        if let Some(Pending::Leave { waiting, told, .. }) = &mut self.pending {
            *waiting = waiting.saturating_sub(1);
            *told += usize::from(confirmed);
        }
        self.left_if_told()
    }

    fn left_if_told(&self) -> Option<Ending> {
        match self.pending {
            Some(Pending::Leave {
                ticket,
                waiting: 0,
                told,
            }) => Some(Ending::Left { ticket, told }),
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
            bootstrap,
        })
    }

    /// Takes the interface down and has the end written down.
    pub(crate) fn end(&mut self, change: Change, effects: &mut Queue) {
        self.device.configure(None, &self.roster, effects);
        self.roster.store(change, effects);
    }
}

/// What others can know of it.
impl Mesh {
    pub(crate) const fn id(&self) -> NetworkId {
        self.roster.id()
    }

    pub(crate) fn name(&self) -> &NetworkName {
        self.roster.name()
    }

    pub(crate) fn ranges(&self) -> (Ipv4Net, Ipv6Net) {
        self.roster.ranges()
    }

    pub(crate) const fn roster(&self) -> &Roster {
        &self.roster
    }

    /// The charter, if a node may join by it without an invite.
    pub(crate) fn offered_charter(&self) -> Option<&Signed<Charter>> {
        let charter = self.roster.charter();
        (self.phase.is_member() && charter.admission != AdmissionRule::Invite).then_some(charter)
    }

    /// Whether a node is a member or one to begin with.
    pub(crate) fn knows(&self, node: &NodeId) -> bool {
        self.roster.is_member(node) || self.bootstrap.iter().any(|b| b.node == *node)
    }

    /// The members and those to begin with.
    pub(crate) fn known(&self) -> impl Iterator<Item = NodeId> + '_ {
        let members = self.roster.view().members.keys().copied();
        members.chain(self.bootstrap.iter().map(|b| b.node))
    }

    /// Where a node's QUIC may be reached, best first.
    pub(crate) fn addresses_of(&self, node: &NodeId, local: &Local) -> Vec<SocketAddr> {
        let promised = self
            .roster
            .promise_of(node)
            .map(|promise| endpoints::ranked_here(&promise.quic, local))
            .unwrap_or_default();
        let bootstrap = self.bootstrap.iter().filter(|b| b.node == *node);
        promised
            .into_iter()
            .map(|endpoint| endpoint.addr)
            .chain(bootstrap.flat_map(|b| b.quic.iter().copied()))
            .collect()
    }

    /// The nodes that this network wants connections to.
    pub(crate) fn wanted(&self, links: &Links) -> BTreeSet<NodeId> {
        let neighbours = self.roster.neighbours();
        let bootstrap = self.bootstrap.iter().map(|bootstrap| bootstrap.node);
        let mut wanted = BTreeSet::new();
        match self.phase {
            Phase::Member(_) => {
                wanted.extend(links.choose(neighbours));
                if !neighbours.ring().any(|node| links.is_up(&node)) {
                    wanted.extend(bootstrap);
                }
            }
            Phase::Joining { .. } | Phase::Waiting => {
                wanted.extend(bootstrap);
                wanted.extend(links.choose(neighbours));
            }
            Phase::Expelled { .. } => {}
        }
        wanted
    }

    fn connected_bootstrap(&self, peers: &Peers) -> Vec<NodeId> {
        self.bootstrap
            .iter()
            .map(|bootstrap| bootstrap.node)
            .filter(|node| peers.is_up(node))
            .collect()
    }

    pub(crate) fn status(&self, local: &Local, links: &Links) -> NetworkStatus {
        let (ipv4_range, ipv6_prefix) = self.ranges();
        let charter = self.roster.charter();
        let own = self.phase.own();
        NetworkStatus {
            name: self.name().clone(),
            network: self.id(),
            admission: charter.admission,
            owner: charter.is_owner(&local.id()),
            standing: match &self.phase {
                Phase::Joining { .. } => OwnStanding::Joining,
                Phase::Waiting => OwnStanding::Waiting,
                Phase::Member(_) => OwnStanding::Member,
                Phase::Expelled { why, .. } => OwnStanding::Expelled(why.to_string()),
            },
            listen_port: self.device.listen_port(),
            public_key: Some(self.device.public_key()),
            ipv4_range,
            ipv6_prefix,
            ipv4: own.map(|own| own.claim().address),
            ipv6: address::ipv6(ipv6_prefix, &local.id()),
            moves: own.map_or_else(Vec::new, |own| own.moves().to_vec()),
            promised: own.map_or_else(Vec::new, |own| own.prefixes().iter().copied().collect()),
            rules: self.acceptance.rules().to_vec(),
            judge: self.acceptance.judge(),
            judge_failure: self.acceptance.failure().cloned(),
            // Who is out sees nobody: what it knows of the others is no longer its business.
            peers: self
                .roster
                .others(&local.id())
                .filter(|_| !self.phase.is_expelled())
                .filter_map(|node| self.peer_status(node, links))
                .collect(),
            asking: self.applicants.asking().clone(),
        }
    }

    fn peer_status(&self, node: &NodeId, links: &Links) -> Option<PeerStatus> {
        let promise = self.roster.promise_of(node)?;
        let view = self.roster.view().members.get(node)?;
        let (endpoint, path) = self
            .paths
            .get(node)
            .map_or((None, "unknown"), Path::describe);
        Some(PeerStatus {
            node: *node,
            label: promise.label.clone(),
            public_key: promise.public_key,
            ipv4: view.ipv4,
            ipv6: promise.ipv6,
            expires: promise.expires,
            connected: links.is_up(node),
            endpoint,
            path,
            verdicts: self.acceptance.verdicts_of(node).to_vec(),
            observed: self.paths.observed(&promise.public_key),
        })
    }
}

/// What follows from what happened.
impl Mesh {
    /// Has everything looked at anew at the end of this step.
    pub(crate) const fn touch(&mut self) {
        self.dirty = true;
    }

    /// Refreshes if there is news: at once, unless that was done a moment ago. Statements that come in
    /// bursts cost one reconfiguration, not one each. Says whether it did.
    pub(crate) fn refresh_if_dirty(&mut self, local: &Local, step: &mut Step<'_>) -> bool {
        if !self.dirty {
            return false;
        }
        let due = self
            .refreshed_at
            .map_or(step.now, |last| last + timers::REFRESH);
        if due > step.now {
            step.timers.set_by(Timer::Refresh(self.id()), due);
            return false;
        }
        // A refresh that makes this node move on to another address asks for one more.
        for _ in 0..4 {
            self.refresh(local, step);
            if !self.dirty {
                break;
            }
        }
        true
    }

    /// Looks at everything anew and asks for what follows from it.
    fn refresh(&mut self, local: &Local, step: &mut Step<'_>) {
        let own = local.id();
        let now = step.now.timestamp();
        self.dirty = false;
        self.refreshed_at = Some(step.now);
        let before = self.roster.presences();
        self.roster.review(now);
        self.check_own_standing(&own, step);
        self.move_if_lost(local, step);
        self.roster.update_neighbours(&own);
        self.roster.report_changes(&before, &own, step.effects);
        self.acceptance.decide(
            &self.roster,
            local,
            self.phase.is_member(),
            now,
            step.effects,
        );
        self.paths.update(&self.roster, local, step.now);
        let wanted = match &self.phase {
            Phase::Member(own) => Some(self.device.wanted(
                own.standing().promise(),
                self.secret.as_ref(),
                &self.roster,
                &self.acceptance,
                &self.paths,
                local,
            )),
            _ => None,
        };
        self.device.configure(wanted, &self.roster, step.effects);
    }

    /// Notices that this node was revoked or that its invite was used by others before.
    fn check_own_standing(&mut self, own: &NodeId, step: &mut Step<'_>) {
        let why = if self.is_revoked(own) {
            Some(Expulsion::Revoked)
        } else {
            self.roster.view().refused.get(own).map(Expulsion::from)
        };
        match why {
            Some(why) if !self.phase.is_expelled() => {
                step.effects.notice(Notice::Expelled {
                    name: self.name().clone(),
                    why: why.to_string(),
                });
                self.phase.expel(why);
            }
            // Evidence that comes in late can turn a lost contest for an invite around.
            None => self.phase.reinstate(),
            Some(_) => {}
        }
    }

    fn is_revoked(&self, own: &NodeId) -> bool {
        let withdrawn = self.roster.ledger().withdrawn();
        withdrawn.is_revoked(own)
            || self
                .phase
                .own()
                .is_some_and(|own| withdrawn.voids(own.standing()))
    }

    fn move_if_lost(&mut self, local: &Local, step: &mut Step<'_>) {
        let now = step.now.timestamp();
        let Phase::Member(own) = &mut self.phase else {
            return;
        };
        if !own.move_if_lost(&self.roster, &local.id(), now, step.effects) {
            return;
        }
        self.make(local, step, OwnPromise::remake);
        self.roster.review(now);
    }

    /// Has this node's promise made, if it has promised something, and published if it was.
    fn make(
        &mut self,
        local: &Local,
        step: &mut Step<'_>,
        how: impl FnOnce(&mut OwnPromise, &Making<'_>) -> bool,
    ) {
        let making = Making {
            roster: &self.roster,
            device: &self.device,
            local,
            overtake: self.overtake,
            now: step.now.timestamp(),
        };
        if let Some(own) = self.phase.own_mut()
            && how(own, &making)
        {
            let member = own.standing().clone();
            self.publish(member, step);
        }
    }

    /// Has a promise that this node made written down, and told to the others.
    fn publish(&mut self, member: Member, step: &mut Step<'_>) {
        let bytes = member.promise().bytes().to_vec();
        self.roster
            .store(Change::Promise(bytes.clone()), step.effects);
        let item = Item::Member(Box::new(member));
        if self.roster.insert(item, step.now.timestamp()).is_ok() {
            self.outbox.push(bytes, None);
        }
        self.dirty = true;
    }

    /// Makes the promise anew, if it should say something else and this node may speak: as a member, or
    /// to show evidence that came in after it lost a contest for its invite. Who was revoked has nothing
    /// to show.
    pub(crate) fn resign(&mut self, local: &Local, step: &mut Step<'_>) {
        if self.may_speak() {
            self.make(local, step, OwnPromise::renew);
        }
    }

    fn may_speak(&self) -> bool {
        let withdrawn = self.roster.ledger().withdrawn();
        self.phase
            .own()
            .is_some_and(|own| self.phase.is_member() || !withdrawn.voids(own.standing()))
    }

    /// Renews the promise and forgets what lapsed, from time to time.
    pub(crate) fn maintain(&mut self, local: &Local, step: &mut Step<'_>) {
        let network = self.id();
        step.timers.set(
            Timer::Housekeeping(network),
            step.now + timers::HOUSEKEEPING,
        );
        self.dirty = true;
        if self.phase.is_member() {
            self.make(local, step, OwnPromise::renew);
        }
        if self.roster.prune(step.now.timestamp()) {
            step.timers
                .set_by(Timer::Save(network), step.now + timers::SAVE);
        }
        self.device.prune(&self.roster.public_keys());
    }

    /// Sets the timer that looks at paths without an answer.
    pub(crate) fn watch_paths(&self, step: &mut Step<'_>) {
        let timer = Timer::Paths(self.id());
        if self.paths.has_unverified() {
            step.timers.set_by(timer, step.now + timers::PATHS);
        } else {
            step.timers.cancel(timer);
        }
    }

    /// Takes in what WireGuard measured.
    pub(crate) fn observe(
        &mut self,
        observed: BTreeMap<WgPublicKey, PeerObservation>,
        now: Millis,
    ) {
        self.dirty |= self.paths.observe(observed, &self.roster, now);
    }

    /// A judge was asked, and spoke or did not.
    pub(crate) fn judged(
        &mut self,
        judge: ContentId,
        answer: Result<Vec<u8>, String>,
        step: &mut Step<'_>,
    ) {
        self.dirty |= self.acceptance.judged(judge, answer, &self.roster, step);
    }

    pub(crate) fn retry_judge(&mut self) {
        self.dirty |= self.acceptance.retry_judge();
    }

    /// Pushes what is new to the connected members.
    pub(crate) fn flush(&mut self, peers: &mut Peers, step: &mut Step<'_>) {
        let urgent = self.is_leaving();
        let sent = self
            .outbox
            .flush(urgent, &self.roster, &self.bootstrap, peers, step);
        if let Some(Pending::Leave { waiting, .. }) = &mut self.pending {
            *waiting += sent;
        }
    }

    /// Has the statements written down.
    pub(crate) fn save(&self, local: &Local, effects: &mut Queue) {
        self.roster.store_statements(&local.id(), effects);
    }
}
