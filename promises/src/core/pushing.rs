//! Telling connected members what is new, at once: each of them everything that it did not send
//! itself.

use minicbor::bytes::ByteVec;

use crate::content_id::ContentId;
use crate::core::gossip::About;
use crate::core::network::{Network, Outgoing, Pending};
use crate::core::protocol::{Ask, MAX_BATCH, Push, PushAnswer, Response};
use crate::core::serving::came_by;
use crate::core::timers::{self, Timer};
use crate::core::{Core, Step};
use crate::network::charter::NetworkId;
use crate::network::ledger::invite_of;
use crate::network::receipt::Receipt;
use crate::network::statement::Signed;
use grid_keys::NodeId;

impl Core {
    /// Pushes what is new to the connected members.
    ///
    /// At once, unless that was done a moment ago: what comes in bursts goes out in one message for
    /// each member, not in one for each statement.
    pub(crate) fn flush(&mut self, network: NetworkId, step: &Step<'_>) {
        let Some(net) = self.networks.get_mut(&network) else {
            return;
        };
        if net.outbox.is_empty() {
            return;
        }
        let leaving = matches!(net.pending, Some(Pending::Leave { .. }));
        let due = net.flushed_at.map_or(step.now, |last| last + timers::FLUSH);
        if due > step.now && !leaving {
            self.timers.set_by(Timer::Flush(network), due);
            return;
        }
        net.flushed_at = Some(step.now);
        let outbox = std::mem::take(&mut net.outbox);
        let told = self.messages(network, outbox);
        let mut requests = 0;
        for (peer, batches) in told {
            for statements in batches {
                requests += 1;
                self.request(
                    peer,
                    &Ask::Push(network, Push { statements }),
                    About::Push(network),
                );
            }
        }
        if let Some(net) = self.networks.get_mut(&network)
            && let Some(Pending::Leave { waiting, .. }) = &mut net.pending
        {
            *waiting += requests;
        }
        self.timers
            .set_by(Timer::Save(network), step.now + timers::SAVE);
    }

    /// Who is told what of the outbox, cut into messages.
    fn messages(
        &self,
        network: NetworkId,
        mut outbox: Vec<Outgoing>,
    ) -> Vec<(NodeId, Vec<Vec<ByteVec>>)> {
        let Some(net) = self.networks.get(&network) else {
            return Vec::new();
        };
        // What was overtaken meanwhile need not be told any more.
        outbox.retain(|out| net.ledger.knows(&out.bytes));
        let receivers = self.receivers(net);
        // Who lost an invite, or is about to, hears of the others who used it, and of nothing else.
        let rivals = self.links.up().filter_map(|(node, _)| {
            let theirs = invite_of(net.ledger.members().get(node)?)?;
            (!receivers.contains(node)).then(|| (*node, Some(theirs.id())))
        });
        let all = receivers.iter().map(|node| (*node, None));
        let concerns = |only: Option<ContentId>, bytes: &[u8]| {
            let mut members = net.ledger.members().values();
            only.is_none_or(|grant| {
                members.any(|m| came_by(m, &grant) && m.promise().bytes() == bytes)
            })
        };
        all.chain(rivals)
            .map(|(peer, only)| {
                let fresh = outbox.iter().filter(|out| out.source != Some(peer));
                let fresh = fresh.map(|out| out.bytes.as_slice());
                (peer, batches(fresh.filter(|bytes| concerns(only, bytes))))
            })
            .collect()
    }

    /// The connected nodes that are told everything: members, those to begin with, and those that a
    /// revocation put out, which have to hear of it.
    fn receivers(&self, net: &Network) -> Vec<NodeId> {
        let revoked = |node: &NodeId| net.ledger.withdrawn().is_revoked(node);
        self.links
            .up()
            .map(|(node, _)| *node)
            .filter(|node| {
                net.view.members.contains_key(node)
                    || revoked(node)
                    || net.bootstrap.iter().any(|b| b.node == *node)
            })
            .collect()
    }

    pub(crate) fn take_push_answer(
        &mut self,
        network: NetworkId,
        response: Response<PushAnswer>,
        step: &mut Step<'_>,
    ) {
        let Response::Answer(answer) = response else {
            self.leave_told(network, false, step);
            return;
        };
        let receipt = answer
            .receipt
            .and_then(|bytes| Signed::<Receipt>::decode(&bytes).ok());
        let better = receipt.is_some_and(|receipt| {
            self.with_network(&network, step.now, |net, around, _| {
                net.may_speak() && net.keep_receipt(receipt, around)
            }) == Some(true)
        });
        if better {
            self.timers
                .set_by(Timer::Resign(network), step.now + timers::RESIGN);
        }
        self.leave_told(network, true, step);
    }
}

/// Cuts statements into messages.
pub(crate) fn batches<'a>(statements: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<ByteVec>> {
    let mut batches: Vec<Vec<ByteVec>> = Vec::new();
    let mut room = 0;
    for bytes in statements {
        if bytes.len() > room {
            batches.push(Vec::new());
            room = MAX_BATCH;
        }
        room -= bytes.len().min(room);
        if let Some(batch) = batches.last_mut() {
            batch.push(ByteVec::from(bytes.to_vec()));
        }
    }
    batches
}

/// One message of statements, and whether there are more.
pub(crate) fn first_batch<'a>(statements: impl Iterator<Item = &'a [u8]>) -> (Vec<ByteVec>, bool) {
    let mut all = batches(statements);
    let more = all.len() > 1;
    (
        if all.is_empty() {
            Vec::new()
        } else {
            all.swap_remove(0)
        },
        more,
    )
}
