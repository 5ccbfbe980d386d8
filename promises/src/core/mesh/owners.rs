//! Owners come and go: appointments, dismissals, and what becomes void with them.

use std::collections::BTreeSet;

use crate::core::effect::{Reply, Undone};
use crate::core::error::CommandError;
use crate::core::input::{Cut, Dismissal};
use crate::core::local::Local;
use crate::core::mesh::Mesh;
use crate::core::mesh::acting::{Deed, admissions};
use crate::core::mesh::roster::{BEGINNING, begins};
use crate::core::peers::Peers;
use crate::core::status::{OfficeStatus, Owners};
use crate::core::step::Step;
use crate::network::act::{Act, ActId, Action, OfficeId};
use crate::network::recovery::RecoveryKey;
use grid_keys::NodeId;

/// Digits of the id of an act.
const MAX_ACT_TEXT: usize = 64;

impl Mesh {
    /// Makes a member an owner, below this one. Only says who would be back, if that is all that is wanted.
    pub(crate) fn appoint(
        &mut self,
        node: &str,
        only_say: bool,
        local: &Local,
        step: &mut Step<'_>,
    ) -> Result<Reply, CommandError> {
        self.own_office(local)?;
        let node = self.roster.resolve(node)?;
        if self.roster.is_owner(&node) {
            return Ok(Reply::Unchanged);
        }
        if !self.roster.is_member(&node) {
            let name = self.name().clone();
            return Err(CommandError::IsNoMember { name, node });
        }
        let deed = self.consider(vec![Action::Appoint { node }], local, step)?;
        let affected = deed.affected(Some(&node), BTreeSet::new());
        if !only_say {
            self.carry_out(deed, local, step);
        }
        Ok(Reply::Raised { node, affected })
    }

    /// Makes this node an owner, with the key that is above every owner.
    pub(crate) fn recover(
        &mut self,
        recovery: &RecoveryKey,
        local: &Local,
        peers: &mut Peers,
        step: &mut Step<'_>,
    ) -> Result<Reply, CommandError> {
        let top = self.top(recovery)?;
        let node = local.id();
        let authority = self.roster.ledger().authority();
        if authority
            .offices_of(&node)
            .any(|(_, office)| office.place.depth == 1)
        {
            return Ok(Reply::Unchanged);
        }
        let appointment = vec![Action::Appoint { node }];
        let key = recovery.key();
        let deed = Deed::of(&self.roster, &top, &key, appointment, step)?;
        self.carry_out(deed, local, step);
        self.join_by_name(local, peers, step);
        Ok(Reply::Changed)
    }

    /// The office of the recovery key.
    ///
    /// # Errors
    /// The network has none, or another.
    fn top(&self, recovery: &RecoveryKey) -> Result<OfficeId, CommandError> {
        let name = || self.name().clone();
        let named = self.roster.charter().recovery;
        let named = named.ok_or_else(|| CommandError::NoRecoveryKey(name()))?;
        if recovery.key().id() != named {
            return Err(CommandError::OtherRecoveryKey(name()));
        }
        Ok(OfficeId::founding(&self.id(), &named))
    }

    /// Ends what offices a node holds, and says what becomes void. Only says it, if that is all that is wanted.
    pub(crate) fn dismiss(
        &mut self,
        dismissal: &Dismissal,
        local: &Local,
        peers: &mut Peers,
        step: &mut Step<'_>,
    ) -> Result<Reply, CommandError> {
        let recovery = dismissal.recovery.as_ref();
        match recovery {
            Some(recovery) => self.top(recovery)?,
            None => self.own_office(local)?,
        };
        let node = self.roster.resolve(&dismissal.node)?;
        if node == local.id() {
            return Err(CommandError::DismissesItself(self.name().clone()));
        }
        let office = self.senior_to(&node, &recovery.map_or(local.id(), |key| key.key().id()))?;
        let endings = self.endings(&node, dismissal, local)?;
        let key = recovery.map_or_else(|| local.key().clone(), RecoveryKey::key);
        let consider = |actions| Deed::of(&self.roster, &office, &key, actions, step);
        let alone = consider(endings.clone())?;
        let void = self.undone_by(&alone);
        if matches!(dismissal.cut, Cut::Now) && !dismissal.restate && !void.is_empty() {
            return Err(self.loses(node, &void));
        }
        let kept = self.kept(dismissal, &node, &alone.gone)?;
        let mut actions = admissions(&kept, &self.roster);
        actions.extend(endings);
        if dismissal.restate {
            actions.extend(void.iter().filter_map(restated));
        }
        let deed = consider(actions)?;
        let reply = Reply::Dismissed {
            node,
            named_by: deed.named_by(&node),
            void,
            affected: deed.affected(Some(&node), kept),
        };
        if !dismissal.only_say {
            self.carry_out(deed, local, step);
            self.join_by_name(local, peers, step);
        }
        Ok(reply)
    }

    /// The office of `own` that is senior to every office that a node holds.
    fn senior_to(&self, node: &NodeId, own: &NodeId) -> Result<OfficeId, CommandError> {
        let authority = self.roster.ledger().authority();
        let name = self.name().clone();
        if !authority.is_owner(node) {
            return Err(CommandError::IsNoOwner { name, node: *node });
        }
        let theirs = |own: &OfficeId| {
            let mut offices = authority.offices_of(node);
            offices.all(|(office, _)| authority.is_senior(own, office))
        };
        let mut offices = authority.offices_of(own).map(|(office, _)| *office);
        let senior = offices.find(theirs);
        senior.ok_or(CommandError::NotSenior {
            name,
            node: *node,
            under_key: self.roster.charter().recovery.is_some(),
        })
    }

