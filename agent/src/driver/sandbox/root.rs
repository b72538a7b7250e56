//! The view of the file system inside a room: a root of its own, with little in it.

use rustix::{
    fs::{CWD, FileType, Mode, makedev, mknodat, stat},
    mount::{
        MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change,
        mount_remount, unmount,
    },
    process::{chdir, pivot_root},
};
use std::{
    ffi::CString,
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

/// The system's folders, which are there to read. `/etc` holds no secret that a user without
/// rights may read on any sound system.
const SYSTEM: [&str; 9] =
    ["/bin", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/sbin", "/usr"];
/// Devices that do no harm: name, major, minor.
pub const DEVICES: [(&str, u32, u32); 5] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9)];
/// Where programs write what nobody keeps.
pub const SCRATCH: [&str; 2] = ["/tmp", "/var/tmp"];
const STANDARD: [(&str, &str); 4] =
    [("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")];

/// One thing to do, all of it known before the process that does it is made.
#[derive(Clone, Debug)]
pub enum Step {
    /// Make a folder with those above it.
    Folder(PathBuf),
    /// Make a link to a path.
    Link(PathBuf, PathBuf),
    /// Show a folder or file of the machine, for reading alone.
    Show(PathBuf, PathBuf),
    /// Show a folder of the lease, for writing too.
    Lend(PathBuf, PathBuf),
    /// Make a file.
    File(PathBuf, String),
    /// Mount a file system that the kernel makes: its kind, where, how.
    Make(&'static str, PathBuf, MountFlags, CString),
    /// Make a device file.
    Device(PathBuf, u64),
    /// Show a folder or file of the machine in a root that is not the machine's: with these flags.
    Graft(PathBuf, PathBuf, MountFlags),
    /// Put a folder there, whatever an image has in its place.
    Clear(PathBuf),
    /// Remove a link that an image has there, so that a file can stand where its path says.
    Unlink(PathBuf),
}

/// What a room's root is made from.
pub struct Blueprint<'a> {
    /// An empty folder to build on.
    pub on: &'a Path,
    /// The lease's folder.
    pub lease: &'a Path,
    /// The lease's folders that tasks write to.
    pub writable: &'a [PathBuf],
    /// The lease's scratch folder, also shown as `/tmp`.
    pub scratch: &'a Path,
    /// Further folders to read.
    pub readable: &'a [PathBuf],
    /// GPU device files.
    pub devices: &'a [PathBuf],
    /// Bytes of shared memory.
    pub shared: u64,
    /// The tasks' user.
    pub uid: u32,
}

impl Blueprint<'_> {
    /// The steps, in order. Reads what of the machine's folders there is.
    pub fn steps(&self) -> io::Result<Vec<Step>> {
        let mut steps = vec![self.tmpfs("", "size=1m,nr_inodes=4k,mode=755", MountFlags::NODEV)?];
        let system = SYSTEM.iter().map(PathBuf::from);
        for folder in system.chain(self.readable.iter().cloned()) {
            match folder.symlink_metadata() {
                Ok(meta) if meta.is_symlink() => {
                    steps.push(Step::Link(fs::read_link(&folder)?, self.inside(&folder)));
                }
                Ok(meta) if meta.is_dir() => self.show_with_mounts(&folder, &mut steps),
                _ => {}
            }
        }
        for folder in ["/home", "/run", "/var"] {
            steps.push(Step::Folder(self.inside(Path::new(folder))));
        }
        self.names(&mut steps);
        self.kernel(&mut steps)?;
        self.lent(&mut steps)?;
        Ok(steps)
    }

    pub(super) fn inside(&self, path: &Path) -> PathBuf {
        self.on.join(path.strip_prefix("/").unwrap_or(path))
    }

    pub(super) fn tmpfs(&self, at: &str, how: &str, flags: MountFlags) -> io::Result<Step> {
        let how = CString::new(how)?;
        Ok(Step::Make("tmpfs", self.inside(Path::new(at)), flags | MountFlags::NOSUID, how))
    }

    fn show_with_mounts(&self, folder: &Path, steps: &mut Vec<Step>) {
        let all = with_mounts(folder);
        steps.extend(all.into_iter().map(|path| Step::Show(path.clone(), self.inside(&path))));
    }

    /// The tasks' user has a name, since programs ask for it.
    pub(super) fn names(&self, steps: &mut Vec<Step>) {
        let (uid, home) = (self.uid, self.scratch.display());
        let files = [
            ("passwd", format!("root:x:0:0::/:\njob:x:{uid}:{uid}::{home}:/bin/sh\n")),
            ("group", format!("root:x:0:\njob:x:{uid}:\n")),
        ];
        for (name, text) in files {
            let from = self.inside(Path::new("/run")).join(name);
            steps.push(Step::File(from.clone(), text));
            steps.push(Step::Show(from, self.inside(Path::new("/etc")).join(name)));
        }
    }

    pub(super) fn kernel(&self, steps: &mut Vec<Step>) -> io::Result<()> {
        let all = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        let at = |path: &str| self.inside(Path::new(path));
        steps.push(Step::Make("proc", at("/proc"), all, CString::default()));
        steps.push(Step::Make("sysfs", at("/sys"), all | MountFlags::RDONLY, CString::default()));
        steps.push(self.tmpfs("/dev", "size=64k,nr_inodes=1k,mode=755", MountFlags::NOEXEC)?);
        for (name, major, minor) in DEVICES {
            steps.push(Step::Device(at("/dev").join(name), makedev(major, minor)));
        }
        for path in self.devices {
            steps.push(Step::Device(self.inside(path), stat(path)?.st_rdev));
        }
        for (name, tail) in STANDARD {
            let target = PathBuf::from(format!("/proc/self/fd{tail}"));
            steps.push(Step::Link(target, at("/dev").join(name)));
        }
        steps.push(self.tmpfs("/dev/shm", &self.shared(), MountFlags::NODEV)?);
        Ok(())
    }

    /// The lease's folders stand at their own paths, so that no variable changes.
    fn lent(&self, steps: &mut Vec<Step>) -> io::Result<()> {
        for name in SCRATCH {
            // Where the lease stands below it, the scratch folder cannot be shown in its place.
            steps.push(match self.lease.starts_with(name) {
                true => self.tmpfs(name, &self.shared(), MountFlags::NODEV)?,
                false => Step::Lend(self.scratch.to_owned(), self.inside(Path::new(name))),
            });
        }
        steps.push(Step::Show(self.lease.to_owned(), self.inside(self.lease)));
        for folder in self.writable {
            steps.push(Step::Lend(folder.clone(), self.inside(folder)));
        }
        Ok(())
    }

    pub(super) fn shared(&self) -> String {
        format!("size={},mode=1777", self.shared)
    }
}

