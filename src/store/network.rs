//! A network's folder: `nets/<name>/`.
//!
//! | file | holds | when it is damaged |
//! |---|---|---|
//! | `charter` | the signed charter | the network is not started |
//! | `wireguard.key`, `network.secret` | 32 bytes in base64 | the network is not started |
//! | `admission`, `promise` | signed statements | the network is not started |
//! | `rules`, `settings` | text | the network is not started |
//! | `history`, `history.old` | what was decided about promises, and why (`history`) | started without |
//! | `statements` | what others said, sealed, as a log of changes (`statements`) | started with what came before, which `status` says: what others said can be had again |
//! | `bootstrap` | where others are | started without: it can be had again |
//! | `expected` | codes that a person accepted, as an owner, before their nodes asked | started without: it can be said again |
//! | `invites` | invites that this node made, without their keys | started without: they hold all the same |
//! | `awaited` | acts of owners that the invite named, and that have not come in | started without |
//! | `left` | nodes to begin with; its being there means that the network was left | the network is not started |
//!
//! Nothing is repaired here: what is wrong is said, and a person decides.

use std::path::{Path, PathBuf};

use grid_keys::WgSecretKey;
use grid_promises::ContentId;
use grid_promises::core::{Change, NetworkRecord};
use grid_promises::network::charter::{AdmissionRule, Charter};
use grid_promises::network::member::MemberPromise;
use grid_promises::network::statement::Signed;
use zeroize::Zeroizing;

use super::error::StoreError;
use super::files::{self, encode_secret};
use super::history::{self, HISTORY, OLDER};
use super::parts;
use super::settings::{InterfaceOptions, Settings};
use super::statements::{self, Log, STATEMENTS, Written};
use grid_files::FileError;
use grid_files::atomic;
use grid_files::disk::Disk;
use grid_files::private::{Privacy, Reader, SMALL};

const CHARTER: &str = "charter";
const WIREGUARD_KEY: &str = "wireguard.key";
const NETWORK_SECRET: &str = "network.secret";
const ADMISSION: &str = "admission";
const PROMISE: &str = "promise";
const RULES: &str = "rules";
const BOOTSTRAP: &str = "bootstrap";
const EXPECTED: &str = "expected";
const AWAITED: &str = "awaited";
const ISSUED: &str = "invites";
const SETTINGS: &str = "settings";
const LEFT: &str = "left";
/// Where `create-config` writes, if it is not told otherwise.
pub const WG_QUICK: &str = "wg-quick.conf";

/// What goes when a network is left.
const FORGOTTEN: &[&str] = &[
    WIREGUARD_KEY,
    RULES,
    STATEMENTS,
    BOOTSTRAP,
    EXPECTED,
    ISSUED,
    AWAITED,
    HISTORY,
    OLDER,
    WG_QUICK,
];

/// A network as it was found on disk.
#[derive(Debug)]
pub struct Stored {
    /// What the core needs of it.
    pub record: NetworkRecord,
    /// How its interface is run.
    pub interface: InterfaceOptions,
    /// What was damaged and could be done without.
    pub complaints: Vec<StoreError>,
    /// Why statements that were written down may be missing.
    pub lack: Option<String>,
}

/// Removes what is unfinished, and finishes a leave that was interrupted.
pub(super) fn tidy<D: Disk>(disk: &D, folder: &Path) -> Result<(), StoreError> {
    atomic::clean(disk, folder)?;
    let entries = disk
        .list(folder)
        .map_err(|error| FileError::read(folder, error))?;
    let has = |name: &str| entries.iter().any(|entry| entry.name == name);
    if has(LEFT) && FORGOTTEN.iter().any(|name| has(name)) {
        disk.sync_dir(folder).map_err(|source| FileError::Write {
            path: folder.to_owned(),
            source,
        })?;
        atomic::remove_files(disk, folder, FORGOTTEN)?;
    }
    Ok(())
}

