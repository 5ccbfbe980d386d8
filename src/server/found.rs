//! The networks that the server finds on disk.

use grid_promises::core::NetworkRecord;
use tracing::warn;

use crate::exit::Outcome;
use crate::node::status::BrokenReport;
use crate::store::{InterfaceOptions, Loaded, Store};

type Records = Vec<(NetworkRecord, InterfaceOptions)>;

/// What can be started, and what cannot.
///
/// # Errors
/// The folder of networks cannot be read.
pub(super) fn load(store: &Store) -> Outcome<(Records, Vec<BrokenReport>)> {
    let mut records = Vec::new();
    let mut broken = Vec::new();
    for loaded in store.networks()? {
        match loaded {
            Loaded::Whole(stored) => {
                for complaint in &stored.complaints {
                    warn!("{}: started without: {complaint}", stored.record.name());
                }
                records.push((stored.record, stored.interface));
            }
            Loaded::Broken { name, error } => {
                warn!("{name}: the network is not started: {error}");
                let error = error.to_string();
                broken.push(BrokenReport { name, error });
            }
        }
    }
    Ok((records, broken))
}
