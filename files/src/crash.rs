//! A file system in memory that can be stopped after any operation and in the middle of a write,
//! and that forgets what was not synced.
//!
//! After a kill, everything that was done is there. After a power cut, of a file that was not synced
//! any beginning may be there, and of the names in a folder that was not synced any part of what was
//! done to them, in whatever order the file system chose (if that was much: any beginning of it).
//! A rename from one folder into another is two such changes, one in each folder: more than real file
//! systems forget, which keep or lose it as a whole. [`CutDisk::crashed`] yields these states.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use zeroize::Zeroizing;

use crate::disk::{About, DIR_MODE, Disk, Entry, FILE_MODE, Found, Hold, OpenFile, ReadAt};

/// The owner of everything.
pub const OWNER: u32 = 1000;
const ROOT: usize = 0;

#[derive(Clone, Debug)]
enum Inode {
    File {
        synced: Vec<u8>,
        now: Vec<u8>,
    },
    Dir {
        synced: BTreeMap<String, usize>,
        since: Vec<DirOp>,
    },
}

#[derive(Clone, Debug)]
enum DirOp {
    Add(String, usize),
    Remove(String),
    Rename(String, String),
}

/// Which of the operations on a folder's names are kept: one bit each, the first one lowest.
type Mask = u64;
/// Up to how many operations every part of them is looked at.
const FEW: usize = 4;

const fn all(count: usize) -> Mask {
    (1 << count) - 1
}

