//! Sees complete checkpoints: folders that were renamed to `step-N`.

use super::dirs::{LeaseDirs, NodeDirs};
use domain::{LeaseId, limit};
use notify::{
    Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{ModifyKind, RenameMode},
};
use std::{ffi::OsStr, fs::Metadata, os::unix::fs::MetadataExt, path::Path};
use tokio::sync::mpsc;

/// Sightings that wait for the agent.
const SEEN_AHEAD: usize = 1_024;

/// A checkpoint that stands complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The lease.
    pub lease: LeaseId,
    /// The `N` of `step-N`.
    pub step: u64,
}

/// Watches the checkpoint folders of leases.
///
/// Only a rename into place counts: a folder that is made under its final name may be torn.
pub struct CheckpointWatch {
    watcher: RecommendedWatcher,
}

impl CheckpointWatch {
    /// A watch for leases in `dirs`, and where its sightings come out.
    ///
    /// # Errors
    /// When the system grants no watch.
    pub fn new(dirs: &NodeDirs) -> notify::Result<(Self, mpsc::Receiver<Seen>)> {
        let (seen, sightings) = mpsc::channel(SEEN_AHEAD);
        let leases = dirs.leases();
        let handle = move |event: notify::Result<Event>| {
            let Ok(event) = event else { return };
            if let Some(found) = renamed(&leases, &event) {
                // A full mailbox loses one: the next step, or the last look, makes up for it.
                let _ = seen.try_send(found);
            }
        };
        let watcher = RecommendedWatcher::new(handle, Config::default())?;
        Ok((Self { watcher }, sightings))
    }

    /// Begins to watch a lease's folder.
    ///
    /// # Errors
    /// When the folder is missing or the system grants no further watch.
    pub fn add(&mut self, dirs: &LeaseDirs) -> notify::Result<()> {
        self.watcher.watch(&dirs.checkpoints(), RecursiveMode::NonRecursive)
    }

    /// Ends that.
    pub fn remove(&mut self, dirs: &LeaseDirs) {
        // The folder may be gone, and its watch with it.
        let _ = self.watcher.unwatch(&dirs.checkpoints());
    }
}

fn renamed(leases: &Path, event: &Event) -> Option<Seen> {
    let EventKind::Modify(ModifyKind::Name(RenameMode::To | RenameMode::Both)) = event.kind else {
        return None;
    };
    let path = event.paths.last()?;
    let step = step(path.file_name()?)?;
    let mut parts = path.strip_prefix(leases).ok()?.components();
    let lease = parts.next()?.as_os_str().to_str()?.parse().ok()?;
    Some(Seen { lease, step })
}

/// The step that a folder's name says, if it is a complete checkpoint's name.
fn step(name: &OsStr) -> Option<u64> {
    let name = name.to_str()?;
    let step = name.strip_prefix("step-")?.parse().ok()?;
    (name == format!("step-{step}")).then_some(step)
}

/// Notes that a complete checkpoint is being stored. A later life of the agent cannot know which
/// folders were renamed into place and which may be torn: it stores this one.
///
/// # Errors
/// When the disk refuses.
pub fn begin(dirs: &LeaseDirs, step: u64) -> std::io::Result<()> {
    std::fs::write(dirs.pending(), step.to_string())
}

/// The checkpoint that an earlier life of the agent was storing, if its folder is still there.
#[must_use]
pub fn begun(dirs: &LeaseDirs) -> Option<u64> {
    let step = std::fs::read_to_string(dirs.pending()).ok()?.parse().ok()?;
    dirs.checkpoint(step).is_dir().then_some(step)
}

/// The newest checkpoint that was surely renamed into place while no agent looked.
///
/// A rename changes the folder's inode and not its entries, so the folder is newer than they are and
/// than every byte in it. One that a program made under its final name may still be written to, and
/// is not told from one that was renamed within the same tick of the kernel's clock: neither counts,
/// the next step makes up for it.
#[must_use]
pub fn renamed_unseen(dirs: &LeaseDirs) -> Option<u64> {
    let step = newest(dirs)?;
    let folder = dirs.checkpoint(step);
    let changed = |meta: &Metadata| (meta.ctime(), meta.ctime_nsec());
    let written = |meta: &Metadata| (meta.mtime(), meta.mtime_nsec());
    let renamed = changed(&folder.symlink_metadata().ok()?);
    let mut all = walkdir::WalkDir::new(&folder).into_iter().take(limit::TREE_FILES_MAX);
    let before = all.all(|entry| {
        let meta = entry.and_then(|it| it.metadata());
        meta.is_ok_and(|meta| written(&meta) < renamed)
    });
    before.then_some(step)
}

/// Takes the note back.
pub fn end(dirs: &LeaseDirs) {
    // It may have gone with its folder.
    let _ = std::fs::remove_file(dirs.pending());
}

/// The newest checkpoint in a lease's folder, once nothing writes there any more.
#[must_use]
pub fn newest(dirs: &LeaseDirs) -> Option<u64> {
    let entries = std::fs::read_dir(dirs.checkpoints()).ok()?;
    let folders = entries.flatten().filter(|it| it.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.filter_map(|entry| step(&entry.file_name())).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, time::Duration};

    #[tokio::test]
    async fn a_rename_into_place_is_seen_and_torn_or_temporary_names_are_not() {
        let root = tempfile::tempdir().unwrap();
        let dirs = NodeDirs { root: root.path().to_owned() };
        let lease = LeaseId { index: 7, ordinal: 1 };
        let mine = dirs.lease(lease);
        mine.create().unwrap();
        let (mut watch, mut seen) = CheckpointWatch::new(&dirs).unwrap();
        watch.add(&mine).unwrap();
        let folder = mine.checkpoints();
        fs::create_dir(folder.join("step-1")).unwrap();
        for name in ["step-2.tmp", "step-x", "step-03", "other"] {
            fs::create_dir(folder.join("new")).unwrap();
            fs::rename(folder.join("new"), folder.join(name)).unwrap();
        }
        fs::create_dir(folder.join("new")).unwrap();
        fs::rename(folder.join("new"), folder.join("step-4")).unwrap();
        let first = tokio::time::timeout(Duration::from_secs(10), seen.recv()).await.unwrap();
        assert_eq!(first, Some(Seen { lease, step: 4 }));
        assert_eq!(newest(&mine), Some(4));
        begin(&mine, 4).unwrap();
        assert_eq!(begun(&mine), Some(4), "a later life stores it");
        end(&mine);
        assert_eq!(begun(&mine), None);
    }

    #[test]
    fn what_was_renamed_while_nobody_looked_is_told_from_what_may_be_torn() {
        let root = tempfile::tempdir().unwrap();
        let mine =
            NodeDirs { root: root.path().to_owned() }.lease(LeaseId { index: 7, ordinal: 1 });
        mine.create().unwrap();
        let tick = || std::thread::sleep(Duration::from_millis(20));
        fs::create_dir(mine.checkpoint(1)).unwrap();
        tick();
        fs::write(mine.checkpoint(1).join("torn"), "").unwrap();
        assert_eq!(renamed_unseen(&mine), None, "made under its final name");
        let part = mine.checkpoints().join("part");
        fs::create_dir(&part).unwrap();
        fs::write(part.join("weights"), "1").unwrap();
        tick();
        fs::rename(&part, mine.checkpoint(2)).unwrap();
        assert_eq!(renamed_unseen(&mine), Some(2));
        tick();
        fs::write(mine.checkpoint(2).join("weights"), "2").unwrap();
        assert_eq!(renamed_unseen(&mine), None, "written to since");
    }
}
