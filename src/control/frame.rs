//! How messages lie on the control socket: a length of four bytes, big-endian, and the message.
//!
//! The length is looked at before anything is allocated. What is longer than a message can be, or
//! is none, ends the connection.

use std::io::{self, Read, Write};

use grid_promises::Message;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use zeroize::Zeroizing;

fn invalid(why: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_string())
}

fn encode(message: &Message) -> io::Result<Zeroizing<Vec<u8>>> {
    message.check_limits().map_err(invalid)?;
    let bytes = Zeroizing::new(message.encode());
    let length = u32::try_from(bytes.len()).map_err(invalid)?;
    let mut frame = Zeroizing::new(Vec::with_capacity(bytes.len() + 4));
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&bytes);
    Ok(frame)
}

fn length(head: [u8; 4]) -> io::Result<usize> {
    usize::try_from(u32::from_be_bytes(head))
        .ok()
        .filter(|length| *length <= Message::MAX_LEN)
        .ok_or_else(|| invalid("a frame claims to be longer than a message can be"))
}

fn decode(bytes: &[u8]) -> io::Result<Message> {
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

/// As [`write()`].
///
/// # Errors
/// As [`write()`].
pub async fn send(to: &mut (impl AsyncWrite + Unpin), message: &Message) -> io::Result<()> {
    to.write_all(&encode(message)?).await
}

/// As [`read`].
///
/// # Errors
/// As [`read`].
pub async fn receive(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Message>> {
    let mut head = [0; 4];
    let (first, rest) = head.split_at_mut(1);
    if from.read(first).await? == 0 {
        return Ok(None);
    }
    from.read_exact(rest).await?;
    let claimed = length(head)?;
    // Memory follows what arrives, not what is claimed.
    let mut bytes = Zeroizing::new(Vec::with_capacity(claimed.min(64 * 1024)));
    from.take(claimed as u64).read_to_end(&mut bytes).await?;
    if bytes.len() < claimed {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    decode(&bytes).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use grid_promises::texts;

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

    #[tokio::test]
    async fn both_sides_speak_the_same() {
        let mut bytes = Vec::new();
        send(&mut bytes, &message()).await.unwrap();
        assert_eq!(read(&mut bytes.as_slice()).unwrap(), Some(message()));
        assert_eq!(
            receive(&mut bytes.as_slice()).await.unwrap(),
            Some(message())
        );
        assert_eq!(receive(&mut [].as_slice()).await.unwrap(), None);
        for cut in 1..bytes.len().min(200) {
            assert!(receive(&mut &bytes[..cut]).await.is_err(), "cut at {cut}");
            assert!(read(&mut &bytes[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[tokio::test]
    async fn lies_about_the_length_are_found_out() {
        for head in [[0xff; 4], [0x00, 0x20, 0x00, 0x00]] {
            assert!(receive(&mut head.as_slice()).await.is_err());
            assert!(read(&mut head.as_slice()).is_err());
        }
        let mut short = vec![0, 0, 0, 2];
        short.extend_from_slice(b"hello");
        assert!(receive(&mut short.as_slice()).await.is_err());
    }

    #[test]
    fn what_is_too_long_is_not_sent() {
        let long = Message::new(texts::STATUS.id()).payload(vec![0; Message::MAX_PAYLOAD + 1]);
        let mut out = Vec::new();
        assert!(write(&mut out, &long).is_err());
        assert!(out.is_empty());
    }
}
