//! Merging statements that a node sent: each is verified, and what is new goes on to others.
//!
//! What is known, or comes too late, is told by its first bytes and not verified; for what is verified in vain, there
//! is a [budget](crate::core::mesh::work).

use std::collections::BTreeSet;

use crate::core::budget::Budget;
use crate::core::mesh::outbox::Outbox;
use crate::core::mesh::roster::Roster;
use crate::network::ledger::{Item, Merged, Refusal};
use crate::network::member::{Member, MemberPromise, PromiseError, Standing};
use crate::network::statement::{Kind, Signed, peek_kind};
use crate::network::trace::Trace;
use crate::network::void::Void;
use crate::time::{Millis, Timestamp};
use grid_keys::NodeId;

/// What the sender is told when it sent more in vain than this node verifies.
pub(crate) const BUSY: &str = "this node has verified enough for now; send it later";

/// What became of a batch of statements.
#[derive(Debug, Default)]
pub(crate) struct Ingested {
    /// Whether anything was new.
    pub(crate) news: bool,
    /// Whether an act of an owner was new.
    pub(crate) acted: bool,
    /// Whether a node was new, or left.
    pub(crate) came_or_went: bool,
    /// The last of the promises of this node itself that it does not know.
    pub(crate) own: Option<Signed<MemberPromise>>,
    pub(crate) refused: u32,
    /// The first refusal that no correct sender gets.
    pub(crate) hostile: Option<String>,
    /// Why the sender's own promise was refused, or anything if this node has no time for it.
    pub(crate) why: Option<String>,
    /// Whether the sender's own promise was in it.
    pub(crate) of_sender: bool,
}

/// Where statements come from, and where they go.
pub(crate) struct Intake<'a> {
    pub(crate) source: NodeId,
    pub(crate) own: NodeId,
    pub(crate) roster: &'a mut Roster,
    pub(crate) outbox: &'a mut Outbox,
    /// Whether this node has not heard of the members yet.
    pub(crate) is_first: bool,
    /// What the source may still cause in vain.
    pub(crate) budget: &'a mut Budget,
    pub(crate) now: Millis,
    /// The believed time.
    pub(crate) time: Timestamp,
    /// The time by which statements lapse.
    pub(crate) lapse_time: Timestamp,
}

