//! Signatures by keys that were made for Diffie-Hellman: XEdDSA over Curve25519 (Trevor Perrin, 2016,
//! <https://signal.org/docs/specifications/xeddsa/>).
//!
//! An X25519 key says only half of a point: `u`, but not which of two points has it. The specification takes the one
//! whose Edwards form has the sign 0, and negates the private scalar where it belongs to the other. What comes out is
//! an Ed25519 signature by that point, so that Ed25519 verifies it.

use curve25519_dalek::{EdwardsPoint, MontgomeryPoint, Scalar};
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

use crate::SignatureBytes;

/// `hash_1` of the specification begins with 2^256 - 2 in 32 bytes, which begins no encoding of a point: its input
/// is never that of the hash in which the signature is verified.
const HASH_1: [u8; 32] = {
    let mut prefix = [0xff; 32];
    prefix[0] = 0xfe;
    prefix
};

/// Signs with a clamped private key. `random` makes faults and side channels harder to use; the signature is sound
/// for any value, because the secret scalar and the message are hashed as well.
pub(crate) fn sign(private: &[u8; 32], message: &[u8], random: &[u8; 64]) -> SignatureBytes {
    let k = Zeroizing::new(Scalar::from_bytes_mod_order(*private));
    let mut public = EdwardsPoint::mul_base(&k).compress().to_bytes();
    // 1 or -1, without a branch on what follows from the secret.
    let sign = Scalar::ONE - Scalar::from((public[31] >> 7) * 2);
    public[31] &= 0x7f;
    let a = Zeroizing::new(*k * sign);
    let nonce: [&[u8]; 4] = [&HASH_1, a.as_bytes(), message, random];
    let r = Zeroizing::new(hash(&nonce));
    let point = EdwardsPoint::mul_base(&r).compress().to_bytes();
    let s = *r + hash(&[&point, &public, message]) * *a;
    let mut signature = [0; 64];
    let (first, second) = signature.split_at_mut(32);
    first.copy_from_slice(&point);
    second.copy_from_slice(s.as_bytes());
    signature
}

/// Whether whoever has the private half of `public` signed this. Strict, as for node keys: no key of small order, and
/// nothing that can be written in two ways.
pub(crate) fn verify(public: &[u8; 32], message: &[u8], signature: &SignatureBytes) -> bool {
    let Some(point) = MontgomeryPoint(*public).to_edwards(0) else {
        return false;
    };
    let is_canonical = point.to_montgomery().to_bytes() == *public;
    is_canonical
        && VerifyingKey::from(point)
            .verify_strict(message, &Signature::from_bytes(signature))
            .is_ok()
}

/// SHA-512 as a scalar.
fn hash(parts: &[&[u8]]) -> Scalar {
    let mut hasher = Sha512::new();
    for part in parts {
        hasher.update(part);
    }
    Scalar::from_bytes_mod_order_wide(&hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use x25519_dalek::{PublicKey, StaticSecret};

    fn key(byte: u8) -> [u8; 32] {
        let mut key = [0; 32];
        (key[8], key[31]) = (byte, 64);
        key
    }

    fn public(private: &[u8; 32]) -> [u8; 32] {
        PublicKey::from(&StaticSecret::from(*private)).to_bytes()
    }

    /// The known answer that the tests of the specification's own implementation compare with: 200 bytes of zero as the
    /// message, and 64 as the random ones.
    #[test]
    fn a_known_answer() {
        let private = key(189);
        let signature = data_encoding::HEXLOWER
            .decode(
                b"11c7f3e6c4df9e8a5150e1db3b30f92de3a3b3aa438656545fa7390f4bcc7bb2\
                  6c431d9e90643e4f0eaa0e9c557766fa69ada576d63dcaf2ac326c11d0b97702",
            )
            .unwrap();
        let mut signature: SignatureBytes = signature.try_into().unwrap();
        assert_eq!(sign(&private, &[0; 200], &[0; 64]), signature);
        assert!(verify(&public(&private), &[0; 200], &signature));
        assert!(!verify(&[0xff; 32], &[0; 200], &signature));
        signature[0] ^= 1;
        assert!(!verify(&public(&private), &[0; 200], &signature));
    }

    #[test]
    fn keys_of_either_sign_sign() {
        let mut signs = [0, 0];
        for byte in 0..32 {
            let private = key(byte);
            let point = EdwardsPoint::mul_base(&Scalar::from_bytes_mod_order(private));
            signs[usize::from(point.compress().to_bytes()[31] >> 7)] += 1;
            let signature = sign(&private, b"hello", &[0; 64]);
            assert!(verify(&public(&private), b"hello", &signature));
            assert!(!verify(&public(&private), b"hellp", &signature));
            assert!(!verify(&public(&key(byte + 1)), b"hello", &signature));
            // Another random value, another signature, as good.
            let other = sign(&private, b"hello", &[1; 64]);
            assert_ne!(other, signature);
            assert!(verify(&public(&private), b"hello", &other));
        }
        assert!(signs.iter().all(|count| *count > 0), "{signs:?}");
    }

    #[test]
    fn a_key_that_can_be_written_in_two_ways_is_none() {
        let private = key(1);
        let signature = sign(&private, b"hello", &[0; 64]);
        let mut again = public(&private);
        again[31] |= 0x80;
        assert!(!verify(&again, b"hello", &signature));
        // Points of small order, for which anybody can sign: u = 0, 1, -1, and p, which is 0 again.
        let mut minus_one = [0xff; 32];
        (minus_one[0], minus_one[31]) = (0xec, 0x7f);
        let mut p = minus_one;
        p[0] = 0xed;
        let mut one = [0; 32];
        one[0] = 1;
        for weak in [[0; 32], one, minus_one, p] {
            let mut nobody = [0; 64];
            nobody[0] = 1;
            assert!(!verify(&weak, b"hello", &nobody));
        }
    }
}
