//! Writing to a place that a person named: a file, which links may lead to, or a device or pipe.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{
    AT_FDCWD, AtFlags, FcntlArg, OFlag, OpenHow, ResolveFlag, fcntl, open, openat, openat2,
    renameat,
};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, geteuid, unlinkat};

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

/// Where something is written to.
enum Place {
    /// A file of this process that is open already, by its link in `/proc`.
    Open(PathBuf),
    /// A name in a folder whose path has no links in it.
    Named(PathBuf),
}

/// Has `content` write a file, whole or not at all. A link stays one: the file that it leads to is written.
/// What is no regular file (a device, a pipe), or is open already (`/dev/stdout`), is written to as it is.
///
/// Links and pipes that somebody else put into a folder in which everybody may write are not trusted: they would
/// choose who gets the content, and what it overwrites. The folder is opened once, and all that follows happens in
/// it, whatever becomes of the path meanwhile.
///
/// # Errors
/// What the system says; then a regular file is what it was.
pub fn write(
    path: &Path,
    readers: Readers,
    content: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    if path.as_os_str().as_bytes().ends_with(b"/") {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let place = match destination(path)? {
        Place::Open(link) => return content(&mut File::options().append(true).open(link)?),
        Place::Named(place) => place,
    };
    let name = place.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    let folder = open_folder(place.parent().unwrap_or(Path::new("/")))?;
    let before = match fstatat(&folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(before) => Some(before),
        Err(Errno::ENOENT) => None,
        Err(error) => return Err(error.into()),
    };
    match before.as_ref().map(kind) {
        None | Some(SFlag::S_IFREG) => {
            let before = before.filter(|_| readers == Readers::AsBefore);
            write_file(&folder, name, before.as_ref(), readers, content)
        }
        Some(SFlag::S_IFDIR) => Err(io::ErrorKind::IsADirectory.into()),
        Some(SFlag::S_IFLNK) => Err(replaced()),
        Some(SFlag::S_IFSOCK) => Err(io::Error::other("it is a socket")),
        Some(_) => {
            let mut file = open_special(&folder, name, &place, before.as_ref())?;
            content(&mut file)
        }
    }
}

fn kind(about: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(about.st_mode) & SFlag::S_IFMT
}

fn replaced() -> io::Error {
    io::Error::other("it was replaced by something else just now")
}

/// Opens what is no regular file, and does not wait for a reader.
fn open_special(
    folder: &OwnedFd,
    name: &OsStr,
    place: &Path,
    before: Option<&FileStat>,
) -> io::Result<File> {
    if let Some(before) = before.filter(|before| kind(before) == SFlag::S_IFIFO) {
        let folder = fstat(folder)?;
        trust(place, before.st_uid, folder.st_uid, folder.st_mode)?;
    }
    let flags = OFlag::O_WRONLY
        | OFlag::O_NONBLOCK
        | OFlag::O_NOCTTY
        | OFlag::O_NOFOLLOW
        | OFlag::O_CLOEXEC;
    let file = match openat(folder, name, flags, Mode::empty()) {
        Err(Errno::ENXIO) => return Err(io::Error::other("nobody reads from it")),
        opened => File::from(opened?),
    };
    let opened = fstat(&file)?;
    if before.is_none_or(|b| (b.st_dev, b.st_ino) != (opened.st_dev, opened.st_ino)) {
        return Err(replaced());
    }
    let flags = OFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GETFL)?);
    fcntl(&file, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK))?;
    Ok(file)
}

/// Writes a file beside the one that it replaces.
fn write_file(
    folder: &OwnedFd,
    name: &OsStr,
    before: Option<&FileStat>,
    readers: Readers,
    content: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let unfinished = unfinished()?;
    let mode = match readers {
        Readers::AsBefore => 0o666,
        Readers::Owner => 0o600,
    };
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let mode = Mode::from_bits_truncate(mode);
    let mut file = File::from(openat(folder, unfinished.as_str(), flags, mode)?);
    let write = || {
        if let Some(before) = before {
            keep_readers(&file, before)?;
        } else if readers == Readers::Owner {
            file.set_permissions(Permissions::from_mode(0o600))?;
        }
        content(&mut file)?;
        file.sync_all()?;
        Ok(renameat(folder, unfinished.as_str(), folder, name)?)
    };
    write().inspect_err(|_| {
        let _ = unlinkat(folder, unfinished.as_str(), UnlinkatFlags::NoRemoveDir);
    })
}