impl Intake<'_> {
    /// Merges statements.
    pub(crate) fn ingest<'a>(mut self, statements: impl Iterator<Item = &'a [u8]>) -> Ingested {
        let mut result = Ingested::default();
        let is_act = |bytes: &&[u8]| peek_kind(bytes) == Some(Kind::Act as u8);
        let (acts, others): (Vec<&[u8]>, Vec<&[u8]>) = statements.partition(is_act);
        self.take_acts(acts, &mut result);
        let mut seen = BTreeSet::new();
        for bytes in others {
            if result.hostile.is_some() {
                break;
            }
            if seen.insert(bytes) {
                self.take_promise(bytes, &mut result);
            }
        }
        result
    }

    /// Merges acts of owners: all at once, because what follows from them is found anew each time.
    fn take_acts(&mut self, acts: Vec<&[u8]>, result: &mut Ingested) {
        let mut seen = BTreeSet::new();
        let mut verified = Vec::new();
        for bytes in acts {
            if !seen.insert(bytes) || self.roster.ledger().knows(bytes) {
                continue;
            }
            if self.is_spent(result) {
                break;
            }
            // It is given back if the act is new.
            self.budget.take(self.now);
            match self.roster.ledger().verify(bytes) {
                Ok(Item::Act(act)) => verified.push(*act),
                Ok(Item::Member(_) | Item::Trace(_)) => {}
                Err(refusal) => {
                    result.refuse(&refusal);
                    return;
                }
            }
        }
        if verified.is_empty() {
            return;
        }
        let count = verified.len();
        let merged = self.roster.insert_acts(verified, self.lapse_time);
        for id in &merged.new {
            self.budget.give_back();
            if let Some(act) = self.roster.ledger().acts().held().get(id) {
                self.outbox.push(act.bytes().to_vec(), Some(self.source));
            }
        }
        result.news |= !merged.new.is_empty();
        result.acted |= !merged.new.is_empty();
        let refused = count.saturating_sub(merged.new.len());
        result.refused += u32::try_from(refused).unwrap_or(u32::MAX);
    }

    fn take_promise(&mut self, bytes: &[u8], result: &mut Ingested) {
        if self.is_nothing_new(bytes, result) || self.is_spent(result) {
            return;
        }
        // It is given back if the node is new.
        self.budget.take(self.now);
        let promised = match self.roster.ledger().verify(bytes) {
            Ok(Item::Member(promised)) => promised,
            Ok(Item::Trace(trace)) => return self.merge_trace(trace, result),
            Ok(Item::Act(_)) => return,
            Err(refusal) => {
                result.refuse(&refusal);
                return;
            }
        };
        if promised.node() == self.own {
            result.own = Some(promised.promise().clone());
        } else {
            self.merge(promised, bytes, result);
        }
    }

    /// Whether a statement need not be verified: it is known, or a later one of the same node is.
    fn is_nothing_new(&self, bytes: &[u8], result: &mut Ingested) -> bool {
        let ledger = self.roster.ledger();
        if let Some((network, node, sequence)) = MemberPromise::peek(bytes)
            && network == ledger.network()
        {
            let is_stale = ledger.is_stale(bytes, self.time);
            let before = result.own.as_ref().map_or(0, |own| own.sequence);
            if is_stale || (node == self.own && sequence <= before) {
                result.of_sender |= node == self.source;
                return true;
            }
        }
        let is_known = ledger.knows(bytes);
        result.of_sender |= is_known && self.roster.is_promise_of(&self.source, bytes);
        is_known
    }

    fn is_spent(&self, result: &mut Ingested) -> bool {
        let is_spent = self.budget.is_spent(self.now);
        if is_spent {
            result.refused = result.refused.saturating_add(1);
            result.why = Some(BUSY.to_owned());
        }
        is_spent
    }

    fn merge(&mut self, promised: Box<Member>, bytes: &[u8], result: &mut Ingested) {
        let (node, now) = (promised.node(), self.time);
        let of_sender = node == self.source;
        let is_withdrawn = promised.promise().standing == Standing::Withdrawn;
        let was_known = self.roster.promise_of(&node).is_some();
        let members = self.roster.ledger().members().len();
        let is_paid_for = !self.is_first && self.roster.came_by_itself(&promised);
        let merged = if self.roster.is_strange(&promised) && !self.roster.is_member(&self.source) {
            // Keys cost nothing: those of nobody's making are kept on a member's word only.
            Err(Refusal::Void(Void::NotAdmitted))
        } else {
            self.roster.insert(Item::Member(promised), now)
        };
        match merged {
            Ok(Merged::New) => {
                result.news = true;
                result.came_or_went |= is_withdrawn || !was_known;
                self.outbox.push(bytes.to_vec(), Some(self.source));
                // There is an end of members who take nobody's room, if keys alone make none.
                if !is_paid_for && self.roster.ledger().members().len() > members {
                    self.budget.give_back();
                }
            }
            Ok(Merged::Known | Merged::Stale) => {}
            Err(refusal) => {
                result.refused += 1;
                if of_sender || matches!(refusal, Refusal::Promise(PromiseError::Future { .. })) {
                    result.why = Some(refusal.to_string());
                }
                return;
            }
        }
        result.of_sender |= of_sender;
    }
}

impl Intake<'_> {
    /// Merges what remains of a member who is gone. Everybody comes by that on its own who heard of the member, or when
    /// it compares: it is not passed on.
    fn merge_trace(&mut self, trace: Box<Trace>, result: &mut Ingested) {
        let merged = if self.is_first || self.roster.is_member(&self.source) {
            self.roster.insert(Item::Trace(trace), self.lapse_time)
        } else {
            Err(Refusal::Void(Void::NotAdmitted))
        };
        match merged {
            Ok(Merged::New) => result.news = true,
            Ok(Merged::Known | Merged::Stale) => {}
            Err(_) => result.refused = result.refused.saturating_add(1),
        }
    }
}

