//! Bytes that must not leave the node.
//!
//! A [`Secret`] cannot be serialised, prints as `[redacted]`, and is wiped when it is dropped.
//! What it refuses: `Serialize`, `Display` of its content, and ordinary (timing-revealing)
//! comparison.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// `N` secret bytes.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret<const N: usize>([u8; N]);

impl<const N: usize> Secret<N> {
    /// Takes the bytes over. The caller wipes its own copy.
    pub const fn new(bytes: [u8; N]) -> Self {
        Self(bytes)
    }

    /// Fills a secret from a random source that the caller vouches for.
    pub fn generate(entropy: &mut dyn rand_core::Rng) -> Self {
        let mut bytes = [0; N];
        entropy.fill_bytes(&mut bytes);
        Self(bytes)
    }

    /// The bytes, for the one place that needs them. The name is long so that a reader sees it.
    pub const fn expose(&self) -> &[u8; N] {
        &self.0
    }
}

/// Compares in a time that does not depend on the content.
impl<const N: usize> PartialEq for Secret<N> {
    fn eq(&self, other: &Self) -> bool {
        self.0
            .iter()
            .zip(other.0.iter())
            .fold(0u8, |differs, (a, b)| differs | (a ^ b))
            == 0
    }
}

impl<const N: usize> Eq for Secret<N> {}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_as_redacted() {
        let secret = Secret::new([0x41; 32]);
        assert_eq!(format!("{secret:?}"), "[redacted]");
    }

    #[test]
    fn equality_looks_at_every_byte() {
        let a = Secret::new([1, 2, 3]);
        assert_eq!(a, Secret::new([1, 2, 3]));
        assert_ne!(a, Secret::new([1, 2, 4]));
        assert_ne!(a, Secret::new([0, 2, 3]));
    }
}
