//! Connections to other servers, made once and kept.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};
use tonic::transport::{
    Certificate, Channel, ClientTlsConfig, Endpoint, Identity, ServerTlsConfig,
};

/// Where a process finds its certificate, its key, and the authority that it trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The authority's certificate, PEM.
    pub ca: PathBuf,
    /// Our certificate, PEM.
    pub cert: PathBuf,
    /// Our private key, PEM.
    pub key: PathBuf,
}

/// TLS that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that cannot be read.
    #[error("cannot read {}: {source}; check `ca`, `cert` and `key` in the configuration", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that holds something else than it should.
    #[error("cannot use {}: {why}; it must be PEM", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// An address that is none.
    #[error("`{address}` is not an address; write it as host:port")]
    Address {
        /// What was given.
        address: String,
    },
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::File { path: path.to_owned(), source })
}

impl Tls {
    /// For a server: asks every client for a certificate of the same authority.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn server(&self) -> Result<ServerTlsConfig, TlsError> {
        Ok(ServerTlsConfig::new()
            .identity(Identity::from_pem(read(&self.cert)?, read(&self.key)?))
            .client_ca_root(Certificate::from_pem(read(&self.ca)?)))
    }

    /// The authority's certificate as text.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn authority(&self) -> Result<String, TlsError> {
        Ok(String::from_utf8_lossy(&read(&self.ca)?).into_owned())
    }

    /// For a client.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn client(&self) -> Result<ClientTlsConfig, TlsError> {
        proto::cipher::prefer_sha256();
        Ok(ClientTlsConfig::new()
            .identity(Identity::from_pem(read(&self.cert)?, read(&self.key)?))
            .ca_certificate(Certificate::from_pem(read(&self.ca)?)))
    }
}

/// A channel to each address, connected when first used.
#[derive(Clone)]
pub struct Channels {
    tls: ClientTlsConfig,
    open: Arc<Mutex<BTreeMap<String, Channel>>>,
}

impl Channels {
    /// None yet.
    #[must_use]
    pub fn new(tls: ClientTlsConfig) -> Self {
        Self { tls, open: Arc::default() }
    }

    /// The channel to `host:port`.
    ///
    /// # Errors
    /// When the address is none. A server that is down shows when the channel is used.
    pub fn to(&self, address: &str) -> Result<Channel, TlsError> {
        let mut open = self.open.lock().expect("no holder of this lock can panic");
        if let Some(channel) = open.get(address) {
            return Ok(channel.clone());
        }
        let fault = || TlsError::Address { address: address.to_owned() };
        let channel = Endpoint::from_shared(format!("https://{address}"))
            .and_then(|endpoint| endpoint.tls_config(self.tls.clone()))
            .map_err(|_| fault())?
            .tcp_nodelay(true)
            .connect_timeout(Duration::from_secs(2))
            .http2_keep_alive_interval(Duration::from_secs(2))
            .keep_alive_timeout(Duration::from_secs(2))
            .connect_lazy();
        open.insert(address.to_owned(), channel.clone());
        Ok(channel)
    }
}
