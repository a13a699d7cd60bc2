//! TLS by rustls, with `libpq`'s four modes.
//!
//! Files are read at each connection, so that renewed certificates are taken without a restart. No process-wide
//! provider is installed or used.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256, Sha384, Sha512};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use walbrook_config::{Tls, TlsMode};
use walbrook_model::{Error, Result};

use super::error::from_io;

/// Shakes hands as the client of `host`.
pub(super) async fn handshake(tcp: TcpStream, host: &str, settings: &Tls) -> Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| Error::config("the host is no name that a certificate can hold").because(error))?;
    let settings = settings.clone();
    let config = tokio::task::spawn_blocking(move || client_config(&settings))
        .await
        .map_err(|error| Error::bug("reading the TLS files did not end").because(error))??;
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await.map_err(refused)
}

fn client_config(settings: &Tls) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::bug("TLS has no protocol version").because(error))?;
    let builder = match settings.mode {
        TlsMode::VerifyFull => builder.with_root_certificates(roots(settings)?),
        // As in libpq, `require` with a file of authorities checks the chain.
        TlsMode::VerifyCa => {
            builder.dangerous().with_custom_certificate_verifier(chain_only(roots(settings)?, &provider))
        }
        TlsMode::Require if settings.ca_file.is_some() => {
            builder.dangerous().with_custom_certificate_verifier(chain_only(roots(settings)?, &provider))
        }
        TlsMode::Require => builder.dangerous().with_custom_certificate_verifier(Arc::new(WithoutName {
            roots: None,
            algorithms: provider.signature_verification_algorithms,
        })),
        TlsMode::Disable => return Err(Error::bug("TLS is disabled")),
    };
    match (&settings.cert_file, &settings.key_file) {
        (Some(cert_file), Some(key_file)) => builder
            .with_client_auth_cert(certificates(cert_file)?, private_key(key_file)?)
            .map_err(|error| Error::config("the client certificate does not fit its key").because(error)),
        (None, None) => Ok(builder.with_no_client_auth()),
        _ => Err(Error::config("a client certificate needs both its files")
            .remedy("set source.postgres.tls.cert_file and source.postgres.tls.key_file, or neither")),
    }
}

fn roots(settings: &Tls) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    if let Some(ca_file) = &settings.ca_file {
        for certificate in certificates(ca_file)? {
            roots
                .add(certificate)
                .map_err(|error| unreadable(ca_file, "holds a certificate that is no authority").because(error))?;
        }
    } else {
        let system = rustls_native_certs::load_native_certs();
        // A file of the system that cannot be read does not matter while others can.
        roots.add_parsable_certificates(system.certs);
    }
    if roots.is_empty() {
        return Err(Error::config("there is no certificate authority to trust").remedy(
            "set source.postgres.tls.ca_file to the file of the authority that signed the server's certificate",
        ));
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, pem::Error>>)
        .map_err(|error| unreadable(path, "cannot be read").because(error))?;
    if certificates.is_empty() { Err(unreadable(path, "holds no certificate")) } else { Ok(certificates) }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    // The cause is left out: it may quote the file.
    PrivateKeyDer::from_pem_file(path).map_err(|_| {
        unreadable(path, "holds no private key that can be read")
            .remedy("an unencrypted PEM key, readable for walbrook")
    })
}

fn unreadable(path: &Path, what: &str) -> Error {
    Error::config(what).on(format!("file {}", path.display()))
}

/// What a failed handshake means.
fn refused(error: std::io::Error) -> Error {
    let reason = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let (message, remedy) = match reason {
        Some(rustls::Error::InvalidCertificate(reason)) => {
            ("the server's certificate is refused", certificate_remedy(reason))
        }
        Some(rustls::Error::AlertReceived(_)) => (
            "the server refused the TLS handshake",
            "check the client certificate and the server's ssl_min_protocol_version",
        ),
        Some(_) => ("the TLS handshake failed", "the server must speak TLS 1.2 or later"),
        None => return from_io(error),
    };
    Error::config(message).because(error).remedy(remedy)
}

fn certificate_remedy(reason: &CertificateError) -> &'static str {
    match reason {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "set source.postgres.host to a name in the certificate's subjectAltName, \
             or source.postgres.tls.mode = \"verify-ca\""
        }
        CertificateError::UnknownIssuer => {
            "set source.postgres.tls.ca_file to the file of the authority that signed the server's certificate"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "renew the server's certificate",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "check the clocks of both hosts, or renew the server's certificate"
        }
        _ => "give the server an X.509 version 3 certificate with a subjectAltName, signed by an authority",
    }
}

