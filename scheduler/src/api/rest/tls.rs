//! TLS of the REST port: the same certificate and authority as on the other port.

use crate::api::{Tls, TlsError};
use std::{path::Path, sync::Arc};
use tokio_rustls::rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};

/// TLS for a server. A caller with a certificate of another authority is refused; one without any
/// is let in to be told so, and to see that the server lives.
///
/// # Errors
/// When a file cannot be read or used.
pub fn config(tls: &Tls) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    for authority in certificates(&tls.ca)? {
        roots.add(authority).map_err(|why| unusable(&tls.ca, &why))?;
    }
    let callers = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|why| unusable(&tls.ca, &why))?;
    let key = PrivateKeyDer::from_pem_slice(&read(&tls.key)?);
    let key = key.map_err(|why| unusable(&tls.key, &why))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|why| unusable(&tls.cert, &why))?
        .with_client_cert_verifier(callers)
        .with_single_cert(certificates(&tls.cert)?, key)
        .map_err(|why| unusable(&tls.cert, &why))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::File { path: path.to_owned(), source })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    all.map_err(|why| unusable(path, &why))
}

fn unusable(path: &Path, why: &dyn std::fmt::Display) -> TlsError {
    TlsError::Unusable { path: path.to_owned(), why: why.to_string() }
}
