//! An approver's own key, which never leaves the approver's machine.

use super::local::KeyError;
use crate::seal::manifest;
use domain::promotion::Promotion;
use ed25519_dalek::{
    Signer as _, SigningKey, VerifyingKey,
    pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey},
};
use p256::pkcs8::LineEnding;
use std::{
    fs::OpenOptions,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

fn form(path: &Path, why: impl std::fmt::Display) -> KeyError {
    KeyError::Form { path: path.to_owned(), kind: "Ed25519", why: why.to_string() }
}

fn read(path: &Path) -> Result<String, KeyError> {
    std::fs::read_to_string(path).map_err(|source| KeyError::File { path: path.to_owned(), source })
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), KeyError> {
    let mut options = OpenOptions::new();
    options
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .map_err(|source| KeyError::File { path: path.to_owned(), source })
}

/// Makes a new key at `path`, readable by its owner alone, and its public half at `path` with
/// `.pub` added. Returns where that stands.
///
/// # Errors
/// When a file is there already or cannot be written.
pub fn create(path: &Path) -> Result<PathBuf, KeyError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|fault| KeyError::Entropy(fault.to_string()))?;
    let key = SigningKey::from_bytes(&seed);
    let private = key.to_pkcs8_pem(LineEnding::LF).map_err(|why| form(path, why))?;
    let public = key.verifying_key().to_public_key_pem(LineEnding::LF);
    let public = public.map_err(|why| form(path, why))?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".pub");
    let beside = PathBuf::from(beside);
    write(path, &private, 0o600)?;
    write(&beside, &public, 0o644)?;
    Ok(beside)
}

/// Reads a public key in PEM.
///
/// # Errors
/// When the file cannot be read or holds no Ed25519 public key.
pub fn public_key(path: &Path) -> Result<[u8; 32], KeyError> {
    let key = VerifyingKey::from_public_key_pem(&read(path)?).map_err(|why| form(path, why))?;
    Ok(key.to_bytes())
}

/// Signs the approval document of a promotion with the private key at `path`.
///
/// # Errors
/// When the file cannot be read or holds no Ed25519 private key.
pub fn sign(path: &Path, promotion: &Promotion) -> Result<[u8; 64], KeyError> {
    sign_document(path, &manifest::approval_bytes(promotion))
}

/// Signs a document with the private key at `path`.
///
/// # Errors
/// When the file cannot be read or holds no Ed25519 private key.
pub fn sign_document(path: &Path, document: &[u8]) -> Result<[u8; 64], KeyError> {
    let key = SigningKey::from_pkcs8_pem(&read(path)?).map_err(|why| form(path, why))?;
    Ok(key.sign(document).to_bytes())
}
