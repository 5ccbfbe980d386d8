//! Writing to a place that a person named: a file, which links may lead to, or a device or pipe.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Who may read a file that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Those who could read the file before; those who may read the person's files, if it is new.
    AsBefore,
    /// Its owner only: it holds a secret.
    Owner,
}

/// Has `content` write a file, whole or not at all. A link stays one: the file that it leads to is written.
/// What is no regular file (a device, a pipe) is written to as it is.
///
/// # Errors
/// What the system says; then a regular file is what it was.
pub fn write(
    path: &Path,
    readers: Readers,
    content: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let place = destination(path)?;
    if fs::metadata(&place).is_ok_and(|about| !about.is_file()) {
        return content(&mut File::options().write(true).open(&place)?);
    }
    let unfinished = beside(&place)?;
    let mode = match readers {
        Readers::AsBefore => 0o666,
        Readers::Owner => 0o600,
    };
    // If another process has that file, it stays.
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&unfinished)?;
    let write = || {
        match (readers, fs::metadata(&place)) {
            (Readers::Owner, _) => file.set_permissions(Permissions::from_mode(mode))?,
            (Readers::AsBefore, Ok(about)) => file.set_permissions(about.permissions())?,
            (Readers::AsBefore, Err(_)) => {}
        }
        content(&mut file)?;
        file.sync_all()?;
        fs::rename(&unfinished, &place)
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&unfinished);
    })
}

/// Where links lead, also if there is nothing yet.
fn destination(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::read_link(path) {
            Ok(target) => {
                let folder = path.parent().unwrap_or(Path::new(""));
                // One that leads to itself has been refused above.
                destination(&folder.join(target))
            }
            Err(_) => Ok(path.to_owned()),
        },
        other => other,
    }
}

/// A name for the unfinished file, in the same folder.
fn beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    let mut unfinished = OsString::from(".");
    unfinished.push(name);
    unfinished.push(format!(".{}.tmp", std::process::id()));
    Ok(path.with_file_name(unfinished))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::symlink;

    use super::*;

    fn put(path: &Path, readers: Readers, text: &str) -> io::Result<()> {
        write(path, readers, |file| file.write_all(text.as_bytes()))
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn links_stay_and_what_they_lead_to_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let [file, link, new, dangling] =
            ["file", "link", "new", "dangling"].map(|name| dir.path().join(name));
        fs::write(&file, "before").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        symlink("file", &link).unwrap();
        symlink("new", &dangling).unwrap();
        put(&link, Readers::AsBefore, "kept").unwrap();
        assert_eq!(
            (fs::read_to_string(&file).unwrap().as_str(), mode(&file)),
            ("kept", 0o644)
        );
        put(&link, Readers::Owner, "secret").unwrap();
        assert_eq!(
            (fs::read_to_string(&file).unwrap().as_str(), mode(&file)),
            ("secret", 0o600)
        );
        put(&dangling, Readers::Owner, "first").unwrap();
        assert_eq!(
            (fs::read_to_string(&new).unwrap().as_str(), mode(&new)),
            ("first", 0o600)
        );
        for link in [&link, &dangling] {
            assert!(fs::symlink_metadata(link).unwrap().is_symlink());
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);
    }

    #[test]
    fn a_device_stays_a_device() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("null");
        symlink("/dev/null", &link).unwrap();
        put(&link, Readers::Owner, "secret").unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("/dev/null"));
        assert!(!fs::metadata(&link).unwrap().is_file());
    }

    #[test]
    fn what_fails_leaves_the_file_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "before").unwrap();
        let failed = write(&file, Readers::Owner, |file| {
            file.write_all(b"half")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read_to_string(&file).unwrap(), "before");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
