//! Who goes or comes back with what an owner decides, and who is kept: said before it is done.

use std::io::{self, Write};

use grid_promises::core::{Affected, Keep};
use serde::{Deserialize, Serialize};

use super::asking;
use super::caller::{Caller, Report};
use super::named::{Named, Names};
use super::served::Served;
use crate::advice;
use crate::console::output;
use crate::exit::Outcome;

/// Who stays, and whether anybody goes yet.
#[derive(Clone, Debug, Default, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DepartureOptions {
    /// Keep these that came in by it, with commas: they are admitted by name first
    #[arg(
        long,
        value_name = "NODE,...",
        value_delimiter = ',',
        conflicts_with = "keep_guests"
    )]
    #[serde(default)]
    keep: Vec<String>,

    /// Keep all that came in by it
    #[arg(long)]
    #[serde(default)]
    keep_guests: bool,

    /// Say what would follow and who would go, and change nothing
    #[arg(long)]
    #[serde(default)]
    pub dry_run: bool,
}

impl DepartureOptions {
    /// As the core is told.
    #[must_use]
    pub fn keep(&self) -> Keep {
        match (self.keep_guests, self.keep.is_empty()) {
            (true, _) => Keep::Guests,
            (false, true) => Keep::Nobody,
            (false, false) => Keep::These(self.keep.clone()),
        }
    }
}

/// Who goes, who does not although they might, and who comes back.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Departures {
    /// Members that go.
    pub gone: Vec<Named>,
    /// Those that stay, admitted by name.
    pub kept: Vec<Named>,
    /// Members that stay, and of whom the last evidence goes.
    #[serde(default)]
    pub unseen: Vec<Named>,
    /// Nodes that were put out, and are members again.
    #[serde(default)]
    pub back: Vec<Named>,
    /// Whom the options keep, although they would not go.
    #[serde(default)]
    pub needless: Vec<String>,
    /// Whether this is only what would follow.
    pub dry_run: bool,
}

impl Departures {
    /// What the core answered.
    #[must_use]
    pub fn new(dry_run: bool, names: &Names, affected: &Affected) -> Self {
        Self {
            gone: names.of_all(&affected.gone),
            kept: names.of_all(&affected.kept),
            unseen: names.of_all(&affected.unseen),
            back: names.of_all(&affected.back),
            needless: Vec::new(),
            dry_run,
        }
    }

    /// The same, with whom these options keep for nothing.
    #[must_use]
    pub fn kept_by(mut self, options: &DepartureOptions) -> Self {
        let is_kept = |name: &&String| {
            let mut kept = self.kept.iter();
            kept.any(|kept| kept.name == **name || kept.node.starts_with(name.as_str()))
        };
        self.needless = options
            .keep
            .iter()
            .filter(|name| !is_kept(name))
            .cloned()
            .collect();
        self
    }

    /// Whether it was done.
    #[must_use]
    pub const fn tense(&self) -> Tense {
        if self.dry_run {
            Tense::Would
        } else {
            Tense::Done
        }
    }

    /// Nothing follows.
    #[must_use]
    pub fn none(dry_run: bool) -> Self {
        Self {
            dry_run,
            ..Self::default()
        }
    }

    /// Who goes, and `why`; who stays, and who is back. One sentence each, of what was done or what would be.
    #[must_use]
    pub fn in_words(&self, net: &str, why: &str, tense: Tense) -> Vec<String> {
        let named = |nodes: &[Named], say: &dyn Fn(&str) -> String| {
            (!nodes.is_empty()).then(|| say(&Named::list(nodes)))
        };
        let be = tense.of("would be ", "");
        let lines = [
            named(&self.gone, &|names| {
                format!(
                    "{be}out with it, {why}: {names}; {}",
                    advice::admits_again(net)
                )
            }),
            named(&self.kept, &|names| {
                format!("{be}kept, admitted by name: {names}")
            }),
            (!self.needless.is_empty()).then(|| {
                let names = self.needless.join(", ");
                let go = tense.of("would not go", "did not go");
                format!("{go}, and need no --keep: {names}")
            }),
            named(&self.back, &|names| {
                format!("{be}back with it: {names}; {}", advice::keeps_out(net))
            }),
            named(&self.unseen, &advice::are_unseen),
        ];
        lines.into_iter().flatten().collect()
    }
}

