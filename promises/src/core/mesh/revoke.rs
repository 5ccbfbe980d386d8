//! An owner withdraws a node's admission.

use crate::core::effect::Reply;
use crate::core::error::CommandError;
use crate::core::input::Keep;
use crate::core::local::Local;
use crate::core::mesh::Mesh;
use crate::core::mesh::acting::admissions;
use crate::core::step::Step;
use crate::network::act::Action;
use crate::network::ledger::invite_of;
use grid_keys::NodeId;

impl Mesh {
    /// Withdraws a node's admission, as an owner, and with it those of all that came from the node, but for those
    /// that are kept. Only says what would follow, if that is all that is wanted.
    pub(crate) fn revoke(
        &mut self,
        node: &str,
        keep: Keep,
        only_say: bool,
        local: &Local,
        step: &mut Step<'_>,
    ) -> Result<Reply, CommandError> {
        self.own_office(local)?;
        let node = self.roster.resolve(node)?;
        let name = self.name().clone();
        if node == local.id() {
            return Err(CommandError::Oneself(name));
        }
        let authority = self.roster.ledger().authority();
        if authority.is_owner(&node) {
            let under_key = self.roster.charter().recovery.is_some();
            return Err(CommandError::IsAnOwner {
                name,
                node,
                under_key,
            });
        }
        if authority.is_revoked(&node) {
            return Ok(Reply::Unchanged);
        }
        let withdrawal = self.withdrawal(&node, local, step)?;
        let alone = self.consider(withdrawal.clone(), local, step)?;
        let mut kept = self.wanted_to_stay(&keep, &alone.gone)?;
        if kept.remove(&node) && matches!(keep, Keep::These(_)) {
            return Err(CommandError::KeepsTheRevoked(node));
        }
        kept.retain(|kept| alone.gone.contains(kept));
        let mut actions = admissions(&kept, &self.roster);
        actions.extend(withdrawal);
        let deed = self.consider(actions, local, step)?;
        let closed = deed.acts.iter().find_map(|act| match act.action {
            Action::Close { invite, .. } => Some(invite),
            _ => None,
        });
        let affected = deed.affected(Some(&node), kept);
        let reply = Reply::Revoked {
            node,
            closed,
            affected,
        };
        if !only_say {
            self.carry_out(deed, local, step);
        }
        Ok(reply)
    }

    /// What withdraws a node's admission. The invite that it came by is closed first: the node may still have it,
    /// and would come back under another key.
    fn withdrawal(
        &self,
        node: &NodeId,
        local: &Local,
        step: &Step<'_>,
    ) -> Result<Vec<Action>, CommandError> {
        let ledger = self.roster.ledger();
        let came_by = ledger.promise_of(node).and_then(invite_of);
        let is_open = |invite: &NodeId| ledger.authority().closings_of(invite).is_empty();
        let open = came_by.map(|grant| grant.invite).filter(is_open);
        let close = open.map(|invite| self.closing(invite, Some(node), local, step));
        let revoke = Action::Revoke { node: *node };
        Ok(close.transpose()?.into_iter().chain([revoke]).collect())
    }
}
