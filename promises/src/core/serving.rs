//! What this node does when another asks.
//!
//! Statements of a network are for its members, and for those whom an admission makes one. Every
//! request is answered, if only with a refusal; what no correct node sends is counted against the
//! sender.

use std::collections::BTreeSet;

use minicbor::bytes::{ByteArray, ByteVec};

use crate::content_id::ContentId;
use crate::core::effect::{Effect, Notice};
use crate::core::gossip::{About, NOT_HERE};
use crate::core::input::ReplyTo;
use crate::core::network::{Network, Phase};
use crate::core::protocol::{
    AdmitAnswer, AdmitRequest, Ask, Found, Hello, Pull, Push, PushAnswer, SyncAnswer, SyncRequest,
    answer, refusal,
};
use crate::core::pushing::first_batch;
use crate::core::{Core, Step};
use crate::network::admission::{Admission, AdmissionRequest, Link, RawLink};
use crate::network::charter::{AdmissionRule, NetworkId};
use crate::network::ledger::invite_of;
use crate::network::member::Member;
use crate::network::name::NetworkName;
use crate::network::statement::Signed;
use crate::time::Millis;
use grid_keys::NodeId;

/// Nodes that may wait for an owner at once.
const MAX_ASKING: usize = 32;
/// Charters in one answer.
const MAX_FOUND: usize = 8;

/// Whether a node may see a network's statements.
enum Reader {
    Yes,
    /// It may see why it may not: the revocations that name it.
    Revoked,
    /// It may see why it may not: who used its invite before it.
    Spent(ContentId),
    No(&'static str),
}

impl Core {
    /// Answers a request.
    pub(crate) fn serve(
        &mut self,
        peer: NodeId,
        message: &[u8],
        reply: ReplyTo,
        step: &mut Step<'_>,
    ) {
        let response = match Ask::decode(message) {
            Ok(ask) => self.answer(peer, ask, step),
            Err(error) => {
                self.bad_message(peer, error.to_string(), step.now);
                refusal(&error.to_string())
            }
        };
        self.effects.push_back(Effect::Respond {
            to: reply,
            message: response,
        });
    }

    fn answer(&mut self, peer: NodeId, ask: Ask, step: &mut Step<'_>) -> Vec<u8> {
        match ask {
            Ask::Hello(hello) => {
                self.seen_as(peer, hello.observed, step);
                match self.links.remote(&peer) {
                    Some(observed) => answer(&Hello { observed }),
                    None => refusal("there is no connection to answer on"),
                }
            }
            Ask::Find(name) => answer(&self.find(&name)),
            Ask::Sync(network, request) => self.answer_sync(network, peer, &request),
            Ask::Pull(network, pull) => self.answer_pull(network, peer, &pull),
            Ask::Push(network, push) => self.answer_push(network, peer, &push, step.now),
            Ask::Admit(network, request) => self.answer_admit(network, peer, &request, step.now),
        }
    }

    /// The charters of networks of that name that a node may join without an invite.
    fn find(&self, name: &NetworkName) -> Found {
        let charters = self
            .networks
            .values()
            .filter(|net| net.name() == name && net.is_member())
            .filter(|net| net.ledger.charter().admission != AdmissionRule::Invite)
            .map(|net| ByteVec::from(net.ledger.charter().bytes().to_vec()))
            .take(MAX_FOUND)
            .collect();
        Found { charters }
    }

    fn reader(net: &Network, peer: &NodeId, admission: Option<&Vec<RawLink>>) -> Reader {
        if net.ledger.withdrawn().is_revoked(peer) {
            return Reader::Revoked;
        }
        if net.view.members.contains_key(peer) {
            return Reader::Yes;
        }
        let Some(raw) = admission else {
            return Reader::No("no member of that network");
        };
        match Admission::decode(raw, net.ledger.charter(), peer) {
            Ok(admission) => spent_invite(net, peer, &admission),
            Err(_) => Reader::No("the admission does not admit"),
        }
    }

    fn answer_sync(&mut self, network: NetworkId, peer: NodeId, request: &SyncRequest) -> Vec<u8> {
        let Some(net) = self.networks.get(&network) else {
            return refusal(NOT_HERE);
        };
        match Self::reader(net, &peer, request.admission.as_ref()) {
            Reader::No(why) => return refusal(why),
            Reader::Revoked => {
                let revocations = net
                    .ledger
                    .revocations()
                    .filter(|revocation| revocation.nodes.contains(&peer))
                    .map(Signed::bytes);
                let (statements, _) = first_batch(revocations);
                return answer(&SyncAnswer::Difference(statements, Vec::new(), false));
            }
            Reader::Spent(grant) => {
                let users = net.ledger.members().values().filter(|m| came_by(m, &grant));
                let (statements, _) = first_batch(users.map(|member| member.promise().bytes()));
                return answer(&SyncAnswer::Difference(statements, Vec::new(), false));
            }
            Reader::Yes => {}
        }
        if request.root == net.ledger.root() {
            return answer(&SyncAnswer::Equal);
        }
        let Some(index) = &request.index else {
            return answer(&SyncAnswer::Index(net.ledger.index()));
        };
        let difference = net.ledger.compare(index);
        let wanted = difference
            .i_lack
            .iter()
            .map(|id| ByteArray::from(*id))
            .collect();
        let (statements, more) = first_batch(difference.they_lack.iter().copied());
        answer(&SyncAnswer::Difference(statements, wanted, more))
    }

