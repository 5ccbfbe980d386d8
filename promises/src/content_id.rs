//! Content ids: the name of an object is the hash of its bytes.
//!
//! A content id is a CIDv1 (multiformats `cid` specification) of codec raw (`0x55`). The hash
//! function is read from the id, never assumed: sha2-256 (the default), sha2-512 and blake3 verify.
//! What this file refuses: CIDv0, every other codec, every other hash function, shortened digests,
//! varints that are not minimal, trailing bytes, and every text form but base32 lower (`b...`).

use std::fmt;
use std::str::FromStr;

use cid::Cid;
use cid::multibase::Base;
use sha2::{Digest, Sha256, Sha512};

/// The multicodec code of raw bytes, the only codec that content ids have here.
const RAW: u64 = 0x55;
/// Version, codec, hash code and digest length take one byte each.
const HEADER_LEN: usize = 4;
/// The length of the longest digest (sha2-512), in bytes.
const MAX_DIGEST: usize = 64;

/// The hash functions that content ids are verified with. The values are multihash codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum HashCode {
    /// SHA-256 (FIPS 180-4), 32 bytes. What [`ContentId::of`] makes.
    Sha2_256 = 0x12,
    /// SHA-512 (FIPS 180-4), 64 bytes.
    Sha2_512 = 0x13,
    /// BLAKE3 with its default output of 32 bytes.
    Blake3 = 0x1e,
}

impl HashCode {
    /// The length of a digest, in bytes. Shortened digests are not accepted.
    #[must_use]
    pub const fn digest_len(self) -> usize {
        match self {
            Self::Sha2_256 | Self::Blake3 => 32,
            Self::Sha2_512 => 64,
        }
    }

    const fn from_code(code: u64) -> Option<Self> {
        match code {
            0x12 => Some(Self::Sha2_256),
            0x13 => Some(Self::Sha2_512),
            0x1e => Some(Self::Blake3),
            _ => None,
        }
    }

    /// The digest of `bytes`, followed by zeros where it is shorter than the longest one.
    fn digest(self, bytes: &[u8]) -> [u8; MAX_DIGEST] {
        match self {
            Self::Sha2_256 => padded(&Sha256::digest(bytes)),
            Self::Sha2_512 => padded(&Sha512::digest(bytes)),
            Self::Blake3 => padded(blake3::hash(bytes).as_bytes()),
        }
    }
}

fn padded(digest: &[u8]) -> [u8; MAX_DIGEST] {
    let mut out = [0; MAX_DIGEST];
    for (to, from) in out.iter_mut().zip(digest) {
        *to = *from;
    }
    out
}

/// The name of an object: which hash function, and what it yields for the object's bytes.
///
/// Prints as multibase base32 lower (`bafkrei...`), and reads back that form only. The order is
/// that of the binary form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentId {
    code: HashCode,
    /// The digest, followed by zeros: so that derived order and equality are those of the id.
    digest: [u8; MAX_DIGEST],
}

impl ContentId {
    /// The length of the longest binary form, in bytes.
    pub const MAX_LEN: usize = HEADER_LEN + MAX_DIGEST;
    /// The length of the longest text form, in characters.
    pub const MAX_TEXT_LEN: usize = 1 + (Self::MAX_LEN * 8).div_ceil(5);

