//! A window: nodes that are kept for some, or from all, for a time.

use crate::{id::ElementId, limit, unit::Millis};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Who runs on the nodes of a window while it is open.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum WindowKind {
    /// Its members.
    #[default]
    Reservation,
    /// Nobody: the nodes are worked on.
    Maintenance,
}

impl WindowKind {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Reservation => "reservation",
            Self::Maintenance => "maintenance",
        }
    }
}

/// Which nodes are wanted.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum WantedNodes {
    /// These, by name.
    Named(BTreeSet<String>),
    /// So many, of those that are free of other windows then. Which, is settled when it is made.
    Count {
        /// How many.
        count: u32,
        /// A word of their GPUs' model.
        gpu_model: Option<String>,
    },
}

/// A window as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Reservation {
    /// Its name, unique among those that are not over.
    pub name: String,
    /// Where.
    pub nodes: WantedNodes,
    /// When it begins; what is over by the log's clock means at once.
    pub start: Millis,
    /// For how long.
    pub duration: Millis,
    /// Users whose jobs are members.
    pub users: BTreeSet<String>,
    /// Queues whose jobs, and those of their parts, are members.
    pub queues: BTreeSet<String>,
    /// Who runs there.
    pub kind: WindowKind,
    /// Why, for others.
    pub reason: String,
}

/// A rule that a window breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {fault}; {remedy}")]
pub struct ReservationError {
    /// What of it.
    pub field: &'static str,
    /// What is wrong.
    pub fault: String,
    /// What to do.
    pub remedy: &'static str,
}

/// Longest name, in bytes.
const NAME_MAX: usize = 63;
/// Longest reason, in bytes.
const REASON_MAX: usize = 500;

/// Whether a text may name a window.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let letter = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    (1..=NAME_MAX).contains(&text.len()) && text.bytes().all(letter)
}

impl Reservation {
    /// Checks every rule that needs no cluster.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check(&self) -> Result<(), ReservationError> {
        let fault = |field, fault: String, remedy| Err(ReservationError { field, fault, remedy });
        if !is_name(&self.name) {
            let why = format!("is `{}`", self.name);
            return fault("name", why, "give 1 to 63 letters, digits, `-`, `_` and `.`");
        }
        if self.reason.is_empty() || self.reason.len() > REASON_MAX {
            let why = format!("is {} bytes long", self.reason.len());
            return fault("reason", why, "say in 1 to 500 bytes what it is for");
        }
        if self.duration == Millis(0) || self.duration > limit::WINDOW_MAX {
            let why = format!("is {} ms", self.duration.0);
            return fault("duration", why, "give a duration of at most 366d, such as `2h30m`");
        }
        let named = match &self.nodes {
            WantedNodes::Named(names) => names.len(),
            WantedNodes::Count { count, .. } => *count as usize,
        };
        if named == 0 || named > limit::WINDOW_NODES_MAX {
            let why = format!("are {named}");
            return fault("nodes", why, "name 1 to 4096 nodes, or give their count");
        }
        let members = self.users.len() + self.queues.len();
        if members > limit::WINDOW_MEMBERS_MAX {
            let why = format!("are {members} users and queues");
            return fault("members", why, "name at most 256, or a queue that the others are in");
        }
        if self.kind == WindowKind::Maintenance && members > 0 {
            let why = format!("are {members}, and maintenance lets nobody in");
            return fault("members", why, "leave them out, or leave `--maintenance` out");
        }
        Ok(())
    }
}

/// A window in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationView {
    /// Its name.
    pub name: String,
    /// Who runs there.
    pub kind: WindowKind,
    /// "coming" or "open".
    pub state: String,
    /// When it begins.
    pub starts: Millis,
    /// When it is over.
    pub ends: Millis,
    /// Its nodes, by name.
    pub nodes: Vec<String>,
    /// Users whose jobs are members.
    pub users: Vec<String>,
    /// Queues whose jobs are members.
    pub queues: Vec<String>,
    /// Why.
    pub reason: String,
    /// Who made it.
    pub by: String,
    /// The entry that made it.
    pub at: u64,
    /// What runs there now: members.
    pub inside: Vec<ElementId>,
    /// What runs there now and is no member's: it may still run when the window opens, or has
    /// not left yet.
    pub others: Vec<ElementId>,
}

/// The windows of a node, as lists of nodes show them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeWindow {
    /// Its name.
    pub name: String,
    /// Who runs there.
    pub kind: WindowKind,
    /// "coming" or "open".
    pub state: String,
    /// When it begins.
    pub starts: Millis,
    /// When it is over.
    pub ends: Millis,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window() -> Reservation {
        Reservation {
            name: "demo-1".into(),
            nodes: WantedNodes::Count { count: 2, gpu_model: None },
            start: Millis(0),
            duration: Millis(60_000),
            users: BTreeSet::from(["ada".to_owned()]),
            queues: BTreeSet::new(),
            kind: WindowKind::Reservation,
            reason: "a demonstration".into(),
        }
    }

    #[test]
    fn a_window_is_refused_by_the_rule_that_it_breaks() {
        assert_eq!(window().check(), Ok(()));
        let says = |window: Reservation| window.check().unwrap_err().to_string();
        let named = |name: &str| Reservation { name: name.into(), ..window() };
        assert!(says(named("")).starts_with("name: is ``"));
        assert!(says(named("a b")).starts_with("name: "));
        assert!(says(named(&"x".repeat(64))).starts_with("name: "));
        assert!(says(Reservation { reason: String::new(), ..window() }).starts_with("reason: "));
        let lasting = |ms| Reservation { duration: Millis(ms), ..window() };
        assert!(says(lasting(0)).starts_with("duration: "));
        assert!(says(lasting(limit::WINDOW_MAX.0 + 1)).starts_with("duration: "));
        let of = |count| {
            let nodes = WantedNodes::Count { count, gpu_model: None };
            Reservation { nodes, ..window() }
        };
        assert!(says(of(0)).starts_with("nodes: are 0"));
        let closed = Reservation { kind: WindowKind::Maintenance, ..window() };
        assert!(says(closed).contains("maintenance lets nobody in"));
    }
}
