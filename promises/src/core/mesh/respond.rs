//! Which statements of a network another node is shown.
//!
//! They are for its members, and for those whom an admission makes one. Who may not see them sees why.

use std::collections::BTreeSet;

use minicbor::bytes::ByteArray;

use crate::answer::{answer, refusal};
use crate::content_id::ContentId;
use crate::core::batches::first_batch;
use crate::core::mesh::roster::{Roster, came_by};
use crate::core::mesh::witness::Witness;
use crate::core::protocol::{Pull, Push, SyncAnswer, SyncRequest};
use crate::network::admission::{Admission, Link, RawLink};
use crate::network::statement::Signed;
use grid_keys::NodeId;

/// The refusal of a node that is in the network, to one that is not.
const NO_MEMBER: &str = "no member of that network";

/// Whether a node may see a network's statements.
enum Reader {
    Yes,
    /// It may see the revocations that name it.
    Revoked,
    /// It may see who used its invite before it.
    Spent(ContentId),
    No(&'static str),
}

/// Answers a comparison of statements.
pub(crate) fn sync(
    peer: &NodeId,
    request: &SyncRequest,
    roster: &Roster,
    witness: &Witness,
) -> Vec<u8> {
    let ledger = roster.ledger();
    match reader(peer, request.admission.as_deref(), roster, witness) {
        Reader::No(why) => return refusal(why),
        Reader::Revoked => {
            let revocations = ledger
                .revocations()
                .filter(|revocation| revocation.nodes.contains(peer))
                .map(Signed::bytes);
            let (statements, _) = first_batch(revocations);
            return answer(&SyncAnswer::Difference(statements, Vec::new(), false));
        }
        Reader::Spent(grant) => {
            let users = ledger.members().values().filter(|m| came_by(m, &grant));
            let (statements, _) = first_batch(users.map(|member| member.promise().bytes()));
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

/// Answers a request for single statements.
pub(crate) fn pull(peer: &NodeId, pull: &Pull, roster: &Roster, witness: &Witness) -> Vec<u8> {
    if !matches!(reader(peer, None, roster, witness), Reader::Yes) {
        return refusal(NO_MEMBER);
    }
    let wanted: BTreeSet<[u8; 8]> = pull.wanted.iter().map(|id| **id).collect();
    let (statements, _) = first_batch(roster.ledger().statements_of(&wanted));
    answer(&Push { statements })
}

fn reader(
    peer: &NodeId,
    admission: Option<&[RawLink]>,
    roster: &Roster,
    witness: &Witness,
) -> Reader {
    if roster.is_revoked(peer) {
        return Reader::Revoked;
    }
    if roster.is_member(peer) {
        return Reader::Yes;
    }
    let Some(raw) = admission else {
        return Reader::No(NO_MEMBER);
    };
    match Admission::decode(raw, roster.charter(), peer) {
        Ok(admission) => spent_invite(peer, &admission, roster, witness),
        Err(_) => Reader::No("the admission does not admit"),
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
    let Some(Link::Invite { grant, .. }) = admission.links().last() else {
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
