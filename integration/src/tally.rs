//! What `cargo test` prints, read line by line: what the tests came to, and why some did not run.
//!
//! A test is skipped in one of three ways, and none of them counts as passed: it is marked
//! `#[ignore]`; its harness reports it as ignored when it could not run; or, where the harness knows
//! no third result, it prints `SKIPPED NAME: REASON` and returns.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

/// How many tests a command names at the most.
const FEW: usize = 4;
/// The test program that ignores tests for what it finds out as it runs; elsewhere, ignored tests are
/// marked so.
const SCENARIOS: &str = "-p grid-integration --test scenarios";

/// What has been read so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// The arguments of cargo that choose a test program, by the name of its file.
    chosen_by: BTreeMap<String, String>,
    /// The package of each library, by the library's name.
    packages: BTreeMap<String, String>,
    running: Option<Program>,
    /// The beginning of a line whose end is still to come, because another process wrote in between.
    begun: String,
    passed: u64,
    failed: u64,
    skipped: u64,
    reasons: BTreeMap<String, Skipped>,
    /// Test programs that began and gave no result.
    broken: Vec<String>,
}

/// A test program that runs.
#[derive(Debug, Default)]
struct Program {
    /// Empty where cargo does not say what it runs (`--quiet`).
    chosen_by: String,
    /// Tests that said SKIPPED and will be reported as passed.
    said: BTreeMap<String, String>,
}

/// Tests that were skipped for one reason.
#[derive(Debug, Default)]
struct Skipped {
    count: u64,
    /// Their names, by what runs them.
    by_command: BTreeMap<Command, BTreeSet<String>>,
}

/// What runs skipped tests of a program.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Command {
    /// `cargo test ...`, once what is missing is there.
    Again(String),
    /// `cargo test ... -- --ignored`.
    Ignored(String),
    /// `cargo kernel-test ...`.
    OnKernel(String),
}

/// A message of `cargo --message-format=json`, as far as it matters here.
#[derive(Deserialize)]
struct Artifact {
    package_id: String,
    target: Target,
    executable: Option<String>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

impl Tally {
    /// Reads a line in JSON that cargo prints for each thing that it has built.
    pub(crate) fn message(&mut self, json: &str) {
        let Ok(artifact) = serde_json::from_str::<Artifact>(json) else {
            return;
        };
        let package = package(&artifact.package_id);
        let Target { name, kind } = artifact.target;
        let choice = match kind.first().map(String::as_str) {
            Some(kind @ ("bin" | "test" | "bench" | "example")) => format!("--{kind} {name}"),
            _ => {
                self.packages.insert(name.replace('-', "_"), package.into());
                "--lib".to_owned()
            }
        };
        if let Some(file) = artifact.executable.as_deref().and_then(file_name) {
            let choice = format!("-p {package} {choice}");
            self.chosen_by.insert(file.to_owned(), choice);
        }
    }

    /// Reads a line of text.
    pub(crate) fn line(&mut self, line: &str) {
        let line = line.trim();
        if let Some((begun, said)) = line.split_once("SKIPPED") {
            self.said_skipped(begun, said.trim_start_matches(':').trim_start());
            if begun.starts_with("test ") {
                begun.clone_into(&mut self.begun);
            }
            return;
        }
        let begun = std::mem::take(&mut self.begun);
        let is_rest = ["ok", "FAILED", "ignored"]
            .iter()
            .any(|result| line.starts_with(result));
        let whole = begun + line;
        let line = if is_rest { whole.as_str() } else { line };
        if let Some(rest) = line.strip_prefix("Running ") {
            let file = rest.rsplit_once('(').and_then(|(_, path)| {
                let path = path.strip_suffix(')')?;
                file_name(path)
            });
            if let Some(file) = file {
                let chosen_by = self.chosen_by.get(file);
                self.begin(chosen_by.map_or(file, String::as_str).to_owned());
            }
        } else if let Some(library) = line.strip_prefix("Doc-tests ") {
            let package = self.packages.get(library).map_or(library, String::as_str);
            self.begin(format!("-p {package} --doc"));
        } else if let Some(counts) = line.strip_prefix("test result: ") {
            self.result(counts);
        } else if let Some((name, result)) = line
            .strip_prefix("test ")
            .and_then(|rest| rest.split_once(" ... "))
        {
            self.test(name.trim(), result);
        }
    }

