//! Bytes as a text that a person carries: a prefix that says what it is, and base64url (RFC 4648 section 5, no padding)
//! of the bytes and the first four of a hash of them, which tell a damaged copy from a forged one.

use data_encoding::BASE64URL_NOPAD;
use zeroize::Zeroizing;

use crate::limits::MAX_INVITE_TEXT;
use crate::network::address;

/// Why a text does not hold such bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Empty,
    TooLong,
    /// It begins in another way.
    OtherPrefix,
    /// A part is missing or altered.
    Damaged,
}

/// The text of some bytes; `domain` is that of the hash. Wiped when dropped.
pub(crate) fn encode(
    prefix: &str,
    domain: &str,
    mut bytes: Zeroizing<Vec<u8>>,
) -> Zeroizing<String> {
    let sum = checksum(domain, &bytes);
    bytes.extend_from_slice(&sum);
    let mut text = Zeroizing::new(String::with_capacity(
        prefix.len() + bytes.len() * 4 / 3 + 4,
    ));
    text.push_str(prefix);
    BASE64URL_NOPAD.encode_append(&bytes, &mut text);
    text
}

/// The bytes of a text. White space around it is ignored, also inside: mail programs break long lines.
pub(crate) fn decode(prefix: &str, domain: &str, text: &str) -> Result<Zeroizing<Vec<u8>>, Fault> {
    if text.len() > MAX_INVITE_TEXT {
        return Err(Fault::TooLong);
    }
    let text: Zeroizing<String> =
        Zeroizing::new(text.chars().filter(|c| !c.is_whitespace()).collect());
    if text.is_empty() {
        return Err(Fault::Empty);
    }
    let encoded = text.strip_prefix(prefix).ok_or(Fault::OtherPrefix)?;
    let bytes = BASE64URL_NOPAD.decode(encoded.as_bytes());
    let mut bytes = Zeroizing::new(bytes.map_err(|_| Fault::Damaged)?);
    let (body, sum) = bytes.split_last_chunk::<4>().ok_or(Fault::Damaged)?;
    if *sum != checksum(domain, body) {
        return Err(Fault::Damaged);
    }
    let length = body.len();
    bytes.truncate(length);
    Ok(bytes)
}

fn checksum(domain: &str, bytes: &[u8]) -> [u8; 4] {
    let hash = address::hash(domain, &[bytes]);
    [hash[0], hash[1], hash[2], hash[3]]
}
