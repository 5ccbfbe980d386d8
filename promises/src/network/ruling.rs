//! What owners did to an admission: whether its first link hangs on one of them, and what they withdrew.
//!
//! A ruling follows from the acts of owners and the one promise that shows the admission. No time and no
//! statement of another node is asked, so that everybody who holds the same acts rules alike.

use crate::network::admission::{Admission, Grant, Link};
use crate::network::authority::Authority;
use crate::network::charter::{AdmissionRule, Charter};
use crate::network::member::Member;
use crate::network::statement::Signed;
use crate::network::uses::{in_link, seen_since};
use crate::network::void::Void;
use crate::time::Timestamp;
use grid_keys::NodeId;

impl Authority {
    /// The first link that the membership of the node at the end of a chain depends on: the one after the last node on
    /// it that needs nobody else.
    #[must_use]
    pub fn first_that_counts(&self, admission: &Admission, node: &NodeId) -> usize {
        let links = admission.links();
        if self.is_rooted(node) {
            return links.len();
        }
        let rooted = links.iter().rposition(|link| self.is_rooted(&link.node()));
        rooted.map_or(0, |position| position + 1)
    }

    /// The node under which another came in: the first one after the owners on its way, whom an owner let in. Nodes that
    /// share it can be identities of one person. `None` where there is none, as for those who came into an open network
    /// by themselves.
    #[must_use]
    pub fn line(&self, admission: &Admission, node: &NodeId) -> Option<NodeId> {
        let first = self.first_that_counts(admission, node);
        let Some(link) = admission.links().get(first) else {
            return self.is_rooted(node).then_some(*node);
        };
        let issuer = link.issuer();
        if link.grant.office.is_some() || self.is_owner(&issuer) {
            Some(link.node())
        } else {
            self.is_named(&issuer).then_some(issuer)
        }
    }

    /// Whether a member's admission holds, by what owners did.
    ///
    /// # Errors
    /// Why it does not.
    pub fn rule(&self, charter: &Charter, member: &Member) -> Result<(), Void> {
        let seen = |position| seen_since(self, member, position);
        self.rule_on(charter, member.admission(), &member.node(), seen)
    }

    /// The same of an admission that a node shows without a promise.
    ///
    /// # Errors
    /// Why it does not hold.
    pub fn rule_shown(
        &self,
        charter: &Charter,
        admission: &Admission,
        node: &NodeId,
    ) -> Result<(), Void> {
        let links = admission.links();
        let seen = |position: usize| in_link(self, links.get(position)?);
        self.rule_on(charter, admission, node, seen)
    }

    /// `seen` says since when the node of a link has been seen to use its invite.
    fn rule_on(
        &self,
        charter: &Charter,
        admission: &Admission,
        node: &NodeId,
        seen: impl Fn(usize) -> Option<Timestamp>,
    ) -> Result<(), Void> {
        if self.is_rooted(node) {
            return Ok(());
        }
        self.rule_node(node)?;
        let first = self.first_that_counts(admission, node);
        let mut counting = admission.links().iter().enumerate().skip(first).peekable();
        if first == 0 {
            let grant = counting.peek().map(|(_, link)| &link.grant);
            self.rule_beginning(charter, grant)?;
        }
        for (position, link) in counting {
            self.rule_node(&link.node())?;
            self.rule_invite(link, || seen(position))?;
        }
        Ok(())
    }

    fn rule_node(&self, node: &NodeId) -> Result<(), Void> {
        if self.is_revoked(node) {
            Err(Void::Revoked)
        } else if self.is_dismissed(node) {
            Err(Void::Dismissed)
        } else {
            Ok(())
        }
    }

    /// Whether somebody stands at the beginning of a chain who may admit.
    pub(crate) fn rule_beginning(
        &self,
        charter: &Charter,
        first: Option<&Signed<Grant>>,
    ) -> Result<(), Void> {
        let anybody = charter.admission == AdmissionRule::Open;
        let Some(first) = first else {
            return if anybody {
                Ok(())
            } else {
                Err(Void::NotAdmitted)
            };
        };
        let issuer = first.issuer;
        if let Some(office) = &first.office {
            let office = self.offices().get(office);
            return match office.filter(|office| office.place.holder == issuer) {
                None => Err(Void::NotAdmitted),
                // Who is dismissed and not revoked leaves behind those whom another owner saw.
                Some(_) if self.is_revoked(&issuer) => Err(Void::Revoked),
                Some(_) => Ok(()),
            };
        }
        self.rule_node(&issuer)?;
        if anybody || self.is_named(&issuer) {
            Ok(())
        } else {
            Err(Void::NotAdmitted)
        }
    }

    fn rule_invite(&self, link: &Link, since: impl Fn() -> Option<Timestamp>) -> Result<(), Void> {
        let invite = link.grant.invite;
        let office = link.grant.office.as_ref();
        let is_ended = office
            .and_then(|office| self.offices().get(office))
            .is_some_and(|office| !office.is_live());
        if is_ended && since().is_none() {
            return Err(Void::OfficeEnded { invite });
        }
        let stays = self.closings_of(&invite).iter().all(|closed| {
            closed.keep.contains(&link.node()) || since().is_some_and(|seen| seen <= closed.before)
        });
        if stays {
            Ok(())
        } else {
            Err(Void::Closed { invite })
        }
    }
}
