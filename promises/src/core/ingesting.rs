//! Merging statements that a node sent: each is verified, and what is new goes on to others and to the
//! disk.

use minicbor::bytes::ByteVec;

use crate::core::network::Outgoing;
use crate::core::record::Change;
use crate::core::timers::{self, Timer};
use crate::core::{Core, Step};
use crate::network::charter::NetworkId;
use crate::network::ledger::{Item, Ledger, Merged, Refusal};
use crate::network::member::PromiseError;
use crate::time::Millis;
use grid_keys::NodeId;

/// What became of a batch of statements.
#[derive(Debug, Default)]
pub(crate) struct Ingested {
    pub(crate) refused: u32,
    /// The first refusal that no correct sender gets.
    pub(crate) hostile: Option<String>,
    /// Why the sender's own promise was refused.
    pub(crate) own: Option<String>,
    /// Whether the sender's own promise was in it.
    pub(crate) of_sender: bool,
}

impl Core {
    /// Merges statements that a node sent.
    pub(crate) fn ingest<'a>(
        &mut self,
        network: NetworkId,
        statements: impl Iterator<Item = &'a [u8]>,
        source: NodeId,
        now: Millis,
    ) -> Ingested {
        let own = self.id;
        let mut result = Ingested::default();
        let mut revoked = false;
        let mut newcomers = false;
        let mut seen_own = None;
        let Some(net) = self.networks.get_mut(&network) else {
            return result;
        };
        for bytes in statements {
            if net.ledger.knows(bytes) {
                result.of_sender |= is_promise_of(&net.ledger, &source, bytes);
                continue;
            }
            let item = match net.ledger.verify(bytes) {
                Ok(item) => item,
                Err(refusal) => {
                    result.refused += 1;
                    result.hostile = Some(refusal.to_string());
                    break;
                }
            };
            let of_sender = matches!(&item, Item::Member(m) if m.node() == source);
            if let Item::Member(promised) = &item
                && promised.node() == own
            {
                seen_own = seen_own.max(Some(promised.promise().sequence));
                continue;
            }
            let revokes = matches!(item, Item::Revocation(_));
            let newcomer = matches!(&item, Item::Member(m)
                if !net.ledger.members().contains_key(&m.node()));
            match net.ledger.insert(item, now.timestamp()) {
                Ok(Merged::New) => {
                    net.dirty = true;
                    revoked |= revokes;
                    newcomers |= newcomer;
                    net.outbox.push(Outgoing {
                        bytes: bytes.to_vec(),
                        source: Some(source),
                    });
                }
                Ok(Merged::Known | Merged::Stale) => {}
                Err(refusal) => {
                    result.refused += 1;
                    if of_sender || matches!(refusal, Refusal::Promise(PromiseError::Future { .. }))
                    {
                        result.own = Some(refusal.to_string());
                    }
                    continue;
                }
            }
            result.of_sender |= of_sender;
        }
        if let Some(sequence) = seen_own {
            self.own_promise_seen(network, sequence, now);
        }
        if revoked {
            // Nobody who was told comes back as if it had not been, however soon it is killed.
            self.save_statements(network);
        }
        if newcomers {
            self.save_newcomers(network, now);
        }
        result
    }

    pub(crate) fn take_statements(
        &mut self,
        network: NetworkId,
        peer: NodeId,
        statements: &[ByteVec],
        step: &Step<'_>,
    ) {
        let statements = statements.iter().map(|bytes| bytes.as_slice());
        let result = self.ingest(network, statements, peer, step.now);
        if let Some(why) = result.hostile {
            self.bad_message(peer, why, step.now);
        }
    }

    /// Writes newcomers down: at once, unless that was done a moment ago. Who is killed right after a
    /// join must still know whom to call.
    fn save_newcomers(&mut self, network: NetworkId, now: Millis) {
        let Some(net) = self.networks.get_mut(&network) else {
            return;
        };
        let due = net
            .saved_at
            .map_or(now, |last| last + timers::SAVE_NEWCOMERS);
        if due > now {
            self.timers.set_by(Timer::Save(network), due);
            return;
        }
        net.saved_at = Some(now);
        self.save_statements(network);
    }

    /// The network knows a promise of this node: after a loss of the disk it may be a later one than
    /// this node remembers, and has to be overtaken.
    fn own_promise_seen(&mut self, network: NetworkId, sequence: u64, now: Millis) {
        let Some(net) = self.networks.get_mut(&network) else {
            return;
        };
        let standing = net.own.as_ref().map_or(0, |own| own.sequence);
        if sequence > standing.max(net.sequence_floor) {
            net.sequence_floor = sequence;
            self.timers
                .set_by(Timer::Resign(network), now + timers::RESIGN);
        }
    }

    pub(crate) fn save_statements(&mut self, network: NetworkId) {
        let own = self.id;
        let Some(net) = self.networks.get(&network) else {
            return;
        };
        let statements: Vec<Vec<u8>> = net
            .ledger
            .statements()
            .filter(|bytes| !is_promise_of(&net.ledger, &own, bytes))
            .map(<[u8]>::to_vec)
            .collect();
        let change = Change::Statements(statements);
        net.store(change, &mut self.effects);
    }
}

fn is_promise_of(ledger: &Ledger, node: &NodeId, bytes: &[u8]) -> bool {
    ledger
        .members()
        .get(node)
        .is_some_and(|member| member.promise().bytes() == bytes)
}
