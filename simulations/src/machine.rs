//! The cluster's state machine, with the bugs that a run has planted.

use crate::record::Record;
use domain::{Digest, LogIndex, port::RowRead, version::ClusterVersion};
use scheduler::{
    consensus::Machine,
    state::{
        Cluster,
        command::{Applied, Entry},
    },
};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

/// A bug of the state machine that is planted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bug {
    /// None.
    #[default]
    Nothing,
    /// A repeated request has a second effect.
    NoDuplicateCheck,
    /// A commit under an ended lease changes something.
    StaleLeaseAccepted,
    /// Room that others have made for a gang is not given to it.
    RoomWasted,
    /// Time that a lease has held is booked nowhere.
    TimeForgotten,
    /// What jobs were given is forgotten before they end.
    InputsForgotten,
    /// A seal counts whose key's word does not.
    RevokedKeySigns,
    /// A monitor's cool-down counts for nothing.
    CoolDownForgotten,
    /// A window that is sent twice is another one.
    TriggerForgotten,
    /// A promotion does not look at the data that its version came of.
    DataUnlooked,
    /// An attempt begins anew though a checkpoint was committed.
    CheckpointOverlooked,
}

thread_local! {
    static BUG: Cell<Bug> = const { Cell::new(Bug::Nothing) };
}

/// Plants a bug into every machine that is loaded by this thread from now on.
pub fn plant(bug: Bug) {
    BUG.with(|cell| cell.set(bug));
}

thread_local! {
    static RECORD: RefCell<Rc<RefCell<Record>>> = RefCell::default();
}

/// Lets every machine that is loaded by this thread from now on write to a new record.
#[must_use]
pub fn start_record() -> Rc<RefCell<Record>> {
    let record = Rc::new(RefCell::new(Record::default()));
    RECORD.set(Rc::clone(&record));
    record
}

/// The real machine, watched.
pub struct Planted(pub Cluster, Rc<RefCell<Record>>, Cell<bool>);

impl Planted {
    /// From now on its memory differs from what it wrote: a bit of it has flipped.
    pub fn flip(&self) {
        self.2.set(true);
    }
}

impl Machine for Planted {
    fn stored_version(rows: &impl RowRead) -> ClusterVersion {
        Cluster::stored_version(rows)
    }

    #[allow(unused_mut, reason = "nothing is planted without the feature")]
    fn load(rows: &impl RowRead) -> Self {
        let mut cluster = Cluster::load(rows);
        #[cfg(feature = "planted")]
        {
            let bug = BUG.with(Cell::get);
            cluster.planted.no_duplicate_check = bug == Bug::NoDuplicateCheck;
            cluster.planted.stale_lease_accepted = bug == Bug::StaleLeaseAccepted;
            cluster.planted.room_wasted = bug == Bug::RoomWasted;
            cluster.planted.time_forgotten = bug == Bug::TimeForgotten;
            cluster.planted.inputs_forgotten = bug == Bug::InputsForgotten;
            cluster.planted.revoked_key_signs = bug == Bug::RevokedKeySigns;
            cluster.planted.cool_down_forgotten = bug == Bug::CoolDownForgotten;
            cluster.planted.trigger_forgotten = bug == Bug::TriggerForgotten;
            cluster.planted.data_unlooked = bug == Bug::DataUnlooked;
            cluster.planted.checkpoint_overlooked = bug == Bug::CheckpointOverlooked;
        }
        Self(cluster, RECORD.with_borrow(Rc::clone), Cell::new(false))
    }

    fn apply(&mut self, rows: &impl RowRead, at: LogIndex, entry: Entry) -> Applied {
        let applied = self.0.apply(rows, at, entry.clone());
        self.1.borrow_mut().applied(&self.0, rows, at, &entry, &applied);
        applied
    }

    fn version(&self) -> ClusterVersion {
        self.0.version()
    }

    fn digest(&self) -> Digest {
        let mut digest = self.0.digest();
        digest.0[0] ^= u8::from(self.2.get());
        digest
    }
}
