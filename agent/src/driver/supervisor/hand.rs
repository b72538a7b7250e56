//! Whose the folders of a lease are: the agent's, then its tasks', then the agent's again.
//!
//! Where the agent has an account of its own, the supervisor trusts no name that it could have
//! changed: everything is reached through open folders, no link is followed, nothing is waited
//! for, and a name counts only once what it names cannot be moved any more. Source: openat(2);
//! ADR-0085.

use crate::driver::{
    dirs::{LeaseDirs, NodeDirs},
    sandbox::is_tasks,
};
use domain::limit;
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{
        AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, RawMode, Stat, Uid, chownat, fchmod,
        fchown, fcntl_setfl, fstat, mkdirat, openat, renameat, statat, unlinkat,
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

/// Levels of folders below a lease's that are handed back, and open files that it takes. No
/// training program nests a tenth of them.
const LEVELS: usize = 512;
/// Looks at a folder from its start, while entries of it are removed.
const LOOKS: usize = 8;
/// A folder in which others make entries and change none but their own.
const SHARED: RawMode = 0o1775;
/// How files are opened: never through a link, and never waiting for anybody.
const FILE: OFlags =
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
const ROOT: Owner = Owner { uid: 0, gid: 0 };

/// Makes a node's folder what agents of this account need: the folder itself is the supervisor's,
/// those in it are the agent's, and what an earlier supervisor's tasks left is handed back.
pub(super) fn settle(dirs: &NodeDirs, owner: Owner) -> io::Result<()> {
    let root = folder(CWD, &dirs.root)?;
    give(&root, ROOT)?;
    fchmod(&root, Mode::from_raw_mode(fstat(&root)?.st_mode & 0o755))?;
    remove_deep(&made(&root, c"deep")?)?;
    let leases = made(&root, c"leases")?;
    give(&leases, Owner { gid: owner.gid, ..ROOT })?;
    fchmod(&leases, Mode::from_raw_mode(SHARED))?;
    for name in [c"agent", c"cache", c"pool"] {
        let own = made(&root, name)?;
        if fstat(&own)?.st_uid != owner.uid {
            Return { owner, deep: None }.all(&own)?;
            give(&own, owner)?;
        }
    }
    let mut entries = Dir::read_from(&leases)?;
    while let Some(name) = next(&mut entries)? {
        // One that cannot be handed back keeps nobody from work.
        if let Err(why) = back_in(&root, &leases, &name, owner) {
            eprintln!("assay: `{}` of before is not handed back: {why}", name.to_string_lossy());
        }
    }
    Ok(())
}

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

/// Hands a lease's folders back to the agent, once nothing runs that writes to them.
///
/// # Errors
/// When the disk refuses, or they are nested deeper than any program nests them: what is deeper is
/// removed.
pub(super) fn back(dirs: &NodeDirs, lease: &LeaseDirs, owner: Owner) -> io::Result<()> {
    let (leases, name) = place(lease)?;
    back_in(&folder(CWD, &dirs.root)?, &leases, &name, owner)
}

fn back_in(root: &OwnedFd, leases: &OwnedFd, name: &CStr, owner: Owner) -> io::Result<()> {
    // Removed already, or never a folder.
    let Some(lease) = folder_if(leases, name)? else { return Ok(()) };
    let mut back = Return { owner, deep: Some(Deep { root, name, moved: None }) };
    let walked = back.all(&lease);
    let moved = back.deep.and_then(|deep| deep.moved);
    give(&lease, owner)?;
    fchmod(&lease, Mode::from_raw_mode(0o755))?;
    let Some((to, _)) = moved else { return walked };
    remove_deep(&to)?;
    unlinkat(made(root, c"deep")?, name, AtFlags::REMOVEDIR)?;
    Err(io::Error::other(format!("folders are nested deeper than {LEVELS} levels")))
}

/// A walk that hands everything to `owner`, from the leaves up: nobody changes what is still to
/// be looked at.
struct Return<'a> {
    owner: Owner,
    /// Where what is nested too deep is moved to.
    deep: Option<Deep<'a>>,
}

/// A folder that only the supervisor reaches, made when it is needed.
struct Deep<'a> {
    root: &'a OwnedFd,
    name: &'a CStr,
    moved: Option<(OwnedFd, u64)>,
}

impl Deep<'_> {
    fn take(&mut self, at: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
        if self.moved.is_none() {
            let all = made(self.root, c"deep")?;
            fchmod(&all, Mode::from_raw_mode(0o700))?;
            self.moved = Some((made(&all, self.name)?, 0));
        }
        let Some((to, count)) = &mut self.moved else { return Ok(()) };
        *count += 1;
        Ok(renameat(at, name, &*to, count.to_string())?)
    }
}

