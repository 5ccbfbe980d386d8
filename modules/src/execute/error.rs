//! What goes wrong with the code that keeps a promise.
//!
//! Two moments, two types: a module that cannot be used is found out without running it
//! ([`ModuleError`]); a call that yields no answer is a [`CallError`], and that says whose fault it
//! is. No error carries content of a message.

use std::time::Duration;

use grid_promises::ContentId;
use grid_promises::content_id::VerifyError;
use grid_promises::message::MessageError;

use super::manifest::SectionFault;
use super::objects::ObjectError;

/// The exports by which modules say which interface they speak begin with this; what follows is
/// the version.
pub(super) const ABI_PREFIX: &str = "grid_abi_";
/// The interface that is spoken here.
pub const ABI: &str = "grid_abi_1";

/// A module that cannot be used. It was not run, and nothing was changed; the same bytes will fail
/// again. Another build of the module is needed, but where a variant says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModuleError {
    /// Other bytes than the id names: hostile, or a damaged store. Fetch the object again.
    #[error("{0}; fetch the module again")]
    NotTheObject(#[from] VerifyError),
    /// Longer than a module may be.
    #[error("the module has {found} bytes, more than the {max} allowed")]
    TooLong {
        /// Its length, in bytes.
        found: usize,
        /// The longest allowed, in bytes.
        max: usize,
    },
    /// The bytes are no WebAssembly.
    #[error("not a WebAssembly module: {why}")]
    NotAModule {
        /// What is wrong, and where.
        why: String,
    },
    /// WebAssembly of the component model.
    #[error(
        "a WebAssembly component, and only core modules run here; build it for \
         wasm32-unknown-unknown"
    )]
    Component,
    /// A custom section that says something about the module, and cannot be read.
    #[error("the section `{name}` of the module {fault}")]
    Section {
        /// The section.
        name: &'static str,
        /// What is wrong with it.
        fault: SectionFault,
    },
    /// It says `pure`, and lists calls whose answers differ from time to time.
    #[error(
        "the module says that it is pure, and lists the call `{call}`; a pure module may list only `get`"
    )]
    NotPure {
        /// The first such call.
        call: String,
    },
    /// It speaks another version of the interface.
    #[error(
        "the module speaks the interface `{found}`, and `{ABI}` is spoken here; get a build of the \
         module for this version of grid, or a grid for this version of the module"
    )]
    OtherAbi {
        /// What it exports.
        found: String,
    },
    /// It does not say which interface it speaks.
    #[error(
        "the module exports no `{ABI}`, so it was not made for grid (a program for WASI or a browser?)"
    )]
    NoAbi,
    /// Something that a module must export is missing, or is something else.
    #[error("the module must export `{name}` ({wanted}), and does not")]
    MissingExport {
        /// The name of the export.
        name: &'static str,
        /// What it must be.
        wanted: &'static str,
    },
    /// It wants something else from its host than `grid.call`.
    #[error(
        "the module imports `{module}.{name}`, and all there is to import is the function `grid.call`"
    )]
    OtherImport {
        /// The module part of the import.
        module: String,
        /// The name part of the import.
        name: String,
    },
    /// `grid.call` under another type.
    #[error("the module imports `grid.call` with another type than (i32, i32, i32, i32) -> i64")]
    ImportType,
    /// It begins with more memory than it may have.
    #[error("the module begins with {found} bytes of memory, more than the {max} allowed")]
    TooMuchMemory {
        /// What it begins with, in bytes.
        found: u64,
        /// The most allowed, in bytes.
        max: usize,
    },
    /// WebAssembly, but not valid, or with features that are not allowed here.
    #[error(
        "the module does not hold to the rules of WebAssembly, or uses what is not allowed here: {why}"
    )]
    Invalid {
        /// What the compiler says.
        why: String,
    },
}

/// Whose fault it is that a call yielded no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The module's: it broke its promise. Hostile or a bug of the module; do not call it again in
    /// the same way.
    Module,
    /// This node's, at this moment: normal. Try again later.
    Host,
    /// The caller's: what it sent can never be a message.
    Caller,
    /// A bug of this program.
    Bug,
}

