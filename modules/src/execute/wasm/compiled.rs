//! Compiled modules on disk, so that a module is compiled once and not by every process.
//!
//! A compiled module is machine code, and whoever can write it can do everything that this program
//! can. So there is a folder of the program's own, that nobody else can open, with files that only
//! this program writes. A file is named after the module's content id and a hash of the engine: its
//! version, its configuration, the processor. In it, the code stands behind a digest of the code and
//! of that name, so that a file that was damaged, cut short, or renamed is not used.
//!
//! What is wrong with a file costs the compiling again, and a line in the log. Never are other
//! modules than this program compiled read from here: there is no import.

use std::hash::{Hash, Hasher};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use grid_promises::ContentId;
use wasmtime::{Engine, Module};

use grid_files::disk::{Disk as _, RealDisk};
use grid_files::{FileError, atomic};

/// The longest file that is read: far beyond what the longest module compiles to.
const MAX_FILE: u64 = 512 * 1024 * 1024;
/// How many files are kept; the oldest go first.
const MAX_FILES: usize = 256;

/// The folder.
#[derive(Debug)]
pub(super) struct Compiled {
    folder: PathBuf,
    engine: ContentId,
}

impl Compiled {
    /// Opens the folder; makes it if it is not there. What other engines compiled is removed.
    ///
    /// # Errors
    /// It is not a folder, somebody else's, or others can open it; or the system refuses.
    pub(super) fn open(folder: PathBuf, engine: &Engine) -> Result<Self, FileError> {
        atomic::ensure_dir(&RealDisk, &folder)?;
        check_folder(&folder)?;
        let cache = Self {
            folder,
            engine: engine_id(engine),
        };
        let own = cache.suffix();
        cache.remove(|names| names.retain(|name| !name.ends_with(&own)));
        Ok(cache)
    }

    /// The module with an id, if it was compiled before.
    pub(super) fn load(&self, id: &ContentId, engine: &Engine) -> Option<Module> {
        let path = self.folder.join(self.name(id));
        let found = match RealDisk.read(&path, MAX_FILE) {
            Ok(found) => found,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => {
                warn(&path, &error);
                return None;
            }
        };
        if !found.regular || found.owner != me() || found.mode & 0o077 != 0 {
            warn(&path, &"it is not a file of this user's alone");
            return None;
        }
        let Some(code) = self.verified(id, &found.bytes) else {
            warn(&path, &"it is damaged");
            return None;
        };
        // SAFETY: the bytes must be what `Module::serialize` of this version of wasmtime yielded,
        // unchanged. They are from a file that belongs to this user and that nobody else could
        // write, in a folder that was checked to be the same; they are in memory, so they cannot
        // change any more; their digest covers them, the module's id and the engine's version and
        // configuration, and was computed by `save` below, which alone writes such files. Somebody
        // who runs as this user could forge all that, and could as well change this program.
        // wasmtime checks the version and the configuration again.
        #[allow(unsafe_code)]
        let module = unsafe { Module::deserialize(engine, code) };
        module
            .inspect_err(|error| warn(&path, &super::says(error)))
            .ok()
    }

    /// Keeps a module that was just compiled. Failing to is not an error, but for the log.
    pub(super) fn save(&self, id: &ContentId, module: &Module) {
        self.remove(|names| names.truncate(names.len().saturating_sub(MAX_FILES - 1)));
        let name = self.name(id);
        match module.serialize() {
            Err(error) => warn(&self.folder.join(name), &super::says(&error)),
            Ok(code) => {
                let mut file = self.digest(id, &code).to_bytes();
                file.extend_from_slice(&code);
                let written = atomic::write_file(&RealDisk, &self.folder, &name, &file);
                if let Err(failed) = written {
                    warn(&failed.path, &failed.source);
                }
            }
        }
    }

