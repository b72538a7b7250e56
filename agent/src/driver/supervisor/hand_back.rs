//! What tasks left, and what an earlier agent had, becomes the agent's: see [`super::hand`].

use super::hand::{FILE, Owner, ROOT, SHARED, folder, give, ids, made, next, place};
use crate::driver::{
    dirs::{LeaseDirs, NodeDirs},
    sandbox::is_tasks,
};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{
        AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, chownat, fchmod, fchown, fstat, openat,
        renameat, statat, unlinkat,
    },
    io::Errno,
};
use std::{ffi::CStr, io};

/// Levels of folders below a lease's that are handed back, and open files that it takes. No
/// training program nests a tenth of them.
const LEVELS: usize = 512;
/// The folder of checkpoints, in a lease's.
const CHECKPOINTS: &CStr = c"ckpt";
/// Looks at a folder from its start, while entries of it are removed.
const LOOKS: usize = 8;

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
    // Whoever was the agent before: root, or another account.
    let before = fstat(made(&root, c"agent")?)?.st_uid;
    for name in [c"agent", c"cache", c"pool"] {
        let own = made(&root, name)?;
        Return { owner, before, spared: None, deep: None }.all(&own)?;
        give(&own, owner)?;
    }
    let mut entries = Dir::read_from(&leases)?;
    while let Some(name) = next(&mut entries)? {
        // One that cannot be handed back keeps nobody from work.
        if let Err(why) = back_in(&root, &leases, &name, owner, before) {
            eprintln!("assay: `{}` of before is not handed back: {why}", name.to_string_lossy());
        }
    }
    Ok(())
}

/// Hands a lease's folders back to the agent, once nothing runs that writes to them. Not its
/// checkpoints: the agent may be storing one, and tells by the times at which the system last
/// changed them whether they are whole. They follow in [`last`].
///
/// # Errors
/// When the disk refuses, or they are nested deeper than any program nests them: what is deeper is
/// removed.
pub(super) fn back(dirs: &NodeDirs, lease: &LeaseDirs, owner: Owner) -> io::Result<()> {
    let (leases, name) = place(lease)?;
    back_in(&folder(CWD, &dirs.root)?, &leases, &name, owner, owner.uid)
}

/// Hands a lease's checkpoints back as well: nobody needs them any more.
///
/// # Errors
/// As [`back`].
pub(super) fn last(dirs: &NodeDirs, lease: &LeaseDirs, owner: Owner) -> io::Result<()> {
    let (leases, name) = place(lease)?;
    let Some(lease) = folder_if(&leases, &name)? else { return Ok(()) };
    let Some(checkpoints) = folder_if(&lease, CHECKPOINTS)? else { return Ok(()) };
    walk(&folder(CWD, &dirs.root)?, &checkpoints, &name, owner, owner.uid, None)
}

fn back_in(
    root: &OwnedFd,
    leases: &OwnedFd,
    name: &CStr,
    owner: Owner,
    before: u32,
) -> io::Result<()> {
    // Removed already, or never a folder.
    let Some(lease) = folder_if(leases, name)? else { return Ok(()) };
    let walked = walk(root, &lease, name, owner, before, Some(CHECKPOINTS));
    fchmod(&lease, Mode::from_raw_mode(0o755))?;
    walked
}

/// Hands on all that is in `top` but for `spared`, and `top` itself.
fn walk(
    root: &OwnedFd,
    top: &OwnedFd,
    name: &CStr,
    owner: Owner,
    before: u32,
    spared: Option<&CStr>,
) -> io::Result<()> {
    let mut back = Return { owner, before, spared, deep: Some(Deep { root, name, moved: None }) };
    let walked = back.all(top);
    let moved = back.deep.and_then(|deep| deep.moved);
    give(top, owner)?;
    let Some((to, _)) = moved else { return walked };
    remove_deep(&to)?;
    unlinkat(made(root, c"deep")?, name, AtFlags::REMOVEDIR)?;
    Err(io::Error::other(format!("folders are nested deeper than {LEVELS} levels")))
}

/// A walk that hands everything to `owner`, from the leaves up: nobody changes what is still to
/// be looked at.
struct Return<'a> {
    owner: Owner,
    /// An earlier owner, whose files are handed on as well.
    before: u32,
    /// An entry of the first folder that is left as it is.
    spared: Option<&'a CStr>,
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
        if level == 1 && self.spared == Some(name) {
            return Ok(None);
        }
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
            kind if self.is_ours(&meta) => self.file(at.fd()?, name, kind).map(|()| None),
            _ => Ok(None),
        }
    }

    /// Whether something is tasks', the supervisor's own, or an earlier agent's. Of files only such
    /// as have no other name, which may be anywhere.
    fn is_ours(&self, meta: &Stat) -> bool {
        let is_folder = FileType::from_raw_mode(meta.st_mode) == FileType::Directory;
        let is_given = is_tasks(meta.st_uid) || [0, self.before].contains(&meta.st_uid);
        is_given && meta.st_uid != self.owner.uid && (is_folder || meta.st_nlink == 1)
    }

    fn folder(&self, done: &Dir) -> io::Result<()> {
        if self.is_ours(&done.stat()?) {
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
        if !self.is_ours(&meta) || FileType::from_raw_mode(meta.st_mode) != kind {
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

/// The same, if there is one.
fn folder_if(at: impl AsFd, name: &CStr) -> io::Result<Option<OwnedFd>> {
    let how = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    match openat(at, name, how, Mode::empty()) {
        Ok(open) => Ok(Some(open)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(why) => Err(why.into()),
    }
}
