//! An end-to-end test as the registry lists it: a name, and a function that gets a fresh lab.

use anyhow::Result;

use crate::lab::Lab;

/// One end-to-end test.
pub struct Scenario {
    /// Unique among all scenarios.
    pub name: &'static str,
    /// What it does with a fresh lab. [`crate::Missing`] anywhere in its error means: skip.
    pub run: fn(&Lab) -> Result<()>,
}

/// Scenarios about one thing. The test of one of them is called `GROUP::SCENARIO`.
pub struct Group {
    /// The first part of the tests' names.
    pub name: &'static str,
    /// The scenarios, in the order in which they run.
    pub scenarios: &'static [Scenario],
    /// Who runs them, and where.
    pub runs: Runs,
}

/// Who runs the scenarios of a group, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runs {
    /// The tests, on this machine's kernel.
    Here,
    /// The tests, on a kernel with WireGuard: this machine's if it has it and this user may ask it,
    /// else one of the lab's (see [`crate::kernel`]).
    WithWireGuard,
    /// Nobody but those who name one.
    OnDemand,
}

impl Group {
    /// A group that the tests run on this machine's kernel.
    pub(crate) const fn new(name: &'static str, scenarios: &'static [Scenario]) -> Self {
        Self {
            name,
            scenarios,
            runs: Runs::Here,
        }
    }

    /// The same group, run elsewhere or by others.
    pub(crate) const fn runs(self, runs: Runs) -> Self {
        Self { runs, ..self }
    }
}
