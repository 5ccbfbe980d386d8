//! The command line: what people type, and how it ends.
//!
//! Results go to standard output, everything else to standard error.

mod root;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};
use grid_promises::ContentId;
use grid_promises::modules::ModuleName;
use grid_promises::network::invite::PREFIX;
use grid_promises::texts::{self, Promise};

use crate::advice;
use crate::command::plain::TextReport;
use crate::command::{Caller, Global, Program, names};
use crate::commands::{self, Command};
use crate::console::output;
use crate::exit::{Exit, Failure, Outcome};
use root::Cli;

/// Reads the command line, does what it says, and says how it went.
#[must_use]
pub fn main(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let words: Vec<OsString> = words.into_iter().collect();
    let read = module_call(&words).map_or_else(|| Cli::try_parse_from(&words), Ok);
    let cli = match read {
        // It would be quoted.
        Err(error) if error.to_string().contains(PREFIX) => return misplaced_invite(),
        Ok(Cli {
            command: Some(Command::Module(words)),
            ..
        }) if is_invite(&words) => return misplaced_invite(),
        Err(error) => {
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                    ended(output::print_with(|_| error.print()).map(|()| ExitCode::SUCCESS))
                }
                _ => {
                    output::say(error.render().to_string().trim_end());
                    code(Exit::Usage)
                }
            };
        }
        Ok(cli) => cli,
    };
    ended(keep(cli))
}

/// Whether an invite stands where the name of a command belongs.
fn is_invite(words: &[OsString]) -> bool {
    let name = words.first().map(|word| word.to_string_lossy());
    name.is_some_and(|name| name.contains(PREFIX))
}

fn misplaced_invite() -> ExitCode {
    output::complain(advice::misplaced_invite());
    code(Exit::Usage)
}

/// Says why a command failed, if it did.
fn ended(outcome: Outcome<ExitCode>) -> ExitCode {
    outcome.unwrap_or_else(|failure| {
        output::complain(&failure.text);
        code(failure.exit)
    })
}

/// The call of a module, if that is what the words are and nothing stands before its name: the same as
/// the parser makes of them. The parser is made of all commands with all that they say of themselves,
/// which takes longer than what is left to do for a result that is known.
fn module_call(words: &[OsString]) -> Option<Cli> {
    let (_, words) = words.split_first()?;
    let name = words.first()?.to_str()?;
    if is_own(name) || name.parse::<ModuleName>().is_err() {
        return None;
    }
    Some(Cli {
        global: Global::default(),
        show: None,
        list: false,
        command: Some(Command::Module(words.to_vec())),
    })
}

/// Whether a name is that of a command, which no module is called by.
fn is_own(name: &str) -> bool {
    texts::commands().any(|promise| promise.name == name)
        || ["completions", "help", "man"].contains(&name)
}

fn code(exit: Exit) -> ExitCode {
    ExitCode::from(exit as u8)
}

fn keep(cli: Cli) -> Outcome<ExitCode> {
    let Cli {
        global,
        show,
        list,
        command,
    } = cli;
    let program = Program {
        parser: Cli::command,
        service: commands::serve,
        main: |words| main(words),
    };
    let caller = Caller::new(global, program)?;
    match (command, show) {
        (Some(call @ Command::Module(_)), _) => return call.run(&caller),
        _ if list => names::list(&caller)?,
        (_, Some(wanted)) => match promise(&wanted) {
            Some(promise) => caller.show(&TextReport::of(promise.text))?,
            None => commands::show(&caller, &wanted)?,
        },
        (Some(command), None) => return command.run(&caller),
        (None, None) => {
            let advice = advice::lists_and_explains();
            return Err(Failure::usage(format!("no promise was named; {advice}")));
        }
    }
    Ok(code(Exit::Kept))
}

/// A promise of this version, by its name or its content id.
fn promise(wanted: &str) -> Option<&'static Promise> {
    let by_id = || {
        wanted
            .parse::<ContentId>()
            .ok()
            .as_ref()
            .and_then(texts::by_id)
    };
    texts::by_name(wanted).or_else(by_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn no_command_is_taken_for_a_module() {
        let mut parser = Cli::command();
        parser.build();
        for command in parser.get_subcommands() {
            for name in [command.get_name()]
                .into_iter()
                .chain(command.get_all_aliases())
            {
                assert!(is_own(name), "{name}");
                assert!(module_call(&["grid".into(), name.into()]).is_none());
            }
        }
        assert!(module_call(&["grid".into(), "hello".into()]).is_some());
    }

    fn word() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-z][a-z0-9-]{0,5}",
            "-{0,2}[a-z]{0,4}",
            Just("--json".to_owned()),
            Just("--".to_owned()),
            Just("status".to_owned()),
            Just("hello".to_owned()),
            Just(String::new()),
        ]
    }

    proptest! {
        #[test]
        fn a_call_is_what_the_parser_makes_of_it(words in prop::collection::vec(word(), 0..6)) {
            let words: Vec<OsString> = ["grid".to_owned()].into_iter().chain(words).map(Into::into).collect();
            if let Some(call) = module_call(&words) {
                let parsed = Cli::try_parse_from(&words).unwrap();
                prop_assert_eq!(format!("{call:?}"), format!("{parsed:?}"));
            }
        }
    }
}
