//! What goes wrong with modules, as the end of a command: with the exit code, and with what a person can
//! do about it.

use grid_modules::call::RunError;
use grid_modules::execute::{CallError, Fault};
use grid_modules::fetch::{FetchError, FetchFailure};
use grid_modules::objects::CacheError;
use grid_modules::publish::{PublishError, UnknownPlatform};
use grid_modules::symbols::SymbolsError;

use super::{Exit, Failure};

impl From<CacheError> for Failure {
    fn from(error: CacheError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<UnknownPlatform> for Failure {
    fn from(error: UnknownPlatform) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<SymbolsError> for Failure {
    fn from(error: SymbolsError) -> Self {
        let hint = match &error {
            SymbolsError::NoTable(_) => {
                "; `grid symbols --back ID` goes to another one, and without the line `symbols` in \
                 the configuration the built-in names remain"
            }
            _ => "",
        };
        Self::failed(format!("{error}{hint}"))
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::OtherPromise => Self::usage(
                "the module carries another promise than --promise says; leave the option out to \
                 publish it under its own. Nothing was published",
            ),
            PublishError::NoPromise => Self::usage(format!(
                "{error}; say it with `--promise TEXT` or `--promise FILE`. Nothing was published"
            )),
            PublishError::BuiltIn(_) => Self::refused(error.to_string()),
            PublishError::Symbols(error) => error.into(),
            PublishError::Store(error) => error.into(),
            PublishError::Platform(error) => error.into(),
            PublishError::NotAModule
            | PublishError::TooLong { .. }
            | PublishError::Unusable(_)
            | PublishError::Call(_)
            | PublishError::Descriptor(_) => Self::usage(error.to_string()),
        }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match &error {
            RunError::NotAllowed { name } => Self::refused(format!(
                "{error}: once you know what it does (`grid --show {name}`), `grid allow {name}` \
                 allows it"
            )),
            RunError::Rejected { name, .. } => Self::refused(format!(
                "{error}; `grid --show {name}` says what it promises"
            )),
            RunError::NoAnswer { why, .. } => {
                let exit = match (why, why.fault()) {
                    (CallError::Deadline { .. }, _) => Exit::TimedOut,
                    (_, Fault::Caller) => Exit::Usage,
                    _ => Exit::Failed,
                };
                Self::new(exit, error.to_string())
            }
            RunError::Symbols(_) => match error {
                RunError::Symbols(error) => error.into(),
                error => Self::failed(error.to_string()),
            },
            _ => Self::failed(error.to_string()),
        }
    }
}

impl From<&FetchError> for Failure {
    fn from(error: &FetchError) -> Self {
        let exit = match error.kind() {
            FetchFailure::Refused => Exit::Refused,
            FetchFailure::TimedOut => Exit::TimedOut,
            FetchFailure::Failed => Exit::Failed,
        };
        let hint = match error {
            FetchError::NoPeers(_) => "; `grid exchange-keys HOST:PORT` makes a node a peer",
            FetchError::NoSpace { .. } => "; make room (`grid cas collect`) and try again",
            _ => "",
        };
        Self::new(exit, format!("{error}{hint}"))
    }
}
