//! A model: a family of immutable versions, each made from one sealed artifact.

use crate::{
    decimal::Decimal,
    digest::Digest,
    evaluation::{EvaluationView, Measured, Metrics},
    id::{ArtifactId, ElementId, text_serde},
    limit,
    unit::Millis,
};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, str::FromStr};

/// How far a version may be believed. Only a promotion moves it on.
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
pub enum Stage {
    /// Registered, and nothing more is said of it.
    Draft,
    /// On trial.
    Staging,
    /// In use.
    Prod,
    /// Not to be used any more.
    Deprecated,
}

impl Stage {
    /// Its one word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Staging => "staging",
            Self::Prod => "prod",
            Self::Deprecated => "deprecated",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A text that is no stage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no stage; write `draft`, `staging`, `prod` or `deprecated`")]
pub struct StageError(pub String);

impl FromStr for Stage {
    type Err = StageError;

    fn from_str(text: &str) -> Result<Self, StageError> {
        let all = [Self::Draft, Self::Staging, Self::Prod, Self::Deprecated];
        let found = all.into_iter().find(|stage| stage.word() == text);
        found.ok_or_else(|| StageError(text.to_owned()))
    }
}

/// One version of a family: `digits@3`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct ModelRef {
    /// The family.
    pub family: String,
    /// Its number within the family, from 1 on. Never reused.
    pub version: u64,
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.family, self.version)
    }
}

/// A text that names no version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no version of a model; write it like `digits@3`")]
pub struct ModelRefError(pub String);

impl FromStr for ModelRef {
    type Err = ModelRefError;

    fn from_str(text: &str) -> Result<Self, ModelRefError> {
        let fault = || ModelRefError(text.chars().take(limit::FAMILY_NAME_MAX + 24).collect());
        let (family, version) = text.rsplit_once('@').ok_or_else(fault)?;
        check_family(family).map_err(|_| fault())?;
        let plain = version.bytes().all(|byte| byte.is_ascii_digit());
        let version = version.parse().ok().filter(|version| *version > 0 && plain);
        Ok(Self { family: family.to_owned(), version: version.ok_or_else(fault)? })
    }
}

text_serde!(ModelRef);

/// One version of a family. All but its stage stays as it was registered.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct ModelVersion {
    /// Family and number.
    pub model: ModelRef,
    /// What it is made of.
    pub artifact: ArtifactId,
    /// Where it stands.
    pub stage: Stage,
    /// What whoever registered it says was measured, by name.
    pub metrics: BTreeMap<String, Decimal>,
    /// Versions that it was made from.
    pub parents: Vec<ModelRef>,
    /// When it was registered, by the log's clock.
    pub registered: Millis,
    /// Who registered it.
    pub registered_by: String,
    /// Sequence number of the audit event that records it.
    pub audit_seq: u64,
}

/// The word for an artifact that is not to be used any more.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Revocation {
    /// Why.
    pub reason: String,
    /// Who said so.
    pub by: String,
    /// When, by the log's clock.
    pub since: Millis,
    /// Sequence number of the audit event that records it.
    pub audit_seq: u64,
}

/// A version in a list or in full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelView {
    /// The version.
    #[serde(flatten)]
    pub version: ModelVersion,
    /// Names that stand for it within its family.
    pub aliases: Vec<String>,
    /// Versions that were made from it, at most a page of them.
    pub children: Vec<ModelRef>,
    /// The job that made its artifact.
    pub job: ElementId,
    /// Root over the artifact's files.
    pub root: Digest,
    /// Recipe of the job.
    pub recipe: Digest,
    /// Digest of the artifact's signature.
    pub signature: Digest,
    /// SHA-256 of the signer's public key in PEM.
    pub signer: Digest,
    /// Digest of the signed provenance.
    pub provenance: Digest,
    /// Whether the artifact was revoked, and why.
    pub revoked: Option<Revocation>,
    /// What sealed jobs measured of it, newest first.
    pub evaluations: Vec<EvaluationView>,
    /// Every metric with its source.
    pub measured: BTreeMap<String, Measured>,
}

