//! The time that this node believed last, in Unix seconds: `time`. A hint; one that is damaged is none.

use std::path::Path;

use grid_files::atomic;
use grid_files::disk::Disk;
use grid_files::private::{Privacy, Reader, SMALL};
use grid_promises::Timestamp;

use super::error::StoreError;

const FILE: &str = "time";

pub(super) fn load<D: Disk>(reader: &Reader<'_, D>, home: &Path) -> Option<Timestamp> {
    let found = reader.optional(&home.join(FILE), SMALL, Privacy::Plain);
    let text = String::from_utf8(found.ok()??.to_vec()).ok()?;
    text.trim_end().parse().ok().map(Timestamp)
}

pub(super) fn save<D: Disk>(disk: &D, home: &Path, time: Timestamp) -> Result<(), StoreError> {
    atomic::write_file(disk, home, FILE, format!("{time}\n").as_bytes())?;
    Ok(())
}
