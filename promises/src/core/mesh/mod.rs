//! This node's part in one network: what it knows of it, what it promises in it, and the tunnel that
//! follows.
//!
//! Statements turn into configuration in one place, [`Mesh::refresh`]. It is idempotent: without news it
//! does nothing. A claim is on disk before it is used: the effect that stores the promise comes before
//! those that configure WireGuard or tell anybody.

pub(crate) mod acceptance;
mod acting;
pub(crate) mod appeal;
mod appealing;
pub(crate) mod applicants;
mod approval;
mod ask;
pub(crate) mod begin;
pub(crate) mod comparisons;
pub(crate) mod device;
pub(crate) mod expected;
pub(crate) mod ingest;
mod invites;
mod join;
mod leave;
pub(crate) mod line;
pub(crate) mod outbox;
mod own_invites;
pub(crate) mod own_promise;
mod owners;
pub(crate) mod paths;
pub(crate) mod phase;
mod replies;
mod report;
mod respond;
mod revoke;
pub(crate) mod rival;
pub(crate) mod roster;
mod wishes;
pub(crate) mod witness;
pub(crate) mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use ipnet::{Ipv4Net, Ipv6Net};

use crate::content_id::ContentId;
use crate::core::budget::Budget;
use crate::core::effect::Notice;
use crate::core::endpoints;
use crate::core::expulsion::Expulsion;
use crate::core::input::PeerObservation;
use crate::core::links::Links;
use crate::core::local::Local;
use crate::core::mesh::acceptance::Acceptance;
use crate::core::mesh::appeal::Appeal;
use crate::core::mesh::applicants::{Applicants, network_of};
use crate::core::mesh::comparisons::Comparisons;
use crate::core::mesh::device::Device;
use crate::core::mesh::expected::Codes;
use crate::core::mesh::outbox::Outbox;
use crate::core::mesh::own_invites::OwnInvites;
use crate::core::mesh::own_promise::{Making, OwnPromise};
use crate::core::mesh::paths::Paths;
use crate::core::mesh::phase::{Ending, Pending, Phase};
use crate::core::mesh::rival::Rival;
use crate::core::mesh::roster::Roster;
use crate::core::mesh::witness::Witness;
use crate::core::mesh::work::{Side, Work};
use crate::core::peers::Peers;
use crate::core::record::Change;
use crate::core::step::{Queue, Step};
use crate::core::timers::{self, NetworkTimer};
use crate::network::act::ActId;
use crate::network::admission::{Admission, Link};
use crate::network::charter::{AdmissionRule, Charter};
use crate::network::ids::NetworkId;
use crate::network::invite::Bootstrap;
use crate::network::ledger::Merged;
use crate::network::member::{Ipv6Claim, Member};
use crate::network::name::NetworkName;
use crate::network::statement::Signed;
use crate::network::void::Void;
use crate::time::Millis;
use grid_keys::{NodeId, Secret, WgPublicKey, WgSecretKey};

/// This node's part in one network.
pub(crate) struct Mesh {
    roster: Roster,
    /// Shared by all members, in networks that admit by invite.
    secret: Option<Secret<32>>,
    /// Nodes to connect to while no member is known.
    bootstrap: Vec<Bootstrap>,
    phase: Phase,
    /// Promises of this node that others hold, or held, and that it does not know.
    rival: Rival,
    pending: Option<Pending>,
    /// Whether statements were compared with a member since this node started.
    heard: bool,
    /// Acts of owners that this node's invite named, and that have not come in: it has not heard all that it should.
    awaited: BTreeSet<ActId>,
    /// Whether this node knows of its own acts what members know, or nobody could tell it in time.
    knows_own_acts: bool,
    /// How often statements may be compared again at once: whoever is compared with can always make something new.
    repeats: Budget,
    comparisons: Comparisons,
    appeal: Appeal,
    acceptance: Acceptance,
    applicants: Applicants,
    codes: Codes,
    own_invites: OwnInvites,
    witness: Witness,
    outbox: Outbox,
    work: Work,
    paths: Paths,
    device: Device,
    /// The IPv6 address that this node promises.
    ipv6: Ipv6Claim,
    /// Whether anything changed since the last refresh.
    dirty: bool,
    refreshed_at: Option<Millis>,
    /// When it was last stored at once who came or went.
    saved_at: Option<Millis>,
}