    /// The sha2-256 content id of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::with(HashCode::Sha2_256, bytes)
    }

    /// The content id of `bytes` under a hash function of the caller's choice.
    #[must_use]
    pub fn with(code: HashCode, bytes: &[u8]) -> Self {
        Self {
            code,
            digest: code.digest(bytes),
        }
    }

    /// The hash function of this id.
    #[must_use]
    pub const fn hash_code(&self) -> HashCode {
        self.code
    }

    /// The digest: as many bytes as the hash function has.
    #[must_use]
    pub fn digest(&self) -> &[u8] {
        self.digest.split_at(self.code.digest_len()).0
    }

    /// Checks that `bytes` are the object that this id names.
    ///
    /// # Errors
    /// They are not. Drop the bytes: whoever sent them is wrong, or the store is damaged.
    pub fn verify(&self, bytes: &[u8]) -> Result<(), VerifyError> {
        if Self::with(self.code, bytes) == *self {
            Ok(())
        } else {
            Err(VerifyError { expected: *self })
        }
    }

    /// The binary CID: version, codec, hash code, digest length, digest.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let digest = self.digest();
        let mut out = Vec::with_capacity(HEADER_LEN + digest.len());
        // All four numbers are below 128, where a varint is the byte itself; a digest has 32 or
        // 64 bytes.
        #[allow(clippy::cast_possible_truncation)]
        out.extend_from_slice(&[0x01, RAW as u8, self.code as u8, digest.len() as u8]);
        out.extend_from_slice(digest);
        out
    }

    /// Reads a binary CID that takes up all of `bytes`.
    ///
    /// # Errors
    /// Anything but a CIDv1, raw, with a full-length digest of a known hash function, encoded in
    /// the one shortest way, with nothing after it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ContentIdError> {
        if bytes.is_empty() {
            return Err(ContentIdError::Malformed);
        }
        let mut rest = bytes;
        let cid = Cid::read_bytes(&mut rest).map_err(|error| match error {
            cid::Error::InvalidCidVersion | cid::Error::InvalidExplicitCidV0 => {
                ContentIdError::Version
            }
            _ => ContentIdError::Malformed,
        })?;
        if !rest.is_empty() {
            return Err(ContentIdError::TrailingBytes { count: rest.len() });
        }
        if cid.version() != cid::Version::V1 {
            return Err(ContentIdError::Version);
        }
        if cid.codec() != RAW {
            return Err(ContentIdError::Codec { found: cid.codec() });
        }
        let hash = cid.hash();
        let code = HashCode::from_code(hash.code())
            .ok_or(ContentIdError::HashFunction { found: hash.code() })?;
        if hash.digest().len() != code.digest_len() {
            return Err(ContentIdError::DigestLength {
                expected: code.digest_len(),
                found: hash.digest().len(),
            });
        }
        let id = Self {
            code,
            digest: padded(hash.digest()),
        };
        // The library reads minimal varints only. This keeps "one id, one form" true even if a
        // later version of it did not.
        if id.to_bytes() == bytes {
            Ok(id)
        } else {
            Err(ContentIdError::Malformed)
        }
    }

    /// The first sixteen characters of the text form, nine of which differ between objects: enough
    /// for a person to tell ids apart in a log, not to name an object safely.
    #[must_use]
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(16);
        text
    }
}

impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&cid::multibase::encode(Base::Base32Lower, self.to_bytes()))
    }
}

impl fmt::Debug for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentId({})", self.short())
    }
}

impl FromStr for ContentId {
    type Err = ContentIdError;

    fn from_str(text: &str) -> Result<Self, ContentIdError> {
        if text.len() > Self::MAX_TEXT_LEN {
            return Err(ContentIdError::Text);
        }
        let digits = text.strip_prefix('b').ok_or(ContentIdError::Text)?;
        // The library reads upper-case digits too; one id has one text.
        if digits.bytes().any(|digit| digit.is_ascii_uppercase()) {
            return Err(ContentIdError::Text);
        }
        let bytes = Base::Base32Lower
            .decode(digits)
            .map_err(|_| ContentIdError::Text)?;
        Self::from_bytes(&bytes)
    }
}

