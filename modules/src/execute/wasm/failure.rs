//! What the engine has to say when something fails.

use grid_files::FileError;

/// An engine that could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// The folder for compiled modules cannot be used.
    #[error(transparent)]
    Folder(#[from] FileError),
    /// No thread for the clock of guests.
    #[error("cannot start a thread: {0}; try again")]
    Thread(std::io::Error),
    /// The engine itself: no address space (`ulimit -v`?), or a processor that it does not know.
    #[error("the WebAssembly engine does not start: {0}")]
    Engine(String),
}

/// What the engine has to say, in one line.
pub(super) fn says(error: &wasmtime::Error) -> String {
    format!("{error:#}").replace('\n', " ")
}
