//! Signed notes (C2SP signed-note): a text with Ed25519 signatures that name their keys.

use base64::{Engine, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signature, VerifyingKey, pkcs8::DecodePublicKey};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// The algorithm's byte for Ed25519.
const ED25519: u8 = 1;
/// Bytes of a note at most, and lines of signatures.
const NOTE_MAX: usize = 1 << 20;
const SIGNATURES_MAX: usize = 100;

/// Why a note or a key is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteFault {
    /// Not a signed note.
    #[error("not a signed note: {0}")]
    Form(&'static str),
    /// Not a key in the form `name+id+key`.
    #[error("`{text}` is no key of a log: {why}; it reads NAME+ID+KEY, the key in base64")]
    Key {
        /// What was given.
        text: String,
        /// What is wrong.
        why: &'static str,
    },
    /// No signature by a key that is trusted.
    #[error("the note has no signature by `{0}`")]
    Unsigned(String),
    /// A signature that is not the key's.
    #[error("the note's signature by `{0}` does not hold")]
    Signature(String),
}

/// A public key with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteKey {
    name: String,
    key: VerifyingKey,
}

impl NoteKey {
    /// A key under a name.
    ///
    /// # Errors
    /// When the name is empty, or holds white space or a plus.
    pub fn new(name: &str, key: VerifyingKey) -> Result<Self, NoteFault> {
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '+') {
            let why = "a name is not empty and holds neither white space nor a plus";
            return Err(NoteFault::Key { text: name.to_owned(), why });
        }
        Ok(Self { name: name.to_owned(), key })
    }

    /// A key in SPKI in PEM, under a name.
    ///
    /// # Errors
    /// When it is no Ed25519 key, or the name is none.
    pub fn of_pem(name: &str, pem: &str) -> Result<Self, NoteFault> {
        let why = "its key is not Ed25519 in PEM";
        let key = VerifyingKey::from_public_key_pem(pem)
            .map_err(|_| NoteFault::Key { text: name.to_owned(), why })?;
        Self::new(name, key)
    }

    /// Reads `name+id+key`.
    ///
    /// # Errors
    /// When it is something else, or the id is not the key's.
    pub fn parse(text: &str) -> Result<Self, NoteFault> {
        let fault = |why| NoteFault::Key { text: text.to_owned(), why };
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(fault("it has no three parts"));
        };
        let bytes = STANDARD.decode(key).map_err(|_| fault("its key is not base64"))?;
        let Some((&ED25519, key)) = bytes.split_first() else {
            return Err(fault("its key is not Ed25519"));
        };
        let key = key.try_into().map_err(|_| fault("its key is not 32 bytes long"))?;
        let key = VerifyingKey::from_bytes(key).map_err(|_| fault("its key is no point"))?;
        let key = Self::new(name, key)?;
        if hex::encode(key.id()) != id {
            return Err(fault("its id is not that of its name and key"));
        }
        Ok(key)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256(name ‖ 0A ‖ 01 ‖ key), its first four bytes.
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        let name = Sha256::new().chain_update(&self.name).chain_update([b'\n', ED25519]);
        let digest = name.chain_update(self.key.as_bytes()).finalize();
        [digest[0], digest[1], digest[2], digest[3]]
    }

    /// The line by which a note names a signature of this key.
    fn line(&self, signature: &[u8; 64]) -> String {
        let signed = [&self.id()[..], signature].concat();
        format!("— {} {}\n", self.name, STANDARD.encode(signed))
    }
}

impl fmt::Display for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[ED25519], &self.key.as_bytes()[..]].concat();
        write!(f, "{}+{}+{}", self.name, hex::encode(self.id()), STANDARD.encode(key))
    }
}

/// A text with its signatures, not yet trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedNote {
    text: String,
    signatures: String,
}

impl SignedNote {
    /// A note with its first signature, which is over all of `text`.
    #[must_use]
    pub fn new(text: String, key: &NoteKey, signature: &[u8; 64]) -> Self {
        Self { text, signatures: key.line(signature) }
    }

    /// Adds a witness's signature.
    #[must_use]
    pub fn signed(mut self, key: &NoteKey, signature: &[u8; 64]) -> Self {
        self.signatures += &key.line(signature);
        self
    }

    /// Reads a note.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(note: &str) -> Result<Self, NoteFault> {
        if note.len() > NOTE_MAX {
            return Err(NoteFault::Form("it is larger than 1 MiB"));
        }
        if note.contains(|c: char| c < ' ' && c != '\n') {
            return Err(NoteFault::Form("it holds control characters"));
        }
        let (text, signatures) =
            note.rsplit_once("\n\n").ok_or(NoteFault::Form("no empty line ends its text"))?;
        let is_signature = |line: &str| line.starts_with("— ") && line.split(' ').count() == 3;
        let whole = signatures.strip_suffix('\n').is_some_and(|all| all.lines().all(is_signature));
        match signatures.lines().count() {
            0 => Err(NoteFault::Form("it has no signature")),
            lines if lines > SIGNATURES_MAX => Err(NoteFault::Form("it has over 100 signatures")),
            _ if !whole => Err(NoteFault::Form("what follows its text is no signature")),
            _ => Ok(Self { text: format!("{text}\n"), signatures: signatures.to_owned() }),
        }
    }

    /// Its text, if `key` signed it. Signatures by unknown keys are passed over.
    ///
    /// # Errors
    /// When there is no signature of the key, or one that does not hold.
    pub fn open(&self, key: &NoteKey) -> Result<&str, NoteFault> {
        for line in self.signatures.lines() {
            let mut parts = line.split(' ').skip(1);
            let (Some(name), Some(signed)) = (parts.next(), parts.next()) else { continue };
            let bytes = STANDARD
                .decode(signed)
                .map_err(|_| NoteFault::Form("a signature is not base64"))?;
            let Some((id, signature)) = bytes.split_at_checked(4) else { continue };
            if name != key.name || id != key.id() {
                continue;
            }
            let broken = || NoteFault::Signature(key.name.clone());
            let signature = Signature::from_slice(signature).map_err(|_| broken())?;
            return match key.key.verify_strict(self.text.as_bytes(), &signature) {
                Ok(()) => Ok(&self.text),
                Err(_) => Err(broken()),
            };
        }
        Err(NoteFault::Unsigned(key.name.clone()))
    }
}

impl fmt::Display for SignedNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.text, self.signatures)
    }
}
