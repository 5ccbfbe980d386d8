//! The registry of end-to-end tests: one file for each group. `tests/scenarios.rs` runs them all.

mod acceptance;
mod approval;
mod boot;
mod claims;
mod disks;
mod errors;
mod exits;
mod foreign;
mod foundation;
mod hostile;
#[cfg(feature = "modules")]
mod judges;
mod kernel;
mod life;
mod mesh;
#[cfg(feature = "modules")]
mod modules;
mod networks;
mod owners;
mod provision;
pub mod readme;
mod secrets;
mod seen;
mod unsupervised;
#[cfg(not(feature = "modules"))]
mod without_modules;

use crate::scenario::{Group, Runs, Scenario};

/// Every group, in the order in which the tests run them.
pub const GROUPS: &[Group] = &[
    Group::new("acceptance", acceptance::SCENARIOS),
    Group::new("approval", approval::SCENARIOS),
    Group::new("boot", boot::SCENARIOS),
    Group::new("claims", claims::SCENARIOS),
    Group::new("disks", disks::SCENARIOS),
    Group::new("errors", errors::SCENARIOS),
    Group::new("exits", exits::SCENARIOS),
    Group::new("hostile", hostile::SCENARIOS),
    #[cfg(feature = "modules")]
    Group::new("judges", judges::SCENARIOS),
    Group::new("kernel", kernel::SCENARIOS).runs(Runs::WithWireGuard),
    Group::new("lab", foundation::SCENARIOS),
    Group::new("life", life::SCENARIOS),
    Group::new("mesh", mesh::SCENARIOS),
    #[cfg(feature = "modules")]
    Group::new("modules", modules::SCENARIOS),
    Group::new("networks", networks::SCENARIOS),
    Group::new("owners", owners::SCENARIOS),
    Group::new("provision", provision::SCENARIOS),
    Group::new("readme", readme::SCENARIOS),
    Group::new("secrets", secrets::SCENARIOS),
    Group::new("unsupervised", unsupervised::SCENARIOS).runs(Runs::OnDemand),
    #[cfg(not(feature = "modules"))]
    Group::new("without_modules", without_modules::SCENARIOS),
];

/// The scenario called `name`, with or without `GROUP::` before it, and its group.
#[must_use]
pub fn find(name: &str) -> Option<(&'static Group, &'static Scenario)> {
    let (group, name) = match name.split_once("::") {
        Some((group, name)) => (Some(group), name),
        None => (None, name),
    };
    GROUPS
        .iter()
        .filter(|candidate| group.is_none_or(|group| group == candidate.name))
        .find_map(|group| {
            let found = group.scenarios.iter().find(|found| found.name == name)?;
            Some((group, found))
        })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_scenario_has_a_name_of_its_own() {
        let all = || GROUPS.iter().flat_map(|group| group.scenarios);
        let names: BTreeSet<&str> = all().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), all().count());
        let groups: BTreeSet<&str> = GROUPS.iter().map(|group| group.name).collect();
        assert_eq!(groups.len(), GROUPS.len());
    }

    #[test]
    fn a_scenario_is_found_with_and_without_its_group() {
        let name = "nodes_are_isolated";
        for (asked, found) in [
            (name.to_owned(), true),
            (format!("lab::{name}"), true),
            (format!("life::{name}"), false),
            ("nodes_are".to_owned(), false),
        ] {
            assert_eq!(find(&asked).is_some(), found, "{asked}");
        }
    }
}