fn chain_only(roots: RootCertStore, provider: &CryptoProvider) -> Arc<WithoutName> {
    Arc::new(WithoutName { roots: Some(roots), algorithms: provider.signature_verification_algorithms })
}

/// Checks the chain if there are `roots`, never the name. The server must always own the key of its certificate.
#[derive(Debug)]
struct WithoutName {
    roots: Option<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for WithoutName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(roots) = &self.roots {
            let certificate = ParsedCertificate::try_from(end_entity)?;
            let algorithms = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, algorithms)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// `tls-server-end-point` of RFC 5929: the certificate under the hash of its signature, SHA-256 in place of MD5 and
/// SHA-1. `None` if the signature has no single hash (Ed25519, PSS): then there is no channel binding.
pub(super) fn server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    // 1.2.840.113549.1.1.x is RSA, 1.2.840.10045.4.x is ECDSA.
    const RSA: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01];
    const ECDSA: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04];
    let (_, body, _) = der(certificate)?;
    let (_, _, rest) = der(body)?;
    let (_, algorithm, _) = der(rest)?;
    let (_, oid, _) = der(algorithm)?;
    if let Some(kind) = oid.strip_prefix(RSA) {
        return match kind {
            [4 | 5 | 11] => Some(Sha256::digest(certificate).to_vec()),
            [12] => Some(Sha384::digest(certificate).to_vec()),
            [13] => Some(Sha512::digest(certificate).to_vec()),
            _ => None,
        };
    }
    match oid.strip_prefix(ECDSA)? {
        [1] | [3, 2] => Some(Sha256::digest(certificate).to_vec()),
        [3, 3] => Some(Sha384::digest(certificate).to_vec()),
        [3, 4] => Some(Sha512::digest(certificate).to_vec()),
        _ => None,
    }
}

/// The first element of DER: its tag, its content, and what follows.
fn der(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], mut rest) = bytes.split_first_chunk::<2>()?;
    let mut len = usize::from(first & 0x7F);
    if first & 0x80 != 0 {
        let (digits, after) = rest.split_at_checked(len).filter(|(digits, _)| digits.len() <= 4)?;
        len = digits.iter().fold(0, |len, digit| len << 8 | usize::from(*digit));
        rest = after;
    }
    let (content, rest) = rest.split_at_checked(len)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The skeleton of a certificate: a body, then the signature's algorithm.
    fn certificate(oid: &[u8]) -> Vec<u8> {
        let element = |tag: u8, content: &[u8]| {
            let mut element = vec![tag, 0x82];
            element.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
            element.extend(content);
            element
        };
        let body = element(0x30, &[0; 300]);
        let algorithm = element(0x30, &element(0x06, oid));
        element(0x30, &[body, algorithm, element(0x03, b"signature")].concat())
    }

    #[track_caller]
    fn check(oid: &[u8], hash: fn(&[u8]) -> Option<Vec<u8>>) {
        let certificate = certificate(oid);
        assert_eq!(server_end_point(&certificate), hash(&certificate));
    }

    #[test]
    fn the_hash_is_the_one_of_the_signature() {
        const RSA: [u8; 8] = [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01];
        let rsa = |kind: u8| [&RSA[..], &[kind]].concat();
        let ecdsa = |kind: &[u8]| [&[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04], kind].concat();
        let sha256 = |bytes: &[u8]| Some(Sha256::digest(bytes).to_vec());
        let sha384 = |bytes: &[u8]| Some(Sha384::digest(bytes).to_vec());
        let sha512 = |bytes: &[u8]| Some(Sha512::digest(bytes).to_vec());
        check(&rsa(4), sha256);
        check(&rsa(5), sha256);
        check(&rsa(11), sha256);
        check(&rsa(12), sha384);
        check(&rsa(13), sha512);
        check(&rsa(10), |_| None);
        check(&ecdsa(&[1]), sha256);
        check(&ecdsa(&[3, 2]), sha256);
        check(&ecdsa(&[3, 3]), sha384);
        check(&ecdsa(&[3, 4]), sha512);
        check(&[0x2B, 0x65, 0x70], |_| None);
    }

    proptest! {
        #[test]
        fn no_certificate_makes_it_panic(mut bytes: Vec<u8>, tag: bool) {
            if tag {
                bytes.splice(0..0, [0x30, 0x84]);
            }
            let _ = server_end_point(&bytes);
        }
    }
}
