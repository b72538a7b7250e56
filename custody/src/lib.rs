//! Key stores that sign for the cluster: AWS KMS, a hardware module, the platform's signing proxy.
//!
//! Only a server's program opens them. Each key is a `domain::port::Signer`.
#![forbid(unsafe_code)]

mod kms;
mod module;
mod pem;
mod proxy;
mod secret;

pub use proxy::Dialect;
pub use secret::Secret;

use domain::{Millis, port::Signer};
use registry::sign::{
    event::EventKey,
    local::{KeyError, LocalKeys},
};
use std::{path::PathBuf, sync::Arc, time::Duration};

/// Longest wait for one answer of a key store. Source: platform contract, 3.4.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);

/// Where a server's model keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Custody {
    /// In files: for development.
    Local {
        /// The folder.
        dir: PathBuf,
    },
    /// In a hardware module.
    Pkcs11(Module),
    /// In AWS KMS. Credentials come from where AWS's own tools look for them.
    Kms(Kms),
    /// Behind the platform's signing proxy.
    Proxy(Proxy),
}

/// A token of a PKCS#11 module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// The module: a shared library.
    pub module: PathBuf,
    /// The token's label.
    pub token: String,
    /// Where the user's PIN is; else in `ASSAY_PKCS11_PIN`.
    pub pin_file: Option<PathBuf>,
    /// Labels of the keys.
    pub keys: Vec<String>,
}

/// Keys of AWS KMS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kms {
    /// Ids, ARNs or aliases.
    pub keys: Vec<String>,
    /// The region; else as AWS's own tools find it.
    pub region: Option<String>,
    /// Another address than the region's own.
    pub endpoint: Option<String>,
}

/// Keys behind a signing proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Its address: `https://host:port`.
    pub url: String,
    /// How it is spoken to.
    pub dialect: Dialect,
    /// Ids of the keys, each with the file of its public half.
    pub keys: Vec<(String, PathBuf)>,
    /// Authorities that vouch for it, in PEM.
    pub ca: PathBuf,
    /// Our certificate with its key, in PEM.
    pub identity: (PathBuf, PathBuf),
    /// The file of a bearer token, for proxies that ask for one.
    pub token_file: Option<PathBuf>,
}

/// What a server's configuration says of its signers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where the keys are.
    pub custody: Custody,
    /// Whether keys in files are refused.
    pub require_kms: bool,
    /// Time after which a key for events is replaced.
    pub event_period: Millis,
}

/// The keys of a server.
pub struct Opened {
    /// Model keys, in the order of the configuration.
    pub models: Vec<Arc<dyn Signer>>,
    /// A key for events that lies with them; none is one that the server makes.
    pub event: Option<EventKey>,
}

/// A key store that cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Keys in files, where they are refused.
    #[error(
        "the signing keys are files in {}, and REQUIRE_KMS, NODE_ENV=production or `require_kms` \
         refuses them; set [signer] kind to kms, pkcs11 or proxy", dir.display()
    )]
    Local {
        /// The folder.
        dir: PathBuf,
    },
    /// Keys in files that cannot be read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A file that the configuration names.
    #[error("{what} {}: {why}", path.display())]
    File {
        /// What it is.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// An address or a client that cannot be.
    #[error("[signer] {0}")]
    Client(String),
    /// A secret that is nowhere.
    #[error("no PIN for token `{0}`; name its file as `pin_file`, or set ASSAY_PKCS11_PIN")]
    NoPin(String),
}

/// Opens the keys. A key store that is down is no reason to fail: it is asked when it is needed.
///
/// # Errors
/// When the configuration can never work.
pub async fn open(config: &Config) -> Result<Opened, OpenError> {
    let models = match &config.custody {
        Custody::Local { dir } if config.require_kms => {
            return Err(OpenError::Local { dir: dir.clone() });
        }
        Custody::Local { dir } => {
            let LocalKeys { models, event } = LocalKeys::open(dir)?;
            let models = models.into_iter().map(|key| Arc::new(key) as Arc<dyn Signer>);
            return Ok(Opened { models: models.collect(), event: Some(event) });
        }
        Custody::Pkcs11(module) => module::open(module)?,
        Custody::Kms(kms) => kms::open(kms).await,
        Custody::Proxy(proxy) => proxy::open(proxy)?,
    };
    Ok(Opened { models, event: None })
}

/// Whether the environment refuses keys in files. Source: platform contract, 3.4.
#[must_use]
pub fn environment_requires_kms() -> bool {
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|it| it == value);
    is("REQUIRE_KMS", "true") || is("REQUIRE_KMS", "1") || is("NODE_ENV", "production")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keys_in_files_are_refused_where_a_key_store_is_required() {
        let dir = tempfile::tempdir().unwrap();
        LocalKeys::create(dir.path()).unwrap();
        let custody = Custody::Local { dir: dir.path().to_owned() };
        let config = Config { custody, require_kms: false, event_period: Millis(1) };
        assert_eq!(open(&config).await.unwrap().models.len(), 1);
        let refused = open(&Config { require_kms: true, ..config }).await;
        assert!(matches!(refused, Err(OpenError::Local { .. })));
    }
}
