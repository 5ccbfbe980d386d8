//! The one import, `grid.call(ptr, len, out, cap) -> i64`, and what a guest may ask with it.
//!
//! The guest pulls. There is one reply at a time: at first it is what the guest is called with, then
//! the reply to what it last asked. `call` with a length of 0 asks nothing. In any case the result is
//! the length of the reply, and the reply is copied to `out` if it fits into `cap` bytes; if not,
//! nothing is copied, and the guest asks again with more room. The reply stays until the next
//! request.
//!
//! A request is CBOR, `[name, parameter...]`; so is its reply, `[0, value]` or `[1, sentence]`:
//!
//! | request | value | what it does |
//! |---|---|---|
//! | `["get", 42(id)]` | byte string | the object with that id |
//! | `["log", text]` | null | a line in this node's log |
//! | `["time"]` | unsigned integer | seconds since 1970 |
//!
//! What the module does not list, what is not in this table, and what cannot be read ends the guest.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use grid_promises::ContentId;
use grid_promises::cbor::{self, Bounds};
use minicbor::{Decoder, Encoder};
use wasmtime::{Caller, Memory};

use super::run::range;
use super::{Shared, WasmModule};
use crate::execute::error::CallError;
use crate::execute::guest_log::GuestLog;
use crate::execute::limits::{MAX_CALLS, MAX_OBJECT, MAX_REQUEST};
use crate::execute::manifest::Manifest;
use crate::execute::objects::ObjectError;

const BOUNDS: Bounds = Bounds {
    max_bytes: MAX_REQUEST,
    max_depth: 4,
    max_items: 16,
};

/// What the host knows of a guest while it runs.
pub(super) struct State {
    /// The guest's memory, once there is an instance.
    pub(super) memory: Option<Memory>,
    reply: Vec<u8>,
    calls: u32,
    until: Instant,
    manifest: Arc<Manifest>,
    log: GuestLog,
    shared: Arc<Shared>,
}

impl State {
    pub(super) fn new(module: &WasmModule, input: Vec<u8>, until: Instant) -> Self {
        Self {
            memory: None,
            reply: input,
            calls: 0,
            until,
            manifest: module.manifest.clone(),
            log: GuestLog::new(module.id),
            shared: module.shared.clone(),
        }
    }

    pub(super) fn max_memory(&self) -> usize {
        self.shared.limits.memory
    }

    fn ask(&mut self, request: &[u8]) -> Result<Vec<u8>, CallError> {
        self.calls += 1;
        if self.calls > MAX_CALLS {
            return Err(CallError::TooManyCalls { max: MAX_CALLS });
        }
        cbor::check(request, &BOUNDS).map_err(not_a_call)?;
        let mut decoder = Decoder::new(request);
        let count = decoder.array().map_err(not_a_call)?;
        let name = decoder.str().map_err(not_a_call)?;
        if !self.manifest.lists(name) {
            return Err(CallError::NotListed { call: quoted(name) });
        }
        match (name, count) {
            ("get", Some(2)) => self.get(&decoder.decode().map_err(not_a_call)?),
            ("log", Some(2)) => {
                self.log.line(decoder.str().map_err(not_a_call)?);
                Ok(ok(|e| e.null().map(drop)))
            }
            ("time", Some(1)) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH);
                let seconds = now.map_or(0, |since| since.as_secs());
                Ok(ok(|e| e.u64(seconds).map(drop)))
            }
            ("get" | "log" | "time", _) => Err(not_a_call(format_args!(
                "{name} with another number of parameters"
            ))),
            _ => Err(CallError::NotOffered { call: quoted(name) }),
        }
    }

    fn get(&self, id: &ContentId) -> Result<Vec<u8>, CallError> {
        let found = self.shared.objects.get(id, MAX_OBJECT, self.until);
        let object = found.and_then(|bytes| check_object(id, bytes));
        match object {
            Ok(bytes) => Ok(ok(|e| e.bytes(&bytes).map(drop))),
            // The answer of a pure module is kept, so it must not depend on what is here just now.
            Err(why) if self.manifest.pure => Err(CallError::Unavailable { object: *id, why }),
            Err(why) => Ok(reply(1, |e| e.str(&why.to_string()).map(drop))),
        }
    }
}

/// The store has verified it; but what a pure module computes rests on it.
fn check_object(id: &ContentId, bytes: Vec<u8>) -> Result<Vec<u8>, ObjectError> {
    if bytes.len() > MAX_OBJECT {
        return Err(ObjectError::TooLong { max: MAX_OBJECT });
    }
    match id.verify(&bytes) {
        Ok(()) => Ok(bytes),
        Err(error) => Err(ObjectError::Failed {
            why: error.to_string(),
        }),
    }
}

/// As much of a name that a guest gave as belongs into an error.
fn quoted(name: &str) -> String {
    name.chars().take(64).flat_map(char::escape_debug).collect()
}

fn not_a_call(why: impl ToString) -> CallError {
    CallError::NotACall {
        why: why.to_string(),
    }
}

type Infallible = minicbor::encode::Error<std::convert::Infallible>;

fn ok(value: impl FnOnce(&mut Encoder<&mut Vec<u8>>) -> Result<(), Infallible>) -> Vec<u8> {
    reply(0, value)
}

fn reply(
    tag: u8,
    value: impl FnOnce(&mut Encoder<&mut Vec<u8>>) -> Result<(), Infallible>,
) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = Encoder::new(&mut out);
    // Writing to memory cannot fail.
    let _ = encoder.array(2).and_then(|e| e.u8(tag)).and_then(value);
    out
}

/// The import.
pub(super) fn call(
    mut caller: Caller<'_, State>,
    start: u32,
    length: u32,
    out: u32,
    capacity: u32,
) -> wasmtime::Result<i64> {
    let Some(memory) = caller.data().memory else {
        // A start function, which runs before there is an instance to look at.
        return Err(wasmtime::Error::new(not_a_call(
            "a module may ask its host in its entry points only, not while it starts",
        )));
    };
    let (bytes, state) = memory.data_and_store_mut(&mut caller);
    answer(bytes, state, (start, length), (out, capacity)).map_err(wasmtime::Error::new)
}

fn answer(
    memory: &mut [u8],
    state: &mut State,
    request: (u32, u32),
    room: (u32, u32),
) -> Result<i64, CallError> {
    range(memory, room.0, room.1)?;
    let request = range(memory, request.0, request.1)?;
    if !request.is_empty() {
        state.reply = state.ask(request)?;
    }
    let reply = &state.reply;
    if reply.len() <= room.1 as usize {
        let from = room.0 as usize;
        if let Some(out) = memory.get_mut(from..from + reply.len()) {
            out.copy_from_slice(reply);
        }
    }
    Ok(i64::try_from(reply.len()).unwrap_or(i64::MAX))
}
