//! Frames on the control socket: as in `grid-promises`, also where nothing may block.

use std::io;

use grid_promises::Message;
use grid_promises::frame::{decode, encode, length};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use zeroize::Zeroizing;

use super::confidential::{Bytes, Confidential};

pub use grid_promises::frame::{read, write};

/// How much is read at a time, in bytes.
const PART: usize = 16 << 10;

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
pub async fn receive(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Confidential>> {
    let mut head = [0; 4];
    let (first, rest) = head.split_at_mut(1);
    if from.read(first).await? == 0 {
        return Ok(None);
    }
    from.read_exact(rest).await?;
    let claimed = length(head)?;
    // Memory follows what arrives, not what is claimed.
    let mut bytes = Bytes::default();
    let mut part = Zeroizing::new(vec![0; PART]);
    while bytes.count() < claimed {
        let wanted = (claimed - bytes.count()).min(PART);
        let (room, _) = part.split_at_mut(wanted);
        let count = from.read(room).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.append(part.split_at(count).0);
    }
    decode(&bytes.into_inner()).map(|message| Some(message.into()))
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

    #[tokio::test]
    async fn both_sides_speak_the_same() {
        let mut bytes = Vec::new();
        send(&mut bytes, &message()).await.unwrap();
        assert_eq!(read(&mut bytes.as_slice()).unwrap(), Some(message()));
        assert_eq!(
            receive(&mut bytes.as_slice()).await.unwrap(),
            Some(message().into())
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
}
