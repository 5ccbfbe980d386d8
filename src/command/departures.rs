//! Who stays when a node goes that they came in by.

use grid_promises::core::Keep;
use serde::{Deserialize, Serialize};

/// Who stays, admitted by name first.
#[derive(Clone, Debug, Default, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeepOptions {
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
}

impl KeepOptions {
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