/// What other parts ask.
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

    /// The nodes that this one began with.
    pub(crate) fn bootstrap(&self) -> &[Bootstrap] {
        &self.bootstrap
    }

    /// Whether a node is a member, a bootstrap node, or one that this node asks whether it is still out.
    pub(crate) fn knows(&self, node: &NodeId) -> bool {
        let is_asked = self.appeal.asked().contains(node);
        is_asked || self.roster.is_member(node) || self.bootstrap.iter().any(|b| b.node == *node)
    }

    /// Who pays for what a node sends in vain.
    pub(crate) fn side_of(&self, node: &NodeId, peers: &Peers) -> Side {
        let promised = || self.roster.ledger().members().get(node);
        if !self.knows(node) {
            let remote = peers.links().remote(node);
            Side::Stranger(remote.map(|addr| network_of(addr.ip())))
        } else if promised().is_some_and(|member| self.roster.came_by_itself(member)) {
            Side::ByItself
        } else {
            Side::Member
        }
    }

    /// Whether an owner has to admit this node.
    pub(crate) const fn is_waiting(&self) -> bool {
        matches!(self.phase, Phase::Waiting)
    }

    /// Whether both this node and that one are members now.
    pub(crate) fn is_shared_with(&self, node: &NodeId) -> bool {
        self.phase.is_member() && self.roster.view().is_live(node)
    }

    /// The members and the bootstrap nodes.
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
            // It may be that what admits it has not come in yet.
            Phase::Expelled {
                why: Expulsion::NotAdmitted,
                ..
            } => wanted.extend(bootstrap.chain(links.choose(neighbours))),
            Phase::Expelled { .. } => wanted.extend(self.appeal.asked()),
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
}

/// What follows from inputs and timers.
impl Mesh {
    /// One of this network's timers is due.
    pub(crate) fn fire(
        &mut self,
        timer: NetworkTimer,
        local: &Local,
        peers: &mut Peers,
        step: &mut Step<'_>,
    ) -> Option<Ending> {
        match timer {
            NetworkTimer::Housekeeping => self.maintain(local, step),
            NetworkTimer::AntiEntropy => self.sync_with_one(local, peers, step),
            NetworkTimer::Resign => self.resign(local, step),
            NetworkTimer::Save => self.save(local, step.effects),
            NetworkTimer::ClaimAnyway => return self.claim(local, step),
            NetworkTimer::AskAgain => self.request_admission(local, peers, step),
            NetworkTimer::Paths => self.touch(),
            NetworkTimer::Judge => self.dirty |= self.acceptance.retry_judge(),
            NetworkTimer::Appeal => self.appeal(local, peers, step),
            // Done at the end of every step.
            NetworkTimer::Refresh | NetworkTimer::Flush => {}
        }
        None
    }

    /// Asks for a refresh at the end of this step.
    pub(crate) const fn touch(&mut self) {
        self.dirty = true;
    }

