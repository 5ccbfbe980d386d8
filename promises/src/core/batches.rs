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
