//! What a later life of the agent needs to know of a lease whose tasks were started.

use super::dirs::{LeaseDirs, NodeDirs, emptied};
use borsh::BorshSerialize;
use domain::{LeaseId, NodeId, link::WantedLease};
use proto::frame;
use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Writes the record, before any task starts.
///
/// Not synced: it matters after a crash of the agent, not of the machine, which ends all tasks.
/// A torn one is as good as none, since tasks start only after it is whole.
///
/// # Errors
/// When the disk refuses.
pub fn write(dirs: &LeaseDirs, node: NodeId, wanted: &WantedLease) -> io::Result<()> {
    let mut open = fs::OpenOptions::new();
    // Tasks that run as users of their own have no business in it.
    let mut file = open.write(true).create(true).truncate(true).mode(0o600).open(dirs.state())?;
    file.write_all(&frame::encode(&(node, wanted)))
}

/// Writes a record whole or not at all, and to the disk.
///
/// # Errors
/// When the disk refuses.
pub fn replace(record: &Path, value: &impl BorshSerialize) -> io::Result<()> {
    let temporary = record.with_extension("new");
    let mut file = fs::File::create(&temporary)?;
    file.write_all(&frame::encode(value))?;
    file.sync_all()?;
    fs::rename(temporary, record)
}

/// Every lease with a record. Folders without one are removed: nothing was started there.
///
/// # Errors
/// When the folder of leases cannot be read.
pub fn read_all(dirs: &NodeDirs) -> io::Result<Vec<(NodeId, WantedLease)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dirs.leases())? {
        let entry = entry?;
        let id = entry.file_name().to_str().and_then(|name| name.parse::<LeaseId>().ok());
        let record = fs::read(entry.path().join("state")).ok();
        let record = record.and_then(|bytes| frame::decode::<(NodeId, WantedLease)>(&bytes).ok());
        match record {
            Some((node, wanted)) if Some(wanted.lease.id) == id => all.push((node, wanted)),
            _ => {
                if let Err(why) = fs::remove_dir_all(entry.path()) {
                    let path = entry.path();
                    tracing::warn!(path = %path.display(), %why, "folders of before not removed");
                }
            }
        }
    }
    Ok(all)
}

/// Empties the folder of leases if the machine was booted since it was written: nothing runs.
///
/// # Errors
/// When the disk refuses.
pub fn forget_other_boots(dirs: &NodeDirs, boot_id: &str) -> io::Result<()> {
    fs::create_dir_all(dirs.records())?;
    let record = dirs.records().join("boot");
    if fs::read_to_string(&record).is_ok_and(|known| known == boot_id) {
        return Ok(());
    }
    if let Err(why) = emptied(&dirs.leases()) {
        // Nothing of it is adopted without a record of this boot; only its room is lost.
        tracing::warn!(%why, "folders of before not removed");
    }
    fs::write(record, boot_id)
}
