//! What a command tells a person, or a program, when it could not do what was asked.

use crate::exit::Exit;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The kind of a fault, which decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A fault of Assay itself.
    Internal,
    /// The command line, or a file given with it.
    #[serde(alias = "invalid")]
    Usage,
    /// The cluster said no.
    Refused,
    /// What was named does not exist.
    NotFound,
    /// Nobody answered, or nobody had room.
    #[serde(alias = "busy")]
    Unavailable,
    /// The identity may not do this.
    #[serde(alias = "unauthenticated")]
    NotAuthorised,
    /// A proof or a comparison did not hold.
    Mismatch,
    /// `--timeout` was reached.
    Timeout,
}

impl Kind {
    /// The exit code of this kind.
    #[must_use]
    pub fn exit(self) -> Exit {
        match self {
            Self::Internal => Exit::Internal,
            Self::Usage => Exit::Usage,
            Self::Refused => Exit::Refused,
            Self::NotFound => Exit::NotFound,
            Self::Unavailable => Exit::Unavailable,
            Self::NotAuthorised => Exit::NotAuthorised,
            Self::Mismatch => Exit::Mismatch,
            Self::Timeout => Exit::Timeout,
        }
    }
}

/// An error at the edge: what, why, and the next command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Decides the exit code.
    pub code: Kind,
    /// One stable word or two for programs: `unknown_key`, `no_leader`.
    pub reason: String,
    /// What is wrong and where, for people.
    pub detail: String,
    /// What to do next; may be empty where `detail` says it.
    #[serde(default)]
    pub hint: String,
    /// Whether the same command may be repeated without a second effect.
    #[serde(default)]
    pub retry_safe: bool,
    /// The `--request-key` with which the command may be repeated without a second effect, where it
    /// changes something and was not answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_key: Option<String>,
}

impl Fault {
    /// A fault that is not cured by repetition.
    pub fn new(code: Kind, reason: &str, detail: impl Into<String>) -> Self {
        let retry_safe = matches!(code, Kind::Unavailable | Kind::Timeout);
        let (reason, detail) = (reason.to_owned(), detail.into());
        Self { code, reason, detail, hint: String::new(), retry_safe, request_key: None }
    }

    /// A fault of the command line or of a file given with it.
    pub fn usage(reason: &str, detail: impl Into<String>) -> Self {
        Self::new(Kind::Usage, reason, detail)
    }

    /// Something that does not exist.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, "not_found", detail)
    }

    /// A fault of Assay itself.
    pub fn internal(reason: &str, detail: impl Into<String>) -> Self {
        Self::new(Kind::Internal, reason, detail)
    }

    /// A proof or a comparison that did not hold.
    pub fn mismatch(reason: &str, detail: impl Into<String>) -> Self {
        Self::new(Kind::Mismatch, reason, detail)
    }

    /// A local file that could not be used.
    pub fn file(path: &std::path::Path, fault: &dyn fmt::Display) -> Self {
        Self::usage("file", format!("{}: {fault}", path.display()))
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Adds what to do next where the fault does not say it.
    #[must_use]
    pub fn hint_if_none(mut self, hint: &str) -> Self {
        if self.hint.is_empty() {
            self.hint = hint.to_owned();
        }
        self
    }

    /// The process's exit.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.code.exit()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)?;
        if !self.hint.is_empty() {
            write!(f, "\n  next: {}", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_unanswered_call_is_safe_to_repeat() {
        assert!(Fault::new(Kind::Unavailable, "no_leader", "x").retry_safe);
        assert!(!Fault::new(Kind::Refused, "quota", "x").retry_safe);
    }

    #[test]
    fn a_fault_reads_back_from_its_document() {
        let fault = Fault::not_found("there is no job j9").hint("assay jobs");
        let text = serde_json::to_string(&fault).unwrap();
        assert!(text.contains(r#""code":"not_found""#), "{text}");
        assert_eq!(serde_json::from_str::<Fault>(&text).unwrap(), fault);
    }
}
