//! The head that was verified last, in a file of the auditor's own.
//!
//! It is the anchor outside of the servers: who holds it notices when the chain is cut, rewritten
//! or signed by another key, even when all servers tell the same tale.

use crate::fault::Fault;
use domain::Digest;
use registry::seal::audit::Anchor;
use serde::{Deserialize, Serialize};
use std::{fs, io, io::Write, path::Path};

const SCHEMA: &str = "audit_head/v1";

/// A verified head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadFile {
    /// Number of events from the first on.
    pub events: u64,
    /// Hash of the newest.
    pub head_hash: Digest,
    /// The form of this file.
    pub schema: String,
    /// Newest event with a signature.
    pub signed: u64,
    /// Whose signatures they are.
    pub signer: String,
    /// The signer's public key: SPKI in PEM.
    pub signer_public_pem: String,
}

impl HeadFile {
    /// A head with the key that signed it.
    #[must_use]
    pub fn new(anchor: Anchor, signer: &str, pem: &str) -> Self {
        Self {
            events: anchor.seq,
            head_hash: anchor.hash,
            schema: SCHEMA.to_owned(),
            signed: anchor.signed,
            signer: signer.to_owned(),
            signer_public_pem: pem.to_owned(),
        }
    }

    /// What a chain must extend.
    #[must_use]
    pub fn anchor(&self) -> Anchor {
        Anchor { seq: self.events, hash: self.head_hash, signed: self.signed }
    }

    /// Reads the file, if it is there.
    ///
    /// # Errors
    /// When it cannot be read or is something else.
    pub fn load(path: &Path) -> Result<Option<Self>, Fault> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(fault) => return Err(Fault::file(path, &fault)),
        };
        let broken = |why: &dyn std::fmt::Display| {
            Fault::file(path, why).hint("restore it from a copy: a new file trusts the chain anew")
        };
        let head: Self = serde_json::from_str(&text).map_err(|why| broken(&why))?;
        if head.schema != SCHEMA {
            return Err(broken(&format!("is `{}`, expected `{SCHEMA}`", head.schema)));
        }
        Ok(Some(head))
    }

    /// Replaces the file as a whole.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), Fault> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let written = || -> io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            serde_json::to_writer_pretty(&mut file, self)?;
            file.write_all(b"\n")?;
            file.as_file().sync_all()?;
            file.persist(path)?;
            fs::File::open(folder)?.sync_all()
        };
        written().map_err(|fault| Fault::file(path, &fault))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_replaced_as_a_whole_and_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("head.json");
        assert_eq!(HeadFile::load(&path).unwrap(), None);
        for events in [3, 9] {
            let anchor = Anchor { seq: events, hash: Digest::of(b"head"), signed: 2 };
            let head = HeadFile::new(anchor, "assay-audit-1", "PEM");
            head.save(&path).unwrap();
            assert_eq!(HeadFile::load(&path).unwrap(), Some(head));
        }
        fs::write(&path, "{}").unwrap();
        assert!(HeadFile::load(&path).unwrap_err().hint.contains("copy"));
    }
}
