//! Who a node is: an Ed25519 key (RFC 8032).
//!
//! The public half is the node's name everywhere: in statements, in TLS, in files. The secret half
//! signs, and never leaves the node.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use crate::Secret;

/// A node's public key. Prints as 52 characters of lower-case base32 (RFC 4648, without padding).
///
/// Not every value is a usable key: see [`is_valid`](Self::is_valid).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub [u8; 32]);

/// An Ed25519 signature: R, then S (RFC 8032 section 5.1.6).
pub type SignatureBytes = [u8; 64];

impl NodeId {
    /// The first ten characters: enough for a person to tell nodes apart, too few to identify one
    /// safely.
    #[must_use]
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(10);
        text
    }

    /// Whether `signature` over `message` was made by this node.
    ///
    /// The check is strict (no small-order keys, canonical encodings only), so that all nodes agree
    /// on every signature.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &SignatureBytes) -> bool {
        VerifyingKey::from_bytes(&self.0).is_ok_and(|key| {
            key.verify_strict(message, &Signature::from_bytes(signature))
                .is_ok()
        })
    }

    /// Whether the bytes are a point of the curve, and not one of small order, for which signatures
    /// prove nothing.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        VerifyingKey::from_bytes(&self.0).is_ok_and(|key| !key.is_weak())
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE32_NOPAD.encode(&self.0).to_ascii_lowercase())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({})", self.short())
    }
}

/// The text is not a node id, or names a key that is not [valid](NodeId::is_valid).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a node id is 52 characters of base32 (a-z, 2-7)")]
pub struct NotANodeId;

impl FromStr for NodeId {
    type Err = NotANodeId;

    fn from_str(text: &str) -> Result<Self, NotANodeId> {
        if text.len() != 52 {
            return Err(NotANodeId);
        }
        let bytes = BASE32_NOPAD
            .decode(text.to_ascii_uppercase().as_bytes())
            .map_err(|_| NotANodeId)?;
        let id = Self(bytes.try_into().map_err(|_| NotANodeId)?);
        if id.is_valid() {
            Ok(id)
        } else {
            Err(NotANodeId)
        }
    }
}

/// A node's secret key. Wiped on drop; prints only its public half.
#[derive(Clone)]
pub struct NodeKey(SigningKey);

impl NodeKey {
    /// The key of a 32-byte seed (which RFC 8032 calls the private key).
    #[must_use]
    pub fn from_seed(seed: &Secret<32>) -> Self {
        Self(SigningKey::from_bytes(seed.expose()))
    }

    /// A new key. The caller vouches for the random source.
    pub fn generate(entropy: &mut dyn rand_core::Rng) -> Self {
        Self::from_seed(&Secret::generate(entropy))
    }

    /// The seed, to be written to the key file.
    #[must_use]
    pub fn seed(&self) -> Secret<32> {
        Secret::new(self.0.to_bytes())
    }

    /// The public half.
    #[must_use]
    pub fn id(&self) -> NodeId {
        NodeId(self.0.verifying_key().to_bytes())
    }

    /// Signs a message that already says what it is for, as statements and TLS transcripts do: the
    /// signature of one must not pass for another's.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> SignatureBytes {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({}, [redacted])", self.id().short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> NodeKey {
        NodeKey::from_seed(&Secret::new([byte; 32]))
    }

    #[test]
    fn text_form_round_trips() {
        let id = key(1).id();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string().to_uppercase().parse(), Ok(id));
        assert_eq!(id.short().len(), 10);
    }

    #[test]
    fn text_that_is_no_node_id_is_refused() {
        for text in ["", "abc", &"a".repeat(53), &"1".repeat(52)] {
            assert_eq!(text.parse::<NodeId>(), Err(NotANodeId), "{text}");
        }
    }

    #[test]
    fn a_signature_is_bound_to_key_and_message() {
        let signature = key(1).sign(b"hello");
        assert!(key(1).id().verify(b"hello", &signature));
        assert!(!key(1).id().verify(b"hellp", &signature));
        assert!(!key(2).id().verify(b"hello", &signature));
    }

    /// RFC 8032 section 7.1, test 1.
    #[test]
    fn rfc_8032_test_1() {
        let hex = |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap();
        let seed = hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
        let key = NodeKey::from_seed(&Secret::new(seed.try_into().unwrap()));
        assert_eq!(
            key.id().0.to_vec(),
            hex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
        );
        assert_eq!(
            key.sign(b"").to_vec(),
            hex(
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
            )
        );
    }

    #[test]
    fn weak_keys_are_refused() {
        assert!(!NodeId([0; 32]).is_valid());
        let mut identity = [0; 32];
        identity[0] = 1;
        assert!(!NodeId(identity).is_valid());
    }

    #[test]
    fn debug_shows_no_secret() {
        let text = format!("{:?}", key(1));
        assert!(text.contains("[redacted]"), "{text}");
    }
}
