//! A node's key as its TLS identity: raw Ed25519 public keys (RFC 7250) on both sides.
//!
//! There are no certificates, no names and no time in it: a peer is its key, and TLS proves that it
//! holds it. What this file refuses: X.509, signature schemes other than Ed25519, TLS 1.2, session
//! tickets and 0-RTT. Resumption is off because a resumed session repeats the identity check of an
//! earlier one instead of making its own, and because 0-RTT data can be replayed; it would save no
//! round trip that matters on connections that live for hours.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::{hkdf, hmac};
use grid_promises::{NodeId, NodeKey};
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
