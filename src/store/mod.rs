//! What a node keeps on disk, so that a kill at any instruction leaves a state that starts.
//!
//! | file | concept |
//! |---|---|
//! | `files` | reading one file with suspicion |
//! | `network`, `parts` | a network's folder, and the forms of what is in it |
//! | `statements` | the log of a network's statements |
//! | `settings` | how a network's interface is run here |
//! | `history` | what a network's node decided about promises |
//! | `peers` | known peers |
//! | `config` | the configuration |
//! | `callers` | whose messages are handled under which promise, as the configuration has it |
//! | `editing` | changes that commands make to the configuration |
//! | `lock` | one server per home |
//! | `machine` | the machine that a home was made on |
//! | `time` | the time that was believed last, and the latest that the clock has shown |
//!
//! The files themselves, and changes that happen at once or not at all, are `grid-files`.
//!
//! The store refuses to repair: what is damaged is named, with what to do.

mod callers;
pub mod config;
pub mod editing;
mod error;
mod files;
mod history;
mod lock;
mod machine;
mod network;
mod parts;
mod peers;
mod settings;
pub mod statements;
mod time;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use grid_files::FileError;
use grid_files::atomic;
use grid_files::disk::{self, Disk, Hold, RealDisk};
use grid_files::private::{Privacy, Reader, SMALL};
use grid_keys::NodeKey;
use grid_promises::ContentId;
use grid_promises::core::{Change, WrittenTime};
use grid_promises::limits::MAX_STATEMENT;
use grid_promises::network::NetworkName;
use parking_lot::Mutex;
use zeroize::Zeroizing;

pub use callers::{Accepted, Who, is_of_the_mesh};
pub use config::Config;
pub use editing::Draft;
pub use error::StoreError;
pub use lock::ServerLock;
pub use machine::Machine;
pub use network::{Stored, WG_QUICK};
pub use peers::KnownPeer;
pub use settings::{Backend, InterfaceOptions, table, table_word};

use crate::home::Home;
use statements::Written;

const NODE_KEY: &str = "node.key";

/// A home, open.
#[derive(Debug)]
pub struct Store<D = RealDisk> {
    home: Home,
    disk: D,
    me: u32,
    /// What is known of the files of statements, by the names of their networks.
    written: Mutex<BTreeMap<NetworkName, Option<Written>>>,
}

/// A network as it was found.
#[derive(Debug)]
pub enum Loaded {
    /// It can be started.
    Whole(Box<Stored>),
    /// It cannot.
    Broken {
        /// The folder's name.
        name: String,
        /// What is wrong with it.
        error: StoreError,
    },
}

impl Store<RealDisk> {
    /// The home on the file system, to look at. Changes nothing.
    #[must_use]
    pub fn look(home: &Home) -> Self {
        Self::on(home, RealDisk, nix::unistd::geteuid().as_raw())
    }

    /// Opens the home on the file system, and makes it if there is none.
    ///
    /// # Errors
    /// It belongs to somebody else, others can write to it, or the system refuses.
    pub fn open(home: &Home) -> Result<Self, StoreError> {
        let store = Self::look(home);
        if let Some(parent) = home.path().parent() {
            std::fs::create_dir_all(parent).map_err(|error| FileError::Write {
                path: parent.to_owned(),
                source: error,
            })?;
        }
        atomic::ensure_dir(&store.disk, home.path())?;
        store.check_home()?;
        store.prepare()?;
        Ok(store)
    }

    /// Whether the home is one to write into.
    ///
    /// # Errors
    /// There is none, it belongs to somebody else, or others can write to it.
    pub fn check_home(&self) -> Result<(), StoreError> {
        let path = self.home.path();
        let about = std::fs::metadata(path).map_err(|error| FileError::read(path, error))?;
        if about.uid() != self.me {
            return Err(FileError::OtherOwner {
                path: path.to_owned(),
                owner: about.uid(),
                me: self.me,
            }
            .into());
        }
        // systemd makes /var/lib/grid with 0755; what is secret is 0600 in 0700 all the same.
        if about.mode() & 0o022 != 0 {
            let (path, mode) = (path.to_owned(), about.mode() & 0o7777);
            // What the program did not make may be everybody's, such as /tmp.
            let is_own = self.home.keys().is_dir() && self.home.nets().is_dir();
            return Err(if is_own {
                FileError::FolderOpen { path, mode }
            } else {
                FileError::FolderShared { path, mode }
            }
            .into());
        }
        Ok(())
    }