fn entries(
    synced: &BTreeMap<String, usize>,
    since: &[DirOp],
    kept: Mask,
) -> BTreeMap<String, usize> {
    let mut names = synced.clone();
    let ops = since.iter().enumerate();
    for (_, op) in ops.filter(|(at, _)| kept & (1 << at) != 0) {
        match op {
            DirOp::Add(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            DirOp::Remove(name) => {
                names.remove(name);
            }
            DirOp::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
        }
    }
    names
}

/// The disk. Cloning it clones everything on it.
#[derive(Clone, Debug)]
pub struct CutDisk {
    inodes: RefCell<Vec<Inode>>,
    left: Cell<Option<u64>>,
    used: Cell<u64>,
    mid_write: Cell<bool>,
}

impl CutDisk {
    /// An empty disk with these folders.
    pub fn new(folders: &[&Path]) -> Self {
        let disk = Self {
            inodes: RefCell::new(vec![Inode::Dir {
                synced: BTreeMap::new(),
                since: Vec::new(),
            }]),
            left: Cell::new(None),
            used: Cell::new(0),
            mid_write: Cell::new(false),
        };
        for folder in folders {
            disk.make_dir(folder).unwrap();
            disk.sync_dir(folder.parent().unwrap()).unwrap();
        }
        disk.used.set(0);
        disk
    }

    /// A copy that stops after `units` operations; a written byte is one operation.
    pub fn cut_after(&self, units: u64) -> Self {
        let disk = self.clone();
        disk.left.set(Some(units));
        disk.used.set(0);
        disk
    }

    /// A copy that works on.
    pub fn whole(&self) -> Self {
        let disk = self.clone();
        disk.left.set(None);
        disk.used.set(0);
        disk
    }

    /// How many operations were carried out since the copy was made.
    pub fn used(&self) -> u64 {
        self.used.get()
    }

    /// Whether it was stopped inside a write.
    pub fn is_mid_write(&self) -> bool {
        self.mid_write.get()
    }

    /// Every file with its content, and every folder.
    pub fn tree(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let inodes = self.inodes.borrow();
        let mut tree = BTreeMap::new();
        let mut folders = vec![(PathBuf::from("/"), ROOT)];
        while let Some((path, at)) = folders.pop() {
            match &inodes[at] {
                Inode::File { now, .. } => drop(tree.insert(path, Some(now.clone()))),
                Inode::Dir { synced, since } => {
                    for (name, inode) in entries(synced, since, all(since.len())) {
                        folders.push((path.join(name), inode));
                    }
                    tree.insert(path, None);
                }
            }
        }
        tree
    }

    /// Changes a byte in the middle of a file, as a failing disk does.
    pub fn spoil(&self, path: &Path) {
        let mut inodes = self.inodes.borrow_mut();
        let at = find(&inodes, path).unwrap();
        match &mut inodes[at] {
            Inode::File { synced, now } => {
                let middle = now.len() / 2;
                now[middle] ^= 1;
                synced.clone_from(now);
            }
            Inode::Dir { .. } => panic!("{} is a folder", path.display()),
        }
    }

    /// Whether it was stopped.
    pub fn is_cut(&self) -> bool {
        self.left.get() == Some(0)
    }

    /// What a restart may find: first what is there after a kill, then what may be there after a
    /// power cut.
    pub fn crashed(&self) -> Vec<Self> {
        let inodes = self.inodes.borrow();
        let pending: Vec<usize> = inodes
            .iter()
            .map(|inode| match inode {
                Inode::File { .. } => 0,
                Inode::Dir { since, .. } => since.len(),
            })
            .collect();
        let everything: Vec<Mask> = pending.iter().map(|count| all(*count)).collect();
        let nothing = vec![0; pending.len()];
        let mut kept_names = BTreeSet::from([everything.clone(), nothing.clone()]);
        // Inside a write, the rest was looked at before the write began.
        if !self.is_mid_write() {
            for (at, many) in pending.iter().enumerate() {
                let parts: Vec<Mask> = if *many <= FEW {
                    (0..=all(*many)).collect()
                } else {
                    (0..=*many).map(all).collect()
                };
                for kept in parts {
                    for others in [&everything, &nothing] {
                        let mut names = others.clone();
                        names[at] = kept;
                        kept_names.insert(names);
                    }
                }
            }
        }
        let is_synced = |inode: &Inode| match inode {
            Inode::File { synced, now } => synced.len() == now.len(),
            Inode::Dir { .. } => true,
        };
        // A part of what was written so far is what an earlier cut inside the write left.
        let contents: &[Kept] = if self.is_mid_write() || inodes.iter().all(is_synced) {
            &[Kept::All]
        } else {
            &[Kept::All, Kept::Half, Kept::None]
        };
        let mut states = vec![self.whole()];
        for names in &kept_names {
            for content in contents {
                states.push(self.after(names, *content));
            }
        }
        states
    }

    fn after(&self, kept_names: &[Mask], content: Kept) -> Self {
        let inodes = self
            .inodes
            .borrow()
            .iter()
            .zip(kept_names)
            .map(|(inode, kept)| match inode {
                Inode::Dir { synced, since } => Inode::Dir {
                    synced: entries(synced, since, *kept),
                    since: Vec::new(),
                },
                Inode::File { synced, now } => {
                    let new = now.len() - synced.len();
                    let length = synced.len()
                        + match content {
                            Kept::All => new,
                            Kept::Half => new / 2,
                            Kept::None => 0,
                        };
                    let kept = now[..length].to_vec();
                    Inode::File {
                        synced: kept.clone(),
                        now: kept,
                    }
                }
            })
            .collect();
        Self {
            inodes: RefCell::new(inodes),
            left: Cell::new(None),
            used: Cell::new(0),
            mid_write: Cell::new(false),
        }
    }

    /// Pays for `wanted` operations; returns how many may be carried out.
    fn pay(&self, wanted: u64) -> u64 {
        let paid = self.left.get().map_or(wanted, |left| left.min(wanted));
        if let Some(left) = self.left.get() {
            self.left.set(Some(left - paid));
        }
        self.used.set(self.used.get() + paid);
        paid
    }

    fn operate<T>(&self, work: impl FnOnce(&mut Vec<Inode>) -> io::Result<T>) -> io::Result<T> {
        if self.pay(1) == 0 {
            return Err(io::Error::other("cut"));
        }
        work(&mut self.inodes.borrow_mut())
    }

    /// A rename into another folder; only of files.
    fn move_to(&self, from: &Path, folder: &Path, new: String) -> io::Result<()> {
        self.operate(|inodes| {
            let (old_parent, new_parent) =
                (find(inodes, from.parent().unwrap())?, find(inodes, folder)?);
            let file = find(inodes, from)?;
            assert!(
                matches!(inodes[file], Inode::File { .. }),
                "folders stay where they are"
            );
            let name = from.file_name().unwrap().to_str().unwrap().to_owned();
            for (parent, op) in [
                (new_parent, DirOp::Add(new, file)),
                (old_parent, DirOp::Remove(name)),
            ] {
                match &mut inodes[parent] {
                    Inode::Dir { since, .. } => since.push(op),
                    Inode::File { .. } => return Err(io::ErrorKind::NotADirectory.into()),
                }
            }
            Ok(())
        })
    }

    fn change_names(
        &self,
        path: &Path,
        work: impl FnOnce(&mut Vec<Inode>, &BTreeMap<String, usize>, String) -> io::Result<DirOp>,
    ) -> io::Result<()> {
        self.operate(|inodes| {
            let parent = find(inodes, path.parent().unwrap())?;
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let names = names_of(inodes, parent)?;
            let op = work(inodes, &names, name)?;
            match &mut inodes[parent] {
                Inode::Dir { since, .. } => since.push(op),
                Inode::File { .. } => unreachable!(),
            }
            Ok(())
        })
    }
}

#[derive(Clone, Copy)]
enum Kept {
    All,
    Half,
    None,
}

fn names_of(inodes: &[Inode], at: usize) -> io::Result<BTreeMap<String, usize>> {
    match &inodes[at] {
        Inode::Dir { synced, since } => Ok(entries(synced, since, all(since.len()))),
        Inode::File { .. } => Err(io::ErrorKind::NotADirectory.into()),
    }
}

fn find(inodes: &[Inode], path: &Path) -> io::Result<usize> {
    let mut at = ROOT;
    for part in path.components() {
        if let Component::Normal(name) = part {
            at = *names_of(inodes, at)?
                .get(name.to_str().unwrap())
                .ok_or(io::ErrorKind::NotFound)?;
        }
    }
    Ok(at)
}

fn add(inodes: &mut Vec<Inode>, inode: Inode) -> usize {
    inodes.push(inode);
    inodes.len() - 1
}

impl ReadAt for Vec<u8> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let from = usize::try_from(offset).unwrap().min(self.len());
        let count = buffer.len().min(self.len() - from);
        buffer[..count].copy_from_slice(&self[from..from + count]);
        Ok(count)
    }
}

