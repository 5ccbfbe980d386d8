//! What people want of a network that this node is in.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::content_id::ContentId;
use crate::core::effect::Reply;
use crate::core::error::{CommandError, Unacceptable, Unpromisable};
use crate::core::local::Local;
use crate::core::mesh::Mesh;
use crate::core::mesh::own_promise::OwnPromise;
use crate::core::mesh::phase::Phase;
use crate::core::step::{Queue, Step};
use crate::limits::{INVITE_MAX_LIFE, MAX_ENDPOINTS, MAX_HEADS};
use crate::network::accept::overlaps;
use crate::network::act::Act;
use crate::network::admission::{Admission, Grant, Link};
use crate::network::charter::AdmissionRule;
use crate::network::endpoint::is_reachable;
use crate::network::invite::{Bootstrap, Invite};
use crate::network::rules::{Action, Rule};
use crate::network::statement::Signed;
use grid_keys::{NodeId, NodeKey, Secret};

/// Members in an invite besides its maker, so that it works while the maker is down. More would make it
/// long.
const OTHERS_IN_INVITE: usize = 2;

impl Mesh {
    /// Makes an invite. It leads to this node, at `endpoints` before its own, and to `others`.
    pub(crate) fn invite(
        &mut self,
        life: Duration,
        uses: u32,
        endpoints: Vec<SocketAddr>,
        others: Vec<Bootstrap>,
        local: &Local,
        step: &mut Step<'_>,
    ) -> Result<Reply, CommandError> {
        let name = self.name().clone();
        let charter = self.roster.charter();
        if charter.admission == AdmissionRule::Approve {
            return Err(CommandError::NoInvites(name));
        }
        let Phase::Member(own) = &self.phase else {
            return Err(CommandError::NotAMember(name));
        };
        if life > INVITE_MAX_LIFE {
            return Err(CommandError::InviteLife);
        }
        let node = local.id();
        let bootstrap = bootstrap_at(own, node, endpoints, others)?;
        let key = NodeKey::generate(step.entropy);
        let issued = step.time();
        let grant = Grant {
            network: self.id(),
            invite: key.id(),
            issuer: node,
            uses,
            issued,
            expires: issued.after(life),
            office: self.own_office(local).ok(),
        };
        let invite = Invite {
            charter: charter.clone(),
            bootstrap,
            grant: Signed::sign(grant, local.key())?,
            issuer: own.shown_admission(&self.roster),
            acts: self.shown_acts(&node),
            heads: self.roster.ledger().acts().heads(MAX_HEADS),
            key,
            secret: self.secret.clone().unwrap_or_else(|| Secret::new([0; 32])),
        };
        // Refuses to hand out an invite whose chain is too long for anybody to use.
        invite.admit(node)?;
        self.note_invite(&invite.grant, local, step);
        Ok(Reply::Invite(invite.to_text()))
    }

    /// The acts that show whoever is invited that this node may invite.
    fn shown_acts(&self, own: &NodeId) -> Vec<Signed<Act>> {
        let ledger = self.roster.ledger();
        let admission = self
            .phase
            .own()
            .map(|own| own.shown_admission(&self.roster));
        let links = admission.as_ref().map_or(&[][..], Admission::links);
        let first = links.first();
        let office = first.and_then(|link| link.grant.office);
        let acts = match office {
            Some(office) => ledger.acts().line_of(&office).collect(),
            None => ledger.acts().rooting(&first.map_or(*own, Link::issuer)),
        };
        acts.into_iter().cloned().collect()
    }

    /// Promises to route a prefix.
    pub(crate) fn promise_prefix(
        &mut self,
        prefix: IpNet,
        local: &Local,
        step: &mut Step<'_>,
    ) -> Result<Reply, CommandError> {
        let prefix = prefix.trunc();
        check_prefix(&prefix, local)?;
        let Phase::Member(own) = &mut self.phase else {
            return Err(CommandError::NotAMember(self.roster.name().clone()));
        };
        let reply = own.add_prefix(prefix)?;
        if reply == Reply::Changed {
            self.make(local, step, OwnPromise::remake);
        }
        Ok(reply)
    }

