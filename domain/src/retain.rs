//! How long the files of results are kept, and what is said of those that went.

use crate::{
    dataset::DatasetRef,
    digest::Digest,
    id::{ArtifactId, JobId, PromotionId},
    model::{ModelRef, Stage},
    unit::{Bytes, Millis},
};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// How long the files of a result are kept, from the time of its seal.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(into = "String", try_from = "String")]
pub enum Retain {
    /// Without end.
    Forever,
    /// For so long.
    For(Millis),
}

/// Units of a time of keeping, the longest first. Unit: ms.
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl fmt::Display for Retain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::For(Millis(ms)) = self else { return f.write_str("forever") };
        let whole = |(_, unit): &&(&str, u64)| ms.is_multiple_of(*unit);
        let (name, unit) = UNITS.iter().find(whole).unwrap_or(&("ms", 1));
        write!(f, "{}{name}", ms / unit)
    }
}

/// A text that is no time of keeping.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no time of keeping; give `forever`, or a duration such as `90d`")]
pub struct RetainError(String);

impl FromStr for Retain {
    type Err = RetainError;

    fn from_str(text: &str) -> Result<Self, RetainError> {
        if text == "forever" {
            return Ok(Self::Forever);
        }
        let fault = || RetainError(text.to_owned());
        let end = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(fault)?;
        let number: u64 = text[..end].parse().map_err(|_| fault())?;
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == &text[end..]).ok_or_else(fault)?;
        number.checked_mul(*unit).map(|ms| Self::For(Millis(ms))).ok_or_else(fault)
    }
}

impl TryFrom<String> for Retain {
    type Error = RetainError;

    fn try_from(text: String) -> Result<Self, RetainError> {
        text.parse()
    }
}

impl From<Retain> for String {
    fn from(retain: Retain) -> Self {
        retain.to_string()
    }
}

impl Retain {
    /// As it stands on the wire: zero is for ever.
    #[must_use]
    pub fn wire(self) -> u64 {
        match self {
            Self::Forever => 0,
            Self::For(Millis(ms)) => ms.max(1),
        }
    }

    /// From the wire.
    #[must_use]
    pub fn from_wire(ms: u64) -> Self {
        if ms == 0 { Self::Forever } else { Self::For(Millis(ms)) }
    }
}

/// Who says how long a result is kept.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleOf {
    /// Its job.
    Job(JobId),
    /// The queue of its job, or one that this is a part of.
    Queue(String),
}

/// A rule, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Rule {
    /// Who says so.
    pub of: RuleOf,
    /// What it says.
    pub retain: Retain,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.of {
            RuleOf::Job(job) => write!(f, "`retain = {}` of job {job}", self.retain),
            RuleOf::Queue(queue) => write!(f, "`retain = {}` of queue `{queue}`", self.retain),
        }
    }
}

/// That the files of a result went: when, why, and at whose word.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Collected {
    /// When, by the log's clock. Servers delete the bytes some time after.
    pub since: Millis,
    /// The rule.
    pub rule: Rule,
    /// Who asked for it.
    pub by: String,
    /// Files that it had.
    pub files: u64,
    /// Their bytes.
    pub size: Bytes,
    /// Sequence number of the event.
    pub audit_seq: u64,
}

/// A legal hold on a result.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct ArtifactHold {
    /// Why.
    pub reason: String,
    /// Who put it under hold.
    pub by: String,
    /// Since when, by the log's clock.
    pub since: Millis,
}

/// Why the files of a result are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Keep {
    /// No rule says that they may ever go.
    NoRule,
    /// Their time is not over.
    Time {
        /// When it is, by the log's clock.
        until: Millis,
        /// By which rule.
        rule: Rule,
    },
    /// A legal hold.
    Hold {
        /// Why.
        reason: String,
    },
    /// They are a registered data set.
    Dataset {
        /// Which.
        dataset: DatasetRef,
    },
    /// A version of a model is made of them, and in a stage.
    Stage {
        /// The version.
        model: ModelRef,
        /// Its stage.
        stage: Stage,
    },
    /// A version of a model is made of them that a name stands for.
    Alias {
        /// The version.
        model: ModelRef,
        /// The name.
        alias: String,
    },
    /// A promotion of a version that is made of them is on its way.
    Promotion {
        /// The version.
        model: ModelRef,
        /// The promotion.
        promotion: PromotionId,
    },
    /// A version that is kept was made from the version that is made of them.
    Parent {
        /// The version that is kept.
        child: ModelRef,
    },
    /// A result that has its files was made with them as code or data.
    Source {
        /// That result.
        of: ArtifactId,
    },
    /// A job that has not ended was given them.
    Input {
        /// The job.
        job: JobId,
    },
    /// What was made of them is more than can be looked through.
    Unsure,
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRule => write!(f, "neither its job nor its queue says `retain`"),
            Self::Time { rule, .. } => write!(f, "{rule}: its time is not over"),
            Self::Hold { reason } => write!(f, "it is under legal hold: {reason}"),
            Self::Dataset { dataset } => write!(f, "its files are data set {dataset}"),
            Self::Stage { model, stage } => write!(f, "{model} is in stage {stage}"),
            Self::Alias { model, alias } => write!(f, "alias `{alias}` names {model}"),
            Self::Promotion { model, promotion } => {
                write!(f, "promotion {promotion} of {model} is open")
            }
            Self::Parent { child } => write!(f, "{child}, which is kept, was made from it"),
            Self::Source { of } => write!(f, "{of}, which is kept, was made with its files"),
            Self::Input { job } => write!(f, "job {job}, which has not ended, was given it"),
            Self::Unsure => write!(f, "too much was made of it to be sure that nothing needs it"),
        }
    }
}

/// What is to be done with the files of a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcItem {
    /// The result.
    pub artifact: ArtifactId,
    /// Its job's name.
    pub name: String,
    /// When it was sealed, by the log's clock.
    pub sealed: Millis,
    /// Digest of the list of its files.
    pub tree: Digest,
    /// Number of its files.
    pub files: u64,
    /// Their bytes.
    pub size: Bytes,
    /// The rule by which they go, if they go.
    pub rule: Option<Rule>,
    /// The first reason why they are kept, if they are kept.
    pub kept: Option<Keep>,
    /// A result with the very same files that is kept, because of which no bytes come free.
    pub shared_with: Option<ArtifactId>,
}

impl GcItem {
    /// Whether its files may go.
    #[must_use]
    pub fn goes(&self) -> bool {
        self.kept.is_none()
    }
}

/// One page of what a collection would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcPage {
    /// The results that have their files, ascending.
    pub items: Vec<GcItem>,
    /// Where the next page begins; none at the end.
    pub next: Option<ArtifactId>,
    /// The log's clock.
    pub now: Millis,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_keeping_reads_back_as_it_is_shown() {
        for text in ["forever", "90d", "36h", "1ms", "7s"] {
            assert_eq!(text.parse::<Retain>().map(|it| it.to_string()).as_deref(), Ok(text));
        }
        assert_eq!("48h".parse::<Retain>().unwrap().to_string(), "2d");
        for text in ["", "d", "90", "-1d", "1y", "99999999999999999999d", "1000000000000000d"] {
            assert!(text.parse::<Retain>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_wire_tells_for_ever_from_no_time_at_all() {
        for retain in [Retain::Forever, Retain::For(Millis(1)), Retain::For(Millis(7))] {
            assert_eq!(Retain::from_wire(retain.wire()), retain);
        }
        assert_eq!(Retain::from_wire(Retain::For(Millis(0)).wire()), Retain::For(Millis(1)));
    }
}
