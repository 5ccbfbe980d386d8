//! Judges: modules that give opinions on promised prefixes.
//!
//! A judge is a WebAssembly module that keeps the promise `judge` and asks its host for nothing, so that its
//! opinion follows from what it is shown. A person appoints the judge of a network by the content id of its
//! code; peers have no say in it.

use std::sync::Arc;

use grid_promises::{ContentId, Message, texts};

use crate::cache_dir::CacheDir;
use crate::call::{bytes_of, verdicts};
use crate::execute::wasm::{SetUpError, Settings, Wasm, WasmModule};
use crate::execute::{
    CallError, Executor as _, Limits, MAX_MODULE, Manifest, ModuleError, NoObjects, Verdict,
};
use crate::objects::{Cache, CacheError, Object};

/// Why a judge did not give an opinion.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    /// Its code is not in the store.
    #[error("its code {0} is not here")]
    Missing(ContentId),
    /// Its code is damaged, or the store cannot be read.
    #[error(transparent)]
    Store(#[from] CacheError),
    /// Its code is longer than a module may be.
    #[error("its code is too long for a module")]
    TooLong,
    /// Its code is not WebAssembly.
    #[error("a judge is a module in WebAssembly: {0}")]
    NotAModule(ModuleError),
    /// It keeps another promise.
    #[error("it makes another promise than `judge`")]
    OtherPromise,
    /// It wants to ask its host for these.
    #[error("a judge asks nobody, and this one wants to call {}", .0.join(", "))]
    Asks(Vec<String>),
    /// Its code cannot be used.
    #[error(transparent)]
    Unusable(ModuleError),
    /// The engine cannot be started.
    #[error(transparent)]
    Engine(#[from] SetUpError),
    /// It yielded no answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// It rejected the call.
    #[error("it does not take the call: {0}")]
    Rejected(String),
    /// It refused to judge these records.
    #[error("it refuses: {0}")]
    Refused(String),
}

/// A judge that is ready to be asked.
pub struct Judge {
    id: ContentId,
    code: Arc<WasmModule>,
}

impl Judge {
    /// Loads a judge from `cache`. Blocks.
    ///
    /// # Errors
    /// It is not here, or is not a judge.
    pub fn load(engine: &Wasm, cache: &dyn Cache, id: &ContentId) -> Result<Self, JudgeError> {
        let code = match engine.loaded(id) {
            Some(code) => code,
            None => {
                let object = cache.get(id)?.ok_or(JudgeError::Missing(*id))?;
                let bytes = check(&object)?;
                engine.load(id, &bytes).map_err(JudgeError::Unusable)?
            }
        };
        Ok(Self { id: *id, code })
    }

    /// Asks about encoded records. Returns the encoded judgement unread. Blocks.
    ///
    /// # Errors
    /// Why it did not answer.
    pub fn ask(&self, records: &[u8]) -> Result<Vec<u8>, JudgeError> {
        let parms = Message::new(texts::JUDGE.id()).module(self.id);
        if let Verdict::Rejected(why) = self.code.accept(&parms)? {
            return Err(JudgeError::Rejected(sentence(&why)));
        }
        let answer = self.code.handle(&parms, records)?;
        if answer.promise == texts::REFUSAL.id() {
            return Err(JudgeError::Refused(sentence(&answer)));
        }
        Ok(answer.payload)
    }
}

/// What a judge says in the payload of a message that is no judgement.
fn sentence(message: &Message) -> String {
    String::from_utf8_lossy(&message.payload).trim().to_owned()
}

/// The code of a judge, if the object is a judge.
///
/// # Errors
/// Why it is not.
pub fn check(object: &Object) -> Result<Vec<u8>, JudgeError> {
    let bytes = bytes_of(object, MAX_MODULE).ok_or(JudgeError::TooLong)?;
    let manifest = Manifest::read(&bytes).map_err(JudgeError::NotAModule)?;
    if manifest.promise.as_deref() != Some(texts::JUDGE.text) {
        return Err(JudgeError::OtherPromise);
    }
    if !manifest.calls.is_empty() {
        return Err(JudgeError::Asks(manifest.calls));
    }
    Ok(bytes)
}

/// An engine for one judge, outside a server. Takes some milliseconds to start.
///
/// # Errors
/// The engine cannot be started here.
pub fn engine(cache: &CacheDir) -> Result<Wasm, SetUpError> {
    Wasm::new(Settings {
        limits: Limits::default(),
        verdicts: verdicts(),
        objects: Arc::new(NoObjects),
        compiled: Some(cache.compiled()),
    })
}
