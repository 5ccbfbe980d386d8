//! The nodes that a person made peers of this one: `peers/<node id>`, TOML.

use std::net::SocketAddr;
use std::path::Path;

use grid_keys::NodeId;
use grid_promises::Timestamp;
use toml_edit::{Array, DocumentMut, Item, value};

use super::error::StoreError;
use super::files::toml_error;
use grid_files::FileError;
use grid_files::atomic;
use grid_files::disk::Disk;
use grid_files::private::{Privacy, Reader};

/// A known peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownPeer {
    /// Its node key.
    pub node: NodeId,
    /// Where its QUIC was reached, best first.
    pub addresses: Vec<SocketAddr>,
    /// Since when it is known.
    pub since: Timestamp,
    /// What people call it, if anybody said so.
    pub label: Option<String>,
}

pub(super) fn save<D: Disk>(disk: &D, folder: &Path, peer: &KnownPeer) -> Result<(), StoreError> {
    let mut document = DocumentMut::new();
    let addresses: Array = peer.addresses.iter().map(ToString::to_string).collect();
    document["addresses"] = value(addresses);
    document["since"] = value(i64::try_from(peer.since.0).unwrap_or(i64::MAX));
    if let Some(label) = &peer.label {
        document["label"] = value(label);
    }
    let text = document.to_string();
    atomic::write_file(disk, folder, &peer.node.to_string(), text.as_bytes())?;
    Ok(())
}

/// Reads every known peer. One that is damaged costs nothing but itself.
pub(super) fn load<D: Disk>(
    reader: &Reader<'_, D>,
    folder: &Path,
) -> (Vec<KnownPeer>, Vec<StoreError>) {
    let mut peers = Vec::new();
    let mut complaints = Vec::new();
    let entries = match reader.disk.list(folder) {
        Ok(entries) => entries,
        Err(error) => return (peers, vec![FileError::read(folder, error).into()]),
    };
    for entry in entries {
        match load_one(reader, &folder.join(&entry.name), &entry.name) {
            Ok(peer) => peers.push(peer),
            Err(error) => complaints.push(error),
        }
    }
    (peers, complaints)
}

fn load_one<D: Disk>(
    reader: &Reader<'_, D>,
    path: &Path,
    name: &str,
) -> Result<KnownPeer, StoreError> {
    let node = name
        .parse()
        .map_err(|_| StoreError::damaged(path, "its name is not a node id"))?;
    let bytes = reader.required(path, Privacy::Plain)?;
    let text =
        std::str::from_utf8(&bytes).map_err(|_| StoreError::damaged(path, "it is not text"))?;
    let document = toml_edit::Document::parse(text)
        .map_err(|error| toml_error(path, text, error.span(), error.message()))?;
    let addresses = document
        .get("addresses")
        .and_then(Item::as_array)
        .and_then(|list| {
            list.iter()
                .map(|value| value.as_str()?.parse().ok())
                .collect()
        })
        .ok_or_else(|| StoreError::damaged(path, "addresses must be a list of \"ADDRESS:PORT\""))?;
    let since = document
        .get("since")
        .and_then(Item::as_integer)
        .and_then(|seconds| u64::try_from(seconds).ok());
    Ok(KnownPeer {
        node,
        addresses,
        since: Timestamp(since.unwrap_or(0)),
        label: document
            .get("label")
            .and_then(Item::as_str)
            .map(str::to_owned),
    })
}
