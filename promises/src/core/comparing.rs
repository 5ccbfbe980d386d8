//! Comparing statements with a member: on connecting, on a timer, and sooner after a loss. So what a
//! push missed arrives anyway.

use std::collections::BTreeSet;

use minicbor::bytes::{ByteArray, ByteVec};

use crate::core::effect::Notice;
use crate::core::gossip::About;
use crate::core::network::Phase;
use crate::core::protocol::{Ask, Pull, Push, Response, SyncAnswer, SyncRequest};
use crate::core::pushing::batches;
use crate::core::timers::{self, Timer};
use crate::core::{Core, Step};
use crate::network::admission::Admission;
use crate::network::charter::NetworkId;
use crate::time::Millis;
use grid_keys::NodeId;

/// Ledgers up to this size send their whole index on connecting, which saves a round trip.
const SMALL_INDEX: usize = 512;

impl Core {
    /// Compares statements with a node. With the index where it is small, or asked for.
    pub(crate) fn sync(&mut self, network: NetworkId, peer: NodeId, introduce: bool) {
        let Some(net) = self.networks.get(&network) else {
            return;
        };
        let index = net.ledger.index();
        let request = SyncRequest {
            root: net.ledger.root(),
            index: (introduce && index.len() <= SMALL_INDEX).then_some(index),
            admission: net
                .admission
                .as_ref()
                .filter(|_| introduce)
                .map(Admission::raw),
        };
        self.request(
            peer,
            &Ask::Sync(network, request),
            About::Sync(network, introduce),
        );
    }

    /// Compares with one connected member, picked at random.
    pub(crate) fn compare_with_one(&mut self, network: NetworkId, step: &mut Step<'_>) {
        let Some(net) = self.networks.get(&network) else {
            return;
        };
        if matches!(net.phase, Phase::Waiting | Phase::Expelled(_)) {
            return;
        }
        let mut connected: Vec<NodeId> = net
            .others(&self.id)
            .filter(|node| self.links.is_up(node))
            .copied()
            .collect();
        if connected.is_empty() {
            // Nobody was heard yet, or everybody known is gone: those to begin with may know more.
            connected = net.bootstrap.iter().map(|b| b.node).collect();
            connected.retain(|node| self.links.is_up(node));
        }
        if connected.is_empty() {
            return;
        }
        let introduce = !net.heard;
        let pick = step.entropy.next_u64() % connected.len() as u64;
        let peer = usize::try_from(pick)
            .ok()
            .and_then(|pick| connected.get(pick))
            .copied();
        if let Some(peer) = peer {
            self.sync(network, peer, introduce);
        }
    }

    /// Compares sooner than the timer would; not for a network that is gone meanwhile.
    pub(crate) fn compare_soon(&mut self, network: NetworkId, at: Millis) {
        if self.networks.contains_key(&network) {
            self.timers.set_by(Timer::AntiEntropy(network), at);
        }
    }

    /// Nobody waits a minute because one message was lost, and a joiner not even seconds.
    pub(crate) fn retry_sync(&mut self, network: NetworkId, now: Millis) {
        let heard = self.networks.get(&network).is_some_and(|net| net.heard);
        let pause = if heard {
            timers::AFTER_LOSS
        } else {
            timers::FIRST_SYNC
        };
        self.compare_soon(network, now + pause);
    }

    pub(crate) fn take_sync(
        &mut self,
        network: NetworkId,
        peer: NodeId,
        introduced: bool,
        response: Response<SyncAnswer>,
        step: &mut Step<'_>,
    ) {
        if matches!(response, Response::Answer(_)) {
            self.show_promise(network, peer);
        }
        match response {
            // The peer does not know this node as a member (yet): its promise got lost on the way.
            Response::Refusal(_) if !introduced => self.sync(network, peer, true),
            Response::Refusal(why) => {
                self.notice(Notice::Refused { peer, why });
                let net = self.networks.get(&network);
                if net.is_some_and(|net| net.phase == Phase::Joining) {
                    self.retry_sync(network, step.now);
                }
            }
            Response::Answer(SyncAnswer::Equal) => self.heard(network, step),
            Response::Answer(SyncAnswer::Index(index)) => {
                let Some(net) = self.networks.get(&network) else {
                    return;
                };
                let difference = net.ledger.compare(&index);
                let push = batches(difference.they_lack.iter().copied());
                let wanted: Vec<ByteArray<8>> = difference
                    .i_lack
                    .iter()
                    .map(|id| ByteArray::from(*id))
                    .collect();
                for statements in push {
                    let ask = Ask::Push(network, Push { statements });
                    self.request(peer, &ask, About::Push(network));
                }
                if !wanted.is_empty() {
                    let ask = Ask::Pull(network, Pull { wanted });
                    self.request(peer, &ask, About::Pull(network));
                }
                self.heard(network, step);
            }
            Response::Answer(SyncAnswer::Difference(statements, wanted, more)) => {
                self.take_statements(network, peer, &statements, step);
                let Some(net) = self.networks.get(&network) else {
                    return;
                };
                let ids: BTreeSet<[u8; 8]> = wanted.iter().map(|id| **id).collect();
                for statements in batches(net.ledger.statements_of(&ids)) {
                    let ask = Ask::Push(network, Push { statements });
                    self.request(peer, &ask, About::Push(network));
                }
                // What did not fit comes with the next comparison; without progress there is none.
                if more && !statements.is_empty() {
                    self.sync(network, peer, true);
                } else {
                    self.heard(network, step);
                }
            }
        }
    }

    /// Pushes the own promise to a peer that has not given the receipt that it could give: it may have
    /// heard of the promise from others, and only who is told by the node itself signs one.
    fn show_promise(&mut self, network: NetworkId, peer: NodeId) {
        let Some(net) = self.networks.get(&network) else {
            return;
        };
        if let Some(own) = net.own.as_ref().filter(|_| net.lacks_receipt_of(&peer)) {
            let statements = vec![ByteVec::from(own.bytes().to_vec())];
            let ask = Ask::Push(network, Push { statements });
            self.request(peer, &ask, About::Push(network));
        }
    }
}