/// Reads the folder of the network `name`.
pub(super) fn load<D: Disk>(
    reader: &Reader<'_, D>,
    folder: &Path,
    name: &str,
) -> Result<Stored, StoreError> {
    let path = |file: &str| folder.join(file);
    let charter = load_charter(reader, &path(CHARTER), name)?;
    let settings_text = reader
        .text(&path(SETTINGS), Privacy::Plain)?
        .ok_or_else(|| FileError::Missing {
            path: path(SETTINGS),
        })?;
    let settings = Settings::decode(&path(SETTINGS), &settings_text)?;
    let secret = files::secret(reader, &path(NETWORK_SECRET))?;
    if secret.is_none() && charter.admission == AdmissionRule::Invite {
        return Err(FileError::Missing {
            path: path(NETWORK_SECRET),
        }
        .into());
    }
    let admission = match reader.optional(&path(ADMISSION), SMALL, Privacy::Plain)? {
        None => None,
        Some(bytes) => Some(parts::decode_admission(&path(ADMISSION), &bytes)?),
    };
    let promise = reader.optional(&path(PROMISE), SMALL, Privacy::Plain)?;
    let left = reader.optional(&path(LEFT), SMALL, Privacy::Plain)?;
    let mut stored = Stored {
        record: NetworkRecord {
            charter,
            secret,
            private_key: None,
            listen_port: settings.listen_port,
            admission,
            promise: promise.as_ref().map(|bytes| bytes.to_vec()),
            statements: Vec::new(),
            rules: Vec::new(),
            judge: None,
            expected: Vec::new(),
            issued: Vec::new(),
            bootstrap: Vec::new(),
            awaited: Vec::new(),
        },
        interface: settings.interface,
        complaints: Vec::new(),
        lack: None,
    };
    if let Some(nodes) = left {
        stored.record.bootstrap = parts::decode_bootstrap(&path(LEFT), &nodes)?;
        check_promise(&path(PROMISE), &stored.record)?;
        return Ok(stored);
    }
    let key = files::secret(reader, &path(WIREGUARD_KEY))?.ok_or_else(|| FileError::Missing {
        path: path(WIREGUARD_KEY),
    })?;
    stored.record.private_key = Some(WgSecretKey::from_bytes(&key));
    check_promise(&path(PROMISE), &stored.record)?;
    if let Some(text) = reader.text(&path(RULES), Privacy::Plain)? {
        let deciding = parts::decode_rules(&path(RULES), &text)?;
        stored.record.rules = deciding.rules;
        stored.record.judge = deciding.judge;
    }
    load_what_can_be_had_again(reader, folder, &mut stored);
    Ok(stored)
}

fn load_charter<D: Disk>(
    reader: &Reader<'_, D>,
    path: &Path,
    name: &str,
) -> Result<Signed<Charter>, StoreError> {
    let bytes = reader.required(path, Privacy::Plain)?;
    let charter = Signed::<Charter>::decode(&bytes)
        .map_err(|error| StoreError::damaged(path, error.to_string()))?;
    if charter.name.as_str() != name {
        let why = format!("it founds the network \"{}\"", charter.name);
        return Err(StoreError::damaged(path, why));
    }
    Ok(charter)
}

/// The promise holds the claim and the sequence number: without it, this node would contradict
/// itself.
fn check_promise(path: &Path, record: &NetworkRecord) -> Result<(), StoreError> {
    let Some(bytes) = &record.promise else {
        return Ok(());
    };
    let promise = Signed::<MemberPromise>::decode(bytes)
        .map_err(|error| StoreError::damaged(path, error.to_string()))?;
    if promise.network != record.network() {
        return Err(StoreError::damaged(path, "it was made to another network"));
    }
    Ok(())
}

fn load_what_can_be_had_again<D: Disk>(reader: &Reader<'_, D>, folder: &Path, stored: &mut Stored) {
    let path = folder.join(STATEMENTS);
    match reader.optional(&path, statements::LIMIT as u64, Privacy::Plain) {
        // It comes with the folder.
        Ok(None) => stored.lack = Some(FileError::Missing { path }.to_string()),
        Ok(Some(bytes)) => {
            let log = Log::read(&bytes);
            let damaged = |why: &str| StoreError::damaged(&path, why);
            stored.lack = log.lack().map(|why| damaged(why).to_string());
            stored.complaints.extend(log.damage().map(damaged));
            stored.record.statements = log.into_statements();
        }
        Err(error) => {
            stored.lack = Some(error.to_string());
            stored.complaints.push(error.into());
        }
    }
    let path = folder.join(BOOTSTRAP);
    let nodes = reader.optional(&path, SMALL, Privacy::Plain);
    let nodes = nodes.map_err(StoreError::from).and_then(|bytes| {
        bytes.map_or(Ok(Vec::new()), |bytes| {
            parts::decode_bootstrap(&path, &bytes)
        })
    });
    stored.keep(nodes, |record, nodes| record.bootstrap = nodes);
    let codes = text_of(reader, folder.join(EXPECTED), parts::decode_codes);
    stored.keep(codes, |record, codes| record.expected = codes);
    let invites = text_of(reader, folder.join(ISSUED), parts::decode_invites);
    stored.keep(invites, |record, invites| record.issued = invites);
    let acts = text_of(reader, folder.join(AWAITED), parts::decode_awaited);
    stored.keep(acts, |record, acts| record.awaited = acts);
}

/// What a file of text says; nothing if there is none.
fn text_of<D: Disk, T>(
    reader: &Reader<'_, D>,
    path: PathBuf,
    decode: impl Fn(&Path, &str) -> Result<Vec<T>, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let text = reader.text(&path, Privacy::Plain)?;
    text.map_or(Ok(Vec::new()), |text| decode(&path, &text))
}

