//! Modules on this node, as far as this build has them: who handles which message of a peer, and asking
//! judges.
//!
//! A build without modules ([`absent`]) keeps the mesh's own promises and takes part in no other; a judge
//! that a person named cannot be asked, as if it failed.

#[cfg(not(feature = "modules"))]
mod absent;
#[cfg(feature = "modules")]
mod present;

mod claim;

#[cfg(not(feature = "modules"))]
pub(super) use absent::Modules;
pub(super) use claim::Claim;
#[cfg(feature = "modules")]
pub(super) use present::Modules;
