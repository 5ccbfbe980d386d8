//! A node's key as its TLS identity: raw Ed25519 public keys (RFC 7250) on both sides.
//!
//! There are no certificates, no names and no time in it: a peer is its key, and TLS proves that it
//! holds it. What this file refuses: X.509, signature schemes other than Ed25519, TLS 1.2, session
//! tickets and 0-RTT. Resumption is off because a resumed session repeats the identity check of an
//! earlier one instead of making its own, and because 0-RTT data can be replayed; it would save no
//! round trip that matters on connections that live for hours.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::{hkdf, hmac};
use grid_keys::{NodeId, NodeKey};

use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, KeyLog, PeerIncompatible,
    SignatureAlgorithm, SignatureScheme,
};

/// The protocol that nodes speak, as TLS names it (RFC 7301).
pub(crate) const ALPN: &[u8] = b"grid/1";

/// TLS wants a server name. It is never sent (`enable_sni` is off) and never checked.
pub(crate) const SERVER_NAME: &str = "node.grid.invalid";

/// SubjectPublicKeyInfo of an Ed25519 key up to the key itself (RFC 8410 section 4).
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// This node's half of TLS, made once.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    certified: Arc<CertifiedKey>,
    provider: Arc<CryptoProvider>,
    key_log: Option<Arc<dyn KeyLog>>,
}

/// TLS could not be set up. It says nothing about any peer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    #[error(transparent)]
    Tls(#[from] Error),
    #[error(transparent)]
    Cipher(#[from] NoInitialCipherSuite),
}

impl Identity {
    pub(crate) fn new(key: NodeKey, key_log: Option<Arc<dyn KeyLog>>) -> Self {
        let spki = spki_of(&key.id());
        let signer = Arc::new(NodeSigner(key));
        Self {
            certified: Arc::new(CertifiedKey::new(vec![CertificateDer::from(spki)], signer)),
            provider: Arc::new(provider()),
            key_log,
        }
    }

    /// The dialling side. With `expected`, any other key fails the handshake before this node has
    /// shown who it is. `seen` receives the key that the peer presented.
    pub(crate) fn client(
        &self,
        expected: Option<NodeId>,
        seen: Arc<OnceLock<NodeId>>,
    ) -> Result<QuicClientConfig, SetupError> {
        Ok(QuicClientConfig::try_from(
            self.client_tls(expected, seen)?,
        )?)
    }

    /// The listening side: every client must prove a node key, and any key will do. Who is let in
    /// is the program's to decide, once it knows who it is.
    pub(crate) fn server(&self) -> Result<QuicServerConfig, SetupError> {
        Ok(QuicServerConfig::try_from(self.server_tls()?)?)
    }

    fn client_tls(
        &self,
        expected: Option<NodeId>,
        seen: Arc<OnceLock<NodeId>>,
    ) -> Result<rustls::ClientConfig, Error> {
        let mut tls = rustls::ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(ServerKey { expected, seen }))
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(
                Arc::clone(&self.certified),
            )));
        tls.alpn_protocols = vec![ALPN.to_vec()];
        tls.resumption = Resumption::disabled();
        tls.enable_early_data = false;
        tls.enable_sni = false;
        if let Some(key_log) = &self.key_log {
            tls.key_log = Arc::clone(key_log);
        }
        Ok(tls)
    }

    fn server_tls(&self) -> Result<rustls::ServerConfig, Error> {
        let mut tls = rustls::ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(Arc::new(ClientKey))
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(
                Arc::clone(&self.certified),
            )));
        tls.alpn_protocols = vec![ALPN.to_vec()];
        tls.session_storage = Arc::new(NoServerSessionStorage {});
        tls.send_tls13_tickets = 0;
        tls.max_early_data_size = 0;
        if let Some(key_log) = &self.key_log {
            tls.key_log = Arc::clone(key_log);
        }
        Ok(tls)
    }
}

