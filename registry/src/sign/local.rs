//! Development keys: PEM files that only the signing proxy reads.

use super::event::EventKey;
use domain::{
    port::{SignError, Signer},
    signing::Custody,
};
use p256::{
    ecdsa::signature::Signer as _,
    pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey, LineEnding},
};
use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// ECDSA P-256, for models and provenance.
const MODEL: &str = "model.key.pem";
/// Ed25519, for audit events.
const EVENT: &str = "event.key.pem";

/// Keys that cannot be opened or made.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file that cannot be read or written.
    #[error("key file {}: {source}; check the `keys` folder of the server's configuration", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that holds no such key.
    #[error("key file {} holds no {kind} key in PKCS#8 PEM: {why}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What was expected.
        kind: &'static str,
        /// What is wrong.
        why: String,
    },
    /// The system gave no random numbers.
    #[error("no random numbers for a new key: {0}")]
    Entropy(String),
}

/// A model key in a file.
pub struct LocalSigner {
    path: PathBuf,
    key: p256::ecdsa::SigningKey,
    public: String,
}

impl LocalSigner {
    fn read(path: PathBuf) -> Result<Self, KeyError> {
        let text = std::fs::read_to_string(&path)
            .map_err(|source| KeyError::File { path: path.clone(), source })?;
        let key = p256::ecdsa::SigningKey::from_pkcs8_pem(&text).map_err(|fault| {
            KeyError::Form { path: path.clone(), kind: "ECDSA P-256", why: fault.to_string() }
        })?;
        Ok(Self::of(path, key))
    }

    fn of(path: PathBuf, key: p256::ecdsa::SigningKey) -> Self {
        let public = key.verifying_key().to_public_key_pem(LineEnding::LF);
        Self { path, key, public: public.expect("a public key always has a PEM form") }
    }
}

impl Signer for LocalSigner {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn custody(&self) -> Custody {
        Custody::Local
    }

    fn public_pem(&self) -> Result<String, SignError> {
        Ok(self.public.clone())
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature: p256::ecdsa::Signature = self.key.sign(message);
        Ok(signature.to_der().as_bytes().to_vec())
    }
}

/// All keys of a folder: what a server without a key store signs with.
pub struct LocalKeys {
    /// For models: the file `model.key.pem`, then `model-*.key.pem` in order of name.
    pub models: Vec<LocalSigner>,
    /// For audit events.
    pub event: EventKey,
}

impl LocalKeys {
    /// Opens the keys in `dir`.
    ///
    /// # Errors
    /// When a file is missing or holds another kind of key.
    pub fn open(dir: &Path) -> Result<Self, KeyError> {
        let mut models = vec![LocalSigner::read(dir.join(MODEL))?];
        for path in further(dir)? {
            models.push(LocalSigner::read(path)?);
        }
        Ok(Self { models, event: EventKey::read(&dir.join(EVENT), Custody::Local)? })
    }

    /// Makes new keys in `dir`, which must hold none.
    ///
    /// # Errors
    /// When keys are there already or the folder cannot be written.
    pub fn create(dir: &Path) -> Result<Self, KeyError> {
        std::fs::create_dir_all(dir)
            .map_err(|source| KeyError::File { path: dir.to_owned(), source })?;
        let model = create_model(&dir.join(MODEL))?;
        let event = EventKey::generate(Custody::Local)?;
        event.create(&dir.join(EVENT))?;
        Ok(Self { models: vec![model], event })
    }
}

/// Files of further model keys, in order of name.
fn further(dir: &Path) -> Result<Vec<PathBuf>, KeyError> {
    let fault = |source| KeyError::File { path: dir.to_owned(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(fault)? {
        let path = entry.map_err(fault)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("model-") && name.ends_with(".key.pem") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Makes a new model key in a new file.
///
/// # Errors
/// When the file is there already or cannot be written.
pub fn create_model(path: &Path) -> Result<LocalSigner, KeyError> {
    // A random number below the order of the group: all but 2^-32 of draws are.
    let key = loop {
        if let Ok(key) = p256::ecdsa::SigningKey::from_slice(&random()?) {
            break key;
        }
    };
    let pem = key.to_pkcs8_pem(LineEnding::LF).map_err(|why| KeyError::Form {
        path: path.to_owned(),
        kind: "ECDSA P-256",
        why: why.to_string(),
    })?;
    write_new(path, pem.as_bytes())?;
    Ok(LocalSigner::of(path.to_owned(), key))
}

/// Writes a secret into a new file that only its owner reads.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), KeyError> {
    let mut options = OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o600).open(path);
    opened
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .map_err(|source| KeyError::File { path: path.to_owned(), source })
}

pub(super) fn random() -> Result<[u8; 32], KeyError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|fault| KeyError::Entropy(fault.to_string()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Digest;

    #[test]
    fn keys_are_made_once_and_read_by_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let made = LocalKeys::create(dir.path()).unwrap();
        let opened = LocalKeys::open(dir.path()).unwrap();
        assert_eq!(made.models[0].public_pem(), opened.models[0].public_pem());
        let hash = Digest::of(b"a");
        assert_eq!(made.event.sign_event(&hash), opened.event.sign_event(&hash));
        assert!(LocalKeys::create(dir.path()).is_err(), "keys are never overwritten");
        let mode = std::fs::metadata(dir.path().join(MODEL)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_key_laid_beside_the_first_is_found_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = LocalKeys::create(dir.path()).unwrap();
        let next = create_model(&dir.path().join("model-2026.key.pem")).unwrap();
        let found = LocalKeys::open(dir.path()).unwrap().models;
        let publics: Vec<_> = found.iter().map(Signer::public_pem).collect();
        assert_eq!(publics, [first.models[0].public_pem(), next.public_pem()]);
    }
}