    /// The code in a file, if it is what was written for this module and this engine.
    fn verified<'a>(&self, id: &ContentId, file: &'a [u8]) -> Option<&'a [u8]> {
        let (digest, code) = file.split_at_checked(self.engine.to_bytes().len())?;
        (digest == self.digest(id, code).to_bytes()).then_some(code)
    }

    fn digest(&self, id: &ContentId, code: &[u8]) -> ContentId {
        let mut all = Vec::with_capacity(code.len() + 3 * ContentId::MAX_LEN);
        // Both ids say how long they are.
        all.extend_from_slice(b"grid compiled module\0");
        all.extend_from_slice(&self.engine.to_bytes());
        all.extend_from_slice(&id.to_bytes());
        all.extend_from_slice(code);
        ContentId::of(&all)
    }

    fn suffix(&self) -> String {
        format!(".{}", self.engine)
    }

    fn name(&self, id: &ContentId) -> String {
        format!("{id}{}", self.suffix())
    }

    /// Removes files: those that are left of all, the oldest first.
    fn remove(&self, choose: impl FnOnce(&mut Vec<String>)) {
        let Ok(entries) = RealDisk.list(&self.folder) else {
            return;
        };
        let mut names: Vec<String> = entries
            .into_iter()
            .filter(|entry| !entry.is_dir)
            .map(|entry| entry.name)
            .collect();
        names.sort_by_cached_key(|name| {
            std::fs::symlink_metadata(self.folder.join(name))
                .and_then(|about| about.modified())
                .ok()
        });
        choose(&mut names);
        for name in names {
            // If it cannot be removed it stays: it is not used.
            let _ = RealDisk.remove_file(&self.folder.join(name));
        }
    }
}

fn check_folder(folder: &Path) -> Result<(), FileError> {
    let about =
        std::fs::symlink_metadata(folder).map_err(|error| FileError::read(folder, error))?;
    let path = || folder.to_owned();
    if !about.is_dir() {
        return Err(FileError::NotAFile { path: path() });
    }
    if about.uid() != me() {
        return Err(FileError::OtherOwner {
            path: path(),
            owner: about.uid(),
            me: me(),
        });
    }
    if about.mode() & 0o077 != 0 {
        return Err(FileError::FolderOpen {
            path: path(),
            mode: about.mode() & 0o7777,
        });
    }
    Ok(())
}

fn me() -> u32 {
    nix::unistd::geteuid().as_raw()
}

fn warn(path: &Path, why: &dyn std::fmt::Display) {
    let path = path.display();
    tracing::warn!("{path} is not used: {why}; the module is compiled again where that is needed");
}

/// All that decides whether compiled code fits an engine, as a hash that nobody can steer.
fn engine_id(engine: &Engine) -> ContentId {
    let mut all = Written(Vec::new());
    engine.precompile_compatibility_hash().hash(&mut all);
    ContentId::of(&all.0)
}

/// A hasher that keeps what it is given.
struct Written(Vec<u8>);

impl Hasher for Written {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Not asked for.
    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    fn engine() -> Engine {
        Engine::new(&super::super::config(&crate::execute::Limits {
            instances: 1,
            ..Default::default()
        }))
        .unwrap()
    }

    fn compiled(engine: &Engine) -> (ContentId, Module) {
        let bytes =
            wat::parse_str("(module (func (export \"f\") (result i32) i32.const 7))").unwrap();
        (
            ContentId::of(&bytes),
            Module::from_binary(engine, &bytes).unwrap(),
        )
    }

    fn only_file(folder: &Path) -> PathBuf {
        let mut files: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        assert_eq!(files.len(), 1);
        files.pop().unwrap()
    }

