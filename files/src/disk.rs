//! The file operations that the store is made of, one by one.
//!
//! Everything that changes the home goes through [`Disk`], so that a test can stop after any
//! operation, or in the middle of a write, and look at what a restart finds. This file refuses to
//! decide anything: which operations, and in which order, is in [`atomic`](crate::atomic).

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::Path;
use std::time::SystemTime;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::libc::{O_CLOEXEC, O_NOFOLLOW, O_NONBLOCK};
use zeroize::Zeroizing;

/// The mode of every file that the store makes.
pub const FILE_MODE: u32 = 0o600;
/// The mode of every folder that the store makes.
pub const DIR_MODE: u32 = 0o700;

/// A file as it was found.
pub struct Found {
    /// Its content. Wiped when dropped, because it may be a key.
    pub bytes: Zeroizing<Vec<u8>>,
    /// Its permission bits.
    pub mode: u32,
    /// The numeric id of its owner.
    pub owner: u32,
    /// Whether it is a regular file. If not, nothing was read.
    pub regular: bool,
}

/// Something in a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its name; names that are not UTF-8 are left out, the store makes none.
    pub name: String,
    /// Whether it is a folder.
    pub is_dir: bool,
}

/// What is known of a file without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// Its length, in bytes.
    pub len: u64,
    /// When it was written, or what [`Disk::touch`] said after that.
    pub modified: SystemTime,
    /// Which file it is, whatever its name: device and inode. Nothing else has the same for as long
    /// as the file is open.
    pub identity: (u64, u64),
    /// Whether it is a regular file.
    pub is_regular: bool,
}

/// The content of an open file. It stays readable when the file's name goes.
pub trait ReadAt: Send + Sync {
    /// Reads into `buffer` from `offset` on, in bytes; 0 at the end.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl ReadAt for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buffer, offset)
    }
}

/// A file, open for reading.
pub struct OpenFile {
    /// What it was when it was opened.
    pub about: About,
    /// Its content, if it is a regular file; else nothing can be read from it.
    pub content: Box<dyn ReadAt>,
}

/// Who else may hold a lock at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Everybody who wants the same.
    Shared,
    /// Nobody.
    Alone,
}

/// A place where files are.
///
/// Nothing is durable before the matching `sync_` call returned: content after [`sync_file`], names
/// after [`sync_dir`].
///
/// [`sync_file`]: Disk::sync_file
/// [`sync_dir`]: Disk::sync_dir
pub trait Disk {
    /// A lock, held for as long as the value lives.
    type Lock;
    /// Makes a folder of mode 0700. An existing one is an error.
    fn make_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes an empty file of mode 0600. An existing one is an error, and so is a symbolic link.
    fn create(&self, path: &Path) -> io::Result<()>;
    /// Writes at the end of a file that is there.
    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Makes a file's content durable.
    fn sync_file(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Renames, also into another folder; an existing file of the new name is replaced. After a
    /// rename into another folder each of the two wants its `sync_dir`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty folder.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Reads a file of at most `limit` bytes; symbolic links are not followed.
    fn read(&self, path: &Path, limit: u64) -> io::Result<Found>;
    /// What is in a folder, in ascending order.
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>>;
    /// Opens a file for reading; symbolic links are not followed.
    fn open(&self, path: &Path) -> io::Result<OpenFile>;
    /// What is known of a file; of a symbolic link, what is known of the link.
    fn about(&self, path: &Path) -> io::Result<About>;
    /// Sets the time that [`About::modified`] shows. Not durable: a power cut may take it back.
    fn touch(&self, path: &Path, when: SystemTime) -> io::Result<()>;
    /// Waits for a lock on a folder. It goes with its process, however that ends.
    fn lock(&self, folder: &Path, hold: Hold) -> io::Result<Self::Lock>;
}

/// The file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

fn about(found: &fs::Metadata) -> About {
    About {
        len: found.len(),
        // Only systems without such a time have none.
        modified: found.modified().unwrap_or(SystemTime::UNIX_EPOCH),
        identity: (found.dev(), found.ino()),
        is_regular: found.is_file(),
    }
}

/// Opens what may be anything: a pipe without a writer would wait for one.
fn open_with_suspicion(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
        .open(path)
}

impl Disk for RealDisk {
    type Lock = Flock<File>;

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().mode(DIR_MODE).create(path)?;
        // A umask can only have taken bits away; the owner needs all of these.
        fs::set_permissions(path, fs::Permissions::from_mode(DIR_MODE))
    }

    fn create(&self, path: &Path) -> io::Result<()> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .custom_flags(O_NOFOLLOW | O_CLOEXEC)
            .open(path)?;
        // A umask can only have taken bits away; the owner needs both of these.
        file.set_permissions(fs::Permissions::from_mode(FILE_MODE))
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .append(true)
            .custom_flags(O_NOFOLLOW | O_CLOEXEC)
            .open(path)?;
        file.write_all(bytes)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        OpenOptions::new()
            .read(true)
            .custom_flags(O_NOFOLLOW | O_CLOEXEC)
            .open(path)?
            .sync_all()
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Found> {
        let file = open_with_suspicion(path)?;
        let about = file.metadata()?;
        let mut found = Found {
            bytes: Zeroizing::new(Vec::new()),
            mode: about.mode() & 0o7777,
            owner: about.uid(),
            regular: about.is_file(),
        };
        if found.regular {
            // Room for all of it at once: a growing buffer would leave copies of a key behind.
            let room = about.len().min(limit).saturating_add(1);
            found
                .bytes
                .reserve_exact(usize::try_from(room).unwrap_or(0));
            file.take(limit.saturating_add(1))
                .read_to_end(&mut found.bytes)?;
            if found.bytes.len() as u64 > limit {
                return Err(io::Error::new(
                    io::ErrorKind::FileTooLarge,
                    format!("it has more than the {limit} bytes that it can need"),
                ));
            }
        }
        Ok(found)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string() {
                let is_dir = entry.file_type()?.is_dir();
                entries.push(Entry { name, is_dir });
            }
        }
        entries.sort();
        Ok(entries)
    }

    fn open(&self, path: &Path) -> io::Result<OpenFile> {
        let file = open_with_suspicion(path)?;
        Ok(OpenFile {
            about: about(&file.metadata()?),
            content: Box::new(file),
        })
    }

    fn about(&self, path: &Path) -> io::Result<About> {
        fs::symlink_metadata(path).map(|found| about(&found))
    }

    fn touch(&self, path: &Path, when: SystemTime) -> io::Result<()> {
        open_with_suspicion(path)?.set_modified(when)
    }

    fn lock(&self, folder: &Path, hold: Hold) -> io::Result<Self::Lock> {
        let how = match hold {
            Hold::Shared => FlockArg::LockShared,
            Hold::Alone => FlockArg::LockExclusive,
        };
        lock_waiting(File::open(folder)?, how)
    }
}

/// A signal in between is no answer.
fn lock_waiting(mut file: File, how: FlockArg) -> io::Result<Flock<File>> {
    loop {
        file = match Flock::lock(file, how) {
            Ok(lock) => return Ok(lock),
            Err((file, Errno::EINTR)) => file,
            Err((_, error)) => return Err(error.into()),
        };
    }
}