    /// To be called at the end of the output.
    pub(crate) fn end(&mut self) {
        let program = self.running.take().map(|program| program.chosen_by);
        self.broken.extend(program.filter(|name| !name.is_empty()));
    }

    fn begin(&mut self, chosen_by: String) {
        self.end();
        self.running = Some(Program {
            chosen_by,
            said: BTreeMap::new(),
        });
    }

    /// `NAME: REASON`, after what stood before it in the line. Where the name is not that of a test, only
    /// a part of one was skipped.
    fn said_skipped(&mut self, before: &str, said: &str) {
        let Some((name, reason)) = said.split_once(": ") else {
            return;
        };
        // Tests that run one after the other run on the main thread, and some know only their thread.
        let name = match before.strip_prefix("test ").and_then(|b| b.split_once(' ')) {
            Some((test, _)) if name == "main" => test,
            _ => name,
        };
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || "_:".contains(letter);
        if name.chars().all(is_name) {
            let program = self.running.get_or_insert_default();
            program.said.insert(name.to_owned(), reason.to_owned());
        }
    }

    fn test(&mut self, name: &str, result: &str) {
        let program = self.running.get_or_insert_default();
        if result.starts_with("FAILED") {
            program.said.remove(name);
        } else if let Some(why) = result.strip_prefix("ignored") {
            // `, REASON` where it is marked so, ` (REASON)` where it is found out.
            let why = why.trim_start_matches(',').trim();
            let why = why
                .strip_prefix('(')
                .and_then(|why| why.strip_suffix(')'))
                .unwrap_or(why);
            let why = if why.is_empty() {
                "not run by default"
            } else {
                why
            };
            let chosen_by = program.chosen_by.clone();
            let command = if chosen_by == SCENARIOS {
                Command::Again(chosen_by)
            } else {
                Command::Ignored(chosen_by)
            };
            note(&mut self.reasons, why, command, name);
        }
    }

    /// `ok. 3 passed; 0 failed; 1 ignored; ...`
    fn result(&mut self, text: &str) {
        let Program { chosen_by, said } = self.running.take().unwrap_or_default();
        let count = |what: &str| -> u64 {
            let words: Vec<&str> = text.split([' ', ';']).filter(|w| !w.is_empty()).collect();
            let found = words.windows(2).find(|pair| pair[1] == what);
            found.map_or(0, |pair| pair[0].parse().unwrap_or(0))
        };
        let silent = u64::try_from(said.len()).unwrap_or(u64::MAX);
        self.passed += count("passed").saturating_sub(silent);
        self.failed += count("failed");
        self.skipped += count("ignored") + silent;
        for (name, reason) in said {
            let command = if reason.contains("WireGuard") {
                Command::OnKernel(chosen_by.clone())
            } else {
                Command::Again(chosen_by.clone())
            };
            note(&mut self.reasons, &reason, command, &name);
        }
    }

    /// For people: each reason to skip with what runs those tests, what went wrong, and in the last
    /// line the totals.
    pub(crate) fn report(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.reasons.is_empty() {
            lines.push("Skipped, and what runs them:".to_owned());
        }
        let mut reasons: Vec<(&String, &Skipped)> = self.reasons.iter().collect();
        reasons.sort_by_key(|(_, skipped)| std::cmp::Reverse(skipped.count));
        for (reason, skipped) in reasons {
            lines.push(format!("{:5}  {reason}", skipped.count));
            let commands = skipped.by_command.iter();
            lines
                .extend(commands.map(|(command, names)| format!("       {}", command.show(names))));
        }
        let broken = self.broken.iter();
        lines.extend(broken.map(|program| format!("no result: cargo test {program}")));
        lines.push(format!(
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        ));
        lines
    }

