//! A node's key as its TLS identity: raw Ed25519 public keys (RFC 7250) on both sides.
//!
//! A peer is its key, and TLS proves that it holds it; certificates, names and dates play no part.
//! Refused: X.509, signature schemes other than Ed25519, TLS 1.2, session tickets and 0-RTT.
//! Resumption is off because a resumed session relies on an earlier identity check instead of making
//! its own, and because 0-RTT data can be replayed; on connections that live for hours it would save
//! no round trip that matters.

mod raw_key;
mod verifier;

use std::sync::{Arc, OnceLock};
use std::thread;

use grid_keys::{NodeId, NodeKey};
use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{Error, KeyLog, SignatureAlgorithm, SignatureScheme};

pub(crate) use raw_key::peer_of;
use raw_key::spki_of;
use verifier::{ClientVerifier, ServerVerifier};

/// The protocol that nodes speak, as TLS names it (RFC 7301).
pub(crate) const ALPN: &[u8] = b"grid/1";

/// TLS demands a server name. It is never sent (`enable_sni` is off) and never checked.
pub(crate) const SERVER_NAME: &str = "node.grid.invalid";

/// This node's side of every handshake.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    certified: Arc<CertifiedKey>,
    provider: Arc<CryptoProvider>,
    key_log: Option<Arc<dyn KeyLog>>,
}

/// TLS could not be set up. No peer is to blame.
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

    /// For the dialling side. With `expected`, any other key fails the handshake before this node has
    /// revealed its own. `seen` receives the key that the peer presented.
    pub(crate) fn client(
        &self,
        expected: Option<NodeId>,
        seen: Arc<OnceLock<NodeId>>,
    ) -> Result<QuicClientConfig, SetupError> {
        Ok(QuicClientConfig::try_from(
            self.client_tls(expected, seen)?,
        )?)
    }

    /// For the listening side: every client must prove a node key, and any key will do. The program
    /// decides whom to let in once it knows who is there.
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
            .with_custom_certificate_verifier(Arc::new(ServerVerifier { expected, seen }))
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
            .with_client_cert_verifier(Arc::new(ClientVerifier))
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

/// The cipher suites of aws-lc-rs. Of its key exchanges only the hybrid one, and X25519 to fall back
/// on: offering more would make the ClientHello longer and gain nothing.
fn provider() -> CryptoProvider {
    CryptoProvider {
        kx_groups: vec![
            provider::kx_group::X25519MLKEM768,
            provider::kx_group::X25519,
        ],
        ..provider::default_provider()
    }
}

/// Seeds the random numbers of TLS on a thread of its own. That takes some 20 ms, once, for which the first connection
/// would wait.
pub fn seed_early() {
    let seed = || {
        // Without it, the first connection does.
        let _ = provider::default_provider().secure_random.fill(&mut [0]);
    };
    let _ = thread::Builder::new().name("seed".to_owned()).spawn(seed);
}

/// Signs handshakes with the node key itself, so that no copy of it in another form exists.
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

#[cfg(test)]
mod tests {
    use super::raw_key::node_of;
    use super::*;
    use grid_keys::Secret;
    use rustls::pki_types::ServerName;
    use rustls::quic::{ClientConnection, Connection, ServerConnection, Version};
    use rustls::{CertificateError, HandshakeKind, NamedGroup};

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
    fn debug_shows_no_secret() {
        let text = format!("{:?}", Identity::new(key(7), None));
        assert!(
            text.contains("[redacted]") && !text.contains("7, 7, 7"),
            "{text}"
        );
    }
}
