//! How a command ends.

#[cfg(feature = "modules")]
mod modules;

use std::fmt;

use grid_promises::core::{CommandError, FailureKind};
use serde::{Deserialize, Serialize};

use crate::advice;
use crate::store::StoreError;

/// The exit codes. Scripts may rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    /// The promise was kept.
    Kept = 0,
    /// It failed.
    Failed = 1,
    /// It was asked for in a way that cannot work.
    Usage = 2,
    /// No server runs, and none could be started.
    NoServer = 3,
    /// A promise or a rule forbids it.
    Refused = 4,
    /// It took too long.
    TimedOut = 5,
}

/// Why a command did not do what it was asked: a sentence that says what happened to what, and
/// what to do next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// The sentence.
    pub text: String,
}

/// What a command comes to.
pub type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// A failure of this kind.
    pub fn new(exit: Exit, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { exit, text }
    }

    /// [`Exit::Failed`].
    pub fn failed(text: impl Into<String>) -> Self {
        Self::new(Exit::Failed, text)
    }

    /// [`Exit::Usage`].
    pub fn usage(text: impl Into<String>) -> Self {
        Self::new(Exit::Usage, text)
    }

    /// [`Exit::Refused`].
    pub fn refused(text: impl Into<String>) -> Self {
        Self::new(Exit::Refused, text)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        let exit = match error.kind() {
            FailureKind::Failed => Exit::Failed,
            FailureKind::Usage => Exit::Usage,
            FailureKind::Refused => Exit::Refused,
            FailureKind::TimedOut => Exit::TimedOut,
        };
        Self::new(exit, advice::on_command(&error))
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let text = error.to_string();
        if matches!(error, StoreError::OtherMachine { .. }) {
            return Self::refused(format!("{text}; {}", advice::on_a_copy()));
        }
        Self::failed(match error {
            StoreError::NoKey { .. } => format!("{text}; {}", advice::replaces_the_key()),
            StoreError::SameMachine { .. } => format!("{text}; {}", advice::is_no_copy()),
            StoreError::Held { .. } => format!("{text}; {}", advice::stops_the_other_server()),
            _ => text,
        })
    }
}

impl From<grid_wg::Error> for Failure {
    fn from(error: grid_wg::Error) -> Self {
        let exit = match error.root() {
            grid_wg::Error::ForeignInterface { .. } => Exit::Refused,
            _ => Exit::Failed,
        };
        Self::new(exit, advice::on_wireguard(&error))
    }
}
