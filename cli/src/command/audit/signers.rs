//! Public keys of event signers, as the platform's own verifier reads them.

use crate::fault::Fault;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fs, path::Path};

const ALGORITHM: &str = "ed25519";

/// The file `signers.json`. Source: platform contract §2.5, the preferred form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signers {
    /// Each with its key.
    pub signers: Vec<Signer>,
}

/// One signer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signer {
    /// Its key id, as events name it.
    pub signer_kid: String,
    /// `ed25519`, in lower case.
    pub algorithm: String,
    /// SPKI in PEM.
    pub public_key_pem: String,
}

impl Signers {
    /// Signers with their keys.
    #[must_use]
    pub fn of(keys: BTreeMap<String, String>) -> Self {
        let signer = |(signer_kid, public_key_pem)| Signer {
            signer_kid,
            algorithm: ALGORITHM.to_owned(),
            public_key_pem,
        };
        Self { signers: keys.into_iter().map(signer).collect() }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or names a key of another kind.
    pub fn load(path: &Path) -> Result<Self, Fault> {
        let text = fs::read_to_string(path).map_err(|fault| Fault::file(path, &fault))?;
        let hint = "write one: assay audit export FILE --signers SIGNERS";
        let all: Self =
            serde_json::from_str(&text).map_err(|fault| Fault::file(path, &fault).hint(hint))?;
        match all.signers.iter().find(|signer| signer.algorithm != ALGORITHM) {
            None => Ok(all),
            Some(other) => {
                let (kid, has) = (&other.signer_kid, &other.algorithm);
                let why = format!("signer `{kid}` has algorithm `{has}`, events use `{ALGORITHM}`");
                Err(Fault::file(path, &why).hint(hint))
            }
        }
    }

    /// Writes a new file.
    ///
    /// # Errors
    /// When it is there already, or cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), Fault> {
        let failed = |fault: std::io::Error| Fault::file(path, &fault);
        let file = fs::OpenOptions::new().write(true).create_new(true).open(path);
        serde_json::to_writer_pretty(file.map_err(failed)?, self)
            .map_err(|fault| Fault::file(path, &fault))
    }

    /// Keys by signer.
    #[must_use]
    pub fn keys(&self) -> BTreeMap<String, String> {
        let pair = |signer: &Signer| (signer.signer_kid.clone(), signer.public_key_pem.clone());
        self.signers.iter().map(pair).collect()
    }
}