impl Return<'_> {
    /// The first fault is told once everything else was done.
    fn all(&mut self, top: &OwnedFd) -> io::Result<()> {
        // A list of open folders instead of a recursion: tasks choose how deep theirs are.
        let mut open = vec![Dir::read_from(top)?];
        let mut fault = Ok(());
        loop {
            let level = open.len();
            let Some(at) = open.last_mut() else { return fault };
            let done = match next(at) {
                Ok(Some(name)) => match self.one(at, &name, level) {
                    Ok(Some(inner)) => {
                        open.push(inner);
                        Ok(())
                    }
                    Ok(None) => Ok(()),
                    Err(why) => Err(why),
                },
                // The first one is the caller's to give.
                Ok(None) => match open.pop() {
                    Some(done) if !open.is_empty() => self.folder(&done),
                    _ => Ok(()),
                },
                Err(why) => {
                    open.pop();
                    Err(why)
                }
            };
            fault = fault.and(done);
        }
    }

    /// One entry; a folder is to be walked.
    fn one(&mut self, at: &Dir, name: &CStr, level: usize) -> io::Result<Option<Dir>> {
        let meta = match statat(at.fd()?, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(None),
            meta => meta?,
        };
        match FileType::from_raw_mode(meta.st_mode) {
            FileType::Directory if level >= LEVELS => {
                if let Some(deep) = &mut self.deep {
                    deep.take(at.fd()?, name)?;
                }
                Ok(None)
            }
            FileType::Directory => {
                let inner = folder_if(at.fd()?, name)?;
                Ok(inner.map(Dir::new).transpose()?)
            }
            kind if is_ours(&meta) => self.file(at.fd()?, name, kind).map(|()| None),
            _ => Ok(None),
        }
    }

    fn folder(&self, done: &Dir) -> io::Result<()> {
        if is_ours(&done.stat()?) {
            let (user, group) = ids(self.owner);
            fchown(done.fd()?, user, group)?;
            fchmod(done.fd()?, Mode::from_raw_mode(0o755))?;
        }
        Ok(())
    }

    fn file(&self, at: BorrowedFd<'_>, name: &CStr, kind: FileType) -> io::Result<()> {
        let regular = kind == FileType::RegularFile;
        let how = if regular { OFlags::RDONLY } else { OFlags::PATH };
        let file = match openat(at, name, how | FILE, Mode::empty()) {
            Ok(file) => file,
            // Another thing by now, which is the agent's doing and so its own.
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO | Errno::AGAIN) => return Ok(()),
            Err(why) => return Err(why.into()),
        };
        let meta = fstat(&file)?;
        if !is_ours(&meta) || FileType::from_raw_mode(meta.st_mode) != kind {
            return Ok(());
        }
        if regular {
            fchmod(&file, Mode::from_raw_mode(meta.st_mode & 0o777 | 0o600))?;
            return give(&file, self.owner);
        }
        let (user, group) = ids(self.owner);
        Ok(chownat(&file, c"", user, group, AtFlags::EMPTY_PATH)?)
    }
}

/// Whether something is tasks', or the supervisor's own. Of files only such as have no other name,
/// which may be anywhere.
fn is_ours(meta: &Stat) -> bool {
    let is_folder = FileType::from_raw_mode(meta.st_mode) == FileType::Directory;
    (is_tasks(meta.st_uid) || meta.st_uid == 0) && (is_folder || meta.st_nlink == 1)
}

/// Removes all that is in `top`, which only the supervisor reaches, however deep it is.
fn remove_deep(top: &OwnedFd) -> io::Result<()> {
    let mut number = 0u64;
    loop {
        let mut entries = Dir::read_from(top)?;
        let Some(name) = next(&mut entries)? else { return Ok(()) };
        let Some(first) = folder_if(top, &name)? else {
            unlinkat(top, &name, AtFlags::empty())?;
            continue;
        };
        let mut open = vec![(Dir::new(first)?, name, 0)];
        while let Some((at, _, looks)) = open.last_mut() {
            let Some(name) = next(at)? else {
                let is_empty = *looks >= LOOKS || Dir::read_from(at.fd()?)?.nth(2).is_none();
                if !is_empty {
                    *looks += 1;
                    at.rewind();
                    continue;
                }
                let (_, name, _) = open.pop().expect("it was the last one");
                let above = match open.last() {
                    Some((at, ..)) => at.fd()?,
                    None => top.as_fd(),
                };
                unlinkat(above, &name, AtFlags::REMOVEDIR)?;
                continue;
            };
            match unlinkat(at.fd()?, &name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR) => {
                    let inner = folder(at.fd()?, &*name)?;
                    if open.len() < LEVELS {
                        open.push((Dir::new(inner)?, name, 0));
                        continue;
                    }
                    number += 1;
                    let (at, ..) = &open[open.len() - 1];
                    renameat(at.fd()?, &name, top, format!("more-{number}"))?;
                }
                Err(why) => return Err(why.into()),
            }
        }
    }
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

fn ids(of: Owner) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(of.uid)), Some(Gid::from_raw(of.gid)))
}

fn give(what: &OwnedFd, to: Owner) -> io::Result<()> {
    let (user, group) = ids(to);
    Ok(fchown(what, user, group)?)
}

/// The folder that holds a lease's, and the lease's name in it.
fn place(lease: &LeaseDirs) -> io::Result<(OwnedFd, CString)> {
    let (Some(leases), Some(name)) = (lease.root.parent(), lease.root.file_name()) else {
        return Err(io::Error::other("a lease has a folder of its own"));
    };
    Ok((folder(CWD, leases)?, CString::new(name.as_encoded_bytes())?))
}

/// An open folder that is no link.
fn folder(at: impl AsFd, name: impl rustix::path::Arg) -> io::Result<OwnedFd> {
    let how = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    Ok(openat(at, name, how, Mode::empty())?)
}

/// The same, if there is one.
fn folder_if(at: impl AsFd, name: &CStr) -> io::Result<Option<OwnedFd>> {
    let how = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    match openat(at, name, how, Mode::empty()) {
        Ok(open) => Ok(Some(open)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(why) => Err(why.into()),
    }
}

/// A folder, made if need be.
fn made(at: &OwnedFd, name: &CStr) -> io::Result<OwnedFd> {
    match mkdirat(at, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => folder(at, name),
        Err(why) => Err(why.into()),
    }
}

/// The next entry's name.
fn next(entries: &mut Dir) -> io::Result<Option<CString>> {
    for entry in entries.by_ref() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            return Ok(Some(name.to_owned()));
        }
    }
    Ok(None)
}
