//! WireGuard's keys, and the pre-shared key that two nodes derive without sending it.
//!
//! Follows the WireGuard paper (section 5.4: Curve25519 keys, an optional 32-byte pre-shared key),
//! RFC 7748 (X25519) and RFC 5869 (HKDF).

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64;
use hkdf::Hkdf;
use sha2::Sha256;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, Zeroizing};

use crate::{Secret, SignatureBytes, xeddsa};

/// A WireGuard public key. Prints as base64, as `wg` does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WgPublicKey(pub [u8; 32]);

/// A WireGuard pre-shared key, derived by [`WgSecretKey::preshared_key`].
pub type PresharedKey = Secret<32>;

/// A WireGuard private key, clamped. Wiped on drop; prints as `[redacted]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WgSecretKey {
    secret: Secret<32>,
    /// Found once: each pre-shared key takes it.
    public: WgPublicKey,
}

impl WgPublicKey {
    /// Whether `signature` over `message` was made by the private half of this key.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &SignatureBytes) -> bool {
        xeddsa::verify(&self.0, message, signature)
    }
}

impl fmt::Display for WgPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(&self.0))
    }
}

impl fmt::Debug for WgPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WgPublicKey({self})")
    }
}

/// The text is not a WireGuard public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a WireGuard key is 44 characters of base64")]
pub struct NotAWgKey;

impl FromStr for WgPublicKey {
    type Err = NotAWgKey;

    fn from_str(text: &str) -> Result<Self, NotAWgKey> {
        let bytes = BASE64.decode(text.as_bytes()).map_err(|_| NotAWgKey)?;
        bytes.try_into().map(Self).map_err(|_| NotAWgKey)
    }
}

impl WgSecretKey {
    /// The key with these bytes, clamped as WireGuard does (RFC 7748 section 5).
    #[must_use]
    pub fn from_bytes(bytes: &Secret<32>) -> Self {
        let mut clamped = *bytes.expose();
        clamped[0] &= 248;
        clamped[31] = (clamped[31] & 127) | 64;
        let secret = Secret::new(clamped);
        clamped.zeroize();
        let public = PublicKey::from(&StaticSecret::from(*secret.expose()));
        Self {
            secret,
            public: WgPublicKey(public.to_bytes()),
        }
    }

    /// A new key. The caller vouches for the random source.
    pub fn generate(entropy: &mut dyn rand_core::Rng) -> Self {
        Self::from_bytes(&Secret::generate(entropy))
    }

    /// The bytes, for the key file and for WireGuard.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 32] {
        self.secret.expose()
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> WgPublicKey {
        self.public
    }

    /// Signs a message that says what it is for, as [`WgPublicKey::verify`] verifies: XEdDSA with a random value of
    /// zeros, so that a message has one signature, as with Ed25519.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> SignatureBytes {
        xeddsa::sign(self.expose(), message, &[0; 64])
    }

    /// The pre-shared key for `peer` in a network:
    ///
    /// `HKDF-SHA256(salt = network, ikm = X25519(own private, peer) || network secret,
    /// info = "grid wireguard psk v1" || lower public key || higher public key, 32 bytes)`
    ///
    /// Both ends derive the same bytes, and neither sends them. `network` is the binary network id.
    /// `network_secret` is empty in networks that do not admit by invite.
    #[must_use]
    pub fn preshared_key(
        &self,
        peer: &WgPublicKey,
        network: &[u8],
        network_secret: &[u8],
    ) -> PresharedKey {
        let shared = StaticSecret::from(*self.expose()).diffie_hellman(&PublicKey::from(peer.0));
        let mut ikm = Zeroizing::new(Vec::with_capacity(32 + network_secret.len()));
        ikm.extend_from_slice(shared.as_bytes());
        ikm.extend_from_slice(network_secret);
        let own = self.public();
        let (lower, higher) = if own < *peer {
            (&own, peer)
        } else {
            (peer, &own)
        };
        let mut out = [0; 32];
        // Cannot fail: 32 bytes are below HKDF's limit of 255 * 32.
        let expanded = Hkdf::<Sha256>::new(Some(network), &ikm)
            .expand_multi_info(&[b"grid wireguard psk v1", &lower.0, &higher.0], &mut out);
        debug_assert!(expanded.is_ok());
        let key = Secret::new(out);
        out.zeroize();
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> WgSecretKey {
        WgSecretKey::from_bytes(&Secret::new([byte; 32]))
    }

    #[test]
    fn both_ends_derive_the_same_preshared_key() {
        let (a, b) = (key(1), key(2));
        let from_a = a.preshared_key(&b.public(), b"net", b"secret");
        assert_eq!(from_a, b.preshared_key(&a.public(), b"net", b"secret"));
        assert_ne!(from_a, a.preshared_key(&b.public(), b"net", b"other"));
        assert_ne!(from_a, a.preshared_key(&b.public(), b"other", b"secret"));
        assert_ne!(from_a, a.preshared_key(&key(3).public(), b"net", b"secret"));
    }

    /// RFC 7748 section 6.1.
    #[test]
    fn rfc_7748_public_key() {
        let hex = |text: &str| -> [u8; 32] {
            data_encoding::HEXLOWER
                .decode(text.as_bytes())
                .unwrap()
                .try_into()
                .unwrap()
        };
        let alice = WgSecretKey::from_bytes(&Secret::new(hex(
            "77076d0a7318a57d3c16c17251b26645c6db3d1d2d3f0c1e9d9a1b1e1c1f2b2a",
        )));
        assert_eq!(alice.expose()[0] & 7, 0, "clamped");
        let bob = WgSecretKey::from_bytes(&Secret::new(hex(
            "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
        )));
        assert_eq!(
            bob.public().0,
            hex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
        );
    }

    #[test]
    fn a_signature_is_bound_to_key_and_message() {
        let signature = key(1).sign(b"hello");
        assert!(key(1).public().verify(b"hello", &signature));
        assert!(!key(1).public().verify(b"hellp", &signature));
        assert!(!key(2).public().verify(b"hello", &signature));
    }

    #[test]
    fn public_keys_read_back_what_they_print() {
        let public = key(7).public();
        assert_eq!(public.to_string().parse(), Ok(public));
        assert_eq!("short".parse::<WgPublicKey>(), Err(NotAWgKey));
        assert_eq!("A".repeat(43).parse::<WgPublicKey>(), Err(NotAWgKey));
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", key(1));
        let public = key(1).public();
        let expected = format!("WgSecretKey {{ secret: [redacted], public: {public:?} }}");
        assert_eq!(shown, expected);
    }
}
