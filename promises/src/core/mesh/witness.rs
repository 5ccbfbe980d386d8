//! What this node has seen others promise, and the receipts that it signs for it.

use std::collections::{BTreeMap, BTreeSet};

use crate::content_id::ContentId;
use crate::core::local::Local;
use crate::core::mesh::roster::Roster;
use crate::limits::{MAX_MEMBERS, RECEIPT_RENEWAL};
use crate::network::admission::{Grant, is_heard};
use crate::network::ledger::invite_of;
use crate::network::member::Member;
use crate::network::receipt::Receipt;
use crate::network::statement::Signed;
use crate::network::uses::evidence_of_use;
use crate::time::Timestamp;
use grid_keys::NodeId;

/// The nodes whose use of a grant this node has signed receipts for since it started, by grant.
#[derive(Debug, Default)]
pub(crate) struct Witness(BTreeMap<ContentId, BTreeSet<NodeId>>);

impl Witness {
    /// Those whose use of one of these grants this node itself saw.
    pub(crate) fn users<'a>(
        &self,
        grants: impl Iterator<Item = &'a ContentId>,
    ) -> BTreeSet<NodeId> {
        let users = grants.filter_map(|grant| self.0.get(grant));
        users.flatten().copied().collect()
    }

    /// Those whose use of a grant was seen, by others or by this node itself.
    pub(crate) fn known_users(&self, grant: &Signed<Grant>, roster: &Roster) -> BTreeSet<NodeId> {
        let mut users = roster.ledger().seen_users(grant);
        users.extend(self.0.get(&grant.id()).into_iter().flatten());
        users
    }

    /// Signs a receipt for what another member promised to this node directly, where it lacks one.
    /// Remembers that this node vouched for its use of an invite, even before it shows the receipt. The
    /// view has to be up to date.
    pub(crate) fn sign(
        &mut self,
        subject: &NodeId,
        roster: &Roster,
        local: &Local,
        now: Timestamp,
    ) -> Option<Signed<Receipt>> {
        let receipt = self.receipt_for(subject, roster, local, now)?;
        let receipt = Signed::sign(receipt, local.key()).ok()?;
        let member = roster.ledger().members().get(subject);
        if let Some(grant) = member.and_then(invite_of).map(Signed::id) {
            self.0.entry(grant).or_default().insert(*subject);
        }
        Some(receipt)
    }

    /// Forgets uses by nodes that no longer show them, if there are more than a full network has: somebody's guests may
    /// come and go without end.
    pub(crate) fn forget(&mut self, roster: &Roster) {
        let count: usize = self.0.values().map(BTreeSet::len).sum();
        if count <= MAX_MEMBERS {
            return;
        }
        let members = roster.ledger().members();
        let shows = |user: &NodeId, grant: &ContentId| {
            let shown = members.get(user).and_then(invite_of);
            shown.is_some_and(|shown| shown.id() == *grant)
        };
        self.0.retain(|grant, users| {
            users.retain(|user| shows(user, grant));
            !users.is_empty()
        });
    }

    /// Whether this node knows that others used up the invite that a member came by. Contests are decided
    /// by the second, so a receipt for a latecomer could put the first user out.
    fn is_late(&self, member: &Member, roster: &Roster) -> bool {
        let Some(grant) = invite_of(member) else {
            return false;
        };
        let users = self.known_users(grant, roster);
        !users.contains(&member.node()) && users.len() >= grant.uses as usize
    }

    fn receipt_for(
        &self,
        subject: &NodeId,
        roster: &Roster,
        local: &Local,
        now: Timestamp,
    ) -> Option<Receipt> {
        let charter = roster.charter();
        let own = local.id();
        let member = roster.ledger().members().get(subject)?;
        let view = roster.view().members.get(subject)?;
        let promise = member.promise();
        if *subject == own
            || *subject == charter.founder
            || view.ipv4 != Some(promise.ipv4.address)
            || self.is_late(member, roster)
        {
            return None;
        }
        let evidence = roster.evidence(now);
        let authority = roster.ledger().authority();
        let address = promise.ipv4.address;
        // A receipt is worth what its witness's standing is worth.
        let line = evidence.line(member.admission(), subject);
        let (worth, seen) = evidence.offered(&own, member.receipts(), address, line)?;
        let links = member.admission().links();
        let decides = links
            .last()
            .is_some_and(|link| is_heard(&own, std::slice::from_ref(link), authority));
        // Those who decide contests for the invite hand on what one of them said, and nobody else's word.
        let membership = if decides {
            evidence_of_use(authority, member)
        } else {
            evidence.member_since(subject)
        };
        let vouches = decides || is_heard(&own, links, authority);
        let stale = seen.is_none_or(|seen| now.since(seen) >= RECEIPT_RENEWAL);
        if !(stale || (vouches && membership.is_none())) {
            return None;
        }
        Some(Receipt {
            network: roster.id(),
            witness: own,
            subject: *subject,
            admission: member.admission_id(),
            member_since: membership.unwrap_or(now).min(now),
            address,
            address_since: worth.since.min(now),
            issued: now,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::admission::Admission;
    use crate::network::charter::AdmissionRule;
    use crate::network::ledger::Ledger;
    use crate::network::testing::{T0, charter, key, link, promise, signed};

    /// Each shows that it was seen, and is gone.
    #[test]
    fn guests_who_come_and_go_without_end_fill_no_memory() {
        let mut roster = Roster::new(Ledger::new(charter(AdmissionRule::Invite)));
        let here = key(2).id();
        let mut guest = promise(roster.charter(), 2, 1);
        let link = link(roster.charter(), 1, 10, 2);
        guest.admission = Admission::from_links(vec![link]).raw();
        let guest = signed(guest, 2);
        let guest = roster.ledger().verify(&guest).unwrap();
        roster.insert(guest, T0).unwrap();
        let guest = roster.ledger().members().get(&here);
        let grant = guest.and_then(invite_of).map(Signed::id).unwrap();
        let mut witness = Witness::default();
        witness.0.entry(grant).or_default().insert(here);
        for n in 0..MAX_MEMBERS as u64 - 1 {
            let mut gone = [0xff; 32];
            gone[..8].copy_from_slice(&n.to_be_bytes());
            let grant = ContentId::of(&n.to_be_bytes()[..7]);
            witness.0.entry(grant).or_default().insert(NodeId(gone));
        }
        let held = |witness: &Witness| witness.0.values().map(BTreeSet::len).sum::<usize>();
        witness.forget(&roster);
        assert_eq!(held(&witness), MAX_MEMBERS);
        witness
            .0
            .entry(grant)
            .or_default()
            .insert(NodeId([0xfe; 32]));
        witness.forget(&roster);
        assert_eq!(witness.0, [(grant, [here].into())].into());
    }
}
