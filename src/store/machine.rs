//! Which machine a home was made on: `keys/machine`, so that a copy of the home on another one is found out.
//!
//! The file holds what `sd_id128_get_machine_app_specific` makes of `/etc/machine-id`: 16 bytes of an HMAC-SHA256 of an
//! id of this program, with the machine's id as the key, in hexadecimal. The machine's own id, which other programs
//! treat as a secret, is not in it and cannot be had from it. `systemd-id128 machine-id --app-specific=ID` prints the same.

use std::fmt;
use std::path::Path;

use data_encoding::HEXLOWER;
use grid_files::atomic;
use grid_files::disk::Disk;
use grid_files::private::{Privacy, Reader, SMALL};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::error::StoreError;

/// Where the machine's id is.
const MACHINE_ID: &str = "/etc/machine-id";
/// This program's id: random, and never another.
const PROGRAM: [u8; 16] = [
    0x5b, 0x0e, 0x91, 0x2c, 0x7f, 0x43, 0x4d, 0x18, 0xa6, 0xd1, 0x3e, 0x84, 0xc9, 0x70, 0x2b, 0xf5,
];
const FILE: &str = "machine";

/// A machine, as this program knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine(String);

impl Machine {
    /// This machine; `None` if it has no id that outlasts it, as many containers.
    #[must_use]
    pub fn here() -> Option<Self> {
        Self::of(&std::fs::read_to_string(MACHINE_ID).ok()?)
    }

    /// `None` for a file that holds no id (yet): it is empty, or says `uninitialized`.
    fn of(file: &str) -> Option<Self> {
        let id = HEXLOWER.decode(file.trim().as_bytes()).ok()?;
        if id.len() != PROGRAM.len() || id.iter().all(|byte| *byte == 0) {
            return None;
        }
        let mut mac = Hmac::<Sha256>::new_from_slice(&id).ok()?;
        mac.update(&PROGRAM);
        let digest = mac.finalize().into_bytes();
        let mut short: [u8; 16] = *digest.first_chunk()?;
        // As an id of version 4.
        short[6] = short[6] & 0x0f | 0x40;
        short[8] = short[8] & 0x3f | 0x80;
        Some(Self(HEXLOWER.encode(&short)))
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The machine that a home with this folder of keys was made on, if that is known.
pub(super) fn load<D: Disk>(
    reader: &Reader<'_, D>,
    keys: &Path,
) -> Result<Option<Machine>, StoreError> {
    let path = keys.join(FILE);
    let found = reader.optional(&path, SMALL, Privacy::Plain)?;
    found
        .map(|bytes| {
            let text = std::str::from_utf8(&bytes).ok().map(str::trim_end);
            let is_id = |text: &&str| {
                HEXLOWER
                    .decode(text.as_bytes())
                    .is_ok_and(|id| id.len() == 16)
            };
            let text = text.filter(is_id);
            text.map(|text| Machine(text.to_owned()))
                .ok_or_else(|| StoreError::damaged(&path, "it holds no machine"))
        })
        .transpose()
}

pub(super) fn save<D: Disk>(disk: &D, keys: &Path, machine: &Machine) -> Result<(), StoreError> {
    atomic::write_file(disk, keys, FILE, format!("{machine}\n").as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_differ_and_their_ids_are_not_told() {
        let id = "0123456789abcdef0123456789abcdef";
        let one = Machine::of(&format!("{id}\n")).unwrap();
        // By Python's `hmac`, with the bits of version 4.
        assert_eq!(one.to_string(), "b0f515bb5df14a928f3f722f768a610d");
        assert_ne!(Machine::of("0123456789abcdef0123456789abcdee"), Some(one));
        for none in ["", "\n", "uninitialized\n", "0123", &"0".repeat(32), "x"] {
            assert_eq!(Machine::of(none), None, "{none:?}");
        }
    }
}
