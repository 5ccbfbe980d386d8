//! Stateless resets that outlive the process (RFC 9000 section 10.3): a peer that still talks to a
//! node's previous life learns at once that the connection is gone.

use aws_lc_rs::{hkdf, hmac};
use grid_keys::NodeKey;

/// The keys behind reset tokens and connection ids. Derived from the node key, so that nothing more
/// has to be kept on disk.
pub(crate) struct ResetKeys {
    pub(crate) token: hmac::Key,
    pub(crate) connection_id: u64,
}

impl ResetKeys {
    /// `None` if the cryptography library refuses to derive keys.
    pub(crate) fn of(key: &NodeKey) -> Option<Self> {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"grid quic stateless reset v1");
        let root = salt.extract(key.seed().expose());
        let token = root.expand(&[b"reset token"], hmac::HMAC_SHA256).ok()?;
        let mut connection_id = [0; 32];
        let okm = root.expand(&[b"connection id"], hkdf::HKDF_SHA256).ok()?;
        okm.fill(&mut connection_id).ok()?;
        let (first, _) = connection_id.split_first_chunk::<8>()?;
        Some(Self {
            token: token.into(),
            connection_id: u64::from_be_bytes(*first),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use grid_keys::Secret;

    fn key(seed: u8) -> NodeKey {
        NodeKey::from_seed(&Secret::new([seed; 32]))
    }

    #[test]
    fn reset_keys_survive_a_restart_and_differ_between_nodes() {
        let tag = |key: &NodeKey| {
            let keys = ResetKeys::of(key).unwrap();
            (
                hmac::sign(&keys.token, b"id").as_ref().to_vec(),
                keys.connection_id,
            )
        };
        assert_eq!(tag(&key(1)), tag(&key(1)));
        assert_ne!(tag(&key(1)).0, tag(&key(2)).0);
        assert_ne!(tag(&key(1)).1, tag(&key(2)).1);
    }
}