/// A call that yielded no answer. Whatever the guest did is gone with its instance; nothing that
/// this program keeps was changed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The guest did what WebAssembly forbids, or gave up.
    #[error("the module trapped: {why}")]
    Trapped {
        /// What it did.
        why: String,
    },
    /// The guest used up the steps that a call may take.
    #[error("the module used up its {fuel} steps without an answer")]
    OutOfFuel {
        /// How many it had.
        fuel: u64,
    },
    /// The guest wanted more memory than it may have.
    #[error("the module asked for {asked} bytes of memory, more than the {max} allowed")]
    TooMuchMemory {
        /// How much it would have had, in bytes.
        asked: usize,
        /// The most allowed, in bytes.
        max: usize,
    },
    /// No answer in time.
    #[error("no answer within {} ms; the call was ended", .after.as_millis())]
    Deadline {
        /// The time that it had.
        after: Duration,
    },
    /// The guest asked for a call that its module does not list.
    #[error("the module asked for the call `{call}`, which it does not list; the call was ended")]
    NotListed {
        /// The name of the call.
        call: String,
    },
    /// The guest asked for a call that does not exist here.
    #[error(
        "the module asked for the call `{call}`, which this version of grid does not offer; the \
         call was ended"
    )]
    NotOffered {
        /// The name of the call.
        call: String,
    },
    /// The guest asked for something that cannot be read.
    #[error("the module asked for something that is not a call: {why}")]
    NotACall {
        /// What is wrong.
        why: String,
    },
    /// The guest asked too often.
    #[error("the module asked its host more than {max} times in one call")]
    TooManyCalls {
        /// The most allowed.
        max: u32,
    },
    /// The guest named a range outside its memory.
    #[error("the module named {length} bytes at {start}, and has {memory} bytes of memory")]
    Range {
        /// Where the range begins.
        start: u32,
        /// How long it is, in bytes.
        length: u32,
        /// The guest's memory, in bytes.
        memory: usize,
    },
    /// An answer that is longer than a message can be, whatever wrote it.
    #[error("the answer has {found} bytes or more, more than the {max} of a message")]
    AnswerTooLong {
        /// Its length, in bytes, as far as it was read.
        found: usize,
        /// The longest allowed, in bytes.
        max: usize,
    },
    /// The answer is not a message.
    #[error("the answer is not a message: {0}")]
    NotAMessage(MessageError),
    /// The answer to `accept` is led by another promise than the two that say yes and no.
    #[error("the answer to accept is led by {promise}, which says neither yes nor no")]
    NotAVerdict {
        /// What leads it.
        promise: ContentId,
    },
    /// An object that a pure module needs cannot be had. Its result would depend on that, so there
    /// is none.
    #[error("the module needs the object {object}, and {why}")]
    Unavailable {
        /// The object.
        object: ContentId,
        /// Why it cannot be had.
        why: ObjectError,
    },
    /// As many calls run as may run, for all the time that this one had.
    #[error("too many calls are running here; try again later")]
    Busy,
    /// What was to be handed to the code is over the limits of a message.
    #[error("the call cannot be passed on: {0}")]
    Parms(MessageError),
    /// The process could not be started.
    #[error("cannot start {program}: {why}")]
    Start {
        /// The executable's id.
        program: ContentId,
        /// What the system said, and what to do.
        why: String,
    },
    /// The process ended otherwise than with exit code 0.
    #[error("the process ended with {how}; what it answered does not count")]
    Exit {
        /// Its exit code or signal.
        how: String,
    },
    /// The process ended well, and wrote no answer.
    #[error("the process ended without an answer")]
    NoAnswer,
    /// What the process wrote is not one message in one frame.
    #[error("the process wrote something else than one message: {why}")]
    NotAFrame {
        /// What is wrong.
        why: String,
    },
    /// The system failed while the process ran.
    #[error("lost hold of the process: {why}; it was ended")]
    Process {
        /// What the system said.
        why: String,
    },
    /// A built-in could not do it.
    #[error("{why}")]
    Failed {
        /// Its own sentence.
        why: String,
    },
    /// The engine failed where it should not.
    #[error("the WebAssembly engine failed, which is a bug: {why}")]
    Engine {
        /// What it says.
        why: String,
    },
}

impl CallError {
    /// Whose fault it is. Only [`Fault::Module`] is a broken promise of the module.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Trapped { .. }
            | Self::OutOfFuel { .. }
            | Self::TooMuchMemory { .. }
            | Self::Deadline { .. }
            | Self::NotListed { .. }
            | Self::NotOffered { .. }
            | Self::NotACall { .. }
            | Self::TooManyCalls { .. }
            | Self::Range { .. }
            | Self::AnswerTooLong { .. }
            | Self::NotAMessage(_)
            | Self::NotAVerdict { .. }
            | Self::Exit { .. }
            | Self::NoAnswer
            | Self::NotAFrame { .. } => Fault::Module,
            Self::Unavailable { .. }
            | Self::Busy
            | Self::Start { .. }
            | Self::Process { .. }
            | Self::Failed { .. } => Fault::Host,
            Self::Parms(_) => Fault::Caller,
            Self::Engine { .. } => Fault::Bug,
        }
    }
}
