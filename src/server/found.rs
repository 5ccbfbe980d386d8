//! The networks that the server finds on disk.

use grid_promises::core::NetworkRecord;
use tracing::warn;

use crate::exit::Outcome;
use crate::node::status::BrokenReport;
use crate::store::{InterfaceOptions, Loaded, Store};

/// A network that can be started.
#[derive(Debug)]
pub(super) struct Found {
    /// What the core needs of it.
    pub record: NetworkRecord,
    /// How its interface is run.
    pub interface: InterfaceOptions,
    /// Why statements that were written down may be missing.
    pub lack: Option<String>,
}

/// What can be started, and what cannot.
///
/// # Errors
/// The folder of networks cannot be read.
pub(super) fn load(store: &Store) -> Outcome<(Vec<Found>, Vec<BrokenReport>)> {
    let mut found = Vec::new();
    let mut broken = Vec::new();
    for loaded in store.networks()? {
        match loaded {
            Loaded::Whole(stored) => {
                for complaint in &stored.complaints {
                    warn!("{}: started without: {complaint}", stored.record.name());
                }
                // What is damaged was said.
                if let Some(why) = stored
                    .lack
                    .as_ref()
                    .filter(|_| stored.complaints.is_empty())
                {
                    let name = stored.record.name();
                    warn!("{name}: started, and statements may be missing: {why}");
                }
                found.push(Found {
                    record: stored.record,
                    interface: stored.interface,
                    lack: stored.lack,
                });
            }
            Loaded::Broken { name, error } => {
                warn!("{name}: the network is not started: {error}");
                let error = error.to_string();
                broken.push(BrokenReport { name, error });
            }
        }
    }
    Ok((found, broken))
}