    /// Whether no test failed and every test program that began gave a result.
    pub(crate) fn is_good(&self) -> bool {
        self.failed == 0 && self.broken.is_empty()
    }
}

impl Command {
    fn show(&self, names: &BTreeSet<String>) -> String {
        let filters: BTreeSet<String> = match self {
            // A group is easier to type than its scenarios.
            Self::Again(choice) if choice == SCENARIOS => names
                .iter()
                .filter_map(|name| Some(format!("{}::", name.split_once("::")?.0)))
                .collect(),
            Self::Again(_) | Self::Ignored(_) => names.clone(),
            Self::OnKernel(_) => BTreeSet::new(),
        };
        let filters: Vec<String> = if filters.len() > FEW {
            Vec::new()
        } else {
            filters.into_iter().collect()
        };
        let (mut words, ignored) = match self {
            Self::Again(choice) => (vec!["cargo test", choice], None),
            Self::Ignored(choice) => (vec!["cargo test", choice], Some("--ignored")),
            Self::OnKernel(choice) => (vec!["cargo kernel-test", choice], None),
        };
        if ignored.is_some() || !filters.is_empty() {
            words.push("--");
        }
        words.extend(ignored);
        words.extend(filters.iter().map(String::as_str));
        words.retain(|word| !word.is_empty());
        words.join(" ")
    }
}

fn note(reasons: &mut BTreeMap<String, Skipped>, why: &str, command: Command, name: &str) {
    let skipped = reasons.entry(why.to_owned()).or_default();
    skipped.count += 1;
    let names = skipped.by_command.entry(command).or_default();
    names.insert(name.to_owned());
}

/// The package's name in `path+file:///FOLDER#NAME@VERSION`, which is the folder's where none stands.
fn package(id: &str) -> &str {
    let (folder, rest) = id.split_once('#').unwrap_or((id, ""));
    match rest.split_once('@') {
        Some((name, _)) => name,
        None => file_name(folder).unwrap_or(folder),
    }
}

fn file_name(path: &str) -> Option<&str> {
    Path::new(path).file_name()?.to_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What cargo prints with `--message-format=json-render-diagnostics`, cut to what is read.
    const MESSAGES: &[&str] = &[
        r#"{"reason":"compiler-artifact","package_id":"registry+https://github.com/rust-lang/crates.io-index#libc@0.2.180","manifest_path":"/src/cargo/registry/libc/Cargo.toml","target":{"kind":["lib"],"crate_types":["lib"],"name":"libc","src_path":"/src/cargo/registry/libc/src/lib.rs","edition":"2021","doc":true,"doctest":true,"test":true},"features":[],"filenames":["/src/grid/target/debug/deps/liblibc-1.rlib"],"executable":null,"fresh":true}"#,
        r#"{"reason":"compiler-artifact","package_id":"path+file:///src/grid/promises/keys#grid-keys@0.1.0","target":{"kind":["lib"],"name":"grid_keys"},"executable":"/src/grid/target/debug/deps/grid_keys-0b1c2d3e4f5a6b7c","fresh":false}"#,
        r#"{"reason":"compiler-artifact","package_id":"path+file:///src/grid/wg#grid-wg@0.1.0","target":{"kind":["test"],"name":"kernel"},"executable":"/src/grid/target/debug/deps/kernel-1111111111111111","fresh":false}"#,
        r#"{"reason":"compiler-artifact","package_id":"path+file:///src/grid/integration#grid-integration@0.1.0","target":{"kind":["test"],"name":"scenarios"},"executable":"/src/grid/target/debug/deps/scenarios-2222222222222222","fresh":false}"#,
        r#"{"reason":"compiler-artifact","package_id":"path+file:///src/grid/grid#0.1.0","target":{"kind":["bin"],"name":"grid"},"executable":"/src/grid/target/debug/deps/grid-3333333333333333","fresh":false}"#,
        r#"{"reason":"build-finished","success":true}"#,
    ];

    fn read(output: &str) -> Tally {
        let mut tally = Tally::default();
        MESSAGES.iter().for_each(|message| tally.message(message));
        output.lines().for_each(|line| tally.line(line));
        tally.end();
        tally
    }

    #[test]
    fn results_of_programs_and_documentation_add_up() {
        let tally = read(
            "\
    Finished `test` profile [optimized + debuginfo] target(s) in 0.25s
     Running unittests src/lib.rs (target/debug/deps/grid_keys-0b1c2d3e4f5a6b7c)

running 2 tests
test tests::one ... ok
test tests::two ... FAILED

test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s

   Doc-tests grid_keys

running 1 test
test promises/keys/src/lib.rs - (line 9) ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.30s
",
        );
        assert_eq!(tally.report(), ["2 passed, 1 failed, 0 skipped"]);
        assert!(!tally.is_good());
    }

    #[test]
    fn tests_that_say_skipped_did_not_pass() {
        let tally = read(
            "\
     Running tests/kernel.rs (target/debug/deps/kernel-1111111111111111)

running 5 tests
test an_hour_of_traffic_goes_on ... ignored, takes an hour, or some seconds in a kernel with simulated time
SKIPPED: auto_takes_the_kernel: this kernel has no WireGuard: load it
test auto_takes_the_kernel ... ok
test it_goes_on ... SKIPPED: it_is_read_back: this kernel has no WireGuard: load it
ok
test it_is_read_back ... ok
SKIPPED `wg show`: there is no wg here
test wg_says_the_same ... ok

test result: ok. 4 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s
",
        );
        assert_eq!(
            tally.report(),
            [
                "Skipped, and what runs them:",
                "    2  this kernel has no WireGuard: load it",
                "       cargo kernel-test -p grid-wg --test kernel",
                "    1  takes an hour, or some seconds in a kernel with simulated time",
                "       cargo test -p grid-wg --test kernel -- --ignored an_hour_of_traffic_goes_on",
                "2 passed, 0 failed, 3 skipped",
            ]
        );
        assert!(tally.is_good());
    }

    #[test]
    fn on_the_main_thread_the_line_names_the_test() {
        let tally = read(
            "\
     Running tests/kernel.rs (target/debug/deps/kernel-1111111111111111)
test one ... SKIPPED: main: no network namespace (EPERM): run as root
ok
test two ... SKIPPED: main: no network namespace (EPERM): run as root
ok
test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.02s
",
        );
        assert_eq!(
            tally.report(),
            [
                "Skipped, and what runs them:",
                "    2  no network namespace (EPERM): run as root",
                "       cargo test -p grid-wg --test kernel -- one two",
                "0 passed, 0 failed, 2 skipped",
            ]
        );
    }

    #[test]
    fn scenarios_that_are_skipped_run_again_by_their_groups() {
        let tally = read(
            "\
     Running tests/scenarios.rs (target/debug/deps/scenarios-2222222222222222)

running 4 tests
test lab::nodes_are_isolated                  ... ok
test kernel::four_nodes_choose_the_kernel     ... ignored (there is no user-mode kernel: `integration/kernel/build` builds it)
test kernel::kernel_and_userspace_form_a_mesh ... ignored (there is no user-mode kernel: `integration/kernel/build` builds it)
test lab::lost_packets_are_lost               ... ignored (the program `nft` is not installed on this machine)

test result: ok. 1 passed; 0 failed; 3 ignored; 0 measured; 0 filtered out; finished in 1.31s
",
        );
        assert_eq!(
            tally.report(),
            [
                "Skipped, and what runs them:",
                "    2  there is no user-mode kernel: `integration/kernel/build` builds it",
                "       cargo test -p grid-integration --test scenarios -- kernel::",
                "    1  the program `nft` is not installed on this machine",
                "       cargo test -p grid-integration --test scenarios -- lab::",
                "1 passed, 0 failed, 3 skipped",
            ]
        );
    }

    #[test]
    fn results_count_where_cargo_is_quiet() {
        let tally = read(
            "\
running 2 tests
SKIPPED it: this machine has no systemd-analyze
..
test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 10 filtered out; finished in 0.01s
",
        );
        assert_eq!(
            tally.report(),
            [
                "Skipped, and what runs them:",
                "    1  this machine has no systemd-analyze",
                "       cargo test -- it",
                "1 passed, 0 failed, 2 skipped",
            ]
        );
    }

    #[test]
    fn a_program_without_a_result_is_named() {
        let tally = read(
            "\
     Running unittests src/main.rs (target/debug/deps/grid-3333333333333333)
test it ... error: test failed, to rerun pass `-p grid --bin grid`
",
        );
        assert_eq!(
            tally.report(),
            [
                "no result: cargo test -p grid --bin grid",
                "0 passed, 0 failed, 0 skipped"
            ]
        );
        assert!(!tally.is_good());
    }
}
