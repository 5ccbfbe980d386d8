//! Cutting statements into messages.

use minicbor::bytes::ByteVec;

/// The most bytes of statements in one message; the rest comes with the next.
const MAX_BATCH: usize = 256 * 1024;

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

/// One message of statements, and whether there are more. What comes later is not looked at.
pub(crate) fn first_batch<'a>(statements: impl Iterator<Item = &'a [u8]>) -> (Vec<ByteVec>, bool) {
    let mut statements = statements.peekable();
    let mut batch = Vec::new();
    let mut room = MAX_BATCH;
    while let Some(bytes) = statements.next_if(|bytes| batch.is_empty() || bytes.len() <= room) {
        room -= bytes.len().min(room);
        batch.push(ByteVec::from(bytes.to_vec()));
    }
    (batch, statements.peek().is_some())
}
