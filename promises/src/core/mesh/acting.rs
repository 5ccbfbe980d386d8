//! What this node does in a network as an owner: signs acts, keeps them, and tells others.

use std::collections::BTreeSet;

use crate::core::effect::Affected;
use crate::core::error::CommandError;
use crate::core::input::Keep;
use crate::core::local::Local;
use crate::core::mesh::Mesh;
use crate::core::mesh::roster::Roster;
use crate::core::step::Step;
use crate::limits::MAX_NAMED;
use crate::network::act::{Act, Action, OfficeId};
use crate::network::authority::Authority;
use crate::network::evidence::Evidence;
use crate::network::ledger::Ledger;
use crate::network::member::Standing;
use crate::network::statement::Signed;
use crate::network::view::View;
use crate::network::void::Void;
use crate::time::Timestamp;
use grid_keys::{NodeId, NodeKey};

/// Acts that would be done, and what would follow.
pub(crate) struct Deed {
    pub(crate) acts: Vec<Signed<Act>>,
    /// Members that would be none, and those who are none and would be if a dismissed owner had not let them in.
    pub(crate) gone: BTreeSet<NodeId>,
    /// Members that stay and that nobody who counts has seen any longer: anybody's claim to their address is as good.
    pub(crate) unseen: BTreeSet<NodeId>,
    /// Nodes that are no members, and would be.
    back: BTreeSet<NodeId>,
    after: Ledger,
}

impl Deed {
    /// What follows if the holder of an office, whose key this is, does this.
    ///
    /// # Errors
    /// There is no room for all of it, or it would not count.
    pub(crate) fn of(
        roster: &Roster,
        office: &OfficeId,
        key: &NodeKey,
        actions: Vec<Action>,
        step: &Step<'_>,
    ) -> Result<Self, CommandError> {
        let held = roster.ledger().acts();
        let acts = held.signed(office, key, actions, step.time())?;
        let now = step.lapse_time();
        let mut after = roster.ledger().clone();
        after.insert_acts(acts.iter().cloned(), now);
        let is_kept = |act: &Signed<Act>| after.authority().counts(&act.act_id());
        if !acts.iter().all(is_kept) || !after.acts().keeps_all_of(roster.ledger().acts()) {
            return Err(CommandError::NoRoomForActs(roster.name().clone()));
        }
        let [is, will_be] = [roster.ledger(), &after].map(|ledger| View::of(ledger, now));
        let members = |view: &View| view.members.keys().copied().collect();
        let (before, left): (BTreeSet<_>, BTreeSet<_>) = (members(&is), members(&will_be));
        let mut gone = &before - &left;
        let back = &left - &before;
        gone.extend(left_behind(roster.ledger(), &after, now));
        let is_unseen = |node: &&NodeId| {
            was_seen(roster.ledger(), &is, node, now) && !was_seen(&after, &will_be, node, now)
        };
        let unseen = left.iter().filter(is_unseen).copied().collect();
        Ok(Self {
            acts,
            gone,
            unseen,
            back,
            after,
        })
    }
}

/// Whether anybody who counts has seen a member at the address that it claims.
fn was_seen(ledger: &Ledger, view: &View, node: &NodeId, now: Timestamp) -> bool {
    let evidence = Evidence::with(ledger, &view.standings, now);
    ledger.members().get(node).is_some_and(|member| {
        let address = member.promise().ipv4.address;
        evidence.address_worth(member, address).is_some()
    })
}

/// Nodes that were out already, and would be back if the invite that let them in were not one of an owner who is now
/// dismissed.
fn left_behind(before: &Ledger, after: &Ledger, now: Timestamp) -> BTreeSet<NodeId> {
    let by_ended_office = |ledger: &Ledger| -> BTreeSet<NodeId> {
        let void = ledger.void(now).filter(|(member, why)| {
            matches!(why, Void::OfficeEnded { .. })
                && member.promise().standing == Standing::Promised
        });
        void.map(|(member, _)| member.node()).collect()
    };
    &by_ended_office(after) - &by_ended_office(before)
}

