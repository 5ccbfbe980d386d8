//! A module that is ready to run, and one call of it: a fresh instance, its budget, its answer.

use std::sync::Arc;
use std::time::Instant;

use grid_promises::{ContentId, Message};
use wasmtime::{Engine, Instance, InstancePre, ModuleExport, ResourceLimiter, Store, Trap};

use super::failure::says;
use super::host::{Guest, State};
use super::memory::range;
use super::slots::Slots;
use super::ticker::Ticker;
use crate::execute::error::CallError;
use crate::execute::executor::{Executor, Verdict, Verdicts, shown};
use crate::execute::limits::{Budget, Limits, MAX_ANSWER, MAX_TABLE};
use crate::execute::manifest::Manifest;
use crate::execute::object_source::ObjectSource;

/// What all modules of an engine share.
pub(super) struct Shared {
    pub(super) engine: Engine,
    pub(super) limits: Limits,
    pub(super) verdicts: Verdicts,
    pub(super) objects: Arc<dyn ObjectSource>,
    pub(super) ticker: Ticker,
    pub(super) slots: Slots,
}

/// A module that is ready to run. Its entry points are those of [`Executor`].
pub struct WasmModule {
    pub(super) id: ContentId,
    pub(super) manifest: Arc<Manifest>,
    pub(super) shared: Arc<Shared>,
    pub(super) pre: InstancePre<State>,
    pub(super) memory: ModuleExport,
    pub(super) accept: ModuleExport,
    pub(super) handle: ModuleExport,
}

impl WasmModule {
    /// The module's content id.
    #[must_use]
    pub const fn id(&self) -> &ContentId {
        &self.id
    }

    /// What the module says about itself.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
}

impl std::fmt::Debug for WasmModule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WasmModule")
            .field("id", &self.id)
            .field("name", &self.manifest.name)
            .finish_non_exhaustive()
    }
}

impl Executor for WasmModule {
    fn accept(&self, parms: &Message) -> Result<Verdict, CallError> {
        let budget = &self.shared.limits.accept;
        let answer = self.run(&self.accept, budget, shown(parms, b"")?)?;
        self.shared.verdicts.read(answer)
    }

    fn handle(&self, parms: &Message, payload: &[u8]) -> Result<Message, CallError> {
        let budget = &self.shared.limits.handle;
        self.run(&self.handle, budget, shown(parms, payload)?)
    }
}

impl WasmModule {
    /// What the host knows of the guest before it runs.
    fn state(&self, input: Vec<u8>, until: Instant) -> State {
        let shared = &self.shared;
        let guest = Guest {
            id: self.id,
            manifest: self.manifest.clone(),
            objects: shared.objects.clone(),
            max_memory: shared.limits.memory,
        };
        State::new(guest, input, until)
    }

    fn run(
        &self,
        entry: &ModuleExport,
        budget: &Budget,
        input: Vec<u8>,
    ) -> Result<Message, CallError> {
        let shared: &Shared = &self.shared;
        let until = Instant::now() + budget.time;
        let _slot = shared.slots.take(until).ok_or(CallError::Busy)?;
        let _time = shared.ticker.run();
        let mut store = Store::new(&shared.engine, self.state(input, until));
        store.limiter(|state| state);
        store.set_epoch_deadline(Ticker::ticks(budget.time));
        let answer = store
            .set_fuel(budget.fuel)
            .and_then(|()| self.pre.instantiate(&mut store))
            .and_then(|instance| self.ask(&mut store, &instance, entry));
        let bytes = answer.map_err(|error| why(error, budget))?;
        Message::decode(&bytes, &Message::BOUNDS).map_err(CallError::NotAMessage)
    }

    /// Calls the entry point, and copies the answer out.
    fn ask(
        &self,
        store: &mut Store<State>,
        instance: &Instance,
        entry: &ModuleExport,
    ) -> wasmtime::Result<Vec<u8>> {
        let memory = instance
            .get_module_export(&mut *store, &self.memory)
            .and_then(wasmtime::Extern::into_memory)
            .ok_or_else(gone)?;
        store.data_mut().memory = Some(memory);
        let function = instance
            .get_module_export(&mut *store, entry)
            .and_then(wasmtime::Extern::into_func)
            .ok_or_else(gone)?;
        let packed = function.typed::<(), u64>(&*store)?.call(&mut *store, ())?;
        let (start, length) = unpack(packed);
        // The length before the range: what can be no answer is named as that.
        if length as usize > MAX_ANSWER {
            return Err(wasmtime::Error::new(CallError::AnswerTooLong {
                found: length as usize,
                max: MAX_ANSWER,
            }));
        }
        range(memory.data(&*store), start, length)
            .map(<[u8]>::to_vec)
            .map_err(wasmtime::Error::new)
    }
}

/// Start and length of an answer.
#[allow(clippy::cast_possible_truncation)] // The two halves of 64 bits.
const fn unpack(packed: u64) -> (u32, u32) {
    ((packed >> 32) as u32, packed as u32)
}

fn gone() -> wasmtime::Error {
    wasmtime::Error::msg("an export that was there is gone")
}

/// What ended a guest.
fn why(error: wasmtime::Error, budget: &Budget) -> CallError {
    let error = match error.downcast::<CallError>() {
        Ok(own) => return own,
        Err(other) => other,
    };
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => CallError::OutOfFuel { fuel: budget.fuel },
        Some(Trap::Interrupt) => CallError::Deadline { after: budget.time },
        Some(trap) => CallError::Trapped {
            why: trap.to_string(),
        },
        None => CallError::Engine { why: says(&error) },
    }
}

/// Memory is bounded with an error rather than with the -1 that `memory.grow` can yield: few guests
/// look at that, and those that do not would end in a trap that says nothing.
impl ResourceLimiter for State {
    fn memory_growing(
        &mut self,
        _: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let max = self.max_memory();
        if desired > max {
            return Err(wasmtime::Error::new(CallError::TooMuchMemory {
                asked: desired,
                max,
            }));
        }
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= MAX_TABLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_packed_as_start_and_length() {
        assert_eq!(unpack(0x0000_0010_ffff_fff0), (16, 0xffff_fff0));
    }
}
