//! Scenarios that are meant to fail: `tests/lab.rs` starts them by name.

use anyhow::Result;

use crate::lab::Lab;
use crate::scenario::Scenario;

/// Run by name only.
pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "panics_with_nodes_up",
    run: panics,
}];

#[allow(clippy::panic)]
fn panics(lab: &Lab) -> Result<()> {
    let node = lab.add_node("a")?;
    node.command("sleep").arg("1000").spawn()?;
    panic!("on purpose")
}
