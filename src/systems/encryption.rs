//! Encrypted connections to the servers behind systems: which authorities are trusted, who we are, and why a server is not trusted.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};

/// How connections are encrypted: with the certificates of the authorities in this PEM file, or with the well-known ones.
///
/// # Errors
/// What is wrong with the file, in words that follow its name.
pub(super) fn encryption(authorities: Option<&Path>) -> Result<ClientConfig, String> {
    encryption_as(authorities, None).map_err(|(_, why)| why)
}

/// Which of the files of an encrypted connection is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pem {
    /// The authorities that are trusted.
    Authorities,
    /// Our certificate, with those between it and its authority.
    Certificate,
    /// The key of our certificate.
    Key,
}

/// The same, where we show the server a certificate: the PEM files of it and of its key.
///
/// # Errors
/// Which file is at fault, and what is wrong with it in words that follow its name.
pub(super) fn encryption_as(authorities: Option<&Path>, identity: Option<(&Path, &Path)>) -> Result<ClientConfig, (Pem, String)> {
    let mut roots = RootCertStore::empty();
    match authorities {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            for certificate in certificates(path).map_err(|why| (Pem::Authorities, why))? {
                roots.add(certificate).map_err(|_| (Pem::Authorities, "holds what is no certificate of an authority".to_owned()))?;
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| (Pem::Authorities, error.to_string()))?.with_root_certificates(roots);
    let Some((certificate, key)) = identity else { return Ok(builder.with_no_client_auth()) };
    let chain = certificates(certificate).map_err(|why| (Pem::Certificate, why))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|_| (Pem::Key, "cannot be read, or holds no key without a password".to_owned()))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => (Pem::Key, "is not that of the certificate".to_owned()),
        _ => (Pem::Key, "holds a key that cannot be used".to_owned()),
    })
}

/// The certificates of a PEM file, at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let unreadable = |_| "cannot be read, or holds no certificate".to_owned();
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(path).map_err(unreadable)?.collect::<Result<_, _>>().map_err(unreadable)?;
    if certificates.is_empty() { Err("holds no certificate".to_owned()) } else { Ok(certificates) }
}

/// Why there is no trusted connection, in words, and what helps; nothing if the failure is about something else.
pub(super) fn why_untrusted(error: &(dyn Error + 'static)) -> Option<(String, &'static str)> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(told(found));
        }
        next = match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

fn told(error: &rustls::Error) -> (String, &'static str) {
    const OURS: &str = "name the files of a certificate that the server takes, and of its key, with `?sslcert=` and `sslkey=`";
    const AUTHORITY: &str = "name the file of its authority with `?sslrootcert=`";
    let plain = |words: &str, hint: &'static str| (words.to_owned(), hint);
    match error {
        rustls::Error::InvalidCertificate(why) => match why {
            CertificateError::UnknownIssuer => plain("the server shows a certificate of an authority that is not trusted", AUTHORITY),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                plain("the server shows a certificate that is for another name than the host in `url`", "name the host as its certificate does")
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                plain("the server shows a certificate that is out of date", "let the server's certificate be renewed, and look at the clock of this machine")
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                plain("the server shows a certificate that is not valid yet", "look at the clock of this machine")
            }
            CertificateError::Revoked => plain("the server shows a certificate that was revoked", "let the server's certificate be renewed"),
            _ => plain("the server shows a certificate that is not valid", AUTHORITY),
        },
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => plain("the server asks for a certificate, and none was shown", OURS),
        rustls::Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError,
        ) => plain("the server does not take the certificate that it was shown", OURS),
        rustls::Error::AlertReceived(AlertDescription::HandshakeFailure) => plain(
            "the server ended the handshake: it wants a certificate, or a way of encrypting that is not offered",
            "name a certificate and its key with `?sslcert=` and `sslkey=`, or let the server speak TLS 1.2 or later",
        ),
        _ => plain("the server and this program have no way of encrypting in common", "let the server speak TLS 1.2 or later"),
    }
}
