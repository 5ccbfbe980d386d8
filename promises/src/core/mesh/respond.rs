//! What this node answers to requests in a network.
//!
//! Its statements are for its members, and for nodes that an admission makes members. Others are shown why
//! they may not see them.

use std::collections::BTreeSet;

use minicbor::bytes::{ByteArray, ByteVec};

use crate::answer::{answer, refusal};
use crate::content_id::ContentId;
use crate::core::batches::first_batch;
use crate::core::local::Local;
use crate::core::mesh::Mesh;
use crate::core::mesh::ingest::BUSY;
use crate::core::mesh::roster::Roster;
use crate::core::mesh::witness::Witness;
use crate::core::peers::Peers;
use crate::core::protocol::{NetworkAsk, Pull, Push, PushAnswer, SyncAnswer, SyncRequest};
use crate::core::step::Step;
use crate::network::admission::{Admission, Link, RawLink};
use crate::network::index::ShortId;
use crate::network::statement::Signed;
use crate::network::uses::is_timely;
use crate::network::void::Void;
use crate::time::Timestamp;
use grid_keys::NodeId;

/// What a member answers a node that is not one.
const NO_MEMBER: &str = "no member of that network";

/// Whether a node may see a network's statements.
enum Reader {
    Yes,
    /// It may see the acts of owners that put it out, or the admission that it shows.
    Out(Option<Admission>),
    /// It may see who used its invite before it.
    Spent(ContentId),
    No(&'static str),
}

impl Mesh {
    /// Answers a request.
    pub(crate) fn answer(
        &mut self,
        peer: NodeId,
        ask: &NetworkAsk,
        local: &Local,
        peers: &mut Peers,
        step: &mut Step<'_>,
    ) -> Vec<u8> {
        let now = step.time();
        match ask {
            NetworkAsk::Sync(request) => {
                let side = self.side_of(&peer, peers);
                // What a stranger shows has to be verified, and what it is told has to be looked for.
                let is_paid_for = if self.roster.is_member(&peer) {
                    let is_equal = request.root == self.roster.ledger().root();
                    is_equal || self.work.may_compare(&peer, step.now)
                } else {
                    self.work.of(&peer, side, 1, step.now).take(step.now)
                };
                if !is_paid_for {
                    return refusal(BUSY);
                }
                let shown = self.ingest(peer, &request.acts, local, peers, step);
                if let Some(why) = shown.hostile {
                    let refused = refusal(&why);
                    peers.misbehaved(peer, why, step);
                    return refused;
                }
                sync(&peer, request, &self.roster, &self.witness, now)
            }
            NetworkAsk::Pull(_) if !self.roster.is_member(&peer) => refusal(NO_MEMBER),
            NetworkAsk::Pull(_) if !self.work.may_compare(&peer, step.now) => refusal(BUSY),
            NetworkAsk::Pull(request) => pull(request, &self.roster),
            NetworkAsk::Push(push) => self.answer_push(peer, push, local, peers, step),
            NetworkAsk::Admit(request) => self.answer_admit(peer, request, local, peers, step),
        }
    }

    fn answer_push(
        &mut self,
        peer: NodeId,
        push: &Push,
        local: &Local,
        peers: &mut Peers,
        step: &mut Step<'_>,
    ) -> Vec<u8> {
        let result = self.ingest(peer, &push.statements, local, peers, step);
        if let Some(why) = result.hostile {
            let refused = refusal(&why);
            peers.misbehaved(peer, why, step);
            return refused;
        }
        let receipt = if result.of_sender {
            self.sign_receipt(&peer, local, step)
        } else {
            None
        };
        answer(&PushAnswer {
            refused: result.refused,
            why: result.why,
            receipt,
        })
    }