impl Stored {
    /// Takes over what was read, or complains.
    fn keep<T>(&mut self, read: Result<T, StoreError>, into: impl FnOnce(&mut NetworkRecord, T)) {
        match read {
            Ok(read) => into(&mut self.record, read),
            Err(error) => self.complaints.push(error),
        }
    }
}

/// The judge of the network in this folder, if it has one.
pub(super) fn judge<D: Disk>(
    reader: &Reader<'_, D>,
    folder: &Path,
) -> Result<Option<ContentId>, StoreError> {
    let path = folder.join(RULES);
    let text = reader.text(&path, Privacy::Plain)?;
    let deciding = text.map(|text| parts::decode_rules(&path, &text));
    Ok(deciding.transpose()?.and_then(|deciding| deciding.judge))
}

/// Makes one change durable. `written` is what is known of the file of statements, if anything is.
pub(super) fn apply<D: Disk>(
    disk: &D,
    nets: &Path,
    name: &str,
    change: &Change,
    interface: &InterfaceOptions,
    written: &mut Option<Written>,
) -> Result<(), StoreError> {
    let folder = nets.join(name);
    let write = |file: &str, bytes: &[u8]| atomic::write_file(disk, &folder, file, bytes);
    match change {
        Change::Network(record) => {
            *written = None;
            write_network(disk, nets, name, record, interface)?;
        }
        Change::PrivateKey(key) => write(WIREGUARD_KEY, &encode_secret(key.expose()))?,
        Change::Promise(bytes) => write(PROMISE, bytes)?,
        Change::Admission(links) => write(ADMISSION, &parts::encode_admission(links))?,
        Change::Statements(statements) => statements::write(disk, &folder, written, statements)?,
        Change::Rules { rules, judge } => {
            let text = parts::encode_rules(rules, judge.as_ref());
            write(RULES, text.as_bytes())?;
        }
        Change::Expected(codes) => write(EXPECTED, parts::encode_codes(codes).as_bytes())?,
        Change::Issued(invites) => write(ISSUED, parts::encode_invites(invites).as_bytes())?,
        Change::Awaited(acts) => write(AWAITED, parts::encode_awaited(acts).as_bytes())?,
        Change::History(entry) => history::append(disk, &folder, entry)?,
        Change::Left(nodes) => {
            *written = None;
            // This file decides. What follows is done again at the next start if it is cut off.
            write(LEFT, &parts::encode_bootstrap(nodes))?;
            atomic::remove_files(disk, &folder, FORGOTTEN)?;
        }
        Change::Removed => {
            *written = None;
            atomic::remove_folder(disk, nets, name)?;
        }
    }
    Ok(())
}

fn write_network<D: Disk>(
    disk: &D,
    nets: &Path,
    name: &str,
    record: &NetworkRecord,
    interface: &InterfaceOptions,
) -> Result<(), StoreError> {
    let settings = Settings {
        listen_port: record.listen_port,
        interface: interface.clone(),
    };
    let bootstrap = parts::encode_bootstrap(&record.bootstrap);
    let mut files: Vec<(&str, Zeroizing<Vec<u8>>)> = vec![
        (CHARTER, Zeroizing::new(record.charter.bytes().to_vec())),
        (SETTINGS, Zeroizing::new(settings.encode().into_bytes())),
    ];
    if let Some(secret) = &record.secret {
        files.push((NETWORK_SECRET, encode_secret(secret.expose())));
    }
    if let Some(links) = &record.admission {
        files.push((ADMISSION, Zeroizing::new(parts::encode_admission(links))));
    }
    if let Some(promise) = &record.promise {
        files.push((PROMISE, Zeroizing::new(promise.clone())));
    }
    match &record.private_key {
        None => files.push((LEFT, Zeroizing::new(bootstrap))),
        Some(key) => {
            let statements = Log::file(&record.statements);
            let rules = parts::encode_rules(&record.rules, record.judge.as_ref());
            let rules = rules.into_bytes();
            files.push((WIREGUARD_KEY, encode_secret(key.expose())));
            files.push((STATEMENTS, Zeroizing::new(statements)));
            files.push((RULES, Zeroizing::new(rules)));
            files.push((BOOTSTRAP, Zeroizing::new(bootstrap)));
            if !record.expected.is_empty() {
                let codes = parts::encode_codes(&record.expected);
                files.push((EXPECTED, Zeroizing::new(codes.into_bytes())));
            }
            if !record.awaited.is_empty() {
                let acts = parts::encode_awaited(&record.awaited);
                files.push((AWAITED, Zeroizing::new(acts.into_bytes())));
            }
            if !record.issued.is_empty() {
                let invites = parts::encode_invites(&record.issued);
                files.push((ISSUED, Zeroizing::new(invites.into_bytes())));
            }
        }
    }
    let files: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(name, bytes)| (*name, bytes.as_slice()))
        .collect();
    atomic::write_folder(disk, nets, name, &files)?;
    Ok(())
}