impl ModelView {
    /// What is known of its metrics.
    #[must_use]
    pub fn metrics(&self) -> Metrics<'_> {
        Metrics { claimed: &self.version.metrics, evaluations: &self.evaluations }
    }
}

/// A family in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FamilyView {
    /// Its name.
    pub family: String,
    /// Number of its newest version.
    pub versions: u64,
    /// Names for versions, `staging` and `prod` among them once something was promoted.
    pub aliases: BTreeMap<String, u64>,
    /// Its newest version.
    pub newest: ModelVersion,
}

/// What a thing in a lineage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LineageKind {
    /// A version of a family.
    Model,
    /// A sealed result.
    Artifact,
    /// The job that made it.
    Job,
    /// A data set by digest.
    Dataset,
    /// Code by digest.
    Code,
}

/// A thing in a lineage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineageNode {
    /// What it is.
    pub kind: LineageKind,
    /// Its id or its digest.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Steps from the version that was asked for.
    pub depth: u32,
}

/// One thing was made of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LineageEdge {
    /// What was used: a place in the list of nodes.
    pub from: usize,
    /// What was made of it: a place in the list of nodes.
    pub to: usize,
}

/// What a version was made of, and what was made of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineageView {
    /// The version.
    pub model: ModelRef,
    /// All things, the version first, then in order of distance.
    pub nodes: Vec<LineageNode>,
    /// What was made of what.
    pub edges: Vec<LineageEdge>,
    /// Whether a bound on depth or number left something out.
    pub truncated: bool,
}

/// A text that cannot name something of the registry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` cannot be a name here; use 1 to {max} of a-z, 0-9, `.`, `_`, `-`, the first a letter \
     or digit",
    max = limit::FAMILY_NAME_MAX
)]
pub struct NameError(pub String);

/// Checks a family's name: it stands in keys of rows, in addresses and before an `@`.
///
/// # Errors
/// When it is empty, too long, or has a character that has a meaning elsewhere.
pub fn check_family(name: &str) -> Result<(), NameError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let inner = |byte: u8| plain(byte) || matches!(byte, b'.' | b'_' | b'-');
    let first = name.bytes().next().is_some_and(plain);
    if first && name.len() <= limit::FAMILY_NAME_MAX && name.bytes().all(inner) {
        return Ok(());
    }
    Err(NameError(name.chars().take(limit::FAMILY_NAME_MAX).collect()))
}

/// Checks an alias: as a family's name, but never all digits, which would name a version.
///
/// # Errors
/// When it breaks a rule.
pub fn check_alias(name: &str) -> Result<(), NameError> {
    check_family(name)?;
    match name.bytes().all(|byte| byte.is_ascii_digit()) {
        true => Err(NameError(name.to_owned())),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_no_character_with_a_meaning_elsewhere() {
        for good in ["a", "7b", "llama-3.1_8b", &"x".repeat(limit::FAMILY_NAME_MAX)] {
            assert_eq!(check_family(good), Ok(()), "{good}");
        }
        let long = "x".repeat(limit::FAMILY_NAME_MAX + 1);
        for bad in ["", "-a", ".a", "A", "a@1", "a/b", "a b", "a\0", "é", &long] {
            assert!(check_family(bad).is_err(), "{bad}");
        }
        assert!(check_alias("champion").is_ok() && check_alias("17").is_err());
    }

    #[test]
    fn a_version_prints_the_way_it_is_typed() {
        for text in ["digits@1", "llama-3.1@18446744073709551615"] {
            assert_eq!(text.parse::<ModelRef>().unwrap().to_string(), text);
        }
        for text in ["digits", "digits@0", "digits@+1", "digits@", "@1", "a@b@1", "digits@x"] {
            assert!(text.parse::<ModelRef>().is_err(), "{text}");
        }
    }
}
