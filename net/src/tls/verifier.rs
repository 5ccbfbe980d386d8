//! What each side of a handshake checks of the other: that it holds the key it presents, and, when
//! dialling a known node, that this key is the node's.

use std::sync::{Arc, OnceLock};

use grid_keys::NodeId;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible,
    SignatureScheme,
};

use super::raw_key::{node_of, presented};

/// The methods that the two verifier traits of rustls have in common: Ed25519 signatures of raw
/// keys, in TLS 1.3 only.
macro_rules! ed25519_signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _cert: &CertificateDer<'_>,
            _dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(PeerIncompatible::ServerDoesNotSupportTls12Or13.into())
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
    };
}

/// The dialling side's verifier.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    /// The only node that passes. `None`: any does.
    pub(super) expected: Option<NodeId>,
    /// Receives the node that the peer presented, whether it passed or not.
    pub(super) seen: Arc<OnceLock<NodeId>>,
}

impl ServerCertVerifier for ServerVerifier {
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

    ed25519_signatures!();
}

/// The listening side's verifier. Any node passes.
#[derive(Debug)]
pub(super) struct ClientVerifier;

impl ClientCertVerifier for ClientVerifier {
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

    ed25519_signatures!();
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
