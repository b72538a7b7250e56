//! A data set: a name with immutable versions, each one tree of files, and who may use it.

use crate::{
    digest::Digest,
    id::{ArtifactId, text_serde},
    model::{ModelRef, ModelRefError},
    unit::{Bytes, Millis},
};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, str::FromStr};

/// One version of a data set: `reviews@3`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct DatasetRef {
    /// The data set.
    pub name: String,
    /// Its number, from 1 on. Never reused.
    pub version: u64,
}

impl fmt::Display for DatasetRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

/// A text that names no version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no version of a data set; write it like `reviews@3`")]
pub struct DatasetRefError(pub String);

impl FromStr for DatasetRef {
    type Err = DatasetRefError;

    fn from_str(text: &str) -> Result<Self, DatasetRefError> {
        // The same form as a version of a model.
        let read: Result<ModelRef, ModelRefError> = text.parse();
        let ModelRef { family, version } = read.map_err(|fault| DatasetRefError(fault.0))?;
        Ok(Self { name: family, version })
    }
}

text_serde!(DatasetRef);

/// What the scan for personal data found, and with what.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct PiiScan {
    /// The detector.
    pub detector: String,
    /// Its version.
    pub detector_version: u32,
    /// Bytes that were looked at.
    pub scanned: Bytes,
    /// How many findings of each kind, where there are any.
    pub counts: BTreeMap<String, u64>,
    /// Files with findings and how many each has, at most [`crate::limit::PII_FILES_MAX`] of them.
    pub files: BTreeMap<String, u64>,
}

impl PiiScan {
    /// Number of findings.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.values().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

/// What keeps a data set from being used.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Block {
    /// It holds personal data: declared, or found by the scan.
    Pii,
    /// Its licence is not known to allow training.
    Licence,
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pii => "it holds personal data",
            Self::Licence => "its licence is not known to allow training",
        })
    }
}

/// A named approver's word that a data set may be used in spite of a block.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Clearance {
    /// Who.
    pub approver: String,
    /// What was cleared.
    pub blocks: Vec<Block>,
    /// Why.
    pub reason: String,
    /// Ed25519 over the clearance's document, in hex.
    pub signature: String,
    /// When, by the log's clock.
    pub since: Millis,
    /// Sequence number of the audit event that records it.
    pub audit_seq: u64,
}

/// A legal hold: nothing of the data set may be deleted.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct LegalHold {
    /// Why.
    pub reason: String,
    /// Who said so.
    pub by: String,
    /// When, by the log's clock.
    pub since: Millis,
    /// Sequence number of the audit event that records it.
    pub audit_seq: u64,
}

/// What is said of a data set when it is registered.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct DatasetFacts {
    /// Digest of its stored tree: what a job names.
    pub tree: Digest,
    /// Root over its files.
    pub root: Digest,
    /// Number of files.
    pub files: u64,
    /// Their length together.
    pub size: Bytes,
    /// Where it comes from.
    pub source: String,
    /// What was done to it, in order.
    pub transformations: Vec<String>,
    /// SPDX identifier, or `LicenseRef-...`.
    pub licence: String,
    /// Who answers for it.
    pub owner: String,
    /// Named parts: each a list of paths, where a folder's path stands for all within.
    pub slices: BTreeMap<String, Vec<String>>,
    /// Whether its owner says that it holds personal data.
    pub pii_declared: bool,
    /// What the scan found.
    pub scan: PiiScan,
}

/// One version of a data set. What was registered never changes.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct DatasetVersion {
    /// Name and number.
    pub dataset: DatasetRef,
    /// What was registered.
    #[serde(flatten)]
    pub facts: DatasetFacts,
    /// When, by the log's clock.
    pub registered: Millis,
    /// By whom.
    pub registered_by: String,
    /// Sequence number of the audit event that records it.
    pub audit_seq: u64,
    /// Approvers' words, oldest first.
    pub clearances: Vec<Clearance>,
    /// The legal hold, if there is one.
    pub hold: Option<LegalHold>,
}

impl DatasetVersion {
    /// Whether an approver has cleared it of this.
    #[must_use]
    pub fn is_cleared(&self, block: Block) -> bool {
        self.clearances.iter().any(|word| word.blocks.contains(&block))
    }
}

/// A version in a list or in full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetView {
    /// The version.
    #[serde(flatten)]
    pub version: DatasetVersion,
    /// What keeps it from being used now; empty where it may be.
    pub blocked: Vec<Block>,
    /// Artifacts made from it, at most a page of them.
    pub used_by: Vec<ArtifactId>,
}