/// The suites of aws-lc-rs, and of its key exchanges the hybrid one first and X25519 as the only
/// way back: what else rustls offers would only make the ClientHello and the choice larger.
fn provider() -> CryptoProvider {
    CryptoProvider {
        kx_groups: vec![
            provider::kx_group::X25519MLKEM768,
            provider::kx_group::X25519,
        ],
        ..provider::default_provider()
    }
}

/// The key that a handshake proved, from what QUIC keeps of it.
pub(crate) fn peer_of(connection: &quinn::Connection) -> Option<NodeId> {
    let identity = connection.peer_identity()?;
    let keys = identity.downcast_ref::<Vec<CertificateDer<'static>>>()?;
    node_of(keys.first()?).ok()
}

/// The keys of stateless resets (RFC 9000 section 10.3), which must outlive the process: a peer
/// that still talks to a node's former life then learns at once that it is gone.
pub(crate) struct ResetKeys {
    pub(crate) token: hmac::Key,
    pub(crate) connection_id: u64,
}

impl ResetKeys {
    /// Derives them from the node key, so that there is nothing more to keep on disk.
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

fn spki_of(id: &NodeId) -> Vec<u8> {
    [&SPKI_PREFIX[..], &id.0[..]].concat()
}

/// The node that a SubjectPublicKeyInfo names. Nothing but an Ed25519 key of full order is one.
fn node_of(spki: &CertificateDer<'_>) -> Result<NodeId, Error> {
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

/// A presented identity: one raw key and nothing beside it.
fn presented(end: &CertificateDer<'_>, rest: &[CertificateDer<'_>]) -> Result<NodeId, Error> {
    if rest.is_empty() {
        node_of(end)
    } else {
        Err(CertificateError::BadEncoding.into())
    }
}

fn check_signature(
    message: &[u8],
    spki: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let id = node_of(spki)?;
    let signature = signed
        .signature()
        .try_into()
        .map_err(|_| CertificateError::BadSignature)?;
    if signed.scheme == SignatureScheme::ED25519 && id.verify(message, signature) {
        Ok(HandshakeSignatureValid::assertion())
    } else {
        Err(CertificateError::BadSignature.into())
    }
}

fn no_tls12() -> Error {
    PeerIncompatible::ServerDoesNotSupportTls12Or13.into()
}

/// Signs handshakes with the node key where it lies, without a copy in another form.
#[derive(Clone, Debug)]
struct NodeSigner(NodeKey);

impl SigningKey for NodeSigner {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered
            .contains(&SignatureScheme::ED25519)
            .then(|| Box::new(self.clone()) as _)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from(spki_of(&self.0.id())))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl Signer for NodeSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.0.sign(message).to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

/// What the dialling side checks.
#[derive(Debug)]
struct ServerKey {
    expected: Option<NodeId>,
    seen: Arc<OnceLock<NodeId>>,
}

impl ServerCertVerifier for ServerKey {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found = presented(end_entity, intermediates)?;
        let _ = self.seen.set(found);
        match self.expected {
            Some(expected) if expected != found => {
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// What the listening side checks.
#[derive(Debug)]
struct ClientKey;

impl ClientCertVerifier for ClientKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        presented(end_entity, intermediates).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use grid_keys::Secret;
    use proptest::prelude::*;
    use rustls::quic::{ClientConnection, Connection, ServerConnection, Version};
    use rustls::{HandshakeKind, NamedGroup};

    fn key(seed: u8) -> NodeKey {
        NodeKey::from_seed(&Secret::new([seed; 32]))
    }

    /// A whole handshake between the two sides' configurations, without a network.
    fn handshake(
        client: rustls::ClientConfig,
        server: rustls::ServerConfig,
    ) -> Result<(Connection, Connection), Error> {
        let name = ServerName::try_from(SERVER_NAME).unwrap();
        let (client, server) = (Arc::new(client), Arc::new(server));
        let mut client: Connection =
            ClientConnection::new(client, Version::V1, name, vec![])?.into();
        let mut server: Connection = ServerConnection::new(server, Version::V1, vec![])?.into();
        while client.is_handshaking() || server.is_handshaking() {
            pass(&mut client, &mut server)?;
            pass(&mut server, &mut client)?;
        }
        Ok((client, server))
    }

    fn pass(from: &mut Connection, to: &mut Connection) -> Result<(), Error> {
        loop {
            let mut flight = Vec::new();
            let keys = from.write_hs(&mut flight);
            if !flight.is_empty() {
                to.read_hs(&flight)?;
            }
            if keys.is_none() && flight.is_empty() {
                return Ok(());
            }
        }
    }

    fn sides() -> (rustls::ClientConfig, rustls::ServerConfig) {
        let (client, server) = (Identity::new(key(1), None), Identity::new(key(2), None));
        let client = client
            .client_tls(Some(key(2).id()), Arc::default())
            .unwrap();
        (client, server.server_tls().unwrap())
    }

    #[test]
    fn the_key_exchange_is_the_hybrid_one_and_both_keys_are_proven() {
        let (client, server) = sides();
        let (client, server) = handshake(client, server).unwrap();
        for (side, peer) in [(&client, key(2)), (&server, key(1))] {
            let group = side.negotiated_key_exchange_group().unwrap().name();
            assert_eq!(group, NamedGroup::X25519MLKEM768);
            assert_eq!(side.handshake_kind(), Some(HandshakeKind::Full));
            assert_eq!(side.alpn_protocol(), Some(ALPN));
            assert_eq!(
                side.protocol_version(),
                Some(rustls::ProtocolVersion::TLSv1_3)
            );
            let [shown] = side.peer_certificates().unwrap() else {
                panic!()
            };
            assert_eq!(node_of(shown), Ok(peer.id()));
        }
    }

    #[test]
    fn a_peer_without_the_hybrid_exchange_gets_x25519() {
        let (_, server) = sides();
        let only = CryptoProvider {
            kx_groups: vec![provider::kx_group::X25519],
            ..provider()
        };
        let identity = Identity {
            provider: Arc::new(only),
            ..Identity::new(key(1), None)
        };
        let client = identity
            .client_tls(Some(key(2).id()), Arc::default())
            .unwrap();
        let (client, _) = handshake(client, server).unwrap();
        let group = client.negotiated_key_exchange_group().unwrap().name();
        assert_eq!(group, NamedGroup::X25519);
    }

    /// Two handshakes with the same configurations, which share whatever a cache would share.
    #[test]
    fn nothing_is_resumed() {
        let (client, server) = sides();
        for _ in 0..2 {
            let (client, server) = handshake(client.clone(), server.clone()).unwrap();
            assert_eq!(client.handshake_kind(), Some(HandshakeKind::Full));
            assert_eq!(server.handshake_kind(), Some(HandshakeKind::Full));
            assert!(client.zero_rtt_keys().is_none());
        }
    }

    #[test]
    fn the_client_stops_before_it_shows_itself_to_a_stranger() {
        let (client, server) = (Identity::new(key(1), None), Identity::new(key(2), None));
        let seen = Arc::new(OnceLock::new());
        let client = client
            .client_tls(Some(key(3).id()), Arc::clone(&seen))
            .unwrap();
        let error = handshake(client, server.server_tls().unwrap())
            .map(|_| ())
            .unwrap_err();
        assert_eq!(
            error,
            CertificateError::ApplicationVerificationFailure.into()
        );
        assert_eq!(seen.get(), Some(&key(2).id()));
    }

    /// The environment variable is not looked at: nothing is logged unless a log was given.
    #[test]
    fn secrets_are_logged_only_where_asked() {
        let (client, server) = sides();
        assert!(!client.key_log.will_log("CLIENT_TRAFFIC_SECRET_0"));
        assert!(!server.key_log.will_log("SERVER_TRAFFIC_SECRET_0"));
        let logging = Identity::new(key(1), Some(Arc::new(rustls::KeyLogFile::new())));
        let tls = logging.server_tls().unwrap();
        assert!(format!("{:?}", tls.key_log).contains("KeyLogFile"));
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

    #[test]
    fn debug_shows_no_secret() {
        let text = format!("{:?}", Identity::new(key(7), None));
        assert!(
            text.contains("[redacted]") && !text.contains("7, 7, 7"),
            "{text}"
        );
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
