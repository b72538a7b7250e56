//! A room's root from a container image: the image below, what we add above, both read-only.
//!
//! The image is a stranger's: its links may point anywhere. So nothing is looked up in it before it
//! is the root, and what is shown of the machine is taken hold of before the machine is left.
//! Source: ADR-0032.

use super::{
    ImageRoot,
    root::{self, Blueprint, SCRATCH, Step, with_mounts},
};
use domain::isolation::Network;
use rustix::{
    fs::{CWD, major, makedev, minor, stat},
    mount::{
        MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount, mount_change,
        mount_remount, move_mount, open_tree,
    },
};
use std::{
    ffi::CString,
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

/// Files that name others, of a room that reaches the node's network.
const NAMES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];
/// The same of one that reaches nothing.
const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost\n";
/// Files of ours that stand among the image's.
const FILES: [&str; 4] = ["/etc/passwd", "/etc/group", "/etc/hosts", "/etc/resolv.conf"];
/// What is put there whatever the image has.
const OURS: [&str; 7] = ["/dev", "/etc", "/proc", "/run", "/sys", "/tmp", "/var/tmp"];

/// All that is done to build it, known before the process that does it is made.
#[derive(Clone, Debug)]
pub struct ImagePlan {
    /// An empty folder to build on.
    on: PathBuf,
    /// The two layers, in the words of the file system that puts them together.
    layers: CString,
    steps: Vec<Step>,
}

impl ImagePlan {
    /// The plan for a lease. `blueprint` builds on `/`, since it is followed inside.
    ///
    /// # Errors
    /// When something of the machine that is to be shown is not there.
    pub fn new(
        on: &Path,
        image: &ImageRoot,
        blueprint: &Blueprint<'_>,
        network: Network,
    ) -> io::Result<Self> {
        let mut steps: Vec<_> = OURS.iter().map(|path| Step::Clear(path.into())).collect();
        steps.extend(FILES.iter().map(|path| Step::Unlink(path.into())));
        blueprint.names(&mut steps);
        blueprint.kernel(&mut steps)?;
        for (from, to) in &image.devices {
            let number = stat(from.as_str()).map_err(|why| named(from, why.into()))?.st_rdev;
            let number = makedev(major(number), minor(number));
            steps.push(Step::Device(to.into(), number));
        }
        match network {
            Network::Host => {
                let there =
                    NAMES.iter().filter_map(|path| fs::canonicalize(path).ok().zip(Some(path)));
                steps.extend(there.map(|(from, to)| graft(from, to, MountFlags::RDONLY)));
            }
            Network::None => {
                let file = PathBuf::from("/run/hosts");
                steps.push(Step::File(file.clone(), HOSTS.to_owned()));
                steps.push(Step::Show(file, "/etc/hosts".into()));
            }
        }
        for (from, to) in &image.shown {
            let from = fs::canonicalize(from).map_err(|why| named(from, why))?;
            steps.push(graft(from, to, MountFlags::RDONLY));
        }
        for folder in blueprint.readable {
            let folder = fs::canonicalize(folder).map_err(|why| named(folder, why))?;
            let all = with_mounts(&folder);
            steps.extend(all.into_iter().map(|at| graft(at.clone(), &at, MountFlags::RDONLY)));
        }
        lent(blueprint, &mut steps)?;
        let layers = format!(
            "lowerdir={},upperdir={},workdir={}",
            escaped(Path::new(&image.path))?,
            escaped(&on.join("upper"))?,
            escaped(&on.join("work"))?
        );
        Ok(Self { on: on.to_owned(), layers: CString::new(layers)?, steps })
    }

