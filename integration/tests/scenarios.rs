//! Every scenario of the registry as a test, called `GROUP::SCENARIO`.
//!
//! ```sh
//! cargo test -p grid-integration --test scenarios                       # all
//! cargo test -p grid-integration --test scenarios life::                # a group
//! cargo test -p grid-integration --test scenarios -- life:: mesh::      # two groups
//! ```
//!
//! A test whose machine lacks something is reported as ignored, with the reason.

use std::process::ExitCode;

use clap::Parser;
use grid_integration::harness::{self, Outcome};
use grid_integration::scenario::{Group, Runs, Scenario};
use grid_integration::scenarios::GROUPS;
use libtest_mimic::{Completion, Failed, Trial};

/// What Rust's own harness takes, which is more than one filter.
#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    harness: libtest_mimic::Arguments,
    /// More filters: a test runs if it fits one of them
    #[arg(value_name = "FILTER")]
    more: Vec<String>,
}

fn main() -> ExitCode {
    let CommandLine { mut harness, more } = CommandLine::parse();
    if harness.test_threads.is_none() {
        let threads = std::env::var("RUST_TEST_THREADS").ok();
        harness.test_threads = threads.and_then(|threads| threads.parse().ok());
    }
    let mut trials: Vec<Trial> = GROUPS
        .iter()
        .filter(|group| group.runs != Runs::OnDemand)
        .flat_map(|group| {
            group
                .scenarios
                .iter()
                .map(|scenario| trial(group, scenario))
        })
        .collect();
    if !more.is_empty() {
        let filters: Vec<libtest_mimic::Arguments> = harness
            .filter
            .take()
            .into_iter()
            .chain(more)
            .map(|filter| libtest_mimic::Arguments {
                filter: Some(filter),
                ..harness.clone()
            })
            .collect();
        trials.retain(|trial| filters.iter().any(|filter| !filter.is_filtered_out(trial)));
    }
    libtest_mimic::run(&harness, trials).exit_code()
}

fn trial(group: &'static Group, scenario: &'static Scenario) -> Trial {
    Trial::ignorable_test(format!("{}::{}", group.name, scenario.name), move || {
        run(group, scenario)
    })
}

fn run(group: &Group, scenario: &Scenario) -> Result<Completion, Failed> {
    match harness::run_in_child(env!("CARGO_BIN_EXE_lab"), group, scenario) {
        Ok(Outcome::Passed) => Ok(Completion::Completed),
        Ok(Outcome::Skipped(reason)) => Ok(Completion::ignored_with(reason)),
        Ok(Outcome::Failed(text)) => Err(text.into()),
        Err(error) => Err(format!("cannot run the scenario: {error}").into()),
    }
}
