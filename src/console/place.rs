//! Writing to a place that a person named: a file, which links may lead to, or a device or pipe.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{
    FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{
    AT_FDCWD, AtFlags, FcntlArg, OFlag, OpenHow, ResolveFlag, fcntl, open, openat, openat2,
    renameat,
};
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};

/// Who may read a file that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Those who could read the file before; those who may read the person's files, if it is new.
    AsBefore,
    /// Its owner only: it holds a secret.
    Owner,
}

/// As many links as the system follows.
const MOST_LINKS: usize = 40;

/// Has `content` write a file, whole or not at all. A link stays one: the file that it leads to is written.
/// What is no regular file (a device, a pipe) is written to as it is.
///
/// Links and pipes that somebody else put into a folder in which everybody may write are not trusted: they would
/// choose who gets the content, and what it overwrites.
///
/// # Errors
/// What the system says; then a regular file is what it was.
pub fn write(
    path: &Path,
    readers: Readers,
    content: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let place = destination(path)?;
    match fs::metadata(path) {
        Ok(about) if !about.is_file() => content(&mut open_special(path, &about, &place)?),
        _ => write_file(&place, readers, content),
    }
}

/// Opens what is no regular file, and does not wait for a reader.
fn open_special(path: &Path, about: &Metadata, place: &Path) -> io::Result<File> {
    let is_put_there = about.file_type().is_fifo() || about.file_type().is_socket();
    if is_put_there && let Some(folder) = place.parent() {
        trust(path, about, folder)?;
    }
    let nobody_reads = |error: io::Error| match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENXIO) => io::Error::other("nobody reads from it"),
        _ => error,
    };
    let file = File::options()
        .write(true)
        .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits())
        .open(path)
        .map_err(nobody_reads)?;
    let opened = file.metadata()?;
    if (opened.dev(), opened.ino()) != (about.dev(), about.ino()) {
        return Err(io::Error::other(
            "it was replaced by something else just now",
        ));
    }
    let flags = OFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GETFL)?);
    fcntl(&file, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK))?;
    Ok(file)
}

/// Writes a file beside the one that it replaces. All of that happens in the folder that was found, whatever
/// becomes of the path to it meanwhile.
fn write_file(
    place: &Path,
    readers: Readers,
    content: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let name = place.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    let folder = open_folder(place.parent().unwrap_or(Path::new("/")))?;
    let mut unfinished = OsString::from(".");
    unfinished.push(name);
    unfinished.push(format!(".{}.tmp", std::process::id()));
    let mode = match readers {
        Readers::AsBefore => 0o666,
        Readers::Owner => 0o600,
    };
    // If another process has that file, it stays.
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let file = openat(
        &folder,
        unfinished.as_os_str(),
        flags,
        Mode::from_bits_truncate(mode),
    )?;
    let mut file = File::from(file);
    let write = || {
        let before = fstatat(&folder, name, AtFlags::AT_SYMLINK_NOFOLLOW);
        match (readers, before) {
            (Readers::Owner, _) => file.set_permissions(Permissions::from_mode(mode))?,
            (Readers::AsBefore, Ok(about)) => {
                file.set_permissions(Permissions::from_mode(about.st_mode & 0o7777))?;
            }
            (Readers::AsBefore, Err(_)) => {}
        }
        content(&mut file)?;
        file.sync_all()?;
        Ok(renameat(&folder, unfinished.as_os_str(), &folder, name)?)
    };
    write().inspect_err(|_| {
        let _ = unlinkat(&folder, unfinished.as_os_str(), UnlinkatFlags::NoRemoveDir);
    })
}

/// Opens a folder whose path has no links any more.
fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let how = OpenHow::new()
        .flags(flags)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    match openat2(AT_FDCWD, path, how) {
        // Before Linux 5.6, or where it is filtered.
        Err(Errno::ENOSYS | Errno::EPERM) => {
            Ok(open(path, flags | OFlag::O_NOFOLLOW, Mode::empty())?)
        }
        opened => Ok(opened?),
    }
}

/// Where links lead, also if there is nothing yet.
fn destination(path: &Path) -> io::Result<PathBuf> {
    let parts = |path: &Path| -> VecDeque<OsString> {
        let parts = path.components().map(Component::as_os_str);
        parts.map(OsString::from).collect()
    };
    let mut rest = parts(&std::path::absolute(path)?);
    let mut at = PathBuf::new();
    let mut links = 0;
    while let Some(part) = rest.pop_front() {
        if part == ".." {
            at.pop();
            continue;
        }
        let next = at.join(part);
        match fs::symlink_metadata(&next) {
            Ok(about) if about.is_symlink() => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(Errno::ELOOP.into());
                }
                trust(&next, &about, &at)?;
                let mut way = parts(&fs::read_link(&next)?);
                way.append(&mut rest);
                rest = way;
            }
            // What cannot be looked at, cannot be written to either.
            _ => at = next,
        }
    }
    Ok(at)
}

/// Refuses what somebody else put into a folder in which everybody may write.
fn trust(what: &Path, about: &Metadata, folder: &Path) -> io::Result<()> {
    let folder = fs::metadata(folder)?;
    let own = [0, geteuid().as_raw(), folder.uid()];
    if folder.mode() & 0o002 == 0 || own.contains(&about.uid()) {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!(
            "{} belongs to user {}, and is in a folder in which everybody may write: it could lead anywhere",
            what.display(),
            about.uid()
        ),
    ))
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
    fn what_strangers_left_where_everybody_may_write_is_not_trusted() {
        if !geteuid().is_root() {
            println!("SKIPPED: only root can make files of another user");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let [shared, link, pipe, victim, through] = [
            "shared",
            "shared/link",
            "shared/pipe",
            "victim",
            "shared/link/file",
        ]
        .map(|name| dir.path().join(name));
        fs::create_dir(&shared).unwrap();
        fs::set_permissions(&shared, Permissions::from_mode(0o1777)).unwrap();
        fs::write(&victim, "before").unwrap();
        symlink(&victim, &link).unwrap();
        nix::unistd::mkfifo(&pipe, Mode::from_bits_truncate(0o666)).unwrap();
        for what in [&link, &pipe] {
            std::os::unix::fs::lchown(what, Some(65_534), Some(65_534)).unwrap();
            for readers in [Readers::Owner, Readers::AsBefore] {
                let error = put(what, readers, "secret").unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
            }
        }
        // The same on the way to the file.
        let error = put(&through, Readers::Owner, "secret").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "before");
        // In a folder of their own, they may do as they like.
        fs::set_permissions(&shared, Permissions::from_mode(0o755)).unwrap();
        put(&link, Readers::Owner, "secret").unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "secret");
    }

    #[test]
    fn a_pipe_without_a_reader_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, Mode::from_bits_truncate(0o600)).unwrap();
        let error = put(&pipe, Readers::Owner, "secret").unwrap_err();
        assert_eq!(error.to_string(), "nobody reads from it");
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read_to_string(pipe).unwrap()
        });
        let written = (0..1000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(5));
            put(&pipe, Readers::Owner, "secret").is_ok()
        });
        assert!(written);
        assert_eq!(reader.join().unwrap(), "secret");
    }

    #[test]
    fn links_that_lead_nowhere_are_followed_no_further_than_the_system_does() {
        let dir = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| dir.path().join(name));
        symlink("other", &one).unwrap();
        symlink("one", &other).unwrap();
        let error = put(&one, Readers::Owner, "secret").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::ELOOP as i32));
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