    /// Takes that promise back.
    pub(crate) fn withdraw_prefix(
        &mut self,
        prefix: IpNet,
        local: &Local,
        step: &mut Step<'_>,
    ) -> Result<Reply, CommandError> {
        let prefix = prefix.trunc();
        let own = self.phase.own_mut();
        if !own.is_some_and(|own| own.remove_prefix(&prefix)) {
            return Err(CommandError::NotPromised { prefix });
        }
        self.make(local, step, OwnPromise::remake);
        Ok(Reply::Changed)
    }

    /// Accepts or rejects promises of one node, or of all.
    pub(crate) fn set_rule(
        &mut self,
        action: Action,
        prefix: IpNet,
        from: Option<&str>,
        own: &NodeId,
        effects: &mut Queue,
    ) -> Result<Reply, CommandError> {
        let rule = Rule {
            action,
            prefix: prefix.trunc(),
            from: from.map(|name| self.roster.resolve(name)).transpose()?,
        };
        if rule.from == Some(*own) {
            return Err(CommandError::CannotAccept {
                prefix: rule.prefix,
                why: Unacceptable::FromItself,
            });
        }
        let reply = self.acceptance.set_rule(rule, &self.roster, effects)?;
        self.dirty |= reply == Reply::Changed;
        Ok(reply)
    }

    pub(crate) fn set_judge(&mut self, judge: Option<ContentId>, effects: &mut Queue) -> Reply {
        let reply = self.acceptance.appoint(judge, &self.roster, effects);
        self.dirty |= reply == Reply::Changed;
        reply
    }
}

/// Where a newcomer begins: at this node, at `endpoints` before its own, and at `others`.
///
/// # Errors
/// This node cannot be reached anywhere.
pub(super) fn bootstrap_at(
    own: &OwnPromise,
    node: NodeId,
    endpoints: Vec<SocketAddr>,
    others: Vec<Bootstrap>,
) -> Result<Vec<Bootstrap>, CommandError> {
    let mut quic = endpoints;
    quic.extend(own.standing().promise().quic.iter().map(|e| e.addr));
    quic.retain(is_reachable);
    let mut seen = BTreeSet::new();
    quic.retain(|addr| seen.insert(*addr));
    quic.truncate(MAX_ENDPOINTS);
    if quic.is_empty() {
        return Err(CommandError::NoEndpoint);
    }
    let mut bootstrap = vec![Bootstrap { node, quic }];
    bootstrap.extend(others.into_iter().take(OTHERS_IN_INVITE).map(|mut other| {
        other.quic.truncate(4);
        other
    }));
    Ok(bootstrap)
}

/// Whether a node here can answer for a prefix.
fn check_prefix(prefix: &IpNet, local: &Local) -> Result<(), CommandError> {
    let cannot = |why| {
        Err(CommandError::CannotPromise {
            prefix: *prefix,
            why,
        })
    };
    if !is_routable(prefix) {
        return cannot(Unpromisable::NotRoutable);
    }
    for (v4, v6) in local.facts().ranges.values() {
        let own = overlaps(prefix, &(*v4).into()) || overlaps(prefix, &(*v6).into());
        if own && prefix.prefix_len() != 0 {
            return cannot(Unpromisable::OwnRange);
        }
    }
    Ok(())
}

/// Whether a prefix can lie behind a node: no loopback, link-local or multicast addresses.
fn is_routable(prefix: &IpNet) -> bool {
    if prefix.prefix_len() == 0 {
        return true;
    }
    const NOWHERE: [&str; 7] = [
        "0.0.0.0/8",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "224.0.0.0/3",
        "::/127",
        "fe80::/10",
        "ff00::/8",
    ];
    NOWHERE
        .iter()
        .filter_map(|text| text.parse::<IpNet>().ok())
        .all(|nowhere| !overlaps(prefix, &nowhere))
}