impl Deed {
    /// Whom it affects beside `node`; those that are `kept` are admitted by name in it.
    pub(crate) fn affected(&self, node: Option<&NodeId>, kept: BTreeSet<NodeId>) -> Affected {
        let but = |all: &BTreeSet<NodeId>| {
            let others = all.iter().filter(|one| Some(*one) != node);
            others.copied().collect()
        };
        Affected {
            gone: but(&self.gone),
            kept: kept.into_iter().collect(),
            unseen: but(&self.unseen),
            back: but(&self.back),
        }
    }

    /// The owner whose admission by name makes a node a member.
    pub(crate) fn named_by(&self, node: &NodeId) -> Option<NodeId> {
        Some(self.after.acts().naming(node).first()?.owner)
    }

    /// What would count.
    pub(crate) const fn authority(&self) -> &Authority {
        self.after.authority()
    }
}

impl Mesh {
    /// The office by which this node acts: of several, the one that is nearest to the top.
    ///
    /// # Errors
    /// It is no owner.
    pub(super) fn own_office(&self, local: &Local) -> Result<OfficeId, CommandError> {
        let own = local.id();
        let offices = self.roster.ledger().authority().offices_of(&own);
        let nearest = offices.min_by_key(|(id, office)| (office.place.depth, **id));
        let id = nearest.map(|(id, _)| *id);
        id.ok_or_else(|| CommandError::NotAnOwner(self.name().clone()))
    }

    /// Whether members may know acts of this node, or of a key that a person has, that it does not know itself, as after
    /// a restored backup, or before it is a member: acts that it signed now would begin a second branch.
    pub(crate) fn awaits_own_acts(&self, local: &Local) -> bool {
        let own = local.id();
        let mut others = self.roster.others(&own);
        let may_be_told = others.any(|node| self.roster.view().is_live(node))
            || (self.is_waiting() && !self.bootstrap.is_empty());
        !self.knows_own_acts && may_be_told
    }

    /// Nobody told this node what it did before: it goes on from what it knows.
    pub(crate) const fn act_anyway(&mut self) {
        self.knows_own_acts = true;
    }

    /// What follows if this node does this as an owner.
    ///
    /// # Errors
    /// It is no owner, or the acts would not be kept.
    pub(super) fn consider(
        &self,
        actions: Vec<Action>,
        local: &Local,
        step: &Step<'_>,
    ) -> Result<Deed, CommandError> {
        let office = self.own_office(local)?;
        Deed::of(&self.roster, &office, local.key(), actions, step)
    }

    /// Whom a person wants to keep of those who would go, or by name, whether they would go or not.
    ///
    /// # Errors
    /// A name is nobody's, or of several.
    pub(super) fn wanted_to_stay(
        &self,
        keep: &Keep,
        gone: &BTreeSet<NodeId>,
    ) -> Result<BTreeSet<NodeId>, CommandError> {
        match keep {
            Keep::Nobody => Ok(BTreeSet::new()),
            Keep::Guests => Ok(gone.clone()),
            Keep::These(names) => names.iter().map(|name| self.roster.resolve(name)).collect(),
        }
    }

    /// Does it: on disk before anybody hears of it.
    pub(super) fn carry_out(&mut self, deed: Deed, local: &Local, step: &mut Step<'_>) {
        self.roster.replace_ledger(deed.after);
        for act in &deed.acts {
            self.outbox.push(act.bytes().to_vec(), None);
        }
        self.dirty = true;
        self.save(local, step.effects);
    }
}

/// Admissions by name, in as many acts as it takes.
pub(crate) fn admissions(nodes: &BTreeSet<NodeId>, roster: &Roster) -> Vec<Action> {
    let authority = roster.ledger().authority();
    let nodes: Vec<NodeId> = nodes.iter().copied().collect();
    let acts = nodes.chunks(MAX_NAMED).map(|nodes| {
        let over = nodes.iter().flat_map(|node| authority.revocations_of(node));
        let over: BTreeSet<_> = over.copied().collect();
        Action::Admit {
            nodes: nodes.to_vec(),
            over: over.into_iter().collect(),
        }
    });
    acts.collect()
}
