//! How messages follow one another in a stream of bytes: a length of four bytes, big-endian, and the
//! message.
//!
//! The length is looked at before anything is allocated. What is longer than a message can be, or is
//! none, is an error. The stream comes in as an argument; where it leads is not known here.

use std::io::{self, Read, Write};

use zeroize::Zeroizing;

use crate::Message;

fn invalid(why: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_string())
}

/// The bytes of a message and of its length. Wiped when dropped: a message may hold a secret.
///
/// # Errors
/// The message is over its limits.
pub fn encode(message: &Message) -> io::Result<Zeroizing<Vec<u8>>> {
    message.check_limits().map_err(invalid)?;
    let bytes = Zeroizing::new(message.encode());
    let length = u32::try_from(bytes.len()).map_err(invalid)?;
    let mut frame = Zeroizing::new(Vec::with_capacity(bytes.len() + 4));
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&bytes);
    Ok(frame)
}

/// How long the message is that begins with these four bytes.
///
/// # Errors
/// Longer than a message can be.
pub fn length(head: [u8; 4]) -> io::Result<usize> {
    usize::try_from(u32::from_be_bytes(head))
        .ok()
        .filter(|length| *length <= Message::MAX_LEN)
        .ok_or_else(|| invalid("a frame claims to be longer than a message can be"))
}

/// Reads the message behind its length.
///
/// # Errors
/// Not a message.
pub fn decode(bytes: &[u8]) -> io::Result<Message> {
    Message::decode(bytes, &Message::BOUNDS).map_err(invalid)
}

/// Writes a message.
///
/// # Errors
/// The message is over its limits, or the socket's.
pub fn write(to: &mut impl Write, message: &Message) -> io::Result<()> {
    to.write_all(&encode(message)?)
}

/// Reads a message. `None`: the connection ended where one could have begun.
///
/// # Errors
/// Not a message, cut short, or the socket's.
pub fn read(from: &mut impl Read) -> io::Result<Option<Message>> {
    let mut head = [0; 4];
    let (first, rest) = head.split_at_mut(1);
    if from.read(first)? == 0 {
        return Ok(None);
    }
    from.read_exact(rest)?;
    let mut bytes = Zeroizing::new(vec![0; length(head)?]);
    from.read_exact(&mut bytes)?;
    decode(&bytes).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::texts;

    fn message() -> Message {
        Message::new(texts::STATUS.id())
            .arg("foo")
            .payload(vec![7; 70_000])
    }

    #[test]
    fn messages_read_back() {
        let mut bytes = Vec::new();
        write(&mut bytes, &message()).unwrap();
        write(&mut bytes, &message()).unwrap();
        let mut rest = bytes.as_slice();
        assert_eq!(read(&mut rest).unwrap(), Some(message()));
        assert_eq!(read(&mut rest).unwrap(), Some(message()));
        assert_eq!(read(&mut rest).unwrap(), None);
    }

    #[test]
    fn what_is_too_long_is_not_sent() {
        let long = Message::new(texts::STATUS.id()).payload(vec![0; Message::MAX_PAYLOAD + 1]);
        let mut out = Vec::new();
        assert!(write(&mut out, &long).is_err());
        assert!(out.is_empty());
    }
}