    /// What ends the offices of a node.
    fn endings(
        &self,
        node: &NodeId,
        dismissal: &Dismissal,
        local: &Local,
    ) -> Result<Vec<Action>, CommandError> {
        let ledger = self.roster.ledger();
        let heir = dismissal.heir.as_deref();
        let heir = heir.map(|heir| self.roster.resolve(heir)).transpose()?;
        let heir = heir.or(dismissal.recovery.is_some().then(|| local.id()));
        let offices = ledger.authority().offices_of(node);
        let offices: Vec<OfficeId> = offices.map(|(office, _)| *office).collect();
        let last = match &dismissal.cut {
            Cut::After(act) => Some(self.act_of(&offices, act)?),
            Cut::Now | Cut::Nothing => None,
        };
        let cut = |office: &OfficeId| match (&dismissal.cut, last) {
            (Cut::Nothing, _) => office.0,
            (_, Some((of, act))) if of == *office => act,
            _ => ledger.acts().head(office).1,
        };
        let endings = offices.iter().map(|office| Action::Dismiss {
            office: *office,
            cut: cut(office),
            heir,
        });
        Ok(endings.collect())
    }

    /// The act that a person names by its id or the beginning of it.
    fn act_of(&self, offices: &[OfficeId], name: &str) -> Result<(OfficeId, ActId), CommandError> {
        let acts = self.roster.ledger().acts().held().iter();
        let is_meant = |id: &ActId| begins(id, name, BEGINNING);
        let mut found = acts
            .filter(|(id, act)| offices.contains(&act.office) && is_meant(id))
            .map(|(id, act)| (act.office, *id));
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one),
            (one, _) => Err(CommandError::NoSuchAct {
                name: self.name().clone(),
                act: name.chars().take(MAX_ACT_TEXT).collect(),
                is_ambiguous: one.is_some(),
            }),
        }
    }

    /// What counted and would not any longer; revocations first.
    fn undone_by(&self, deed: &Deed) -> Vec<Undone> {
        let before = self.roster.ledger();
        let acts = before.acts().held().iter();
        let counted = acts.filter(|(id, _)| before.authority().counts(id));
        let void = counted.filter(|(id, _)| !deed.authority().counts(id));
        let mut undone: Vec<Undone> = void.map(|(id, act)| told(*id, act)).collect();
        undone.sort_by_key(|undone| (!is_revocation(undone), undone.issued, undone.act));
        undone
    }

    /// Why a dismissal that was to make nothing void is refused.
    fn loses(&self, node: NodeId, void: &[Undone]) -> CommandError {
        let revocations = void.iter().filter(|undone| is_revocation(undone));
        CommandError::LosesActs {
            name: self.name().clone(),
            node,
            acts: void.len(),
            revocations: revocations.count(),
        }
    }

    fn kept(
        &self,
        dismissal: &Dismissal,
        node: &NodeId,
        gone: &BTreeSet<NodeId>,
    ) -> Result<BTreeSet<NodeId>, CommandError> {
        let wanted = self.wanted_to_stay(&dismissal.keep, gone)?;
        let mut kept: BTreeSet<NodeId> = wanted.intersection(gone).copied().collect();
        kept.remove(node);
        kept.extend(dismissal.stays.then_some(*node));
        Ok(kept)
    }

    /// What owners did, as far as this node knows.
    pub(crate) fn acts(&self) -> Reply {
        let acts = self.roster.ledger().acts();
        let all = acts.in_order();
        let all = all.map(|(id, act)| (told(id, act), acts.authority().counts(&id)));
        let mut all: Vec<(Undone, bool)> = all.collect();
        // Of one second, an owner's later ones come later in the chain.
        all.reverse();
        all.sort_by_key(|(act, _)| std::cmp::Reverse(act.issued));
        Reply::Acts(all)
    }

    /// Who decides in this network.
    pub(crate) fn owners(&self) -> Owners {
        let acts = self.roster.ledger().acts();
        let mut chains = acts.chains();
        let offices = acts.authority().offices().iter();
        let offices = offices.map(|(id, office)| {
            let (acts, heads) = chains.remove(id).unwrap_or_default();
            OfficeStatus {
                office: *id,
                holder: office.place.holder,
                label: self.label_of(&office.place.holder),
                depth: office.place.depth,
                above: office.place.above,
                since: office.since,
                is_live: office.is_live(),
                acts,
                heads: heads.into_iter().collect(),
            }
        });
        Owners {
            recovery: self.roster.charter().recovery,
            offices: offices.collect(),
        }
    }

    fn label_of(&self, node: &NodeId) -> Option<String> {
        let promise = self.roster.promise_of(node)?;
        Some(promise.label.as_str().to_owned())
    }
}

const fn is_revocation(undone: &Undone) -> bool {
    matches!(undone.action, Action::Revoke { .. })
}

fn told(act: ActId, about: &Act) -> Undone {
    Undone {
        act,
        owner: about.owner,
        action: about.action.clone(),
        issued: about.issued,
    }
}

/// The same as an act of another owner, if that can be done again.
fn restated(undone: &Undone) -> Option<Action> {
    let action = &undone.action;
    action.can_be_restated().then(|| action.clone())
}
