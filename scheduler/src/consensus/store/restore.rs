//! Makes a server's disk from rows that were saved.

use super::{
    Db, Identity, LOG, RAFT, RocksRows, Store, StoreError, begin, family_name,
    history::{self, Retained},
    made, options,
};
use crate::consensus::{
    membership::Membership,
    write::{AppliedMark, HardState, LogStart, WriteOp},
};
use domain::port::Row;
use std::{
    path::Path,
    sync::{Arc, atomic::AtomicU64},
};

/// By how much a restored log's index is ahead of the saved one. What the lost log granted after
/// the backup has indexes in between: no lease of the restored cluster has the same id.
pub const RESTORED_AHEAD: u64 = 1_000_000_000;

/// What the saved rows are.
#[derive(Clone, Debug)]
pub struct Saved {
    /// The newest entry in them, with the digest of the state.
    pub applied: AppliedMark,
    /// The servers of the new cluster.
    pub members: Membership,
}

impl WriteOp {
    /// The first write of each server of a restored cluster: like a founding, with the rows as of a
    /// later entry of a later term.
    fn restored(saved: Saved) -> Self {
        let Saved { applied: AppliedMark { index, term, digest }, members } = saved;
        let (index, term) = (index + RESTORED_AHEAD, term + 1);
        Self {
            compact_to: Some(LogStart { index, term }),
            hard_state: Some(HardState { term, vote: 0, commit: index }),
            applied: Some(AppliedMark { index, term, digest }),
            membership: Some(members),
            sync: true,
            ..Self::default()
        }
    }
}

impl Store {
    /// Makes the disk of `identity` in `dir` from saved rows. One that was not made to its end is
    /// begun anew by whoever opens it next.
    ///
    /// # Errors
    /// When there is a disk already, it cannot be written, or `pages` ends with an error.
    pub fn restore<E: From<StoreError>>(
        dir: &Path,
        identity: &Identity,
        saved: Saved,
        pages: impl IntoIterator<Item = Result<Vec<Row>, E>>,
    ) -> Result<(), E> {
        let failed = |fault| StoreError::new(dir, fault);
        let refused = |source| StoreError::Directory { dir: dir.to_owned(), source };
        if !begin(dir).map_err(refused)? {
            let taken = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
            return Err(refused(taken).into());
        }
        let names = [LOG.to_owned(), RAFT.to_owned(), family_name(0)];
        let families = names.iter().map(|name| options::family(name));
        let db = Db::open_cf_descriptors(&options::database(), dir, families).map_err(failed)?;
        let db = Arc::new(db);
        let rows = RocksRows::new(Arc::clone(&db), 0);
        let next_family = Arc::new(AtomicU64::new(1));
        history::forget(dir).map_err(refused)?;
        let retained = Arc::new(Retained::of(dir));
        let store = Self { db, dir: dir.to_owned(), rows, next_family, retained };
        for page in pages {
            store.fill(0, &page?)?;
        }
        store.seal_family(0)?;
        store.claim(identity, &WriteOp::restored(saved))?;
        drop(store);
        made(dir).map_err(refused)?;
        Ok(())
    }
}
