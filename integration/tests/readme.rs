//! README.md against the project: every command in it is run by somebody, and every promise stands
//! in its table, and in that of docs/cli.md.

// Clippy's allowance for tests covers test functions only, not what they share.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;

use grid_integration::scenarios::find;
use grid_integration::scenarios::readme::{commands, text};

fn is_of_readme(scenario: &str) -> bool {
    find(scenario).is_some_and(|(group, _)| group.name == "readme")
}

#[test]
fn every_command_is_run_by_somebody_who_exists() {
    for command in commands().unwrap() {
        let exists = match command.by.strip_prefix("scenario ") {
            Some(rest) => rest
                .split_once(" on ")
                .is_some_and(|(name, _)| is_of_readme(name) && command.with.is_empty()),
            None => command.by == ".ci/run",
        };
        assert!(exists, "nobody runs {command:?}");
    }
}

#[test]
fn the_first_two_commands_are_the_lab_and_the_tests() {
    let lines: Vec<String> = commands().unwrap().into_iter().map(|c| c.line).collect();
    assert_eq!(lines[..2], ["cargo lab up --nodes 3", "cargo lab test"]);
}

#[test]
fn the_table_lists_every_promise_that_people_can_call() {
    let readme = text().unwrap();
    let listed: Vec<&str> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split([' ', '`']).next())
        .collect();
    assert_eq!(listed.iter().copied().collect::<BTreeSet<_>>(), there());
    assert_eq!(listed.len(), there().len(), "a promise is listed twice");
}

/// A command may have several rows there, and several commands one; `NAME` stands for a module.
#[test]
fn the_page_of_the_command_line_has_a_row_for_every_promise() {
    let page = include_str!("../../docs/cli.md");
    let rows = page
        .lines()
        .skip_while(|line| *line != "| command | does |");
    let rows = rows.skip(2).map_while(|line| line.strip_prefix("| "));
    let calls = rows.flat_map(|row| {
        row.split(" | ")
            .next()
            .unwrap()
            .split('`')
            .skip(1)
            .step_by(2)
    });
    let listed: BTreeSet<&str> = calls.filter_map(|call| call.split(' ').next()).collect();
    let modules = BTreeSet::from(["NAME"]);
    assert_eq!(listed, &there() | &modules);
}

/// The promises that people can call.
fn there() -> BTreeSet<&'static str> {
    let promises = grid_promises::texts::commands();
    promises.map(|promise| promise.name).collect()
}
