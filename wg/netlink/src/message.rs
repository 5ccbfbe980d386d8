//! The frame of netlink messages (`struct nlmsghdr`): how a datagram splits into them.

use std::io;

use zeroize::Zeroizing;

/// Length of `struct nlmsghdr` in bytes.
pub(crate) const HEADER: usize = 16;

/// One answer of the kernel.
#[derive(Debug)]
pub struct Message {
    /// The message type, such as `RTM_NEWLINK`.
    pub kind: u16,
    /// What follows the netlink header.
    pub payload: Zeroizing<Vec<u8>>,
}

/// One message inside a datagram.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// The message type, such as `RTM_NEWLINK`.
    pub kind: u16,
    /// What follows the netlink header.
    pub payload: &'a [u8],
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
}

/// The messages of a datagram, up to and including the first malformed one.
pub struct Parts<'a>(pub &'a [u8]);

impl<'a> Iterator for Parts<'a> {
    type Item = io::Result<Part<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let split = split_message(self.0);
        self.0 = split.as_ref().map_or(&[], |(_, rest)| rest);
        Some(split.map(|(part, _)| part))
    }
}

fn split_message(bytes: &[u8]) -> io::Result<(Part<'_>, &[u8])> {
    let short = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "the kernel's netlink message is malformed: shorter than its length says",
        )
    };
    let (header, _) = bytes.split_first_chunk::<HEADER>().ok_or_else(short)?;
    let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, ..] = *header;
    let length = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).map_err(|_| short())?;
    let payload = bytes.get(HEADER..length).ok_or_else(short)?;
    let rest = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    let part = Part {
        kind: u16::from_ne_bytes([k0, k1]),
        payload,
        flags: u16::from_ne_bytes([f0, f1]),
        sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
    };
    Ok((part, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(HEADER + payload.len())
            .unwrap()
            .to_ne_bytes()
            .to_vec();
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&[0; 10]);
        bytes.extend_from_slice(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn a_datagram_splits_into_its_messages() {
        let datagram = [message(7, b"abcde"), message(8, b"")].concat();
        let parts: Vec<_> = Parts(&datagram).map(|part| part.unwrap()).collect();
        assert_eq!(parts.len(), 2);
        assert_eq!((parts[0].kind, parts[0].payload), (7, &b"abcde"[..]));
        assert_eq!((parts[1].kind, parts[1].payload), (8, &b""[..]));
    }

    #[test]
    fn lying_lengths_end_the_datagram() {
        for length in [0u32, 15, 22, u32::MAX] {
            let mut bytes = message(7, b"abcd");
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            let parts: Vec<_> = Parts(&bytes).collect();
            assert_eq!(parts.len(), 1, "{length}");
            assert!(parts[0].is_err(), "{length}");
        }
        assert!(Parts(&[1, 2, 3]).next().unwrap().is_err());
    }
}