impl Ingested {
    /// A statement that no correct node sends.
    fn refuse(&mut self, refusal: &Refusal) {
        self.refused += 1;
        self.hostile = Some(refusal.to_string());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::network::charter::AdmissionRule;
    use crate::network::ledger::Ledger;
    use crate::network::testing::{T0, charter, forged, key, promise, signed};

    const NOW: Millis = Millis(T0.0 * 1000);

    /// The network of node 1, and nodes that promise something to it.
    struct Scene {
        roster: Roster,
        outbox: Outbox,
        budget: Budget,
        is_first: bool,
    }

    impl Scene {
        fn new(admission: AdmissionRule) -> Self {
            Self {
                is_first: true,
                roster: Roster::new(Ledger::new(charter(admission))),
                outbox: Outbox::default(),
                budget: Budget::new(4, Duration::from_secs(4)),
            }
        }

        fn promise(&self, node: u8, sequence: u64) -> Vec<u8> {
            signed(promise(self.roster.charter(), node, sequence), node)
        }

        /// Node 9 takes in what node 2 sends.
        fn told(&mut self, statements: &[Vec<u8>]) -> Ingested {
            let intake = Intake {
                source: key(2).id(),
                own: key(9).id(),
                roster: &mut self.roster,
                outbox: &mut self.outbox,
                is_first: self.is_first,
                budget: &mut self.budget,
                now: NOW,
                time: NOW.timestamp(),
                lapse_time: NOW.timestamp(),
            };
            intake.ingest(statements.iter().map(Vec::as_slice))
        }

        fn is_untouched(&self) -> bool {
            self.budget.is_full(NOW)
        }
    }

    #[test]
    fn what_is_known_or_comes_too_late_is_not_verified() {
        let mut scene = Scene::new(AdmissionRule::Open);
        let standing = scene.promise(3, 5);
        assert!(scene.told(std::slice::from_ref(&standing)).news);
        assert!(scene.is_untouched(), "a new node costs its sender nothing");
        // Nobody looked at the signature.
        let late = forged(scene.promise(3, 4));
        let result = scene.told(&vec![late; 1000]);
        assert_eq!((result.hostile, result.refused), (None, 0));
        let result = scene.told(&vec![standing; 1000]);
        assert_eq!((result.hostile, result.refused), (None, 0));
        assert!(scene.is_untouched());
        let early = forged(scene.promise(3, 6));
        assert!(scene.told(&[early]).hostile.is_some());
    }

    #[test]
    fn what_was_verified_in_vain_is_paid_for() {
        let mut scene = Scene::new(AdmissionRule::Invite);
        // Nobody admitted these.
        let strangers: Vec<Vec<u8>> = (10..20).map(|n| scene.promise(n, 1)).collect();
        let result = scene.told(&strangers);
        assert_eq!(result.refused, 10);
        assert_eq!(result.why.as_deref(), Some(BUSY));
        assert!(scene.budget.is_spent(NOW));
        assert!(scene.roster.ledger().is_empty());
        // Once in a message is enough.
        scene.budget = Budget::new(4, Duration::from_secs(4));
        let again = vec![strangers[0].clone(); 1000];
        assert_eq!(
            (scene.told(&again).refused, scene.budget.is_spent(NOW)),
            (1, false)
        );
    }

    /// In an open network, there is no end of nodes that nobody let in. But whoever is new there has to hear of all.
    #[test]
    fn keys_that_come_by_themselves_are_paid_for() {
        let mut scene = Scene::new(AdmissionRule::Open);
        let crowd: Vec<Vec<u8>> = (10..30).map(|n| scene.promise(n, 1)).collect();
        assert_eq!(scene.told(&crowd[..10]).refused, 0);
        assert!(scene.is_untouched());
        scene.is_first = false;
        let result = scene.told(&crowd[10..]);
        assert_eq!(result.why.as_deref(), Some(BUSY));
        assert_eq!(scene.roster.ledger().members().len(), 14);
    }

    #[test]
    fn renewals_are_paid_for() {
        let mut scene = Scene::new(AdmissionRule::Open);
        let renewals: Vec<Vec<u8>> = (1..=9).map(|n| scene.promise(3, n)).collect();
        let result = scene.told(&renewals);
        assert_eq!(result.why.as_deref(), Some(BUSY));
        let standing = scene.roster.promise_of(&key(3).id()).unwrap();
        assert_eq!(standing.sequence, 5, "the first, and four more");
    }
}