/// Bytes or a text that are not a content id. Nothing was changed; asking again will not help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentIdError {
    /// Not a CID: cut short, a number that is not a minimal varint, or a digest over 64 bytes.
    #[error("not a content id: the bytes are cut short or malformed")]
    Malformed,
    /// A CID of another version than 1.
    #[error("a content id must be a CID of version 1")]
    Version,
    /// A codec other than raw.
    #[error("a content id must have the codec raw (0x55), not {found:#x}")]
    Codec {
        /// The multicodec code that was found.
        found: u64,
    },
    /// A hash function that this version does not know.
    #[error("hash function {found:#x} is not known (sha2-256, sha2-512 and blake3 are)")]
    HashFunction {
        /// The multihash code that was found.
        found: u64,
    },
    /// A digest that is shorter or longer than its hash function makes it.
    #[error("the digest has {found} bytes where its hash function makes {expected}")]
    DigestLength {
        /// What the hash function makes, in bytes.
        expected: usize,
        /// What the id carries, in bytes.
        found: usize,
    },
    /// Bytes after the end of the CID.
    #[error("{count} bytes follow the content id")]
    TrailingBytes {
        /// How many.
        count: usize,
    },
    /// Not base32 lower with the multibase prefix `b`.
    #[error("the text of a content id is `b` followed by lower-case base32 (a-z, 2-7)")]
    Text,
}

/// An object that is not what its id says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are not the object {expected}")]
pub struct VerifyError {
    /// The id that was asked for.
    pub expected: ContentId,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The CID of zero bytes, from the PromiseGrid documents.
    const EMPTY: &str = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku";

    fn hex(text: &str) -> Vec<u8> {
        data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
    }

    fn any_id() -> impl Strategy<Value = ContentId> {
        let code = prop_oneof![
            Just(HashCode::Sha2_256),
            Just(HashCode::Sha2_512),
            Just(HashCode::Blake3)
        ];
        (code, any::<Vec<u8>>()).prop_map(|(code, bytes)| ContentId::with(code, &bytes))
    }