    /// Builds the root and makes it the calling process's own. Nothing of the old one is left.
    /// `finish` is called when all stands and can still be written to.
    pub fn build(
        &self,
        finish: impl FnOnce() -> Result<(), (String, io::Error)>,
    ) -> Result<(), (String, io::Error)> {
        let step = |what: &'static str| move |why: io::Error| (what.to_owned(), why);
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).map_err(|why| step("keep mounts private")(why.into()))?;
        self.lay().map_err(step("put the image's layers together"))?;
        let mut held = Vec::new();
        for graft in &self.steps {
            if let Step::Graft(from, ..) = graft {
                held.push(take_hold(from).map_err(|why| (graft.name(), why))?);
            }
        }
        root::change_to(&self.on)?;
        let mut held = held.into_iter();
        for step in &self.steps {
            let taken = match (step, step_hold(step, &mut held)) {
                (Step::Graft(_, to, flags), Some(held)) => held.put(to, *flags),
                _ => step.take(),
            };
            taken.map_err(|why| (step.name(), why))?;
        }
        finish()?;
        root::seal(Path::new("/"))
    }

    fn lay(&self) -> io::Result<()> {
        let how = c"size=4m,nr_inodes=16k,mode=755";
        mount("tmpfs", &self.on, "tmpfs", MountFlags::NODEV | MountFlags::NOSUID, how)?;
        fs::create_dir(self.on.join("upper"))?;
        fs::create_dir(self.on.join("work"))?;
        let flags = MountFlags::NODEV | MountFlags::NOSUID;
        Ok(mount("overlay", &self.on, "overlay", flags, self.layers.as_c_str())?)
    }
}

/// A part of the machine that is held, to be put into the root once that is entered.
struct Held {
    tree: OwnedFd,
    is_dir: bool,
}

fn take_hold(from: &Path) -> io::Result<Held> {
    let is_dir = from.metadata()?.is_dir();
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    Ok(Held { tree: open_tree(CWD, from, flags)?, is_dir })
}

fn step_hold(step: &Step, held: &mut impl Iterator<Item = Held>) -> Option<Held> {
    if matches!(step, Step::Graft(..)) { held.next() } else { None }
}

impl Held {
    fn put(self, to: &Path, flags: MountFlags) -> io::Result<()> {
        match (self.is_dir, to.exists()) {
            (true, false) => fs::create_dir_all(to)?,
            (false, false) => {
                root::parents(to)?;
                fs::write(to, "")?;
            }
            (_, true) => {}
        }
        move_mount(&self.tree, "", CWD, to, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        let always = MountFlags::BIND | MountFlags::NOSUID | MountFlags::NODEV;
        Ok(mount_remount(to, always | flags, "")?)
    }
}

fn graft(from: impl Into<PathBuf>, to: impl Into<PathBuf>, flags: MountFlags) -> Step {
    Step::Graft(from.into(), to.into(), flags)
}

/// The lease's folders stand at their own paths, so that no variable changes.
fn lent(blueprint: &Blueprint<'_>, steps: &mut Vec<Step>) -> io::Result<()> {
    let lease = blueprint.lease;
    for name in SCRATCH {
        steps.push(match lease.starts_with(name) {
            true => blueprint.tmpfs(name, &blueprint.shared(), MountFlags::NODEV)?,
            false => graft(blueprint.scratch, name, MountFlags::empty()),
        });
    }
    steps.push(Step::Clear(lease.to_owned()));
    steps.push(graft(lease, lease, MountFlags::RDONLY));
    let writable = blueprint.writable.iter();
    steps.extend(writable.map(|path| graft(path.clone(), path, MountFlags::empty())));
    Ok(())
}

fn named(path: impl AsRef<Path>, why: io::Error) -> io::Error {
    io::Error::new(why.kind(), format!("`{}`: {why}", path.as_ref().display()))
}

/// A path among the options of the file system, whose own marks are `,` and `:`.
fn escaped(path: &Path) -> io::Result<String> {
    let text = path.to_str().ok_or_else(|| io::Error::other("a path that is not UTF-8"))?;
    let mut out = String::new();
    for c in text.chars() {
        if ['\\', ',', ':'].contains(&c) {
            out.push('\\');
        }
        out.push(c);
    }
    Ok(out)
}