    fn answer_pull(&self, network: NetworkId, peer: NodeId, pull: &Pull) -> Vec<u8> {
        let Some(net) = self.networks.get(&network) else {
            return refusal(NOT_HERE);
        };
        if !matches!(Self::reader(net, &peer, None), Reader::Yes) {
            return refusal("no member of that network");
        }
        let wanted: BTreeSet<[u8; 8]> = pull.wanted.iter().map(|id| **id).collect();
        let (statements, _) = first_batch(net.ledger.statements_of(&wanted));
        answer(&Push { statements })
    }

    fn answer_push(
        &mut self,
        network: NetworkId,
        peer: NodeId,
        push: &Push,
        now: Millis,
    ) -> Vec<u8> {
        if !self.networks.contains_key(&network) {
            return refusal(NOT_HERE);
        }
        let statements = push.statements.iter().map(|bytes| bytes.as_slice());
        let result = self.ingest(network, statements, peer, now);
        if let Some(why) = &result.hostile {
            self.bad_message(peer, why.clone(), now);
            return refusal(why);
        }
        let receipt = result
            .of_sender
            .then(|| self.sign_receipt(network, peer, now))
            .flatten();
        answer(&PushAnswer {
            refused: result.refused,
            why: result.own,
            receipt,
        })
    }

    fn sign_receipt(&mut self, network: NetworkId, peer: NodeId, now: Millis) -> Option<ByteVec> {
        self.with_network(&network, now, |net, around, out| {
            // The receipt speaks of the view with the promise in it.
            if net.dirty {
                net.refresh(around, out);
            }
            let receipt = net.receipt_for(&peer, around)?;
            net.witness(&peer);
            Some(ByteVec::from(receipt.bytes().to_vec()))
        })
        .flatten()
    }

    /// A node asks to be admitted, directly or through a member.
    fn answer_admit(
        &mut self,
        network: NetworkId,
        peer: NodeId,
        request: &AdmitRequest,
        now: Millis,
    ) -> Vec<u8> {
        let Ok(signed) = Signed::<AdmissionRequest>::decode(&request.request) else {
            self.bad_message(
                peer,
                "an admission request that does not hold".to_owned(),
                now,
            );
            return refusal("the request does not hold");
        };
        let own = self.id;
        let Some(net) = self.networks.get_mut(&network) else {
            return refusal(NOT_HERE);
        };
        if signed.network != network
            || net.phase != Phase::Member
            || net.ledger.charter().admission != AdmissionRule::Approve
        {
            return refusal("this network does not admit in that way");
        }
        if net.ledger.withdrawn().is_revoked(&signed.node) {
            return refusal("the node's admission was revoked");
        }
        if let Some(admission) = net.approved.get(&signed.node) {
            return answer(&AdmitAnswer {
                admission: admission.raw(),
            });
        }
        let known = net.asking.contains_key(&signed.node);
        if !known && net.asking.len() >= MAX_ASKING {
            return refusal("too many nodes wait already");
        }
        net.asking.insert(signed.node, signed.label.clone());
        let name = net.name().clone();
        let is_owner = net.ledger.charter().is_owner(&own);
        // A member that is no owner passes the request on to the owners that it is connected to.
        let owners: Vec<NodeId> = net
            .ledger
            .charter()
            .owners
            .iter()
            .filter(|owner| !is_owner && **owner != peer && self.links.is_up(owner))
            .copied()
            .collect();
        for owner in owners {
            self.request(
                owner,
                &Ask::Admit(network, request.clone()),
                About::Admit(network),
            );
        }
        if is_owner && !known {
            let (node, label) = (signed.node, signed.label.clone());
            self.notice(Notice::AdmissionAsked { name, node, label });
        }
        refusal("an owner has to decide")
    }
}

/// What the invite that this admission ends with lets its holder see. If members with evidence have used
/// it up, the holder can convince itself: their promises show that they were first. If this node has just
/// given that evidence, they will in a moment.
fn spent_invite(net: &Network, peer: &NodeId, admission: &Admission) -> Reader {
    let Some(Link::Invite { grant, .. }) = admission.links().last() else {
        return Reader::Yes;
    };
    let is_full = |users: &BTreeSet<NodeId>| {
        users.iter().filter(|node| *node != peer).count() >= grant.uses as usize
    };
    let seen = net.ledger.seen_users(grant);
    if is_full(&seen) {
        Reader::Spent(grant.id())
    } else if is_full(&net.known_users(grant)) {
        Reader::No("others are just using that invite; ask again")
    } else {
        Reader::Yes
    }
}

/// Whether a member came by this grant: a second one of the same invite key is another.
pub(crate) fn came_by(member: &Member, grant: &ContentId) -> bool {
    invite_of(member).is_some_and(|theirs| theirs.id() == *grant)
}