/// Gives a file the owner, the group and the permissions of the one that it replaces; if it cannot have the former,
/// none but its owner reads it. What makes a program run as its owner is not kept: the owner did not write this.
fn keep_readers(file: &File, before: &FileStat) -> io::Result<()> {
    let (owner, group) = (Uid::from_raw(before.st_uid), Gid::from_raw(before.st_gid));
    let mask = match fchown(file, Some(owner), Some(group)) {
        Ok(()) => 0o777,
        Err(_) => 0o700,
    };
    file.set_permissions(Permissions::from_mode(before.st_mode & mask))
}

/// A name for the unfinished file that nobody can have taken.
fn unfinished() -> io::Result<String> {
    let number =
        getrandom::u64().map_err(|_| io::Error::other("the system gives no randomness"))?;
    Ok(format!(".{number:016x}.tmp"))
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
fn destination(path: &Path) -> io::Result<Place> {
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
                if rest.is_empty() && at.starts_with("/proc") && at.ends_with("fd") {
                    return Ok(Place::Open(next));
                }
                links += 1;
                if links > MOST_LINKS {
                    return Err(Errno::ELOOP.into());
                }
                let folder = fs::metadata(&at)?;
                trust(&next, about.uid(), folder.uid(), folder.mode())?;
                let mut way = parts(&fs::read_link(&next)?);
                way.append(&mut rest);
                rest = way;
            }
            // What cannot be looked at, cannot be written to either.
            _ => at = next,
        }
    }
    Ok(Place::Named(at))
}

/// Refuses what somebody else put into a folder in which everybody may write.
fn trust(what: &Path, owner: u32, folder_owner: u32, folder_mode: u32) -> io::Result<()> {
    let own = [0, geteuid().as_raw(), folder_owner];
    if folder_mode & 0o002 == 0 || own.contains(&owner) {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!(
            "{} belongs to user {owner}, and is in a folder in which everybody may write: it could lead anywhere",
            what.display(),
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
    fn what_ran_as_its_owner_does_not_do_so_with_other_content() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "before").unwrap();
        let is_root = geteuid().is_root();
        if is_root {
            std::os::unix::fs::chown(&file, Some(65_534), Some(65_533)).unwrap();
        }
        fs::set_permissions(&file, Permissions::from_mode(0o6755)).unwrap();
        put(&file, Readers::AsBefore, "after").unwrap();
        let about = fs::metadata(&file).unwrap();
        assert_eq!(about.mode() & 0o7777, 0o755);
        if is_root {
            assert_eq!((about.uid(), about.gid()), (65_534, 65_533));
        }
    }

    /// A link to a terminal and a file change places, as fast as that goes.
    #[test]
    fn nothing_is_written_to_what_is_put_in_its_place_meanwhile() {
        if !geteuid().is_root() {
            println!("SKIPPED: only root can make files of another user");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let [shared, file, link, spare] = ["shared", "shared/file", "shared/link", "shared/spare"]
            .map(|name| dir.path().join(name));
        fs::create_dir(&shared).unwrap();
        fs::set_permissions(&shared, Permissions::from_mode(0o777)).unwrap();
        fs::write(&file, "before").unwrap();
        let victim = dir.path().join("victim");
        nix::unistd::mkfifo(&victim, Mode::from_bits_truncate(0o666)).unwrap();
        let reader = File::options()
            .read(true)
            .write(true)
            .open(&victim)
            .unwrap();
        symlink(&victim, &link).unwrap();
        std::os::unix::fs::lchown(&link, Some(65_534), Some(65_534)).unwrap();
        let until = std::time::Instant::now() + std::time::Duration::from_millis(500);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while std::time::Instant::now() < until {
                    for (from, to) in [
                        (&file, &spare),
                        (&link, &file),
                        (&file, &link),
                        (&spare, &file),
                    ] {
                        let _ = fs::rename(from, to);
                    }
                }
            });
            while std::time::Instant::now() < until {
                let _ = put(&file, Readers::Owner, "secret");
            }
        });
        let waiting = OFlag::O_NONBLOCK;
        fcntl(&reader, FcntlArg::F_SETFL(waiting)).unwrap();
        let mut got = String::new();
        let _ = io::Read::read_to_string(&mut &reader, &mut got);
        assert_eq!(got, "");
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
        let folder = dir.path().join("folder/");
        let error = put(&folder, Readers::Owner, "secret").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
        assert!(!folder.exists());
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
