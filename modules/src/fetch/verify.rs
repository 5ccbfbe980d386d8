//! What an answer of a peer is worth: read, verified, and only then written. Runs where it holds nobody
//! up, and says whose fault it is if it comes to nothing.

use std::sync::Arc;

use grid_promises::ContentId;
use grid_promises::modules::Manifest;
use grid_promises::modules::fetch::{Chunk, Offer};

use super::client::read;
use super::error::Told;
use super::partial::Partial;
use super::session::Wanted;
use crate::objects::{CacheError, Objects};

/// What a peer offers.
pub(super) enum Offered {
    /// All of it, which is in the store now: so many bytes.
    Stored(u64),
    /// Its manifest, and the id of that.
    Manifest(ContentId, Arc<Manifest>),
    /// The store refuses, which is not the peer's fault.
    Unstored(CacheError),
}

/// Why a chunk is not in the file.
pub(super) enum Miss {
    /// The peer did not give it.
    Peer(Told),
    /// The system refuses to write it.
    Disk(String),
}

/// What an offer is worth: a whole object is verified and stored, a manifest is read.
pub(super) async fn weigh(
    objects: &Objects,
    wanted: Wanted,
    bytes: Vec<u8>,
) -> Result<Offered, Told> {
    let objects = objects.clone();
    let weighing = tokio::task::spawn_blocking(move || {
        let Wanted { id, limit, .. } = wanted;
        match read::<Offer>(&bytes)? {
            Offer::Whole(whole) if whole.len() as u64 > limit => {
                Err(Told::TooLong(whole.len() as u64))
            }
            Offer::Whole(whole) => match objects.put_as(&id, &whole) {
                Ok(put) => Ok(Offered::Stored(put.len)),
                Err(CacheError::NotTheObject { .. }) => {
                    Err(Told::Lied(format!("it sent something else as {id}")))
                }
                Err(error) => Ok(Offered::Unstored(error)),
            },
            Offer::InChunks(manifest) => match Manifest::decode(&manifest) {
                Ok(manifest) if manifest.length() > limit => Err(Told::TooLong(manifest.length())),
                Ok(manifest) => Ok(Offered::Manifest(manifest.id(), Arc::new(manifest))),
                Err(error) => Err(Told::Lied(format!("its manifest of {id} is none: {error}"))),
            },
        }
    });
    let gone = |_| Err(Told::Lost("reading its answer was given up".to_owned()));
    weighing.await.unwrap_or_else(gone)
}

/// Verifies a chunk and writes it to the file.
pub(super) async fn keep(
    bytes: Vec<u8>,
    index: u32,
    manifest: Arc<Manifest>,
    partial: Arc<Partial>,
) -> Result<(), Miss> {
    let keeping = tokio::task::spawn_blocking(move || {
        let chunk = read::<Chunk>(&bytes).map_err(Miss::Peer)?;
        manifest
            .verify_chunk(index, &chunk.bytes)
            .map_err(|error| Miss::Peer(Told::Lied(format!("a wrong chunk: {error}"))))?;
        let start = manifest.range_of(index).map_or(0, |range| range.start);
        partial
            .write(&chunk.bytes, start)
            .map_err(|error| Miss::Disk(format!("{}: {error}", partial.path().display())))
    });
    let gone = |_| Err(Miss::Disk("writing it was given up".to_owned()));
    keeping.await.unwrap_or_else(gone)
}