    /// Refreshes if there is news: at once, unless that was done a moment ago. Statements that come in
    /// bursts cost one reconfiguration, not one each. Returns whether it did.
    pub(crate) fn refresh_if_dirty(&mut self, local: &Local, step: &mut Step<'_>) -> bool {
        if !self.dirty {
            return false;
        }
        let due = self
            .refreshed_at
            .map_or(step.now, |last| last + timers::REFRESH);
        if due > step.now {
            step.timers.set_by(NetworkTimer::Refresh.of(self.id()), due);
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

    /// Recomputes everything from the statements, and asks for what follows.
    fn refresh(&mut self, local: &Local, step: &mut Step<'_>) {
        let own = local.id();
        let now = step.lapse_time();
        self.dirty = false;
        self.refreshed_at = Some(step.now);
        let before = self.roster.presences();
        self.roster.review(now);
        self.check_own_standing(&own, step);
        self.move_if_lost(local, step);
        self.roster.update_neighbours(&own);
        self.roster.report_changes(&before, &own, step.effects);
        self.applicants.forget_members(&self.roster);
        self.acceptance.decide(
            &self.roster,
            local,
            self.phase.is_member(),
            now,
            step.effects,
        );
        if self.phase.is_member() {
            self.paths.update(&self.roster, local, step.now);
        } else {
            // What WireGuard learned goes with the interface.
            self.paths = Paths::default();
        }
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

    /// Notices that owners put this node out, or that its invite was used by others before.
    fn check_own_standing(&mut self, own: &NodeId, step: &mut Step<'_>) {
        let why = self.ruling_on(own).err();
        let why = why.map(|why| self.blamed(Expulsion::from(&why), own));
        let why = why.or_else(|| self.roster.view().refused.get(own).map(Expulsion::from));
        let why = why.or_else(|| self.has_no_room(own).then_some(Expulsion::NoRoom));
        match why {
            Some(why) if self.phase.expulsion() != Some(why) => {
                step.effects.notice(Notice::Expelled {
                    name: self.name().clone(),
                    why,
                });
                self.phase.expel(why);
                self.begin_appeal(step);
            }
            // Late evidence can reverse a lost contest for an invite, and a dismissal what an owner did.
            None => self.phase.reinstate(),
            Some(_) => {}
        }
    }

    /// Whether this node promised something, and has no room for that itself.
    fn has_no_room(&self, own: &NodeId) -> bool {
        self.phase.own().is_some() && self.roster.promise_of(own).is_none()
    }

    /// The same, of whoever it was done to, if that is not this node but one that it came by.
    fn blamed(&self, why: Expulsion, own: &NodeId) -> Expulsion {
        let authority = self.roster.ledger().authority();
        let links = self.phase.admission().map_or(&[][..], Admission::links);
        let issuer = links.first().map(Link::issuer);
        let mut came_by = issuer.into_iter().chain(links.iter().map(Link::node));
        match why {
            Expulsion::Revoked if !authority.is_revoked(own) => came_by
                .find(|node| authority.is_revoked(node))
                .map_or(why, Expulsion::RevokedWith),
            Expulsion::Dismissed if !authority.is_dismissed(own) => came_by
                .find(|node| authority.is_dismissed(node))
                .map_or(why, Expulsion::DismissedWith),
            _ => why,
        }
    }

    /// What owners did to this node.
    fn ruling_on(&self, own: &NodeId) -> Result<(), Void> {
        let authority = self.roster.ledger().authority();
        if authority.is_revoked(own) {
            return Err(Void::Revoked);
        }
        let promised = self.phase.own().map(OwnPromise::standing);
        promised.map_or(Ok(()), |own| authority.rule(self.roster.charter(), own))
    }

    fn move_if_lost(&mut self, local: &Local, step: &mut Step<'_>) {
        let now = step.lapse_time();
        let Phase::Member(own) = &mut self.phase else {
            return;
        };
        if !local.remembers() {
            return;
        }
        let id = local.id();
        let has_moved = own.move_if_lost(&self.roster, &id, now, step.effects);
        let holder = self.roster.view().ipv6.get(&self.ipv6.address);
        let ipv6 = self.ipv6.unless_held(holder, self.roster.charter(), &id);
        if ipv6 == self.ipv6 && !has_moved {
            return;
        }
        self.ipv6 = ipv6;
        self.make(local, step, OwnPromise::remake);
        self.roster.review(now);
    }

    /// Makes this node's promise by `how`, if there is one, and publishes it if that worked. Not while it could not be
    /// written down.
    fn make(
        &mut self,
        local: &Local,
        step: &mut Step<'_>,
        how: impl FnOnce(&mut OwnPromise, &Making<'_>) -> bool,
    ) {
        let making = Making {
            roster: &self.roster,
            device: &self.device,
            ipv6: self.ipv6,
            local,
            overtake: self.rival.overtake(),
            now: step.time(),
        };
        if local.remembers()
            && let Some(own) = self.phase.own_mut()
            && how(own, &making)
        {
            let member = own.standing().clone();
            self.publish(member, step);
        }
    }

    /// Stores a promise that this node made, and puts it into the outbox.
    fn publish(&mut self, member: Member, step: &mut Step<'_>) {
        let bytes = member.promise().bytes().to_vec();
        self.rival.signed(member.promise());
        self.roster
            .store(Change::Promise(bytes.clone()), step.effects);
        if self.roster.insert_own(member, step.time()).is_ok() {
            self.outbox.push(bytes, None);
        }
        self.dirty = true;
    }

    /// Whether this node is out only because others rank before it.
    pub(crate) fn lacks_room(&self) -> bool {
        self.phase.expulsion() == Some(Expulsion::NoRoom)
    }

    /// Others may have made room since.
    fn look_for_room(&mut self, step: &Step<'_>) {
        let own = self.phase.own().map(|own| own.standing().clone());
        if let Some(own) = own {
            let bytes = own.promise().bytes().to_vec();
            if let Ok(Merged::New) = self.roster.insert_own(own, step.time()) {
                self.outbox.push(bytes, None);
            }
        }
    }

    /// Renews the promise if it should say something else and this node may speak: as a member, or to show
    /// evidence that came in after it lost a contest for its invite. A revoked node has nothing to show.
    fn resign(&mut self, local: &Local, step: &mut Step<'_>) {
        if let Some(until) = self.rival.waits_until(step.now) {
            step.timers.set(NetworkTimer::Resign.of(self.id()), until);
        } else if self.may_speak() {
            self.make(local, step, OwnPromise::renew);
        }
    }

    fn may_speak(&self) -> bool {
        let own = self.phase.own().map(|own| own.standing().node());
        own.is_some_and(|own| self.phase.is_member() || self.ruling_on(&own).is_ok())
    }

    /// Renews the promise and forgets what lapsed, from time to time.
    fn maintain(&mut self, local: &Local, step: &mut Step<'_>) {
        let network = self.id();
        step.timers.set(
            NetworkTimer::Housekeeping.of(network),
            step.now + timers::HOUSEKEEPING,
        );
        self.dirty = true;
        // Whoever could have told by now has done so.
        self.act_anyway();
        self.rival.forget(step.now);
        self.applicants.forget_idle(step.now);
        self.work.forget(step.now);
        self.witness.forget(&self.roster);
        let lacks_room = self.lacks_room();
        if (self.phase.is_member() || lacks_room) && self.rival.waits_until(step.now).is_none() {
            self.make(local, step, OwnPromise::renew);
        }
        if lacks_room {
            self.look_for_room(step);
        }
        if step.clock.is_firm() {
            self.codes.prune(step.time());
            // Whoever was put out asks those that it knew, and may have to for long.
            let is_out = self.phase.is_expelled() && !lacks_room;
            if !is_out && self.roster.prune(step.time()) {
                let due = step.now + timers::SAVE;
                step.timers.set_by(NetworkTimer::Save.of(network), due);
            }
        }
        self.device.prune(&self.roster.public_keys());
    }

    /// Takes another WireGuard key, as members take no handshake of the one before.
    pub(crate) fn renew_key(&mut self, local: &Local, step: &mut Step<'_>) {
        let key = WgSecretKey::generate(step.entropy);
        self.roster
            .store(Change::PrivateKey(key.clone()), step.effects);
        self.device.renew(key, &self.id(), &local.id());
        // No session outlives the key.
        self.paths = Paths::default();
        self.dirty = true;
        if self.phase.is_member() {
            self.make(local, step, OwnPromise::renew);
            step.effects.notice(Notice::KeyRenewed {
                name: self.name().clone(),
            });
        }
    }

    /// Sets the timer that looks at paths without an answer.
    pub(crate) fn watch_paths(&self, step: &mut Step<'_>) {
        let timer = NetworkTimer::Paths.of(self.id());
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
        step: &Step<'_>,
    ) {
        let shown = step.clock.shown(step.now);
        self.dirty |= self.paths.observe(observed, &self.roster, shown, step.now);
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

    /// Stores the statements.
    pub(crate) fn save(&self, local: &Local, effects: &mut Queue) {
        self.roster.store_statements(local.key(), effects);
    }
}
