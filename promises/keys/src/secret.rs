//! Bytes that must not leave the node.
//!
//! A [`Secret`] prints as `[redacted]` and is wiped when it is dropped. It cannot be serialised or
//! displayed, and comparing two takes the same time whatever they hold.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// `N` secret bytes.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret<const N: usize>([u8; N]);

impl<const N: usize> Secret<N> {
    /// Copies the bytes. The caller wipes its own copy.
    pub const fn new(bytes: [u8; N]) -> Self {
        Self(bytes)
    }

    /// A random secret. The caller vouches for the random source.
    pub fn generate(entropy: &mut dyn rand_core::Rng) -> Self {
        let mut bytes = [0; N];
        entropy.fill_bytes(&mut bytes);
        Self(bytes)
    }

    /// The bytes, for the one place that needs them. The name is meant to catch a reader's eye.
    pub const fn expose(&self) -> &[u8; N] {
        &self.0
    }
}

/// Compares in constant time.
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