    fn sign_receipt(
        &mut self,
        peer: &NodeId,
        local: &Local,
        step: &mut Step<'_>,
    ) -> Option<ByteVec> {
        // The receipt is about the view with the promise in it.
        if self.dirty {
            self.refresh(local, step);
        }
        if !self.phase.is_member() {
            return None;
        }
        let receipt = self.witness.sign(peer, &self.roster, local, step.time())?;
        Some(ByteVec::from(receipt.bytes().to_vec()))
    }
}

/// Answers a comparison of statements.
fn sync(
    peer: &NodeId,
    request: &SyncRequest,
    roster: &Roster,
    witness: &Witness,
    now: Timestamp,
) -> Vec<u8> {
    let ledger = roster.ledger();
    match reader(peer, request.admission.as_deref(), roster, witness, now) {
        Reader::No(why) => return refusal(why),
        Reader::Out(shown) => {
            let acts = roster.acts_about(peer, shown.as_ref());
            let (statements, _) = first_batch(acts.map(Signed::bytes));
            return answer(&SyncAnswer::Difference(statements, Vec::new(), false));
        }
        Reader::Spent(grant) => {
            let (statements, _) = first_batch(ledger.users_of(&grant));
            return answer(&SyncAnswer::Difference(statements, Vec::new(), false));
        }
        Reader::Yes => {}
    }
    if request.root == ledger.root() {
        return answer(&SyncAnswer::Equal);
    }
    let Some(index) = &request.index else {
        return answer(&SyncAnswer::Index(ledger.index()));
    };
    let difference = ledger.compare(index);
    let wanted = difference
        .i_lack
        .iter()
        .map(|id| ByteArray::from(*id))
        .collect();
    let (statements, more) = first_batch(difference.they_lack.iter().copied());
    answer(&SyncAnswer::Difference(statements, wanted, more))
}

/// Answers a member's request for single statements.
fn pull(request: &Pull, roster: &Roster) -> Vec<u8> {
    let wanted: BTreeSet<ShortId> = request.wanted.iter().map(|id| **id).collect();
    let (statements, _) = first_batch(roster.ledger().statements_of(&wanted));
    answer(&Push { statements })
}

fn reader(
    peer: &NodeId,
    admission: Option<&[RawLink]>,
    roster: &Roster,
    witness: &Witness,
    now: Timestamp,
) -> Reader {
    if roster.is_member(peer) {
        return Reader::Yes;
    }
    // What a node shows goes before what it promised once: it may have come again by another way.
    let Some(raw) = admission else {
        return match roster.is_out(peer) {
            true => Reader::Out(None),
            false => Reader::No(NO_MEMBER),
        };
    };
    let Ok(admission) = Admission::decode(raw, roster.charter(), peer) else {
        return Reader::No("the admission does not admit");
    };
    let authority = roster.ledger().authority();
    let first = authority.first_that_counts(&admission, peer);
    let mut counting = admission.links().iter().skip(first);
    match authority.rule_shown(roster.charter(), &admission, peer) {
        Err(Void::NotAdmitted) => Reader::No("no owner admitted that node"),
        Err(_) => Reader::Out(Some(admission)),
        Ok(()) if !counting.all(|link| is_timely(authority, link, now)) => {
            Reader::No("the invite expired")
        }
        Ok(()) => spent_invite(peer, &admission, roster, witness),
    }
}

/// What the invite that this admission ends with lets its holder see. If members with evidence have used
/// it up, the holder can convince itself: their promises show that they were first. If this node has just
/// given that evidence, they will in a moment.
fn spent_invite(
    peer: &NodeId,
    admission: &Admission,
    roster: &Roster,
    witness: &Witness,
) -> Reader {
    let Some(Link { grant, .. }) = admission.links().last() else {
        return Reader::Yes;
    };
    let is_full = |users: &BTreeSet<NodeId>| {
        users.iter().filter(|node| *node != peer).count() >= grant.uses as usize
    };
    if is_full(&roster.ledger().seen_users(grant)) {
        Reader::Spent(grant.id())
    } else if is_full(&witness.known_users(grant, roster)) {
        Reader::No("others are just using that invite; ask again")
    } else {
        Reader::Yes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::{Response, read_response};
    use crate::network::act::{Action, OfficeId};
    use crate::network::charter::AdmissionRule;
    use crate::network::ledger::Ledger;
    use crate::network::statement::{Kind, peek_kind};
    use crate::network::testing::{self, DAY, T0, key, link};

    /// What a node is told that shows this admission: the kinds of the statements; `None` if nothing.
    fn told(roster: &Roster, links: Vec<Link>, now: Timestamp) -> Option<Vec<u8>> {
        let peer = links.last().unwrap().node();
        told_who(roster, &peer, Some(Admission::from_links(links).raw()), now)
    }

    /// What a node is told.
    fn told_who(
        roster: &Roster,
        peer: &NodeId,
        admission: Option<Vec<RawLink>>,
        now: Timestamp,
    ) -> Option<Vec<u8>> {
        let request = SyncRequest {
            root: [0; 32],
            index: Some(Vec::new()),
            admission,
            acts: Vec::new(),
        };
        let answer = sync(peer, &request, roster, &Witness::default(), now);
        match read_response::<SyncAnswer>(&answer).unwrap() {
            Response::Answer(SyncAnswer::Difference(statements, _, _)) => Some(
                statements
                    .iter()
                    .filter_map(|bytes| peek_kind(bytes))
                    .collect(),
            ),
            Response::Answer(other) => panic!("{other:?}"),
            Response::Refusal(_) => None,
        }
    }

    /// Node 2 came by an invite of the founder, and node 3 by one of node 2. Then the founder closes that invite and
    /// revokes node 2.
    #[test]
    fn who_is_out_reads_why_and_nothing_else() {
        let charter = testing::charter(AdmissionRule::Invite);
        let first = link(&charter, 1, 10, 2);
        let guest = vec![first.clone(), link(&charter, 2, 11, 3)];
        let fresh = vec![link(&charter, 1, 10, 4)];
        let other = vec![link(&charter, 1, 12, 5)];
        let mut ledger = Ledger::new(charter.clone());
        let office = OfficeId::founding(&charter.network(), &key(1).id());
        let sign = |ledger: &Ledger, actions| {
            let signed = ledger.acts().signed(&office, &key(1), actions, T0);
            signed.unwrap()
        };
        let appoint = sign(&ledger, vec![Action::Appoint { node: key(9).id() }]);
        ledger.insert_acts(appoint, T0);
        // Two members, of whom those who are in are told.
        let there = vec![link(&charter, 1, 14, 6)];
        for (node, links) in [(1, Vec::new()), (6, there.clone())] {
            let mut promise = testing::promise(&charter, node, 1);
            promise.admission = Admission::from_links(links).raw();
            promise.expires = T0.after(DAY);
            let bytes = testing::signed(promise, node);
            ledger.insert_bytes(&bytes, T0).unwrap();
        }
        let (act, soon) = (Kind::Act as u8, T0.after(DAY / 2));
        let with_members = |acts| [vec![act; acts], vec![Kind::Member as u8; 2]].concat();
        let before = Roster::new(ledger.clone());
        for links in [
            vec![first.clone()],
            guest.clone(),
            fresh.clone(),
            other.clone(),
        ] {
            assert_eq!(told(&before, links, soon), Some(with_members(1)));
        }
        let withdrawal = vec![
            Action::Close {
                invite: key(10).id(),
                before: T0,
                keep: Vec::new(),
            },
            Action::Revoke { node: key(2).id() },
            Action::Admit {
                nodes: vec![key(8).id()],
                over: Vec::new(),
            },
        ];
        let acts = sign(&ledger, withdrawal);
        ledger.insert_acts(acts, T0);
        let mut after = Roster::new(ledger);
        after.review(soon);
        // A member is told whatever it shows.
        let member = key(6).id();
        assert_eq!(told_who(&after, &member, None, soon), Some(with_members(4)));
        assert_eq!(told(&after, there, soon), Some(with_members(4)));
        // Neither learns whom else owners admitted.
        assert_eq!(told(&after, vec![first], soon), Some(vec![act; 3]));
        assert_eq!(told(&after, guest, soon), Some(vec![act; 3]));
        assert_eq!(told(&after, fresh, soon), Some(vec![act; 2]));
        assert_eq!(told(&after, other.clone(), soon), Some(with_members(4)));
        // An invite that expired nine days ago, used at a time that is dated back.
        let late = T0.after(19 * DAY);
        assert_eq!(told(&after, other, late), None);
        // A chain that begins with nobody.
        assert_eq!(told(&after, vec![link(&charter, 6, 13, 7)], soon), None);
    }
}
