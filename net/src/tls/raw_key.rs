//! A node id as TLS carries it: the SubjectPublicKeyInfo of an Ed25519 key (RFC 7250, RFC 8410).

use grid_keys::NodeId;
use rustls::pki_types::CertificateDer;
use rustls::{CertificateError, Error};

/// What precedes the key's 32 bytes in the SubjectPublicKeyInfo of an Ed25519 key (RFC 8410
/// section 4).
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

pub(super) fn spki_of(id: &NodeId) -> Vec<u8> {
    [&SPKI_PREFIX[..], &id.0[..]].concat()
}

/// The node that a SubjectPublicKeyInfo names. Only an Ed25519 key of full order names one.
pub(super) fn node_of(spki: &CertificateDer<'_>) -> Result<NodeId, Error> {
    let key = spki
        .strip_prefix(&SPKI_PREFIX)
        .ok_or(CertificateError::BadEncoding)?;
    let id = NodeId(key.try_into().map_err(|_| CertificateError::BadEncoding)?);
    if id.is_valid() {
        Ok(id)
    } else {
        Err(CertificateError::BadEncoding.into())
    }
}

/// The node that a peer presents in a handshake: one raw key, and nothing after it.
pub(super) fn presented(
    end: &CertificateDer<'_>,
    rest: &[CertificateDer<'_>],
) -> Result<NodeId, Error> {
    if rest.is_empty() {
        node_of(end)
    } else {
        Err(CertificateError::BadEncoding.into())
    }
}

/// The node whose key a connection's handshake proved.
pub(crate) fn peer_of(connection: &quinn::Connection) -> Option<NodeId> {
    let identity = connection.peer_identity()?;
    let keys = identity.downcast_ref::<Vec<CertificateDer<'static>>>()?;
    node_of(keys.first()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use grid_keys::{NodeKey, Secret};
    use proptest::prelude::*;

    fn key(seed: u8) -> NodeKey {
        NodeKey::from_seed(&Secret::new([seed; 32]))
    }

    #[test]
    fn keys_that_prove_nothing_are_refused() {
        for weak in [[0; 32], {
            let mut one = [0; 32];
            one[0] = 1;
            one
        }] {
            assert!(node_of(&CertificateDer::from(spki_of(&NodeId(weak)))).is_err());
        }
        let spki = CertificateDer::from(spki_of(&key(1).id()));
        assert_eq!(node_of(&spki), Ok(key(1).id()));
        assert!(presented(&spki, std::slice::from_ref(&spki)).is_err());
    }

    proptest! {
        #[test]
        fn only_exact_identities_are_read(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(node_of(&CertificateDer::from(bytes)).is_err());
        }

        #[test]
        fn a_changed_prefix_or_length_is_refused(at in 0usize..12, flip in 1u8.., cut in 0usize..44) {
            let mut spki = spki_of(&key(1).id());
            prop_assert!(node_of(&CertificateDer::from(spki[..cut].to_vec())).is_err());
            spki[at] ^= flip;
            prop_assert!(node_of(&CertificateDer::from(spki)).is_err());
        }
    }
}