impl Disk for CutDisk {
    type Lock = ();

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        self.change_names(path, |inodes, names, name| {
            if names.contains_key(&name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let (synced, since) = (BTreeMap::new(), Vec::new());
            Ok(DirOp::Add(name, add(inodes, Inode::Dir { synced, since })))
        })
    }

    fn create(&self, path: &Path) -> io::Result<()> {
        self.change_names(path, |inodes, names, name| {
            if names.contains_key(&name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let (synced, now) = (Vec::new(), Vec::new());
            Ok(DirOp::Add(name, add(inodes, Inode::File { synced, now })))
        })
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let paid = usize::try_from(self.pay(bytes.len() as u64)).unwrap();
        let mut inodes = self.inodes.borrow_mut();
        let at = find(&inodes, path)?;
        match &mut inodes[at] {
            Inode::File { now, .. } => now.extend_from_slice(&bytes[..paid]),
            Inode::Dir { .. } => return Err(io::ErrorKind::IsADirectory.into()),
        }
        if paid < bytes.len() {
            self.mid_write.set(paid > 0);
            return Err(io::Error::other("cut"));
        }
        Ok(())
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.operate(|inodes| {
            let at = find(inodes, path)?;
            if let Inode::File { synced, now } = &mut inodes[at] {
                synced.clone_from(now);
            }
            Ok(())
        })
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.operate(|inodes| {
            let at = find(inodes, path)?;
            if let Inode::Dir { synced, since } = &mut inodes[at] {
                *synced = entries(synced, since, all(since.len()));
                since.clear();
            }
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let new = to.file_name().unwrap().to_str().unwrap().to_owned();
        if from.parent() != to.parent() {
            return self.move_to(from, to.parent().unwrap(), new);
        }
        self.change_names(from, |inodes, names, name| {
            if !names.contains_key(&name) {
                return Err(io::ErrorKind::NotFound.into());
            }
            if let Some(old) = names.get(&new)
                && !names_of(inodes, *old).unwrap_or_default().is_empty()
            {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            Ok(DirOp::Rename(name, new))
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.change_names(path, |inodes, names, name| match names.get(&name) {
            None => Err(io::ErrorKind::NotFound.into()),
            Some(at) if matches!(inodes[*at], Inode::Dir { .. }) => {
                Err(io::ErrorKind::IsADirectory.into())
            }
            Some(_) => Ok(DirOp::Remove(name)),
        })
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.change_names(path, |inodes, names, name| match names.get(&name) {
            None => Err(io::ErrorKind::NotFound.into()),
            Some(at) if !names_of(inodes, *at)?.is_empty() => {
                Err(io::ErrorKind::DirectoryNotEmpty.into())
            }
            Some(_) => Ok(DirOp::Remove(name)),
        })
    }

    fn read(&self, path: &Path, _limit: u64) -> io::Result<Found> {
        let inodes = self.inodes.borrow();
        match &inodes[find(&inodes, path)?] {
            Inode::File { now, .. } => Ok(Found {
                bytes: Zeroizing::new(now.clone()),
                mode: FILE_MODE,
                owner: OWNER,
                regular: true,
            }),
            Inode::Dir { .. } => Ok(Found {
                bytes: Zeroizing::new(Vec::new()),
                mode: DIR_MODE,
                owner: OWNER,
                regular: false,
            }),
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let inodes = self.inodes.borrow();
        Ok(names_of(&inodes, find(&inodes, path)?)?
            .into_iter()
            .map(|(name, at)| Entry {
                name,
                is_dir: matches!(inodes[at], Inode::Dir { .. }),
            })
            .collect())
    }

    fn open(&self, path: &Path) -> io::Result<OpenFile> {
        let about = self.about(path)?;
        let found = self.read(path, u64::MAX)?;
        Ok(OpenFile {
            about,
            content: Box::new(found.bytes.to_vec()),
        })
    }

    fn about(&self, path: &Path) -> io::Result<About> {
        let inodes = self.inodes.borrow();
        let at = find(&inodes, path)?;
        let (len, is_regular) = match &inodes[at] {
            Inode::File { now, .. } => (now.len() as u64, true),
            Inode::Dir { .. } => (0, false),
        };
        Ok(About {
            len,
            modified: SystemTime::UNIX_EPOCH,
            identity: (0, at as u64),
            is_regular,
        })
    }

    fn touch(&self, path: &Path, _when: SystemTime) -> io::Result<()> {
        self.operate(|inodes| find(inodes, path).map(drop))
    }

    fn lock(&self, _folder: &Path, _hold: Hold) -> io::Result<()> {
        Ok(())
    }
}
