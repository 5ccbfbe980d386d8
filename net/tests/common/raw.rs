//! Peers that follow no rules: bare quinn with a node key, another certificate, or none.
#![allow(clippy::large_enum_variant)] // a handful of them live at a time

use std::net::SocketAddr;
use std::sync::Arc;

use grid_keys::NodeKey;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, ServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, ResolvesClientCert};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

/// A self-signed certificate of `key(9)`.
const X509: &[u8] = include_bytes!("../data/self_signed_ed25519.der");

/// What a raw peer shows of itself.
pub enum Shows {
    Nothing,
    /// Offers a raw key, and has none when asked for it.
    PromisedKey,
    RawKey(NodeKey),
    /// Shows the first key, and signs with the second.
    StolenKey(NodeKey, NodeKey),
    X509,
}

/// What precedes the seed in an Ed25519 key as PKCS#8 version 1 DER (RFC 8410 section 7).
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

fn signer(key: &NodeKey) -> Arc<dyn SigningKey> {
    let der = [&PKCS8_PREFIX[..], key.seed().expose()].concat();
    aws_lc_rs::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(der)).unwrap()
}

fn raw_key(shown: &NodeKey, signs: &NodeKey) -> Arc<CertifiedKey> {
    let spki = signer(shown).public_key().unwrap().to_vec();
    Arc::new(CertifiedKey::new(
        vec![CertificateDer::from(spki)],
        signer(signs),
    ))
}

fn x509() -> Arc<CertifiedKey> {
    let certificate = CertificateDer::from(X509);
    Arc::new(CertifiedKey::new(vec![certificate], signer(&super::key(9))))
}

#[derive(Debug)]
struct NoKey;

impl ResolvesClientCert for NoKey {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }
    fn only_raw_public_keys(&self) -> bool {
        true
    }
    fn has_certs(&self) -> bool {
        true
    }
}

/// Accepts whatever the other side shows.
#[derive(Debug)]
struct AnyOne {
    raw: bool,
}

impl ServerCertVerifier for AnyOne {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        unreachable!()
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
    fn requires_raw_public_keys(&self) -> bool {
        self.raw
    }
}

impl ClientCertVerifier for AnyOne {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }
    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        unreachable!()
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
    fn requires_raw_public_keys(&self) -> bool {
        self.raw
    }
}

pub fn client_config(shows: Shows, alpn: &[&[u8]]) -> ClientConfig {
    let raw = !matches!(shows, Shows::X509);
    let builder =
        rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyOne { raw }));
    let mut tls = match resolver(shows) {
        None => builder.with_no_client_auth(),
        Some(resolver) => builder.with_client_cert_resolver(resolver),
    };
    tls.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
}

fn resolver(shows: Shows) -> Option<Arc<dyn ResolvesClientCert>> {
    Some(match shows {
        Shows::Nothing => return None,
        Shows::PromisedKey => Arc::new(NoKey),
        Shows::RawKey(key) => Arc::new(AlwaysResolvesClientRawPublicKeys::new(raw_key(&key, &key))),
        Shows::StolenKey(shown, signs) => Arc::new(AlwaysResolvesClientRawPublicKeys::new(
            raw_key(&shown, &signs),
        )),
        Shows::X509 => Arc::new(SingleCertAndKey::from(x509())),
    })
}

/// A client socket.
pub fn socket() -> quinn::Endpoint {
    quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap()
}

/// Connects as a node of that key, without a greeting.
pub async fn connect(seed: u8, to: SocketAddr) -> (quinn::Endpoint, Connection) {
    let config = client_config(Shows::RawKey(super::key(seed)), &[b"grid/1"]);
    let endpoint = socket();
    let connection = endpoint
        .connect_with(config, to, "x.invalid")
        .unwrap()
        .await
        .unwrap();
    (endpoint, connection)
}

/// Connects as a node of that key, and greets as a node does.
pub async fn join(seed: u8, to: SocketAddr) -> (quinn::Endpoint, Connection) {
    let (endpoint, connection) = connect(seed, to).await;
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.finish().unwrap();
    assert!(receive.read_to_end(16).await.unwrap().is_empty());
    (endpoint, connection)
}

/// The same from some address, under any key; `None` if the node has no place for it.
pub async fn join_from(from: SocketAddr, key: NodeKey, to: SocketAddr) -> Option<Connection> {
    let config = client_config(Shows::RawKey(key), &[b"grid/1"]);
    let endpoint = quinn::Endpoint::client(from).unwrap();
    let dial = endpoint.connect_with(config, to, "x.invalid").unwrap();
    let connection = dial.await.unwrap();
    let (mut send, mut receive) = connection.open_bi().await.ok()?;
    send.finish().ok()?;
    receive.read_to_end(16).await.ok()?;
    Some(connection)
}

/// A listening peer.
pub fn server(shows: Shows, alpn: &[&[u8]]) -> quinn::Endpoint {
    let config = server_config(shows, alpn);
    quinn::Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap()
}

pub fn server_config(shows: Shows, alpn: &[&[u8]]) -> ServerConfig {
    let resolver: Arc<dyn ResolvesServerCert> = match shows {
        Shows::RawKey(key) => Arc::new(AlwaysResolvesServerRawPublicKeys::new(raw_key(&key, &key))),
        Shows::StolenKey(shown, signs) => Arc::new(AlwaysResolvesServerRawPublicKeys::new(
            raw_key(&shown, &signs),
        )),
        Shows::X509 => Arc::new(SingleCertAndKey::from(x509())),
        Shows::Nothing | Shows::PromisedKey => panic!("a TLS server shows something"),
    };
    let raw = resolver.only_raw_public_keys();
    let mut tls =
        rustls::ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(Arc::new(AnyOne { raw }))
            .with_cert_resolver(resolver);
    tls.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()))
}
