//! The ledger: sealed artifacts, their lineage, and the chain of events of record.

mod approver;
mod chain;
mod command;
pub mod dataset;
pub mod drift;
pub mod evaluation;
mod key;
pub mod lineage;
pub mod model;
pub mod promotion;
pub mod retain;
mod seal;
pub mod sign_off;
pub mod signing_key;
mod touched;
mod tree;
pub mod view;

pub use chain::{Head, LedgerRefusal, event_hash, parse_rfc3339, rfc3339};
pub use command::{Background, DataRule, RegistryCommand};
pub use promotion::{OpenPromotion, Phase};
pub use seal::SealInput;
pub use touched::{Touched, touched};
pub use tree::{EventProof, prove};

use crate::seal::tlog::Frontier;
use borsh::{BorshDeserialize, BorshSerialize};
use domain::{EpisodeId, Millis, PromotionId, port::RowRead, scratch};
use std::collections::BTreeMap;

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
    /// Promotions that something may still happen to, which have rows of their own.
    #[borsh(skip)]
    open: BTreeMap<PromotionId, OpenPromotion>,
    /// Retrains that are held for a time, with its end; their episodes have rows of their own.
    #[borsh(skip)]
    held: BTreeMap<EpisodeId, Millis>,
}

impl Ledger {
    /// The ledger as its rows have it.
    #[must_use]
    pub fn load(rows: &impl RowRead) -> Self {
        let key = key::meta();
        let meta: Option<Self> = rows.get(&key).map(|bytes| scratch::decode(&key, &bytes));
        let (tree, open) = (Self::load_tree(rows), Self::load_open(rows));
        Self { tree, open, held: drift::load_held(rows), ..meta.unwrap_or_default() }
    }

    /// The newest event of the chain.
    #[must_use]
    pub fn head(&self) -> Option<Head> {
        self.head
    }

    /// Promotions that something may still happen to.
    #[must_use]
    pub fn open(&self) -> &BTreeMap<PromotionId, OpenPromotion> {
        &self.open
    }

    /// Retrains that are held for a time, with its end.
    #[must_use]
    pub fn held_retrains(&self) -> &BTreeMap<EpisodeId, Millis> {
        &self.held
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
