//! A message on the control socket, which may hold an invite.

use std::ops::Deref;

use grid_promises::Message;
use zeroize::{Zeroize as _, Zeroizing};

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