    #[test]
    fn the_id_of_zero_bytes() {
        let id = ContentId::of(b"");
        assert_eq!(id.to_string(), EMPTY);
        assert_eq!(EMPTY.parse(), Ok(id));
        assert_eq!(id.short(), "bafkreihdwdcefgh");
        assert_eq!(
            id.to_bytes(),
            hex("01551220e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        );
    }

    /// The value is that of the public PromiseGrid code. A sha2-256 multihash has 46 digits in
    /// base58btc; copies of it with 47 (a doubled `v`) are misprints that decode to 35 bytes.
    #[test]
    fn a_promise_text_has_the_multihash_of_promisegrid() {
        let id = ContentId::of(b"I will say hello");
        let multihash = id.to_bytes().split_off(2);
        assert_eq!(
            cid::multibase::encode(Base::Base58Btc, multihash),
            "zQmddNuhGSReFgfv9rncrbEiruwPMu2YymprYHHC8YwqaQd"
        );
    }

    /// FIPS 180-4 ("abc") and the test vectors of the BLAKE3 reference (zero bytes).
    #[test]
    fn the_hash_function_is_read_from_the_id() {
        let sha512 = hex(
            "01551340ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        );
        let id = ContentId::from_bytes(&sha512).unwrap();
        assert_eq!(id.hash_code(), HashCode::Sha2_512);
        assert_eq!(id.verify(b"abc"), Ok(()));
        assert_eq!(id.verify(b"abd"), Err(VerifyError { expected: id }));

        let blake3 =
            hex("01551e20af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
        let id = ContentId::from_bytes(&blake3).unwrap();
        assert_eq!(id.hash_code(), HashCode::Blake3);
        assert_eq!(id.verify(b""), Ok(()));
        assert!(id.verify(b"a").is_err());
    }

    #[test]
    fn what_is_not_a_content_id_is_refused() {
        use ContentIdError as E;
        let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let of = |head: &str, tail: &str| hex(&format!("{head}{digest}{tail}"));
        for (bytes, error) in [
            (vec![], E::Malformed),
            (vec![0x01], E::Malformed),
            (hex("01551220"), E::Malformed),
            (of("01551221", ""), E::Malformed),
            (of("01551220", "00"), E::TrailingBytes { count: 1 }),
            (of("0155121f", ""), E::TrailingBytes { count: 1 }),
            (of("1220", ""), E::Version),
            (of("00551220", ""), E::Version),
            (of("02551220", ""), E::Version),
            (of("01701220", ""), E::Codec { found: 0x70 }),
            (of("01a7201220", ""), E::Codec { found: 0x1027 }),
            (of("01551120", ""), E::HashFunction { found: 0x11 }),
            (of("01550020", ""), E::HashFunction { found: 0 }),
            (
                of("01551221", "00"),
                E::DigestLength {
                    expected: 32,
                    found: 33,
                },
            ),
            (
                of("01551320", ""),
                E::DigestLength {
                    expected: 64,
                    found: 32,
                },
            ),
            (
                hex("01551200"),
                E::DigestLength {
                    expected: 32,
                    found: 0,
                },
            ),
            // Varints that are longer than they need be, over-long, and endless.
            (of("8100551220", ""), E::Malformed),
            (of("01d5001220", ""), E::Malformed),
            (of("01559200", "20"), E::Malformed),
            (of("015512a000", ""), E::Malformed),
            (vec![0xff; 100], E::Malformed),
            (of("01551241", "00".repeat(33).as_str()), E::Malformed),
        ] {
            assert_eq!(ContentId::from_bytes(&bytes), Err(error), "{bytes:02x?}");
        }
    }

    #[test]
    fn only_the_documented_text_form_is_read() {
        let upper = EMPTY.to_uppercase();
        let mixed = EMPTY.replace('q', "Q");
        let spaced = format!("{EMPTY} ");
        let url = format!("/ipfs/{EMPTY}");
        let long = format!("b{}", "a".repeat(1 << 20));
        // The last character carries two bits that must be zero.
        let loose = format!("{}v", EMPTY.strip_suffix('u').unwrap());
        for text in [
            "",
            "b1",
            upper.as_str(),
            mixed.as_str(),
            EMPTY.strip_prefix('b').unwrap(),
            spaced.as_str(),
            url.as_str(),
            loose.as_str(),
            long.as_str(),
            "zQmddNuhGSReFgfv9rncrbEiruwPMu2YymprYHHC8YwqaQd",
            "QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n",
        ] {
            assert_eq!(
                text.parse::<ContentId>(),
                Err(ContentIdError::Text),
                "{text:.80}"
            );
        }
        assert_eq!("b".parse::<ContentId>(), Err(ContentIdError::Malformed));
    }

    #[test]
    fn the_longest_forms_are_as_long_as_documented() {
        let id = ContentId::with(HashCode::Sha2_512, b"");
        assert_eq!(id.to_bytes().len(), ContentId::MAX_LEN);
        assert_eq!(id.to_string().len(), ContentId::MAX_TEXT_LEN);
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    proptest! {
        #[test]
        fn both_forms_read_back(id in any_id()) {
            prop_assert_eq!(ContentId::from_bytes(&id.to_bytes()), Ok(id));
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            prop_assert!(id.to_string().starts_with(&id.short()));
        }

        #[test]
        fn the_order_is_that_of_the_binary_form(a in any_id(), b in any_id()) {
            prop_assert_eq!(a.cmp(&b), a.to_bytes().cmp(&b.to_bytes()));
        }

        #[test]
        fn the_binary_form_is_that_of_the_cid_library(id in any_id()) {
            let hash = cid::multihash::Multihash::wrap(id.code as u64, id.digest()).unwrap();
            prop_assert_eq!(id.to_bytes(), Cid::new_v1(RAW, hash).to_bytes());
            prop_assert_eq!(id.to_string(), Cid::new_v1(RAW, hash).to_string());
        }

        #[test]
        fn no_other_text_reads_as_an_id(
            id in any_id(), at in any::<prop::sample::Index>(), digit in "[ -~]",
        ) {
            let mut text = id.to_string();
            let at = at.index(text.len());
            text.replace_range(at..=at, &digit);
            if let Ok(other) = text.parse::<ContentId>() {
                prop_assert_eq!(other.to_string(), text);
            }
        }

        #[test]
        fn no_other_bytes_read_as_an_id(
            id in any_id(), at in any::<prop::sample::Index>(), flip in 1u8..,
        ) {
            let mut bytes = id.to_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            if let Ok(other) = ContentId::from_bytes(&bytes) {
                prop_assert_ne!(other, id);
                prop_assert_eq!(other.to_bytes(), bytes);
            }
        }
    }
}