    /// The node's key; made if there is none, in a home without networks. Safe against another process that does the same.
    ///
    /// # Errors
    /// The key file is damaged, or gone from a home that has networks ([`StoreError::NoKey`]); others can open it, or the
    /// system refuses.
    pub fn node_key_or_new(&self, entropy: &mut dyn rand_core::Rng) -> Result<NodeKey, StoreError> {
        let keys = self.home.keys();
        let _lock = self.lock_home()?;
        atomic::clean(&self.disk, &keys)?;
        let is_new = self.node_key()?.is_none();
        if is_new && self.folders()?.next().is_some() {
            return Err(StoreError::NoKey {
                path: keys.join(NODE_KEY),
                what: "is missing".to_owned(),
            });
        }
        let key = self.ensure_node_key(entropy)?;
        if is_new && let Some(here) = Machine::here() {
            machine::save(&self.disk, &keys, &here)?;
        }
        Ok(key)
    }

    /// Whether this is the machine that the home was made on, as far as that is known. A home of an unknown machine is
    /// taken for this one's, if it can be.
    ///
    /// # Errors
    /// [`StoreError::OtherMachine`], or the file is damaged.
    pub fn check_machine(&self) -> Result<(), StoreError> {
        let (keys, Some(here)) = (self.home.keys(), Machine::here()) else {
            return Ok(());
        };
        match machine::load(&self.reader(), &keys)? {
            Some(made_on) if made_on != here => Err(StoreError::OtherMachine {
                home: self.home.path().to_owned(),
            }),
            Some(_) => Ok(()),
            None => {
                if self.node_key()?.is_some() {
                    // A home that takes no changes is asked again at the next start. Another process may just be
                    // writing it, who has the lock.
                    let lock = self.lock_home();
                    if lock.is_ok() && machine::load(&self.reader(), &keys)?.is_none() {
                        let _ = machine::save(&self.disk, &keys, &here);
                    }
                }
                Ok(())
            }
        }
    }

    /// Takes the home over for this machine. Returns whether it was another's.
    ///
    /// # Errors
    /// The system refuses.
    pub fn take_over(&self) -> Result<bool, StoreError> {
        let (keys, here) = (self.home.keys(), Machine::here());
        let _lock = self.lock_home()?;
        let made_on = machine::load(&self.reader(), &keys)?;
        match here {
            Some(here) if made_on.as_ref() != Some(&here) => {
                machine::save(&self.disk, &keys, &here)?;
                Ok(made_on.is_some())
            }
            _ => Ok(false),
        }
    }

    /// Whether the home is that of a node, with a key that can be used or not.
    ///
    /// # Errors
    /// The system refuses.
    pub fn is_of_a_node(&self) -> Result<bool, StoreError> {
        let has_key = !matches!(self.node_key(), Ok(None));
        Ok(has_key || self.folders()?.next().is_some())
    }

    /// Makes another node of the home: with a new key, and in no network. Returns the key and the names of the networks
    /// that the home was in. A key that can be used stays, where the home was made on this machine, unless with `force`.
    /// Only who holds the [`ServerLock`] may call it. If it is interrupted, it can be done again.
    ///
    /// # Errors
    /// [`StoreError::SameMachine`], or the system refuses.
    pub fn become_another(
        &self,
        force: bool,
        entropy: &mut dyn rand_core::Rng,
    ) -> Result<(NodeKey, Vec<String>), StoreError> {
        let (keys, here) = (self.home.keys(), Machine::here());
        let has_key = match self.node_key() {
            Ok(key) => key.is_some(),
            Err(StoreError::NoKey { .. }) => false,
            Err(error) => return Err(error),
        };
        if !force && has_key && here.is_some() && machine::load(&self.reader(), &keys)? == here {
            return Err(StoreError::SameMachine {
                home: self.home.path().to_owned(),
            });
        }
        let networks: Vec<String> = self.folders()?.collect();
        for name in &networks {
            atomic::remove_folder(&self.disk, &self.home.nets(), name)?;
        }
        let key = NodeKey::generate(entropy);
        let line = files::encode_secret(key.seed().expose());
        atomic::write_file(&self.disk, &keys, NODE_KEY, &line)?;
        if let Some(here) = here {
            machine::save(&self.disk, &keys, &here)?;
        }
        Ok((key, networks))
    }
}

