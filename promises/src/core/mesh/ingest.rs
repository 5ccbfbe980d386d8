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
            // It is given back if the act is new and takes nobody's room.
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
        // There is an end of those that find room, and none of those that push others out.
        for _ in merged.dropped.len()..merged.new.len() {
            self.budget.give_back();
        }
        for id in &merged.new {
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
                // There is an end of members who take nobody's room, if keys alone make none. Who takes the room of
                // others pays for them, who cost nothing when they came.
                let left = self.roster.ledger().members().len();
                if !is_paid_for && left > members {
                    self.budget.give_back();
                }
                self.budget.charge(members.saturating_sub(left), self.now);
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
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::limits::MAX_ACTS;
    use crate::network::act::{Act, Action, OfficeId};
    use crate::network::admission::{Admission, Link};
    use crate::network::charter::{AdmissionRule, Charter};
    use crate::network::ledger::Ledger;
    use crate::network::receipt::Receipt;
    use crate::network::testing::{T0, charter, forged, key, link, promise, signed};

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
        // As much as a message can hold.
        let copies = 1_000_000 / late.len();
        let result = scene.told(&vec![late; copies]);
        assert_eq!((result.hostile, result.refused), (None, 0));
        let result = scene.told(&vec![standing; copies]);
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

    /// What the guests of a host promise, who came by an invite that admits one other, and of one who was there before it.
    struct Guests {
        charter: Signed<Charter>,
        /// What they promise but for the admission: to make an address takes a while.
        bodies: BTreeMap<u8, MemberPromise>,
    }

    impl Guests {
        /// How node 2 lets a host in by an invite for one.
        fn host(&self, invite: u8, host: u8, is_seen: bool) -> Vec<Link> {
            let first = link(&self.charter, 1, 10, 2);
            let mut only = link(&self.charter, 2, invite, host);
            let mut grant = only.grant.body().clone();
            grant.uses = 1;
            only.grant = Signed::sign(grant, &key(2)).unwrap();
            let way = Admission::from_links(vec![first, only]);
            let receipt = Receipt {
                network: self.charter.network(),
                witness: key(2).id(),
                subject: key(host).id(),
                admission: way.id(),
                member_since: T0,
                address: "10.7.0.9".parse().unwrap(),
                address_since: T0,
                issued: T0,
            };
            let mut links = way.links().to_vec();
            links[1].seen = is_seen.then(|| Box::new(Signed::sign(receipt, &key(2)).unwrap()));
            links
        }

        fn promise(
            &mut self,
            node: u8,
            sequence: u64,
            mut links: Vec<Link>,
            by: (u8, u8),
        ) -> Vec<u8> {
            links.push(link(&self.charter, by.0, by.1, node));
            let charter = &self.charter;
            let body = self
                .bodies
                .entry(node)
                .or_insert_with(|| promise(charter, node, 1));
            body.sequence = sequence;
            body.admission = Admission::from_links(links).raw();
            signed(body.clone(), node)
        }
    }

    /// New guests cost nothing, and one promise that shows that their host was not the first lets go of most of them.
    #[test]
    fn who_takes_the_room_of_others_pays_for_them() {
        let mut scene = Scene::new(AdmissionRule::Invite);
        scene.is_first = false;
        scene.budget = Budget::new(64, Duration::from_secs(64));
        let charter = scene.roster.charter().clone();
        let mut host = promise(&charter, 2, 1);
        host.admission = Admission::from_links(vec![link(&charter, 1, 10, 2)]).raw();
        assert!(scene.told(&[signed(host, 2)]).news);
        let mut guests = Guests {
            charter,
            bodies: BTreeMap::new(),
        };
        let mut verified = 0;
        for cycle in 0..10 {
            let (invite, lost, won) = (50 + cycle, 100 + cycle, 120 + cycle);
            let below = guests.host(invite, lost, false);
            let sequence = u64::from(cycle) + 1;
            let batch: Vec<Vec<u8>> = (150..190)
                .map(|node| guests.promise(node, sequence, below.clone(), (lost, 70 + cycle)))
                .collect();
            let result = scene.told(&batch);
            let above = guests.host(invite, won, true);
            let last = guests.promise(200, sequence, above, (won, 85 + cycle));
            scene.told(&[last]);
            if result.why.as_deref() == Some(BUSY) {
                break;
            }
            verified += batch.len();
        }
        assert!((40..300).contains(&verified), "{verified}");
        assert!(scene.budget.is_spent(NOW));
    }

    /// Whoever holds, or held, an office signs as many acts as it likes: where there is no room for more, each pushes out
    /// another of them.
    #[test]
    fn acts_that_take_the_room_of_others_are_paid_for() {
        for is_dismissed in [false, true] {
            let mut scene = Scene::new(AdmissionRule::Invite);
            scene.is_first = false;
            scene.budget = Budget::new(64, Duration::from_secs(64));
            let charter = scene.roster.charter().clone();
            let founding = OfficeId::founding(&charter.network(), &key(1).id());
            let act = |by: u8, office: OfficeId, after: Option<&Signed<Act>>, action| {
                let act = Act {
                    network: charter.network(),
                    owner: key(by).id(),
                    office,
                    number: after.map_or(1, |act| act.number + 1),
                    previous: after.map_or(office.0, |act| act.act_id()),
                    action,
                    issued: T0,
                };
                Signed::sign(act, &key(by)).unwrap()
            };
            let appoints = act(1, founding, None, Action::Appoint { node: key(2).id() });
            let office = OfficeId(appoints.act_id());
            let dismisses = Action::Dismiss {
                office,
                cut: office.0,
                heir: None,
            };
            let dismisses = act(1, founding, Some(&appoints), dismisses);
            let mut flood: Vec<Signed<Act>> = (0..MAX_ACTS as u64 + 500)
                .map(|n| {
                    let mut node = [2; 32];
                    node[..8].copy_from_slice(&n.to_be_bytes());
                    act(2, office, None, Action::Revoke { node: NodeId(node) })
                })
                .collect();
            flood.sort_by_key(|act| std::cmp::Reverse(act.act_id()));
            let mut first = vec![appoints];
            first.extend(is_dismissed.then_some(dismisses));
            let (room, more) = flood.split_at(MAX_ACTS - first.len());
            first.extend(room.iter().cloned());
            scene.roster.insert_acts(first, T0);
            assert_eq!(scene.roster.ledger().acts().held().len(), MAX_ACTS);
            let mut taken = 0;
            for act in more {
                taken += usize::from(scene.told(&[act.bytes().to_vec()]).news);
            }
            assert_eq!(taken, 64);
        }
    }
}
