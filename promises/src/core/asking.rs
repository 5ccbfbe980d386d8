//! A node asks the owners of a network to admit it, and a member passes that on.

use minicbor::bytes::ByteVec;

use crate::core::gossip::About;
use crate::core::network::Phase;
use crate::core::protocol::{AdmitRequest, Ask};
use crate::core::record::Change;
use crate::core::timers::{self, Timer};
use crate::core::{Core, Step};
use crate::network::admission::{Admission, AdmissionRequest, RawLink};
use crate::network::charter::NetworkId;
use crate::network::statement::Signed;
use crate::time::Millis;
use grid_keys::NodeId;

impl Core {
    /// Asks one node for an admission by an owner.
    pub(crate) fn ask_one(&mut self, network: NetworkId, peer: NodeId, now: Millis) {
        let body = AdmissionRequest {
            network,
            node: self.id,
            label: self.config.label.clone(),
            issued: now.timestamp(),
        };
        if let Ok(request) = Signed::sign(body, &self.config.key) {
            let request = AdmitRequest {
                request: ByteVec::from(request.bytes().to_vec()),
            };
            self.request(peer, &Ask::Admit(network, request), About::Admit(network));
        }
    }

    pub(crate) fn ask_for_admission(&mut self, network: NetworkId, step: &mut Step<'_>) {
        let Some(net) = self.networks.get(&network) else {
            return;
        };
        if net.phase != Phase::Waiting {
            return;
        }
        let peers: Vec<NodeId> = net
            .bootstrap
            .iter()
            .map(|bootstrap| bootstrap.node)
            .filter(|node| self.links.is_up(node))
            .collect();
        for peer in peers {
            self.ask_one(network, peer, step.now);
        }
        self.timers
            .set(Timer::AskAgain(network), step.now + timers::ASK_AGAIN);
    }

    /// An admission came in: for this node, or for one that asked through it.
    pub(crate) fn take_admission(
        &mut self,
        network: NetworkId,
        raw: &[RawLink],
        step: &mut Step<'_>,
    ) {
        let own = self.id;
        let Some(net) = self.networks.get_mut(&network) else {
            return;
        };
        if net.phase == Phase::Waiting {
            let Ok(admission) = Admission::decode(raw, net.ledger.charter(), &own) else {
                return;
            };
            net.phase = Phase::Joining;
            net.store(Change::Admission(admission.raw()), &mut self.effects);
            net.admission = Some(admission);
            self.timers.cancel(Timer::AskAgain(network));
            self.begin_timers(network, step);
            let peers: Vec<NodeId> = self
                .networks
                .get(&network)
                .into_iter()
                .flat_map(|net| net.bootstrap.iter().map(|bootstrap| bootstrap.node))
                .filter(|node| self.links.is_up(node))
                .collect();
            for peer in peers {
                self.greet(network, peer, step.now);
            }
            return;
        }
        let charter = net.ledger.charter().clone();
        let asking: Vec<NodeId> = net.asking.keys().copied().collect();
        for node in asking {
            if let Ok(admission) = Admission::decode(raw, &charter, &node) {
                net.asking.remove(&node);
                net.approved.insert(node, admission);
            }
        }
    }
}