/// A folder of the machine, with what is mounted below it.
pub(super) fn with_mounts(folder: &Path) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let below = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(Path::new);
    let below = below.filter(|at| *at != folder && at.starts_with(folder));
    std::iter::once(folder).chain(below).map(Path::to_owned).collect()
}

/// Builds the root and makes it the calling process's own. Nothing of the old one is left.
pub fn build(on: &Path, steps: &[Step]) -> Result<(), (String, io::Error)> {
    let named = |what: &str| {
        let what = what.to_owned();
        move |why: rustix::io::Errno| (what, why.into())
    };
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(named("keep mounts private"))?;
    for step in steps {
        step.take().map_err(|why| (step.name(), why))?;
    }
    seal(on)?;
    change_to(on)
}

/// Nothing can be written to the root and to `/dev` from now on.
pub(super) fn seal(on: &Path) -> Result<(), (String, io::Error)> {
    let named = |what: &'static str| move |why: rustix::io::Errno| (what.to_owned(), why.into());
    let sealed = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    mount_remount(on, sealed, "").map_err(named("seal the root"))?;
    let sealed = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NOEXEC;
    mount_remount(on.join("dev"), sealed, "").map_err(named("seal /dev"))
}

/// Makes `on` the calling process's own root.
pub(super) fn change_to(on: &Path) -> Result<(), (String, io::Error)> {
    let named = |what: &'static str| move |why: rustix::io::Errno| (what.to_owned(), why.into());
    chdir(on).map_err(named("enter the root"))?;
    pivot_root(".", ".").map_err(named("change the root"))?;
    unmount(".", UnmountFlags::DETACH).map_err(named("leave the old root"))?;
    chdir("/").map_err(named("enter the root"))
}

impl Step {
    pub(super) fn name(&self) -> String {
        match self {
            Self::Folder(path) | Self::Link(_, path) | Self::Show(path, _) => {
                format!("show {}", path.display())
            }
            Self::Lend(path, _) => format!("lend {}", path.display()),
            Self::Graft(path, to, _) => format!("show {} as {}", path.display(), to.display()),
            Self::Clear(path) | Self::Unlink(path) => format!("make way for {}", path.display()),
            Self::File(path, _) | Self::Make(_, path, _, _) | Self::Device(path, _) => {
                format!("make {}", path.display())
            }
        }
    }

    pub(super) fn take(&self) -> io::Result<()> {
        match self {
            Self::Graft(..) => Err(io::Error::other("a graft needs what it is taken from")),
            Self::Clear(path) => clear(path),
            Self::Unlink(path) => match path.symlink_metadata() {
                Ok(meta) if meta.is_symlink() => fs::remove_file(path),
                _ => Ok(()),
            },
            Self::Folder(path) => fs::create_dir_all(path),
            Self::Link(target, path) => {
                parents(path)?;
                symlink(target, path)
            }
            Self::Show(from, to) => bind(from, to, MountFlags::RDONLY),
            Self::Lend(from, to) => bind(from, to, MountFlags::empty()),
            Self::File(path, text) => fs::write(path, text),
            Self::Make(kind, path, flags, how) => {
                fs::create_dir_all(path)?;
                let how = Some(how.as_c_str()).filter(|how| !how.is_empty());
                Ok(mount(*kind, path, *kind, *flags, how)?)
            }
            Self::Device(path, number) => {
                parents(path)?;
                mknodat(CWD, path, FileType::CharacterDevice, Mode::from_raw_mode(0o666), *number)?;
                Ok(rustix::fs::chmod(path, Mode::from_raw_mode(0o666))?)
            }
        }
    }
}

/// Makes a folder of which no part is a link: what is mounted there stands where its path says.
fn clear(path: &Path) -> io::Result<()> {
    let mut at = PathBuf::new();
    for part in path.components() {
        at.push(part);
        match at.symlink_metadata() {
            Ok(meta) if meta.is_dir() => continue,
            Ok(_) => fs::remove_file(&at)?,
            Err(why) if why.kind() == io::ErrorKind::NotFound => {}
            Err(why) => return Err(why),
        }
        fs::create_dir(&at)?;
    }
    Ok(())
}

pub(super) fn parents(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

/// Shows one place at another, without set-user-id programs and devices.
fn bind(from: &Path, to: &Path, more: MountFlags) -> io::Result<()> {
    // A place below one that is shown already is there.
    match (from.is_dir(), to.exists()) {
        (true, false) => fs::create_dir_all(to)?,
        (false, false) => {
            parents(to)?;
            fs::write(to, "")?;
        }
        (_, true) => {}
    }
    mount_bind(from, to)?;
    let flags = MountFlags::BIND | MountFlags::NOSUID | MountFlags::NODEV;
    Ok(mount_remount(to, flags | more, "")?)
}
