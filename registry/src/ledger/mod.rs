//! The ledger: sealed artifacts, their lineage, and the chain of events of record.

mod chain;
mod key;
mod seal;
mod tree;
pub mod view;

pub use chain::{Head, LedgerRefusal, event_hash, parse_rfc3339, rfc3339};
pub use seal::SealInput;
pub use tree::{EventProof, prove};

use crate::seal::tlog::Frontier;
use borsh::{BorshDeserialize, BorshSerialize};
use domain::{port::RowRead, scratch};

/// Events without a signature beyond which the cluster is told to look at its signer.
pub const UNSIGNED_MAX: u64 = 100_000;

/// What the ledger keeps in memory; everything else is read from rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Ledger {
    /// Artifacts made so far.
    artifacts: u64,
    /// The newest event.
    head: Option<Head>,
    /// Sequence number of the newest event with a signature.
    signed: u64,
    /// The right edge of the tree over all events, which has a row of its own.
    #[borsh(skip)]
    tree: Frontier,
}

impl Ledger {
    /// The ledger as its rows have it.
    #[must_use]
    pub fn load(rows: &impl RowRead) -> Self {
        let key = key::meta();
        let meta: Option<Self> = rows.get(&key).map(|bytes| scratch::decode(&key, &bytes));
        Self { tree: Self::load_tree(rows), ..meta.unwrap_or_default() }
    }

    /// The newest event of the chain.
    #[must_use]
    pub fn head(&self) -> Option<Head> {
        self.head
    }

    /// Sequence number of the newest signed event; all before it are signed too.
    #[must_use]
    pub fn signed(&self) -> u64 {
        self.signed
    }

    /// Number of events that lack a signature.
    #[must_use]
    pub fn unsigned(&self) -> u64 {
        self.head.map_or(0, |head| head.seq) - self.signed
    }
}
