//! Whose the folders of a lease are: the agent's, then its tasks', then the agent's again.
//!
//! Where the agent has an account of its own, the supervisor trusts no name that it could have
//! changed: everything is reached through open folders, no link is followed, nothing is waited
//! for, and a name counts only once what it names cannot be moved any more. Source: openat(2);
//! ADR-0085.

use crate::driver::dirs::LeaseDirs;
use domain::limit;
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{
        AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, RawMode, Uid, fchmod, fchown, fcntl_setfl,
        fstat, mkdirat, openat, statat,
    },
    io::Errno,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use std::{
    ffi::{CStr, CString},
    fs::File,
    io,
    path::Path,
};

/// A folder in which others make entries and change none but their own.
pub(super) const SHARED: RawMode = 0o1775;
/// How files are opened: never through a link, and never waiting for anybody.
pub(super) const FILE: OFlags =
    OFlags::NOFOLLOW.union(OFlags::CLOEXEC).union(OFlags::NOCTTY).union(OFlags::NONBLOCK);

/// The account that an agent runs as, where that is not the supervisor's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// The supervisor itself, where it trusts no agent.
pub(super) const ROOT: Owner = Owner { uid: 0, gid: 0 };

/// Hands a lease's folders to the user that its tasks run as: what they write to, and the
/// checkpoint to resume from. The folder of logs stays the supervisor's, so that no log can be
/// replaced.
pub(in crate::driver) fn over(
    dirs: &LeaseDirs,
    ranks: &[u32],
    uid: u32,
    owner: Option<Owner>,
) -> io::Result<()> {
    let (leases, name) = place(dirs)?;
    let lease = folder(&leases, &*name)?;
    let tasks = Owner { uid, gid: uid };
    if let Some(owner) = owner {
        // From now on its entries can be renamed and removed by their owners alone.
        give(&lease, Owner { gid: owner.gid, ..ROOT })?;
        fchmod(&lease, Mode::from_raw_mode(SHARED))?;
        stands(&leases, &name, &lease)?;
    }
    let logs = folder(&lease, c"log")?;
    if owner.is_some() {
        give(&logs, ROOT)?;
        fchmod(&logs, Mode::from_raw_mode(0o755))?;
        stands(&lease, c"log", &logs)?;
    }
    for name in [c"out", c"tmp"] {
        let own = folder(&lease, name)?;
        give(&own, tasks)?;
        stands(&lease, name, &own)?;
    }
    let checkpoints = folder(&lease, c"ckpt")?;
    give(&checkpoints, tasks)?;
    stands(&lease, c"ckpt", &checkpoints)?;
    checkpoint(checkpoints, tasks, owner)?;
    let how = OFlags::CREATE | OFlags::APPEND | OFlags::WRONLY;
    for rank in ranks {
        let metrics = dirs.metrics(*rank);
        let name = metrics.file_name().unwrap_or_default();
        let file = openat(&logs, name, how | FILE, Mode::from_raw_mode(0o644))?;
        plain(&file)?;
        give(&file, tasks)?;
    }
    Ok(())
}

/// Opens a log that tasks print to. Not one that has another name, for that may be anybody's file.
///
/// # Errors
/// When it is none.
pub(super) fn log(path: &Path) -> io::Result<File> {
    let how = OFlags::APPEND | OFlags::WRONLY | OFlags::CREATE;
    let file = openat(CWD, path, how | FILE, Mode::from_raw_mode(0o644))?;
    plain(&file)?;
    // Tasks inherit it.
    fcntl_setfl(&file, OFlags::APPEND)?;
    Ok(file.into())
}

/// The folders of a lease that has walls now, or of any where the agent is the supervisor's own.
pub(in crate::driver) struct Taken {
    logs: OwnedFd,
    checkpoints: OwnedFd,
}

impl Taken {
    /// Opens them.
    ///
    /// # Errors
    /// When they are the agent's, who may have put anything in their place.
    pub(in crate::driver) fn open(dirs: &LeaseDirs, owner: Option<Owner>) -> io::Result<Self> {
        let (leases, name) = place(dirs)?;
        let lease = folder(&leases, &*name)?;
        let (logs, checkpoints) = (folder(&lease, c"log")?, folder(&lease, c"ckpt")?);
        let is_roots = |of: &OwnedFd| Ok::<_, Errno>(fstat(of)?.st_uid == 0);
        if owner.is_some() && !(is_roots(&lease)? && is_roots(&logs)?) {
            return Err(io::Error::other("its tasks have ended"));
        }
        Ok(Self { logs, checkpoints })
    }

