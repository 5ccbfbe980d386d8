//! The command line as a whole: what all commands share, and one of them.

use clap::Parser;

use crate::command::Global;
use crate::commands::Command;

/// A WireGuard mesh without a coordination server
///
/// Every command is a promise: `grid --show PROMISE` prints what it says.
#[derive(Debug, Parser)]
#[command(
    name = "grid",
    version,
    arg_required_else_help = true,
    max_term_width = 100
)]
#[command(args_conflicts_with_subcommands = false)]
#[command(after_help = "\
Exit codes: 0 kept, 1 failed, 2 usage, 3 no server and none could be started,
4 refused by a promise or a rule, 5 timed out.")]
pub(super) struct Cli {
    /// What is common to all commands.
    #[command(flatten)]
    pub(super) global: Global,

    /// Print the text of a promise, by its name or content id
    #[arg(long, value_name = "PROMISE", conflicts_with = "list")]
    pub(super) show: Option<String>,

    /// List the promises and their content ids
    #[arg(long)]
    pub(super) list: bool,

    /// The promise to keep.
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[cfg(feature = "modules")]
    #[test]
    fn every_promise_that_people_can_call_is_a_command() {
        let commands: Vec<String> = Cli::command()
            .get_subcommands()
            .map(|command| command.get_name().to_owned())
            .collect();
        for promise in grid_promises::texts::commands() {
            assert!(
                commands.iter().any(|name| name == promise.name),
                "{}",
                promise.name
            );
        }
    }
}
