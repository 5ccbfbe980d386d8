//! What goes wrong with modules, as the end of a command: with the exit code, and with what a person can
//! do about it.

use grid_modules::call::RunError;
use grid_modules::execute::{CallError, Fault};
use grid_modules::fetch::{FetchError, FetchFailure};
use grid_modules::objects::CacheError;
use grid_modules::publish::{PublishError, UnknownPlatform};
use grid_modules::symbols::SymbolsError;

use super::{Exit, Failure};
use crate::advice;

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
            SymbolsError::NoTable(_) => format!("; {}", advice::goes_to_another_table()),
            _ => String::new(),
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
                "{error}; give it with `--promise TEXT` or `--promise FILE`. Nothing was published"
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
                "{error}: once you know what it does ({}), {}",
                advice::shows(name),
                advice::allows(name)
            )),
            RunError::Rejected { name, .. } => Self::refused(format!(
                "{error}; {} says what it promises",
                advice::shows(name)
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
            FetchError::NoPeers(_) => format!("; {}", advice::makes_a_peer()),
            FetchError::NoSpace { .. } => format!("; {}", advice::makes_room()),
            _ => String::new(),
        };
        Self::new(exit, format!("{error}{hint}"))
    }
}