    #[test]
    fn what_was_compiled_is_there_again() {
        let home = tempfile::tempdir().unwrap();
        let engine = engine();
        let (id, module) = compiled(&engine);
        let cache = Compiled::open(home.path().join("compiled"), &engine).unwrap();
        assert!(cache.load(&id, &engine).is_none());
        cache.save(&id, &module);
        let again = Compiled::open(home.path().join("compiled"), &engine).unwrap();
        assert!(again.load(&id, &engine).unwrap().get_export("f").is_some());
        let file = only_file(&home.path().join("compiled"));
        assert_eq!(
            fs::metadata(file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let folder = fs::metadata(home.path().join("compiled")).unwrap();
        assert_eq!(folder.permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_damaged_file_is_not_used() {
        let home = tempfile::tempdir().unwrap();
        let engine = engine();
        let (id, module) = compiled(&engine);
        let folder = home.path().join("compiled");
        let cache = Compiled::open(folder.clone(), &engine).unwrap();
        cache.save(&id, &module);
        let file = only_file(&folder);
        let good = fs::read(&file).unwrap();
        for at in [0, 40, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&file, bad).unwrap();
            assert!(cache.load(&id, &engine).is_none(), "byte {at}");
        }
        for cut in [0, 10, good.len() / 2, good.len() - 1] {
            fs::write(&file, &good[..cut]).unwrap();
            assert!(cache.load(&id, &engine).is_none(), "cut at {cut}");
        }
        fs::write(&file, &good).unwrap();
        assert!(cache.load(&id, &engine).is_some());
        // The code of another module under this one's name.
        let other = ContentId::of(b"other");
        fs::rename(&file, folder.join(cache.name(&other))).unwrap();
        assert!(cache.load(&other, &engine).is_none());
    }

    #[test]
    fn a_file_that_others_can_write_is_not_used() {
        let home = tempfile::tempdir().unwrap();
        let engine = engine();
        let (id, module) = compiled(&engine);
        let folder = home.path().join("compiled");
        let cache = Compiled::open(folder.clone(), &engine).unwrap();
        cache.save(&id, &module);
        let file = only_file(&folder);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o660)).unwrap();
        assert!(cache.load(&id, &engine).is_none());
        let moved = home.path().join("moved");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(&file, &moved).unwrap();
        std::os::unix::fs::symlink(&moved, &file).unwrap();
        assert!(cache.load(&id, &engine).is_none());
    }

    #[test]
    fn a_folder_that_others_can_open_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let engine = engine();
        let folder = home.path().join("compiled");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let error = Compiled::open(folder.clone(), &engine).unwrap_err();
        assert!(matches!(error, FileError::FolderOpen { mode: 0o755, .. }));
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        Compiled::open(folder.clone(), &engine).unwrap();
        let link = home.path().join("link");
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        let error = Compiled::open(link, &engine).unwrap_err();
        assert!(matches!(error, FileError::NotAFile { .. }));
    }

    #[test]
    fn what_other_engines_compiled_goes() {
        let home = tempfile::tempdir().unwrap();
        let engine = engine();
        let (id, module) = compiled(&engine);
        let folder = home.path().join("compiled");
        Compiled::open(folder.clone(), &engine)
            .unwrap()
            .save(&id, &module);
        let other = Engine::default();
        assert_ne!(engine_id(&other), engine_id(&engine));
        assert_eq!(engine_id(&self::engine()), engine_id(&engine));
        assert!(
            Compiled::open(folder.clone(), &other)
                .unwrap()
                .load(&id, &other)
                .is_none()
        );
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    }

    #[test]
    fn the_oldest_make_room() {
        let home = tempfile::tempdir().unwrap();
        let engine = engine();
        let (_, module) = compiled(&engine);
        let cache = Compiled::open(home.path().join("compiled"), &engine).unwrap();
        for n in 0..MAX_FILES + 2 {
            let name = cache.name(&ContentId::of(&n.to_le_bytes()));
            let file = fs::File::create(cache.folder.join(name)).unwrap();
            let age = std::time::Duration::from_secs(10_000 - n as u64);
            file.set_modified(std::time::SystemTime::now() - age)
                .unwrap();
        }
        let id = ContentId::of(b"new");
        cache.save(&id, &module);
        assert_eq!(fs::read_dir(&cache.folder).unwrap().count(), MAX_FILES);
        let there = |n: usize| {
            cache
                .folder
                .join(cache.name(&ContentId::of(&n.to_le_bytes())))
                .exists()
        };
        assert_eq!((there(2), there(3)), (false, true));
        assert!(cache.load(&id, &engine).is_some());
    }
}
