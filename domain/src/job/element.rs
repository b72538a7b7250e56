//! Where an element of a job stands.

use super::EndCause;
use crate::id::LeaseId;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// Where an element of a job stands.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum ElementState {
    /// Waits for a placement.
    Waiting,
    /// Holds a lease.
    Running {
        /// The lease.
        lease: LeaseId,
    },
    /// Ended well; its seal ticket (named by the ended lease) is open.
    Sealing {
        /// The ended lease.
        lease: LeaseId,
    },
    /// Its sealed artifact is in the ledger.
    Completed {
        /// The artifact.
        artifact: crate::id::ArtifactId,
    },
    /// Ended without a result.
    Failed {
        /// Why.
        cause: EndCause,
    },
    /// Cancelled by a user.
    Cancelled,
}

impl ElementState {
    /// Whether nothing more will happen to it.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Completed { .. } | Self::Failed { .. } | Self::Cancelled => true,
            Self::Waiting | Self::Running { .. } | Self::Sealing { .. } => false,
        }
    }

    /// The state's one word, as every list prints it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running { .. } => "running",
            Self::Sealing { .. } => "sealing",
            Self::Completed { .. } => "completed",
            Self::Failed { .. } => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}
