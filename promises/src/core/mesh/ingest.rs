//! Merging statements that a node sent: each is verified, and what is new goes on to others.

use crate::core::mesh::outbox::Outbox;
use crate::core::mesh::roster::Roster;
use crate::network::ledger::{Item, Merged, Refusal};
use crate::network::member::{MemberPromise, PromiseError, Standing};
use crate::network::statement::{Kind, Signed, peek_kind};
use crate::network::void::Void;
use crate::time::Timestamp;
use grid_keys::NodeId;

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
    let is_act = |bytes: &&[u8]| peek_kind(bytes) == Some(Kind::Act as u8);
    let (acts, others): (Vec<&[u8]>, Vec<&[u8]>) = statements.partition(is_act);
    result.take_acts(&acts, source, roster, outbox, now);
    for bytes in others {
        if result.hostile.is_some() {
            break;
        }
        result.take_promise(bytes, source, own, roster, outbox, now);
    }
    result
}

impl Ingested {
    /// Merges acts of owners: all at once, because what follows from them is found anew each time.
    fn take_acts(
        &mut self,
        acts: &[&[u8]],
        source: NodeId,
        roster: &mut Roster,
        outbox: &mut Outbox,
        now: Timestamp,
    ) {
        let mut verified = Vec::new();
        for bytes in acts.iter().filter(|bytes| !roster.ledger().knows(bytes)) {
            match roster.ledger().verify(bytes) {
                Ok(Item::Act(act)) => verified.push(*act),
                Ok(Item::Member(_)) => {}
                Err(refusal) => {
                    self.refuse(&refusal);
                    return;
                }
            }
        }
        if verified.is_empty() {
            return;
        }
        let count = verified.len();
        let merged = roster.insert_acts(verified, now);
        for id in &merged.new {
            if let Some(act) = roster.ledger().acts().held().get(id) {
                outbox.push(act.bytes().to_vec(), Some(source));
            }
        }
        self.news |= !merged.new.is_empty();
        self.acted |= !merged.new.is_empty();
        let refused = count.saturating_sub(merged.new.len());
        self.refused += u32::try_from(refused).unwrap_or(u32::MAX);
    }

    /// A statement that no correct node sends.
    fn refuse(&mut self, refusal: &Refusal) {
        self.refused += 1;
        self.hostile = Some(refusal.to_string());
    }

    fn take_promise(
        &mut self,
        bytes: &[u8],
        source: NodeId,
        own: &NodeId,
        roster: &mut Roster,
        outbox: &mut Outbox,
        now: Timestamp,
    ) {
        if roster.ledger().knows(bytes) {
            self.of_sender |= roster.is_promise_of(&source, bytes);
            return;
        }
        let promised = match roster.ledger().verify(bytes) {
            Ok(Item::Member(promised)) => promised,
            Ok(Item::Act(_)) => return,
            Err(refusal) => {
                self.refuse(&refusal);
                return;
            }
        };
        if promised.node() == *own {
            let before = self.own.as_ref().map_or(0, |own| own.sequence);
            if promised.promise().sequence > before {
                self.own = Some(promised.promise().clone());
            }
            return;
        }
        let of_sender = promised.node() == source;
        let comes_or_goes = promised.promise().standing == Standing::Withdrawn
            || roster.promise_of(&promised.node()).is_none();
        let merged = if roster.is_strange(&promised) && !roster.is_member(&source) {
            // Keys cost nothing: those of nobody's making are kept on a member's word only.
            Err(Refusal::Void(Void::NotAdmitted))
        } else {
            roster.insert(Item::Member(promised), now)
        };
        match merged {
            Ok(Merged::New) => {
                self.news = true;
                self.came_or_went |= comes_or_goes;
                outbox.push(bytes.to_vec(), Some(source));
            }
            Ok(Merged::Known | Merged::Stale) => {}
            Err(refusal) => {
                self.refused += 1;
                if of_sender || matches!(refusal, Refusal::Promise(PromiseError::Future { .. })) {
                    self.why = Some(refusal.to_string());
                }
                return;
            }
        }
        self.of_sender |= of_sender;
    }
}