/// Whether something was done, or is only said: it may fail yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tense {
    /// It would follow.
    Would,
    /// It was done.
    Done,
}

impl Tense {
    /// The word for it.
    #[must_use]
    pub const fn of<'a>(self, would: &'a str, done: &'a str) -> &'a str {
        match self {
            Self::Would => would,
            Self::Done => done,
        }
    }
}

/// What an owner decided, or would, and what follows from it.
pub trait Decision {
    /// Whether it was done.
    fn tense(&self) -> Tense;

    /// What it is about, in a sentence.
    fn decided(&self) -> String;

    /// What follows, in a sentence each: as many and in the same order in either tense.
    fn follows(&self, tense: Tense) -> Vec<String>;
}

/// Prints a decision and what follows from it, but for what its plan `said` would follow.
///
/// # Errors
/// What is written to fails.
pub fn show(decision: &impl Decision, said: &[String], out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", decision.decided())?;
    let would = decision.follows(Tense::Would);
    for (would, line) in would.iter().zip(decision.follows(decision.tense())) {
        if !said.contains(would) {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

/// A request that others may go with.
pub trait Withdrawing: Served<Report: Report + Decision> + Clone {
    /// Its options.
    fn departures(&mut self) -> &mut DepartureOptions;

    /// Asks for it, and first says what follows.
    ///
    /// # Errors
    /// As [`asking::ask`].
    fn ask(mut self, caller: &Caller) -> Outcome {
        if self.departures().dry_run {
            return asking::ask(caller, &self);
        }
        let mut plan = self.clone();
        plan.departures().dry_run = true;
        let said = asking::report_of(caller, &plan)?.follows(Tense::Would);
        for line in &said {
            output::say(line);
        }
        if caller.wants_json() {
            return asking::ask(caller, &self);
        }
        let report = asking::report_of(caller, &self)?;
        output::print_with(|out| show(&report, &said, out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Plan(Departures);

    impl Decision for Plan {
        fn tense(&self) -> Tense {
            self.0.tense()
        }

        fn decided(&self) -> String {
            self.tense().of("it would be", "it is").to_owned()
        }

        fn follows(&self, tense: Tense) -> Vec<String> {
            self.0.in_words("foo", "as they came from it", tense)
        }
    }

    fn named(name: &str) -> Vec<Named> {
        vec![Named {
            node: format!("{name}xxxxxxxxxxxx"),
            name: name.to_owned(),
            own: false,
        }]
    }

    fn plan(dry_run: bool) -> Plan {
        Plan(Departures {
            gone: named("b"),
            kept: named("c"),
            back: named("d"),
            needless: vec!["e".to_owned()],
            dry_run,
            ..Departures::default()
        })
    }

    fn shown(plan: &Plan, said: &[String]) -> String {
        let mut out = Vec::new();
        show(plan, said, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// What fails afterwards must not stand there as done.
    #[test]
    fn before_it_is_done_all_is_said_in_the_conditional() {
        let said = plan(true).follows(Tense::Would);
        assert_eq!(said.len(), 4);
        assert!(
            said.iter().all(|line| line.starts_with("would ")),
            "{said:?}"
        );
        assert_eq!(
            shown(&plan(true), &[]),
            format!("it would be\n{}\n", said.join("\n"))
        );
    }

    #[test]
    fn what_was_done_is_said_once_and_as_done() {
        let said = plan(true).follows(Tense::Would);
        assert_eq!(shown(&plan(false), &said), "it is\n");
        let alone = shown(&plan(false), &[]);
        assert!(!alone.contains("would"), "{alone}");
        assert!(alone.contains("\nback with it: d; "), "{alone}");
        assert!(
            alone.contains("\ndid not go, and need no --keep: e\n"),
            "{alone}"
        );
        // Somebody else went than the plan said.
        let mut done = plan(false);
        done.0.gone = named("z");
        assert!(shown(&done, &said).contains("out with it, as they came from it: z; "));
    }
}
