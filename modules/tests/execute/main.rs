//! Code that keeps promises, run: guests that behave, and every way in which one does not.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "this is a test, though clippy cannot see it in helpers"
)]

mod confined;
mod guests;
mod native;
mod wasm;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use grid_modules::execute::wasm::{Settings, Wasm, WasmModule};
use grid_modules::execute::{Limits, ModuleError, ObjectError, ObjectSource, Verdicts};
use grid_promises::{ContentId, Message, texts};

const ACCEPT: &[u8] = texts::ACCEPT_MESSAGE.text.as_bytes();
const REJECT: &[u8] = texts::REJECT_MESSAGE.text.as_bytes();

fn verdicts() -> Verdicts {
    Verdicts {
        accept: ContentId::of(ACCEPT),
        reject: ContentId::of(REJECT),
    }
}

/// A call as the command line makes it.
fn call(args: &[&str]) -> Message {
    let mut message = Message::new(ContentId::of(b"a promise"));
    message.args = args.iter().map(|arg| arg.as_bytes().to_vec()).collect();
    message
}

/// A store in memory.
#[derive(Default)]
struct Shelf(BTreeMap<ContentId, Vec<u8>>);

impl Shelf {
    fn of(objects: &[&[u8]]) -> Self {
        let named = objects
            .iter()
            .map(|bytes| (ContentId::of(bytes), bytes.to_vec()));
        Self(named.collect())
    }
}

impl ObjectSource for Shelf {
    fn get(&self, id: &ContentId, max: usize, _: Instant) -> Result<Vec<u8>, ObjectError> {
        match self.0.get(id) {
            Some(bytes) if bytes.len() > max => Err(ObjectError::TooLong { max }),
            Some(bytes) => Ok(bytes.clone()),
            None => Err(ObjectError::Missing),
        }
    }
}

fn engine_with(limits: Limits, objects: Shelf) -> Wasm {
    Wasm::new(Settings {
        limits,
        verdicts: verdicts(),
        objects: Arc::new(objects),
        compiled: None,
    })
    .unwrap()
}

fn engine() -> Wasm {
    let limits = Limits {
        instances: 4,
        ..Limits::default()
    };
    engine_with(limits, Shelf::default())
}

fn load(engine: &Wasm, bytes: &[u8]) -> Result<Arc<WasmModule>, ModuleError> {
    engine.load(&ContentId::of(bytes), bytes)
}
