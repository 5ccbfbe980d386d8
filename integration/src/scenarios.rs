//! The end-to-end tests, one file for each group. A group is run by `tests/GROUP.rs`.

pub mod acceptance;
pub mod boot;
pub mod claims;
pub mod errors;
pub mod exits;
mod foreign;
pub mod foundation;
pub mod hostile;
#[cfg(feature = "modules")]
pub mod judges;
pub mod kernel;
pub mod life;
pub mod mesh;
#[cfg(feature = "modules")]
pub mod modules;
pub mod networks;
pub mod provision;
pub mod readme;
pub mod secrets;
mod seen;
pub mod unsupervised;
#[cfg(not(feature = "modules"))]
pub mod without_modules;

use crate::scenario::Scenario;

/// Every group.
pub(crate) const GROUPS: &[&[Scenario]] = &[
    acceptance::SCENARIOS,
    boot::SCENARIOS,
    claims::SCENARIOS,
    errors::SCENARIOS,
    exits::SCENARIOS,
    foundation::SCENARIOS,
    hostile::SCENARIOS,
    kernel::SCENARIOS,
    life::SCENARIOS,
    mesh::SCENARIOS,
    #[cfg(feature = "modules")]
    judges::SCENARIOS,
    #[cfg(feature = "modules")]
    modules::SCENARIOS,
    networks::SCENARIOS,
    provision::SCENARIOS,
    readme::SCENARIOS,
    secrets::SCENARIOS,
    unsupervised::SCENARIOS,
    #[cfg(not(feature = "modules"))]
    without_modules::SCENARIOS,
];
