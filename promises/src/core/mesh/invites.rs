//! The invites of a network: which there are, as far as this node can know, and closing one.

use std::collections::{BTreeMap, BTreeSet};

use crate::content_id::ContentId;
use crate::core::effect::Reply;
use crate::core::error::CommandError;
use crate::core::input::Keep;
use crate::core::local::Local;
use crate::core::mesh::Mesh;
use crate::core::mesh::acting::admissions;
use crate::core::mesh::roster::{BEGINNING, begins, quoted};
use crate::core::record::{Change, Issued};
use crate::core::status::{InviteStatus, VoidInvite};
use crate::core::step::Step;
use crate::limits::MAX_NAMED;
use crate::network::act::Action;
use crate::network::admission::{Admission, Grant, Link};
use crate::network::member::Member;
use crate::network::statement::Signed;
use grid_keys::NodeId;

impl Mesh {
    /// Remembers an invite that this node made: until somebody uses it, nobody else knows of it.
    pub(super) fn note_invite(&mut self, grant: &Grant, local: &Local, step: &mut Step<'_>) {
        let invite = Issued {
            invite: grant.invite,
            uses: grant.uses,
            issued: grant.issued,
            expires: grant.expires,
        };
        self.own_invites.add(invite, step.time());
        if local.remembers() {
            let all = self.own_invites.all().to_vec();
            self.roster.store(Change::Issued(all), step.effects);
        }
    }

