//! Bugs that the simulator must catch: the proof that it would find one like them.

/// A bug planted into a replica. It has an effect only in a build with the feature `planted`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Planted {
    /// None.
    #[default]
    Nothing,
    /// A write counts as durable as soon as it is handed over.
    UnsyncedAcknowledged,
    /// The vote is not written down.
    VoteForgotten,
    /// Messages go out before what they depend on is durable.
    SentBeforePersisted,
    /// A leader answers reads without asking whether it still leads.
    StaleRead,
    /// Now and then a changed row is not written.
    RowLost,
    /// A leader raises the cluster's version without asking the others.
    VersionUnasked,
}

impl Planted {
    pub(super) fn is(self, bug: Self) -> bool {
        cfg!(feature = "planted") && self == bug
    }
}
