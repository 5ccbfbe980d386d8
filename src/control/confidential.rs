//! What crosses the control socket, and may hold an invite: messages, and the bytes that they are made of.

use std::io;
use std::ops::Deref;

use grid_promises::Message;
use serde::Serialize;
use zeroize::{Zeroize as _, Zeroizing};

/// The room to begin with, in bytes: enough for the longest invite.
const ROOM: usize = 64 << 10;

/// A message whose payload is wiped when it is dropped, whoever drops it: also one that nobody understood.
#[derive(Debug, PartialEq, Eq)]
pub struct Confidential(Message);

impl Confidential {
    /// The payload, and an empty one in its place.
    #[must_use]
    pub fn take_payload(&mut self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(std::mem::take(&mut self.0.payload))
    }
}

impl From<Message> for Confidential {
    fn from(message: Message) -> Self {
        Self(message)
    }
}

impl Deref for Confidential {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.0
    }
}

impl Drop for Confidential {
    fn drop(&mut self) {
        self.0.payload.zeroize();
    }
}

/// Bytes that are wiped when they are dropped. A vector that grew by itself would leave a copy behind.
#[derive(Debug)]
pub struct Bytes(Zeroizing<Vec<u8>>);

impl Bytes {
    /// The bytes so far.
    #[must_use]
    pub fn into_inner(self) -> Zeroizing<Vec<u8>> {
        self.0
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Puts more behind them.
    pub fn append(&mut self, part: &[u8]) {
        if self.0.capacity() - self.0.len() < part.len() {
            let mut larger = Zeroizing::new(Vec::with_capacity((self.0.len() + part.len()) * 2));
            larger.extend_from_slice(&self.0);
            self.0 = larger;
        }
        self.0.extend_from_slice(part);
    }
}

impl Default for Bytes {
    fn default() -> Self {
        Self(Zeroizing::new(Vec::with_capacity(ROOM)))
    }
}

impl io::Write for Bytes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A value as JSON.
///
/// # Errors
/// It cannot be written as JSON.
pub fn json(value: &impl Serialize) -> serde_json::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Bytes::default();
    serde_json::to_writer(&mut bytes, value)?;
    Ok(bytes.into_inner())
}