    /// The invites that somebody used, as far as promises show it, and those that this node made; the latest first. Grants
    /// that several nodes signed of one invite key are several.
    pub(crate) fn invites(&self, local: &Local) -> Reply {
        struct Use<'a> {
            grant: &'a Signed<Grant>,
            users: BTreeSet<NodeId>,
            void: Option<VoidInvite>,
        }
        let ledger = self.roster.ledger();
        let is_closed = |invite: &NodeId| !ledger.authority().closings_of(invite).is_empty();
        let mut uses: BTreeMap<ContentId, Use<'_>> = BTreeMap::new();
        for admission in ledger.admissions() {
            for (position, link) in admission.links().iter().enumerate() {
                let before = admission.links().get(..position).unwrap_or_default();
                let void = self.void(&link.grant, before);
                let grant = &link.grant;
                let new = || Use {
                    grant,
                    users: BTreeSet::new(),
                    void,
                };
                let known = uses.entry(grant.id()).or_insert_with(new);
                known.users.insert(link.node());
                // One way in that holds is enough.
                known.void = known.void.and(void);
            }
        }
        let used = uses.values().map(|used| InviteStatus {
            invite: used.grant.invite,
            issuer: used.grant.issuer,
            uses: used.grant.uses,
            users: used.users.iter().copied().collect(),
            issued: used.grant.issued,
            expires: used.grant.expires,
            is_closed: is_closed(&used.grant.invite),
            void: used.void,
        });
        let mut all: Vec<InviteStatus> = used.collect();
        let shown: BTreeSet<_> = all.iter().map(|one| (one.invite, one.issuer)).collect();
        let way = self.phase.admission().map_or(&[][..], Admission::links);
        let own_is_void = self.void_by(way, local.id());
        let own = self.own_invites.all().iter();
        let unused = own.filter(|own| !shown.contains(&(own.invite, local.id())));
        all.extend(unused.map(|own| InviteStatus {
            invite: own.invite,
            issuer: local.id(),
            uses: own.uses,
            users: Vec::new(),
            issued: own.issued,
            expires: own.expires,
            is_closed: is_closed(&own.invite),
            void: own_is_void,
        }));
        all.sort_by_key(|one| (std::cmp::Reverse(one.issued), one.invite, one.issuer));
        Reply::Invites(all)
    }

    /// Why an invite lets nobody in whom nobody has seen, whether or not it was closed. `before` is how its issuer came in.
    fn void(&self, grant: &Grant, before: &[Link]) -> Option<VoidInvite> {
        let authority = self.roster.ledger().authority();
        let office = grant.office.map(|office| authority.offices().get(&office));
        // What was made by an office that ended takes an owner who saw it used.
        if office.is_some_and(|office| office.is_none_or(|office| !office.is_live())) {
            let by = grant.issuer;
            return Some(match authority.is_revoked(&by) {
                true => VoidInvite::Revoked(by),
                false => VoidInvite::Dismissed(by),
            });
        }
        self.void_by(before, grant.issuer)
    }

    /// The same, by whoever made it: who is out, or came by one who is.
    fn void_by(&self, way: &[Link], issuer: NodeId) -> Option<VoidInvite> {
        let authority = self.roster.ledger().authority();
        let first = way.first().map(Link::issuer);
        let nodes = way.iter().map(Link::node).chain([issuer]);
        let nodes: Vec<NodeId> = first.into_iter().chain(nodes).collect();
        for node in nodes.iter().rev() {
            // Whoever needs nobody else makes good invites, whatever became of those before it.
            if authority.is_rooted(node) {
                return None;
            }
            if authority.is_revoked(node) {
                return Some(VoidInvite::Revoked(*node));
            }
            if authority.is_dismissed(node) {
                return Some(VoidInvite::Dismissed(*node));
            }
        }
        let is_refused = self.roster.view().refused.contains_key(&issuer);
        (is_refused || self.roster.is_out(&issuer)).then_some(VoidInvite::NoMember(issuer))
    }

    /// Closes an invite, as an owner: those stay whose use was seen by now, and those that are kept. Only says what would
    /// follow, if that is all that is wanted.
    pub(crate) fn close_invite(
        &mut self,
        invite: &str,
        keep: &Keep,
        only_say: bool,
        local: &Local,
        step: &mut Step<'_>,
    ) -> Result<Reply, CommandError> {
        self.own_office(local)?;
        let invite = self.invite_called(invite)?;
        let ledger = self.roster.ledger();
        if !ledger.authority().closings_of(&invite).is_empty() {
            return Ok(Reply::Unchanged);
        }
        let closing = self.closing(invite, None, local, step)?;
        let alone = self.consider(vec![closing.clone()], local, step)?;
        let mut kept = self.wanted_to_stay(keep, &alone.gone)?;
        kept.retain(|kept| alone.gone.contains(kept));
        let mut actions = admissions(&kept, &self.roster);
        actions.push(closing);
        let deed = self.consider(actions, local, step)?;
        let affected = deed.affected(None, kept);
        let reply = Reply::Closed { invite, affected };
        if !only_say {
            self.carry_out(deed, local, step);
        }
        Ok(reply)
    }

    /// What closes an invite: others stay than `but_for` whose use of it was seen before; those that this node saw, and that
    /// would go because they do not show it yet, are named. Where that are more than can be named, the rest goes.
    ///
    /// What is closed is all that was signed with the invite's key: whoever was handed it can have signed another grant of
    /// it.
    pub(super) fn closing(
        &self,
        invite: NodeId,
        but_for: Option<&NodeId>,
        local: &Local,
        step: &Step<'_>,
    ) -> Result<Action, CommandError> {
        let close = |keep| Action::Close {
            invite,
            before: step.time(),
            keep,
        };
        let alone = self.consider(vec![close(Vec::new())], local, step)?;
        let members = self.roster.ledger().members();
        let by_it = |member| links_by(member, invite);
        let grants: BTreeMap<ContentId, &Signed<Grant>> = members
            .values()
            .flat_map(by_it)
            .map(|link| (link.grant.id(), &link.grant))
            .collect();
        let mut seen = self.witness.users(grants.keys());
        if let Some(node) = but_for {
            seen.remove(node);
        }
        let gone = alone.gone.iter().filter_map(|node| members.get(node));
        let needed: BTreeSet<NodeId> = gone.flat_map(by_it).map(Link::node).collect();
        // Whoever is away may come back, if there is room to name it.
        let shown = grants.values();
        let shown = shown.flat_map(|grant| self.roster.ledger().seen_users(grant));
        let shown: BTreeSet<NodeId> = shown.collect();
        let away = seen.difference(&shown);
        let away = away.filter(|user| !self.roster.is_member(user));
        let named = needed.intersection(&seen).chain(away).take(MAX_NAMED);
        let named: BTreeSet<NodeId> = named.copied().collect();
        Ok(close(named.into_iter().collect()))
    }

    /// The invite with this id or the beginning of one. One that nobody used is known by all of its id.
    fn invite_called(&self, text: &str) -> Result<NodeId, CommandError> {
        if let Ok(invite) = text.parse() {
            return Ok(invite);
        }
        let used = self.roster.ledger().grants().map(|grant| grant.invite);
        let own = self.own_invites.all().iter().map(|own| own.invite);
        let is_meant = |invite: &NodeId| begins(invite, text, BEGINNING);
        let found: BTreeSet<NodeId> = used.chain(own).filter(is_meant).collect();
        let mut found = found.into_iter();
        let count = found.len();
        let (name, invite) = (self.name().clone(), quoted(text));
        match found.next() {
            Some(one) if count == 1 => Ok(one),
            Some(_) => Err(CommandError::AmbiguousInvite {
                name,
                invite,
                count,
            }),
            None => Err(CommandError::NoSuchInvite { name, invite }),
        }
    }
}

/// The links of a member's admission by any grant of an invite.
fn links_by(member: &Member, invite: NodeId) -> impl Iterator<Item = &Link> {
    let links = member.admission().links().iter();
    links.filter(move |link| link.grant.invite == invite)
}
