//! What stands between the exports of a module and its two functions. Made for the macro.

use alloc::vec::Vec;

use crate::host;
use crate::message::{Answer, Parms, Verdict};

/// The entry point *accept*.
#[must_use]
pub fn accept(function: fn(&Parms<'_>) -> Verdict) -> u64 {
    let input = host::reply();
    match Parms::decode(&input) {
        Ok((parms, _)) => give(Answer::from(function(&parms)).encode()),
        Err(_) => 0,
    }
}

/// The entry point *handle*.
#[must_use]
pub fn handle(function: fn(&Parms<'_>, &[u8]) -> Answer) -> u64 {
    let input = host::reply();
    match Parms::decode(&input) {
        Ok((parms, payload)) => give(function(&parms, payload).encode()),
        // Nothing, which the node takes for what it is: no answer. It calls with messages only.
        Err(_) => 0,
    }
}

/// Where the answer is and how long: `start << 32 | length`. It stays where it is for as long as the
/// instance lives, which is until the node has read it.
fn give(answer: Vec<u8>) -> u64 {
    let answer = answer.leak();
    (answer.as_ptr() as u64) << 32 | answer.len() as u64
}
