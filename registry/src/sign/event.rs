//! The proxy's own key, which signs audit events and heads of the transparency log.

use super::local::{KeyError, random, write_new};
use crate::seal::keys;
use domain::{Digest, signing::Custody};
use ed25519_dalek::{
    Signer as _, SigningKey,
    pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey},
};
use p256::pkcs8::LineEnding;
use std::path::Path;

/// An Ed25519 key that a model key vouches for.
#[derive(Clone)]
pub struct EventKey {
    key: SigningKey,
    kid: String,
    public_pem: String,
}

impl EventKey {
    fn of(key: SigningKey, custody: Custody) -> Self {
        let public = key.verifying_key();
        let kid = keys::event_kid(custody, public.as_bytes());
        let public_pem = public.to_public_key_pem(LineEnding::LF);
        let public_pem = public_pem.expect("a public key always has a PEM form");
        Self { key, kid, public_pem }
    }

    /// A new one. `custody` is that of the model key that will vouch for it.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn generate(custody: Custody) -> Result<Self, KeyError> {
        Ok(Self::of(SigningKey::from_bytes(&random()?), custody))
    }

    /// Reads one from a file.
    ///
    /// # Errors
    /// When the file cannot be read or holds another kind of key.
    pub fn read(path: &Path, custody: Custody) -> Result<Self, KeyError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| KeyError::File { path: path.to_owned(), source })?;
        let key = SigningKey::from_pkcs8_pem(&text).map_err(|fault| KeyError::Form {
            path: path.to_owned(),
            kind: "Ed25519",
            why: fault.to_string(),
        })?;
        Ok(Self::of(key, custody))
    }

    /// Writes it into a new file that only its owner reads.
    ///
    /// # Errors
    /// When the file is there already or cannot be written.
    pub fn create(&self, path: &Path) -> Result<(), KeyError> {
        let pem = self.key.to_pkcs8_pem(LineEnding::LF).map_err(|why| KeyError::Form {
            path: path.to_owned(),
            kind: "Ed25519",
            why: why.to_string(),
        })?;
        write_new(path, pem.as_bytes())
    }

    /// Writes it in the place of another, as a whole.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn replace(&self, path: &Path) -> Result<(), KeyError> {
        let beside = path.with_extension("new");
        let file = |source| KeyError::File { path: path.to_owned(), source };
        match std::fs::remove_file(&beside) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(file(source));
            }
            _ => {}
        }
        self.create(&beside)?;
        std::fs::rename(&beside, path).map_err(file)
    }

    /// Its id, as events name it.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Its public half.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    /// The same: SPKI in PEM.
    #[must_use]
    pub fn public_pem(&self) -> &str {
        &self.public_pem
    }

    /// Ed25519 (pure) over the 32 bytes of an event's hash.
    #[must_use]
    pub fn sign_event(&self, hash: &Digest) -> [u8; 64] {
        self.key.sign(&hash.0).to_bytes()
    }

    /// Ed25519 (pure) over the text of a checkpoint: no such text is 32 bytes long, so it cannot
    /// stand for an event's hash.
    #[must_use]
    pub fn sign_checkpoint(&self, text: &str) -> [u8; 64] {
        self.key.sign(text.as_bytes()).to_bytes()
    }
}
