//! The replicated log: one order of commands, kept by a quorum of servers.

pub mod boot;
pub mod codec;
pub mod disk;
pub mod machine;
pub mod membership;
pub mod overlay;
mod propose;
pub mod replica;
pub mod rows;
mod scrub;
pub mod shell;
pub mod snapshot;
pub mod store;
pub mod transport;
pub mod write;

pub use boot::{BootError, BootState};
pub use machine::Machine;
pub use membership::{ChangeError, MemberChange, Membership};
pub use overlay::Overlay;
pub use replica::{
    Damage, Input, Output, Planted, ProposeError, ReadError, Received, Replica, ReplicaConfig,
    Role, StopReason,
};
pub use rows::RocksRows;
pub use store::{History, Identity, Store, StoreError, Window};
pub use write::{AppliedMark, HardState, Install, LogStart, SnapshotMark, StoredEntry, WriteOp};

#[cfg(test)]
mod golden_test;
#[cfg(test)]
mod hostile_test;
#[cfg(test)]
mod replica_test;
#[cfg(test)]
mod shell_test;
#[cfg(test)]
mod store_test;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod version_test;
