//! The history of what a network's node decided about promises: two files of entries, one after the
//! other, each of a few MiB at most.
//!
//! | file | holds |
//! |---|---|
//! | `history` | the latest entries; new ones are put at its end |
//! | `history.old` | those before, until `history` is full again |
//!
//! Nothing here is needed to run: an entry is not synced, and one that was cut off is taken away
//! before the next whole one. What the entries say is `grid_promises::network::history`.

use std::io;
use std::path::Path;

use grid_promises::network::history::{NewEntry, sound_length};

use super::error::StoreError;
use grid_files::FileError;
use grid_files::atomic;
use grid_files::disk::Disk;
use grid_files::private::{Privacy, Reader};

/// The latest entries.
pub(super) const HISTORY: &str = "history";
/// Those before.
pub(super) const OLDER: &str = "history.old";
/// How many bytes are enough for one file.
const FULL: u64 = 4 << 20;
/// The most bytes of a file: it is cut at whole decisions, which may come late and be long.
const MAX: u64 = 4 * FULL;

/// Puts an entry behind the others.
pub(super) fn append<D: Disk>(disk: &D, folder: &Path, entry: &NewEntry) -> Result<(), StoreError> {
    let path = folder.join(HISTORY);
    if entry.is_whole {
        tidy(disk, folder)?;
    }
    let written = match disk.append(&path, &entry.bytes) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => disk
            .create(&path)
            .and_then(|()| disk.append(&path, &entry.bytes)),
        other => other,
    };
    written.map_err(|source| FileError::Write { path, source }.into())
}

/// Before a whole entry: takes away what was cut off, and begins a new file if this one is full.
fn tidy<D: Disk>(disk: &D, folder: &Path) -> Result<(), StoreError> {
    let path = folder.join(HISTORY);
    let failed = |source| FileError::Write {
        path: path.clone(),
        source,
    };
    let length = match disk.about(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(failed)?.len,
    };
    if length >= FULL {
        return disk
            .rename(&path, &folder.join(OLDER))
            .map_err(|source| failed(source).into());
    }
    let found = disk
        .read(&path, MAX)
        .map_err(|error| FileError::read(&path, error))?;
    let sound = sound_length(&found.bytes);
    if let Some(rest) = found.bytes.get(..sound)
        && rest.len() < found.bytes.len()
    {
        atomic::write_file(disk, folder, HISTORY, rest)?;
    }
    Ok(())
}

/// The files, oldest first.
pub(super) fn read<D: Disk>(
    reader: &Reader<'_, D>,
    folder: &Path,
) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut files = Vec::new();
    for name in [OLDER, HISTORY] {
        let found = reader.optional(&folder.join(name), MAX, Privacy::Plain)?;
        files.extend(found.map(|bytes| bytes.to_vec()));
    }
    Ok(files)
}
