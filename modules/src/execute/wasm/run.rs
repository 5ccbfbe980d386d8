//! One call: a fresh instance, its budget, its answer.

use std::time::Instant;

use grid_promises::Message;
use wasmtime::{Instance, ModuleExport, ResourceLimiter, Store, Trap};

use super::host::State;
use super::ticker::Ticker;
use super::{Shared, WasmModule};
use crate::execute::error::CallError;
use crate::execute::limits::{Budget, MAX_ANSWER, MAX_TABLE};
use crate::execute::{Executor, Verdict, shown};

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
        let mut store = Store::new(&shared.engine, State::new(self, input, until));
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

/// A range of a guest's memory.
pub(super) fn range(memory: &[u8], start: u32, length: u32) -> Result<&[u8], CallError> {
    let from = start as usize;
    from.checked_add(length as usize)
        .and_then(|to| memory.get(from..to))
        .ok_or(CallError::Range {
            start,
            length,
            memory: memory.len(),
        })
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
        None => CallError::Engine {
            why: super::says(&error),
        },
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
    fn ranges_are_those_of_the_memory() {
        let memory = [1, 2, 3, 4];
        assert_eq!(range(&memory, 1, 2).unwrap(), [2, 3]);
        assert!(range(&memory, 4, 0).unwrap().is_empty());
        for (start, length) in [(0, 5), (4, 1), (5, 0), (u32::MAX, u32::MAX), (1, u32::MAX)] {
            let error = range(&memory, start, length);
            assert!(matches!(error, Err(CallError::Range { memory: 4, .. })));
        }
        assert_eq!(unpack(0x0000_0010_ffff_fff0), (16, 0xffff_fff0));
    }
}