impl<D: Disk> Store<D> {
    fn on(home: &Home, disk: D, me: u32) -> Self {
        Self {
            home: home.clone(),
            disk,
            me,
            written: Mutex::default(),
        }
    }

    const fn reader(&self) -> Reader<'_, D> {
        Reader {
            disk: &self.disk,
            me: self.me,
        }
    }

    /// Makes the folders.
    fn prepare(&self) -> Result<(), StoreError> {
        for folder in [self.home.keys(), self.home.peers(), self.home.nets()] {
            atomic::ensure_dir(&self.disk, &folder)?;
        }
        Ok(())
    }

    /// Finishes or takes back what a killed server left unfinished. Only who holds the
    /// [`ServerLock`] may call it.
    ///
    /// # Errors
    /// The system refuses.
    pub fn recover(&self) -> Result<(), StoreError> {
        {
            // What is unfinished here may be a command's that is just writing it.
            let _lock = self.lock_home()?;
            atomic::clean(&self.disk, self.home.path())?;
        }
        atomic::clean(&self.disk, &self.home.peers())?;
        let nets = self.home.nets();
        atomic::recover_all(&self.disk, &nets)?;
        let entries = self
            .disk
            .list(&nets)
            .map_err(|error| FileError::read(&nets, error))?;
        for entry in entries.iter().filter(|entry| entry.is_dir) {
            network::tidy(&self.disk, &nets.join(&entry.name))?;
        }
        Ok(())
    }

    /// Tries whether the home takes changes, by a file as long as the longest statement.
    ///
    /// # Errors
    /// It does not: its disk is full, or it may not be written to.
    pub fn probe(&self) -> Result<(), StoreError> {
        Ok(atomic::probe(&self.disk, self.home.path(), MAX_STATEMENT)?)
    }

    /// What this node wrote down of the time.
    #[must_use]
    pub fn time(&self) -> WrittenTime {
        time::load(&self.reader(), self.home.path())
    }

    /// Writes that down of the time.
    ///
    /// # Errors
    /// The system refuses.
    pub fn write_time(&self, time: &WrittenTime) -> Result<(), StoreError> {
        time::save(&self.disk, self.home.path(), time)
    }

    /// The node's key, if there is one.
    ///
    /// # Errors
    /// The file is damaged, or others can open it.
    pub fn node_key(&self) -> Result<Option<NodeKey>, StoreError> {
        let path = self.home.keys().join(NODE_KEY);
        let seed = files::secret(&self.reader(), &path);
        let seed = seed.map_err(|error| match error {
            StoreError::File(FileError::Damaged { why, .. }) => StoreError::NoKey {
                path,
                what: format!("is damaged: {why}"),
            },
            error => error,
        })?;
        Ok(seed.map(|seed| NodeKey::from_seed(&seed)))
    }

    fn ensure_node_key(&self, entropy: &mut dyn rand_core::Rng) -> Result<NodeKey, StoreError> {
        if let Some(key) = self.node_key()? {
            return Ok(key);
        }
        let key = NodeKey::generate(entropy);
        let line = files::encode_secret(key.seed().expose());
        atomic::write_file(&self.disk, &self.home.keys(), NODE_KEY, &line)?;
        Ok(key)
    }

    /// The configuration; the default one if there is no file.
    ///
    /// # Errors
    /// It cannot be read, or is wrong: with line and column.
    pub fn config(&self) -> Result<Config, StoreError> {
        config::decode(&self.home.config(), &self.config_text()?)
    }

    /// What the configuration says, word for word; the default if there is none.
    fn config_text(&self) -> Result<String, StoreError> {
        let text = self.reader().text(&self.home.config(), Privacy::Plain)?;
        Ok(text.map_or_else(config::default_text, |text| text.to_string()))
    }

    /// Writes the default configuration if there is none.
    ///
    /// # Errors
    /// The system refuses.
    pub fn ensure_config(&self) -> Result<(), StoreError> {
        let _lock = self.lock_home()?;
        self.make_config()
    }

    /// A lock for changes that are made without being the server. Waits until it is free.
    fn lock_home(&self) -> Result<D::Lock, StoreError> {
        let keys = self.home.keys();
        let lock = self.disk.lock(&keys, Hold::Alone);
        lock.map_err(|source| FileError::Write { path: keys, source }.into())
    }

    fn make_config(&self) -> Result<(), StoreError> {
        match self.disk.read(&self.home.config(), SMALL) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let text = config::default_text();
                atomic::write_file(&self.disk, self.home.path(), "config", text.as_bytes())?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Changes the configuration. Nothing is written if `change` fails or changes nothing. Two commands at
    /// once change one after the other, and both changes are there in the end.
    ///
    /// # Errors
    /// The configuration cannot be read or written, or what `change` says.
    pub fn edit_config<T, E: From<StoreError>>(
        &self,
        change: impl FnOnce(&Config, &mut Draft) -> Result<T, E>,
    ) -> Result<T, E> {
        let _lock = self.lock_home()?;
        self.make_config()?;
        let path = self.home.config();
        let text = self.config_text()?;
        let config = config::decode(&path, &text)?;
        let mut draft = Draft::of(&path, &text)?;
        let result = change(&config, &mut draft)?;
        if let Some(text) = draft.changed() {
            atomic::write_file(&self.disk, self.home.path(), "config", text.as_bytes())
                .map_err(StoreError::from)?;
        }
        Ok(result)
    }

    /// Every network of the home.
    ///
    /// # Errors
    /// The folder of networks cannot be read. What is wrong with single networks is in the list.
    pub fn networks(&self) -> Result<Vec<Loaded>, StoreError> {
        let nets = self.home.nets();
        let load = |name: String| {
            let folder = nets.join(&name);
            match network::load(&self.reader(), &folder, &name) {
                Ok(stored) => Loaded::Whole(Box::new(stored)),
                Err(error) => Loaded::Broken { name, error },
            }
        };
        Ok(self.folders()?.map(load).collect())
    }

    /// The names of the home's networks, those that it left among them.
    ///
    /// # Errors
    /// Their folder cannot be read.
    pub fn folders(&self) -> Result<impl Iterator<Item = String>, StoreError> {
        let nets = self.home.nets();
        let entries = match self.disk.list(&nets) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            other => other.map_err(|error| FileError::read(&nets, error))?,
        };
        let is_network =
            |entry: &disk::Entry| entry.is_dir && !entry.name.ends_with(atomic::UNFINISHED);
        let folders = entries.into_iter().filter(is_network);
        Ok(folders.map(|entry| entry.name))
    }

    /// The judges of the home's networks: content ids of code.
    ///
    /// # Errors
    /// A folder or the rules of a network cannot be read.
    pub fn judges(&self) -> Result<Vec<ContentId>, StoreError> {
        let nets = self.home.nets();
        let judge = |name: String| network::judge(&self.reader(), &nets.join(name));
        self.folders()?
            .filter_map(|name| judge(name).transpose())
            .collect()
    }

    /// What was decided about promises in a network: files of entries, oldest first. None if there is
    /// no such network, or nothing was decided.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn history(&self, name: &NetworkName) -> Result<Vec<Vec<u8>>, StoreError> {
        history::read(&self.reader(), &self.home.nets().join(name.as_str()))
    }

    /// Makes one change of a network durable. `interface` is written with a whole network.
    ///
    /// # Errors
    /// The system refuses. What is on disk is the state before, or after.
    pub fn apply(
        &self,
        name: &NetworkName,
        change: &Change,
        interface: &InterfaceOptions,
    ) -> Result<(), StoreError> {
        network::apply(
            &self.disk,
            &self.home.nets(),
            name.as_str(),
            change,
            interface,
            self.written.lock().entry(name.clone()).or_default(),
        )
    }

    /// Every known peer, and what is wrong with those that cannot be read.
    pub fn peers(&self) -> (Vec<KnownPeer>, Vec<StoreError>) {
        peers::load(&self.reader(), &self.home.peers())
    }

    /// Remembers a peer.
    ///
    /// # Errors
    /// The system refuses.
    pub fn save_peer(&self, peer: &KnownPeer) -> Result<(), StoreError> {
        peers::save(&self.disk, &self.home.peers(), peer)
    }

    /// Reads a file of at most `limit` bytes that only its owner can open. `None` if there is none.
    ///
    /// # Errors
    /// Others can open it, it is somebody else's, no file, empty, or the system refuses.
    pub fn read_private(
        &self,
        path: &Path,
        limit: u64,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        Ok(self.reader().optional(path, limit, Privacy::Secret)?)
    }
}
