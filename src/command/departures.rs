//! Who goes with what a command withdraws, and who is kept: said before it is done.

use std::io::{self, Write};

use grid_promises::core::{Affected, Keep};
use serde::{Deserialize, Serialize};

use super::asking;
use super::caller::{Caller, Report};
use super::named::{Named, Names};
use super::served::Served;
use crate::advice;
use crate::exit::Outcome;

/// Who stays, and whether anybody goes yet.
#[derive(Clone, Debug, Default, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DepartureOptions {
    /// Keep these that came in by it: they are admitted by name first
    #[arg(
        long,
        value_name = "NODE",
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

/// Who goes, and who does not although they might.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Departures {
    /// Members that go.
    pub gone: Vec<Named>,
    /// Those that stay, admitted by name.
    pub kept: Vec<Named>,
    /// Members that stay, and of whom the last evidence goes.
    #[serde(default)]
    pub unseen: Vec<Named>,
    /// Whether this is only what would follow.
    pub dry_run: bool,
}

impl Departures {
    /// What the core answered to `options`.
    #[must_use]
    pub fn new(options: &DepartureOptions, names: &Names, affected: &Affected) -> Self {
        Self {
            gone: names.of_all(&affected.gone),
            kept: names.of_all(&affected.kept),
            unseen: names.of_all(&affected.unseen),
            dry_run: options.dry_run,
        }
    }

    /// Nobody goes.
    #[must_use]
    pub fn none(options: &DepartureOptions) -> Self {
        Self {
            dry_run: options.dry_run,
            ..Self::default()
        }
    }

    /// Names those that go, if any do.
    #[must_use]
    pub fn gone(&self) -> Option<String> {
        (!self.gone.is_empty()).then(|| Named::list(&self.gone))
    }

    /// Prints who goes, and `why`; and who stays.
    ///
    /// # Errors
    /// What is written to fails.
    pub fn show(&self, out: &mut dyn Write, why: &str) -> io::Result<()> {
        if let Some(gone) = self.gone() {
            writeln!(out, "gone, {why}: {gone}")?;
        }
        if !self.kept.is_empty() {
            writeln!(out, "kept, admitted by name: {}", Named::list(&self.kept))?;
        }
        if !self.unseen.is_empty() {
            let unseen = Named::list(&self.unseen);
            writeln!(out, "{}", advice::are_unseen(&unseen))?;
        }
        Ok(())
    }
}

/// A request that others may go with.
pub trait Withdrawing: Served<Report: Report> + Clone {
    /// Its options.
    fn departures(&mut self) -> &mut DepartureOptions;

    /// Tells what would follow.
    fn foretell(&self, plan: &Self::Report);

    /// Asks for it, and first says what follows.
    ///
    /// # Errors
    /// As [`asking::ask`].
    fn ask(mut self, caller: &Caller) -> Outcome {
        if !self.departures().dry_run {
            let mut plan = self.clone();
            plan.departures().dry_run = true;
            self.foretell(&asking::report_of(caller, &plan)?);
        }
        asking::ask(caller, &self)
    }
}
