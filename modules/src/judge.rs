//! Judges: modules that say what they think of promised prefixes.
//!
//! A judge is WebAssembly that keeps the promise `judge` and asks its host for nothing, so that what it
//! says follows from what it is shown. Which judge a network has is named by a person, by the content
//! id of its code; peers have no say in it.

use std::sync::Arc;

use grid_promises::{ContentId, Message, texts};

use crate::cache_dir::CacheDir;
use crate::call::{bytes_of, verdicts};
use crate::execute::wasm::{Settings, Wasm, WasmModule};
use crate::execute::{Executor as _, Limits, MAX_MODULE, Manifest, NoObjects, Verdict};
use crate::objects::{Cache, Object};

/// A judge, ready to be asked. Asking blocks.
pub struct Judge {
    id: ContentId,
    code: Arc<WasmModule>,
}

impl Judge {
    /// Loads a judge that is in `cache`. Blocks.
    ///
    /// # Errors
    /// Why it cannot be asked: it is not here, or is no judge.
    pub fn load(engine: &Wasm, cache: &dyn Cache, id: &ContentId) -> Result<Self, String> {
        let code = match engine.loaded(id) {
            Some(code) => code,
            None => {
                let object = cache.get(id).map_err(|error| error.to_string())?;
                let object = object.ok_or_else(|| format!("its code {id} is not here"))?;
                let bytes = check(&object)?;
                engine.load(id, &bytes).map_err(|error| error.to_string())?
            }
        };
        Ok(Self { id: *id, code })
    }

    /// What it says about encoded records: the encoded judgement, which is not looked at here.
    ///
    /// # Errors
    /// Why it does not say anything.
    pub fn ask(&self, records: &[u8]) -> Result<Vec<u8>, String> {
        let parms = Message::new(texts::JUDGE.id()).module(self.id);
        match self
            .code
            .accept(&parms)
            .map_err(|error| error.to_string())?
        {
            Verdict::Accepted(_) => {}
            Verdict::Rejected(why) => {
                let why = String::from_utf8_lossy(&why.payload);
                return Err(format!("it does not take the call: {}", why.trim()));
            }
        }
        let answer = self
            .code
            .handle(&parms, records)
            .map_err(|error| error.to_string())?;
        if answer.promise == texts::REFUSAL.id() {
            let why = String::from_utf8_lossy(&answer.payload);
            return Err(format!("it refuses: {}", why.trim()));
        }
        Ok(answer.payload)
    }
}

/// The code of a judge, if the object is one.
///
/// # Errors
/// Why it is not.
pub fn check(object: &Object) -> Result<Vec<u8>, String> {
    let bytes = bytes_of(object, MAX_MODULE).ok_or("its code is too long for a module")?;
    let manifest = Manifest::read(&bytes)
        .map_err(|error| format!("a judge is a module in WebAssembly: {error}"))?;
    if manifest.promise.as_deref() != Some(texts::JUDGE.text) {
        return Err("it makes another promise than `grid --show judge`".to_owned());
    }
    if !manifest.calls.is_empty() {
        let calls = manifest.calls.join(", ");
        return Err(format!(
            "a judge asks nobody, and this one wants to call {calls}"
        ));
    }
    Ok(bytes)
}

/// An engine for one judge, outside of a server. Takes some milliseconds.
///
/// # Errors
/// The engine cannot be started here.
pub fn engine(cache: &CacheDir) -> Result<Wasm, String> {
    Wasm::new(Settings {
        limits: Limits::default(),
        verdicts: verdicts(),
        objects: Arc::new(NoObjects),
        compiled: Some(cache.compiled()),
    })
    .map_err(|error| error.to_string())
}
