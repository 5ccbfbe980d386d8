//! The command line: what people type, and what they see.
//!
//! | file | concept |
//! |---|---|
//! | `args`, `words`, `duration`, `moment` | the commands as types, and in words for the server |
//! | `calling` | commands that the server carries out |
//! | `background` | starting a server in the background |
//! | `handing_over` | an invite, from the person to the server |
//! | `local` | commands that need no server |
//! | `names` | `--list` |
//! | `no_modules` | what a build without modules says |
//! | `cas` | the object store, which needs none either |
//! | `modules`, `allow`, `contract` | names, modules, and what this node takes part in |
//! | `judges` | who decides about promises, and what was decided |
//! | `routes` | who takes messages under which promise |
//! | `service` | having systemd run this node |
//! | `online` | waiting until addresses are up |
//! | `peers` | asking peers through the server |
//! | `progress` | how far something is that takes long |
//! | `rehearsal` | what would be changed, with the core and without a network |
//! | `render` | results for people |
//! | `output` | standard output and standard error |
//!
//! Results go to standard output, everything else to standard error.

#[cfg(feature = "modules")]
mod allow;
pub mod args;
mod background;
mod calling;
#[cfg(feature = "modules")]
mod cas;
mod contract;
pub mod duration;
mod handing_over;
mod judges;
mod local;
#[cfg(feature = "modules")]
mod modules;
pub mod moment;
mod names;
#[cfg(not(feature = "modules"))]
mod no_modules;
mod online;
mod output;
#[cfg(feature = "modules")]
mod peers;
#[cfg(feature = "modules")]
mod progress;
mod rehearsal;
mod render;
#[cfg(feature = "modules")]
mod routes;
mod service;
mod taking_down;
pub mod words;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;
use grid_promises::modules::ModuleName;
use grid_promises::texts;

use crate::exit::{Exit, Failure, Outcome};
use crate::home::Home;
use crate::server;
use args::{Cli, Command, Global, StartServer};

/// Reads the command line, does what it says, and says how it went.
#[must_use]
pub fn main(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let words: Vec<OsString> = words.into_iter().collect();
    let read = module_call(&words).map_or_else(|| Cli::try_parse_from(&words), Ok);
    let cli = match read {
        Ok(cli) => cli,
        Err(error) => {
            // Help that nobody reads is no failure.
            let _ = error.print();
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => code(Exit::Kept),
                _ => code(Exit::Usage),
            };
        }
    };
    match keep(cli) {
        Ok(code) => code,
        Err(failure) => {
            output::complain(&failure.text);
            code(failure.exit)
        }
    }
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
    let home = Home::find(cli.global.home.as_deref()).map_err(|error| {
        Failure::usage(format!(
            "the home is a relative path, and there is no working directory: {error}"
        ))
    })?;
    if let Some(Command::Module(words)) = &cli.command {
        #[cfg(feature = "modules")]
        return modules::call(&home, &cli.global, words);
        #[cfg(not(feature = "modules"))]
        return no_modules::call(words);
    }
    keep_own(&home, cli).map(|()| code(Exit::Kept))
}

/// What the program does itself.
fn keep_own(home: &Home, cli: Cli) -> Outcome {
    let Cli {
        global,
        show,
        list,
        command,
    } = cli;
    if list {
        return names::list(home, &global);
    }
    if let Some(promise) = &show {
        return match local::promise(promise) {
            Some(promise) => output::print(promise.text),
            #[cfg(feature = "modules")]
            None => modules::show(home, &global, promise),
            #[cfg(not(feature = "modules"))]
            None => Err(no_modules::absent(promise)),
        };
    }
    let command = command.ok_or_else(|| {
        Failure::usage(
            "no promise was named; `grid --list` lists them, `grid --help` explains them",
        )
    })?;
    match command {
        Command::StartServer(start) => start_server(home, &global, start),
        Command::GenerateKeys => local::generate_keys(home, global.json),
        Command::InstallService(install) => service::install(home, &global, install),
        Command::WaitOnline(wait) => online::wait(home, &global, &wait),
        #[cfg(feature = "modules")]
        Command::Cas(cas) => cas::keep(home, &global, cas.command),
        #[cfg(feature = "modules")]
        Command::Publish(publish) => modules::publish(home, &global, publish),
        #[cfg(feature = "modules")]
        Command::Symbols(symbols) => modules::symbols(home, &global, symbols.history, symbols.back),
        #[cfg(feature = "modules")]
        Command::AdoptSymbols(adopt) => modules::adopt_symbols(home, &global, adopt),
        #[cfg(feature = "modules")]
        Command::Allow(allow) => allow::allow(home, &global, &allow),
        Command::Contract(contract) => contract::contract(home, &global, &contract),
        #[cfg(feature = "modules")]
        Command::Routes => routes::show(home, &global),
        #[cfg(feature = "modules")]
        Command::AppointJudge(appoint) => judges::appoint(home, &global, appoint),
        Command::Replay(replay) => judges::replay(home, &global, &replay),
        Command::Man { dir } => local::man(&dir),
        Command::Completions { shell } => local::completions(shell),
        command => calling::call(home, &global, command),
    }
}

fn start_server(home: &Home, global: &Global, start: StartServer) -> Outcome {
    if start.dry_run {
        return rehearsal::start(home);
    }
    if start.background {
        return background::start(home, global, &start);
    }
    if start.background_child {
        background::detach();
    }
    server::run(
        home,
        &server::Options {
            listen: start.listen,
            endpoints: start.endpoint,
            background: start.background_child,
            verbose: global.verbose,
            join_dir: start.join_dir,
            tap: start.tap,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;
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
