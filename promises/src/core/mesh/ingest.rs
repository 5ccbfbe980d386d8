//! Merging statements that a node sent: each is verified, and what is new goes on to others.

use crate::core::mesh::outbox::Outbox;
use crate::core::mesh::roster::Roster;
use crate::network::ledger::{Item, Merged, Refusal};
use crate::network::member::{PromiseError, Standing};
use crate::time::Timestamp;
use grid_keys::NodeId;

/// What became of a batch of statements.
#[derive(Debug, Default)]
pub(crate) struct Ingested {
    /// Whether anything was new.
    pub(crate) news: bool,
    /// Whether a revocation was new.
    pub(crate) revoked: bool,
    /// Whether a node was new, or left.
    pub(crate) came_or_went: bool,
    /// The highest sequence number among promises of this node itself.
    pub(crate) own_sequence: Option<u64>,
    pub(crate) refused: u32,
    /// The first refusal that no correct sender gets.
    pub(crate) hostile: Option<String>,
    /// Why the sender's own promise was refused.
    pub(crate) why: Option<String>,
    /// Whether the sender's own promise was in it.
    pub(crate) of_sender: bool,
}

/// Merges statements that `source` sent to the node `own`.
pub(crate) fn ingest<'a>(
    statements: impl Iterator<Item = &'a [u8]>,
    source: NodeId,
    own: &NodeId,
    roster: &mut Roster,
    outbox: &mut Outbox,
    now: Timestamp,
) -> Ingested {
    let mut result = Ingested::default();
    for bytes in statements {
        if roster.ledger().knows(bytes) {
            result.of_sender |= roster.is_promise_of(&source, bytes);
            continue;
        }
        let item = match roster.ledger().verify(bytes) {
            Ok(item) => item,
            Err(refusal) => {
                result.refused += 1;
                result.hostile = Some(refusal.to_string());
                break;
            }
        };
        let (mut of_sender, mut comes_or_goes, mut revokes) = (false, false, false);
        match &item {
            Item::Member(promised) if promised.node() == *own => {
                let sequence = promised.promise().sequence;
                result.own_sequence = result.own_sequence.max(Some(sequence));
                continue;
            }
            Item::Member(promised) => {
                of_sender = promised.node() == source;
                comes_or_goes = promised.promise().standing == Standing::Withdrawn
                    || roster.promise_of(&promised.node()).is_none();
            }
            Item::Revocation(_) => revokes = true,
        }
        match roster.insert(item, now) {
            Ok(Merged::New) => {
                result.news = true;
                result.revoked |= revokes;
                result.came_or_went |= comes_or_goes;
                outbox.push(bytes.to_vec(), Some(source));
            }
            Ok(Merged::Known | Merged::Stale) => {}
            Err(refusal) => {
                result.refused += 1;
                if of_sender || matches!(refusal, Refusal::Promise(PromiseError::Future { .. })) {
                    result.why = Some(refusal.to_string());
                }
                continue;
            }
        }
        result.of_sender |= of_sender;
    }
    result
}
