//! A local development key: two PEM files that only the signing proxy reads.

use domain::{
    Digest,
    port::{SignError, Signer},
};
use ed25519_dalek::Signer as _;
use p256::pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey, LineEnding};
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

/// Signs with keys from files.
pub struct LocalSigner {
    model: p256::ecdsa::SigningKey,
    model_public: String,
    event: ed25519_dalek::SigningKey,
    event_public: String,
    event_signer: String,
}

impl LocalSigner {
    /// Opens the keys in `dir`.
    ///
    /// # Errors
    /// When a file is missing or holds another kind of key.
    pub fn open(dir: &Path) -> Result<Self, KeyError> {
        let read = |name: &str| {
            let path = dir.join(name);
            std::fs::read_to_string(&path)
                .map_err(|source| KeyError::File { path: path.clone(), source })
                .map(|text| (path, text))
        };
        let (path, text) = read(MODEL)?;
        let model = p256::ecdsa::SigningKey::from_pkcs8_pem(&text).map_err(|fault| {
            KeyError::Form { path, kind: "ECDSA P-256", why: fault.to_string() }
        })?;
        let (path, text) = read(EVENT)?;
        let event = ed25519_dalek::SigningKey::from_pkcs8_pem(&text)
            .map_err(|fault| KeyError::Form { path, kind: "Ed25519", why: fault.to_string() })?;
        Ok(Self::of(model, event))
    }

    /// Makes new keys in `dir`, which must hold none.
    ///
    /// # Errors
    /// When keys are there already or the folder cannot be written.
    pub fn create(dir: &Path) -> Result<Self, KeyError> {
        let file = |path: &Path, source| KeyError::File { path: path.to_owned(), source };
        std::fs::create_dir_all(dir).map_err(|source| file(dir, source))?;
        // A random number below the order of the group: all but 2^-32 of draws are.
        let model = loop {
            if let Ok(key) = p256::ecdsa::SigningKey::from_slice(&random()?) {
                break key;
            }
        };
        let event = ed25519_dalek::SigningKey::from_bytes(&random()?);
        let pem = |kind: &'static str, text: Result<String, String>, name: &str| {
            text.map_err(|why| KeyError::Form { path: dir.join(name), kind, why })
        };
        let model_pem = model.to_pkcs8_pem(LineEnding::LF);
        let model_pem = model_pem.map(|text| text.to_string()).map_err(|why| why.to_string());
        let event_pem = event.to_pkcs8_pem(LineEnding::LF);
        let event_pem = event_pem.map(|text| text.to_string()).map_err(|why| why.to_string());
        for (name, text) in [
            (MODEL, pem("ECDSA P-256", model_pem, MODEL)?),
            (EVENT, pem("Ed25519", event_pem, EVENT)?),
        ] {
            let path = dir.join(name);
            let mut options = OpenOptions::new();
            let opened = options.write(true).create_new(true).mode(0o600).open(&path);
            opened
                .and_then(|mut file| {
                    file.write_all(text.as_bytes())?;
                    file.sync_all()
                })
                .map_err(|source| file(&path, source))?;
        }
        Ok(Self::of(model, event))
    }

    fn of(model: p256::ecdsa::SigningKey, event: ed25519_dalek::SigningKey) -> Self {
        let model_public = model
            .verifying_key()
            .to_public_key_pem(LineEnding::LF)
            .expect("a public key always has a PEM form");
        let public = event.verifying_key();
        let event_public =
            public.to_public_key_pem(LineEnding::LF).expect("a public key always has a PEM form");
        let event_signer = format!("local-ed25519:{}", Digest::of(public.as_bytes()).short());
        Self { model, model_public, event, event_public, event_signer }
    }
}

fn random() -> Result<[u8; 32], KeyError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|fault| KeyError::Entropy(fault.to_string()))?;
    Ok(bytes)
}

impl Signer for LocalSigner {
    fn sign_model(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature: p256::ecdsa::Signature = self.model.sign(message);
        Ok(signature.to_der().as_bytes().to_vec())
    }

    fn model_public_pem(&self) -> String {
        self.model_public.clone()
    }

    fn sign_event(&self, hash: &Digest) -> Result<[u8; 64], SignError> {
        Ok(self.event.sign(&hash.0).to_bytes())
    }

    fn sign_checkpoint(&self, text: &str) -> Result<[u8; 64], SignError> {
        Ok(self.event.sign(text.as_bytes()).to_bytes())
    }

    fn event_public_pem(&self) -> String {
        self.event_public.clone()
    }

    fn event_signer(&self) -> String {
        self.event_signer.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_read_by_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let made = LocalSigner::create(dir.path()).unwrap();
        let opened = LocalSigner::open(dir.path()).unwrap();
        assert_eq!(made.model_public_pem(), opened.model_public_pem());
        assert_eq!(made.sign_event(&Digest::of(b"a")), opened.sign_event(&Digest::of(b"a")));
        assert!(LocalSigner::create(dir.path()).is_err(), "keys are never overwritten");
        let mode = std::fs::metadata(dir.path().join(MODEL)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
