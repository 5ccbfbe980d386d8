//! Changes that happen all at once or not at all, made of single file operations.
//!
//! | change | the one operation that decides |
//! |---|---|
//! | a file is written | its temporary file is renamed |
//! | a folder is written | its temporary folder is renamed |
//! | a folder is replaced | the old folder is renamed; [`recover`] finishes what is left |
//! | a folder is removed | the folder is renamed |
//!
//! Content is durable before the name that leads to it is. Everything unfinished ends in `.tmp`.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::Disk;

/// How the names of unfinished things end.
pub const UNFINISHED: &str = ".tmp";
const NEW: &str = ".new.tmp";
const OLD: &str = ".old.tmp";

/// What failed, and on which path.
#[derive(Debug)]
pub struct Failed {
    /// The path.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

type Result<T> = std::result::Result<T, Failed>;

fn at<T>(path: &Path, result: io::Result<T>) -> Result<T> {
    result.map_err(|source| Failed {
        path: path.to_owned(),
        source,
    })
}

/// As [`at`], and content with its being gone already.
fn gone(path: &Path, result: io::Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => at(path, other),
    }
}

/// Makes a folder, unless it is there.
pub fn ensure_dir<D: Disk>(disk: &D, path: &Path) -> Result<()> {
    match disk.make_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // Also catches a file of that name.
            at(path, disk.list(path)).map(drop)
        }
        Err(error) => at(path, Err(error)),
        Ok(()) => match path.parent() {
            Some(parent) => at(parent, disk.sync_dir(parent)),
            None => Ok(()),
        },
    }
}

/// Writes a file, in the place of one that may be there.
pub fn write_file<D: Disk>(disk: &D, folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let temporary = folder.join(format!("{name}{UNFINISHED}"));
    let path = folder.join(name);
    gone(&temporary, disk.remove_file(&temporary))?;
    write_durably(disk, &temporary, bytes)?;
    at(&path, disk.rename(&temporary, &path))?;
    at(folder, disk.sync_dir(folder))
}

fn write_durably<D: Disk>(disk: &D, path: &Path, bytes: &[u8]) -> Result<()> {
    at(path, disk.create(path))?;
    at(path, disk.append(path, bytes))?;
    at(path, disk.sync_file(path))
}

/// Tries whether a folder takes `length` bytes more, and leaves it as it was.
pub fn probe<D: Disk>(disk: &D, folder: &Path, length: usize) -> Result<()> {
    let path = folder.join(format!("probe{UNFINISHED}"));
    gone(&path, disk.remove_file(&path))?;
    let written = write_durably(disk, &path, &vec![0; length]);
    let removed = gone(&path, disk.remove_file(&path));
    written.and(removed)
}

/// Removes files that may be there, and makes that durable.
pub fn remove_files<D: Disk>(disk: &D, folder: &Path, names: &[&str]) -> Result<()> {
    for name in names {
        let path = folder.join(name);
        gone(&path, disk.remove_file(&path))?;
    }
    at(folder, disk.sync_dir(folder))
}

/// Writes the folder `parent/name` with these files, in the place of one that may be there.
pub fn write_folder<D: Disk>(
    disk: &D,
    parent: &Path,
    name: &str,
    files: &[(&str, &[u8])],
) -> Result<()> {
    recover(disk, parent, name)?;
    let (path, new, old) = paths(parent, name);
    at(&new, disk.make_dir(&new))?;
    for (name, bytes) in files {
        write_durably(disk, &new.join(name), bytes)?;
    }
    at(&new, disk.sync_dir(&new))?;
    // The new folder is durable before the old one is touched: whoever finds the old one renamed
    // finds the new one whole.
    at(parent, disk.sync_dir(parent))?;
    gone(&path, disk.rename(&path, &old))?;
    at(&path, disk.rename(&new, &path))?;
    at(parent, disk.sync_dir(parent))?;
    remove_tree(disk, &old)
}

/// Removes the folder `parent/name`.
pub fn remove_folder<D: Disk>(disk: &D, parent: &Path, name: &str) -> Result<()> {
    recover(disk, parent, name)?;
    let (path, _, old) = paths(parent, name);
    gone(&path, disk.rename(&path, &old))?;
    at(parent, disk.sync_dir(parent))?;
    remove_tree(disk, &old)
}

/// Finishes, or takes back, what was going on with `parent/name` when the program was stopped.
pub fn recover<D: Disk>(disk: &D, parent: &Path, name: &str) -> Result<()> {
    let (path, new, old) = paths(parent, name);
    let there: Vec<String> = at(parent, disk.list(parent))?
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    let has = |suffix: &str| {
        there
            .iter()
            .any(|other| *other == format!("{name}{suffix}"))
    };
    if has(OLD) && has(NEW) && !has("") {
        at(&path, disk.rename(&new, &path))?;
        at(parent, disk.sync_dir(parent))?;
    } else if has(NEW) {
        remove_tree(disk, &new)?;
    }
    if has(OLD) {
        // The renaming may have been seen without being durable: then the files would go first.
        at(parent, disk.sync_dir(parent))?;
        remove_tree(disk, &old)?;
    }
    Ok(())
}

/// Recovers every folder in `parent`, and removes unfinished files.
pub fn recover_all<D: Disk>(disk: &D, parent: &Path) -> Result<()> {
    for entry in at(parent, disk.list(parent))? {
        for suffix in [NEW, OLD] {
            if let Some(name) = entry.name.strip_suffix(suffix) {
                recover(disk, parent, name)?;
            }
        }
    }
    clean(disk, parent)
}

/// Removes unfinished files in a folder.
pub fn clean<D: Disk>(disk: &D, folder: &Path) -> Result<()> {
    for entry in at(folder, disk.list(folder))? {
        if !entry.is_dir && entry.name.ends_with(UNFINISHED) {
            let path = folder.join(&entry.name);
            gone(&path, disk.remove_file(&path))?;
        }
    }
    Ok(())
}

/// Removes a folder and the files in it. It holds no folders: the store makes none.
fn remove_tree<D: Disk>(disk: &D, path: &Path) -> Result<()> {
    let entries = match disk.list(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => at(path, other)?,
    };
    for entry in entries {
        let file = path.join(entry.name);
        gone(&file, disk.remove_file(&file))?;
    }
    gone(path, disk.remove_dir(path))
}

fn paths(parent: &Path, name: &str) -> (PathBuf, PathBuf, PathBuf) {
    (
        parent.join(name),
        parent.join(format!("{name}{NEW}")),
        parent.join(format!("{name}{OLD}")),
    )
}
