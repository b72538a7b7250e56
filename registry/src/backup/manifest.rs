//! The document of one backup.

use domain::{Digest, LogIndex, Millis};
use serde::{Deserialize, Serialize};

/// A file of the folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Its path within the folder.
    pub file: String,
    /// Digest of its bytes.
    pub sha256: Digest,
    /// Its length. Unit: bytes.
    #[serde(rename = "size_bytes")]
    pub size: u64,
}

/// The blobs of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blobs {
    /// How many.
    pub count: u64,
    /// What they hold together. Unit: bytes.
    #[serde(rename = "size_bytes")]
    pub size: u64,
    /// Their names.
    pub list: Part,
}

/// The checkpoints of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoints {
    /// How many.
    pub count: u64,
    /// What their chunks hold together. Unit: bytes.
    #[serde(rename = "size_bytes")]
    pub size: u64,
    /// Their names.
    pub list: Part,
}

/// One backup: the rows at a log entry, and every blob that servers held then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`Manifest::SCHEMA`].
    pub schema: String,
    /// The cluster that it is of.
    pub cluster: String,
    /// The newest log entry in the rows.
    pub log_index: LogIndex,
    /// That entry's term.
    pub log_term: u64,
    /// The digest of the state that the rows are.
    pub state: Option<Digest>,
    /// When it was taken, by the clock of the machine that took it. Unit: ms since 1970.
    #[serde(rename = "time_ms")]
    pub time: Millis,
    /// Its rows.
    pub rows: Part,
    /// Its blobs.
    pub blobs: Blobs,
    /// Its checkpoints.
    pub checkpoints: Checkpoints,
    /// Servers that did not say which blobs they hold.
    pub silent: Vec<String>,
}

impl Manifest {
    /// Name and version of the form.
    pub const SCHEMA: &str = "backup/v1";
}