    /// A number that grows with each printed byte, metric and checkpoint of a rank.
    pub(in crate::driver) fn progress(&self, dirs: &LeaseDirs, rank: u32) -> u64 {
        let length = |path: &Path| {
            let name = path.file_name().unwrap_or_default();
            let meta = statat(&self.logs, name, AtFlags::SYMLINK_NOFOLLOW);
            meta.map_or(0, |meta| u64::try_from(meta.st_size).unwrap_or(0))
        };
        let checkpoints = Dir::read_from(&self.checkpoints).map_or(0, Iterator::count);
        length(&dirs.log(rank)) + length(&dirs.metrics(rank)) + checkpoints as u64
    }

    /// A rank's log, to be added to. A link in its place leads nowhere.
    pub(in crate::driver) fn log(&self, dirs: &LeaseDirs, rank: u32) -> io::Result<File> {
        let path = dirs.log(rank);
        let name = path.file_name().unwrap_or_default();
        let file = openat(&self.logs, name, OFlags::APPEND | OFlags::WRONLY | FILE, Mode::empty())?;
        plain(&file)?;
        Ok(file.into())
    }
}

/// As many open files as the system grants: the folders of tasks are walked by them.
pub(super) fn files() -> io::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

/// A checkpoint's files, but for those with a second name: they are the cache's, and can be
/// unlinked here, not written to.
fn checkpoint(of: OwnedFd, tasks: Owner, owner: Option<Owner>) -> io::Result<()> {
    let from = owner.map_or(0, |owner| owner.uid);
    let mut open = vec![of];
    let mut seen = 0;
    while let Some(at) = open.pop() {
        // First, so that the agent renames nothing in it.
        give(&at, tasks)?;
        let mut entries = Dir::new(at)?;
        while let Some(name) = next(&mut entries)? {
            seen += 1;
            if seen > limit::TREE_FILES_MAX {
                let why = format!("a checkpoint of more than {} files", limit::TREE_FILES_MAX);
                return Err(io::Error::other(why));
            }
            let inner = match openat(entries.fd()?, &name, OFlags::RDONLY | FILE, Mode::empty()) {
                Ok(inner) => inner,
                // A link, or nothing that a restored checkpoint has.
                Err(Errno::LOOP | Errno::NOENT | Errno::NXIO) => continue,
                Err(why) => return Err(why.into()),
            };
            let meta = fstat(&inner)?;
            // An agent without an account of its own is whoever the supervisor is.
            let own = meta.st_uid == from || from == 0;
            match FileType::from_raw_mode(meta.st_mode) {
                FileType::Directory => open.push(inner),
                FileType::RegularFile if meta.st_nlink == 1 && own => give(&inner, tasks)?,
                _ => {}
            }
        }
    }
    Ok(())
}

/// Refuses what has another name, or is none of a task's files.
fn plain(file: &OwnedFd) -> io::Result<()> {
    let meta = fstat(file)?;
    match FileType::from_raw_mode(meta.st_mode) == FileType::RegularFile && meta.st_nlink == 1 {
        true => Ok(()),
        false => Err(io::Error::other("it is no plain file, or has a second name: whose is it?")),
    }
}

/// Demands that a name still leads to what was opened by it, now that it cannot be moved.
fn stands(at: &OwnedFd, name: &CStr, open: &OwnedFd) -> io::Result<()> {
    let (named, open) = (statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?, fstat(open)?);
    match (named.st_dev, named.st_ino) == (open.st_dev, open.st_ino) {
        true => Ok(()),
        false => Err(io::Error::other("a folder was moved while it changed hands")),
    }
}

pub(super) fn ids(of: Owner) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(of.uid)), Some(Gid::from_raw(of.gid)))
}

pub(super) fn give(what: &OwnedFd, to: Owner) -> io::Result<()> {
    let (user, group) = ids(to);
    Ok(fchown(what, user, group)?)
}

/// The folder that holds a lease's, and the lease's name in it.
pub(super) fn place(lease: &LeaseDirs) -> io::Result<(OwnedFd, CString)> {
    let (Some(leases), Some(name)) = (lease.root.parent(), lease.root.file_name()) else {
        return Err(io::Error::other("a lease has a folder of its own"));
    };
    Ok((folder(CWD, leases)?, CString::new(name.as_encoded_bytes())?))
}

/// An open folder that is no link.
pub(super) fn folder(at: impl AsFd, name: impl rustix::path::Arg) -> io::Result<OwnedFd> {
    let how = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    Ok(openat(at, name, how, Mode::empty())?)
}

/// A folder, made if need be.
pub(super) fn made(at: &OwnedFd, name: &CStr) -> io::Result<OwnedFd> {
    match mkdirat(at, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => folder(at, name),
        Err(why) => Err(why.into()),
    }
}

/// The next entry's name.
pub(super) fn next(entries: &mut Dir) -> io::Result<Option<CString>> {
    for entry in entries.by_ref() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            return Ok(Some(name.to_owned()));
        }
    }
    Ok(None)
}
