//! The machine as the builder of rooms sees it, and the rooms it has built.

use super::{
    Breach, Groups, ImageRoot, Limits, SandboxError, Walls,
    birth::{Program, bear},
    cgroup,
    enter::Entry,
    filter, hooks,
    image_root::ImagePlan,
    init,
    init::{Init, Plan},
    probe, reach,
    root::{Blueprint, DEVICES},
};
use crate::driver::{dirs::LeaseDirs, house::is_fabrics, image::is_mounted};
use domain::{
    Digest, LeaseId,
    isolation::{ImageFacts, Network, SandboxFacts},
};
use landlock::RulesetCreated;
use rustix::{
    fs::{Gid, Uid, fchown, major, minor, stat},
    process::{Pid, Signal, WaitOptions, pidfd_send_signal, waitpid},
    thread::ThreadNameSpaceType,
};
use seccompiler::BpfProgram;
use std::{
    collections::BTreeSet,
    ffi::CString,
    fs::{self, File},
    io,
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Where `/etc/resolv.conf` leads on some systems.
const RESOLVER: [&str; 2] = ["/run/systemd/resolve", "/run/resolvconf"];

/// Hands a lease's folders to a user.
pub type Give<'a> = dyn Fn(u32) -> io::Result<()> + 'a;

/// Builds rooms for one supervisor.
pub struct Host {
    /// Where roots are built; empty but in a room's own view.
    on: PathBuf,
    /// What makers of devices are told of roots.
    bundles: PathBuf,
    groups: Groups,
    /// This process's own pid namespace.
    own: File,
    filters: Arc<Vec<BpfProgram>>,
    uids: BTreeSet<u32>,
    next_uid: u32,
}

/// One lease's room.
pub struct Room {
    init: Init,
    group: cgroup::Group,
    uid: u32,
    network: Network,
    reach: RulesetCreated,
    own: File,
    filters: Arc<Vec<BpfProgram>>,
    limits: Limits,
    /// Adapters write to memory of tasks by themselves, which is locked for that. The control group
    /// counts it as any other.
    locks: bool,
    image: Option<ImageFacts>,
}

/// What tells the groups of one supervisor from those of another.
fn tag(dir: &Path) -> String {
    Digest::of(dir.as_os_str().as_encoded_bytes()).to_string()[..12].to_owned()
}

impl Host {
    /// Ends and removes what an earlier supervisor of `dir` left behind.
    pub fn sweep(dir: &Path) {
        Groups::sweep(&tag(dir));
    }

    /// Gets ready to build rooms for the supervisor of `dir`.
    ///
    /// # Errors
    /// When this machine or user cannot.
    pub fn open(dir: &Path) -> Result<Self, SandboxError> {
        let able = probe::probe(domain::isolation::Isolation::None);
        if let Some(lack) = able.lacks.first() {
            return Err(SandboxError::new("build a sandbox here", format!("it lacks {lack}")));
        }
        let on = dir.join("room");
        fs::create_dir_all(&on).map_err(|why| SandboxError::io("make its folder", &why))?;
        let own = File::open("/proc/self/ns/pid")
            .map_err(|why| SandboxError::io("open its own namespace", &why))?;
        // Two supervisors on one machine should not begin with the same user.
        let spread = Digest::of(dir.as_os_str().as_encoded_bytes()).0;
        let next_uid = u32::from(u16::from_le_bytes([spread[0], spread[1]]));
        Ok(Self {
            on,
            bundles: dir.join("bundles"),
            groups: Groups::open(&tag(dir))?,
            own,
            filters: Arc::new(filter::programs()?),
            uids: BTreeSet::new(),
            next_uid,
        })
    }

    /// Builds a room for a lease's tasks; `give` makes what they write to their user's own.
    ///
    /// # Errors
    /// Names the step that failed. Nothing is left of it.
    pub fn build(
        &mut self,
        lease: LeaseId,
        walls: &Walls,
        image: Option<&ImageRoot>,
        dirs: &LeaseDirs,
        give: &Give<'_>,
    ) -> Result<Room, SandboxError> {
        let uid = self.uid()?;
        let built = self.build_for(uid, lease, walls, image, dirs, give);
        if built.is_err() {
            self.uids.remove(&uid);
        }
        built
    }

    fn build_for(
        &self,
        uid: u32,
        lease: LeaseId,
        walls: &Walls,
        image: Option<&ImageRoot>,
        dirs: &LeaseDirs,
        give: &Give<'_>,
    ) -> Result<Room, SandboxError> {
        let io = |step: &'static str| move |why: io::Error| SandboxError::io(step, &why);
        let limits = limits(walls, image).map_err(io("find its devices"))?;
        give(uid).map_err(io("give it its folders"))?;
        let writable = [dirs.out(), dirs.checkpoints(), dirs.tmp(), dirs.logs()];
        let plan = self.plan(walls, image, dirs, &writable, uid).map_err(io("plan its root"))?;
        let own = self.own.try_clone().map_err(io("open its own namespace"))?;
        let group = self.groups.make(lease, &limits).map_err(io("limit it"))?;
        let hooks = image.map_or(&[][..], |image| image.hooks.as_slice());
        // Not in the lease's folder, which may be another's to write to.
        let bundle = self.bundles.join(lease.to_string());
        let finish = |init: Pid| hooks::run(hooks, init, &bundle, &lease.to_string());
        let finish: Option<init::Finish<'_>> = if hooks.is_empty() { None } else { Some(&finish) };
        let begun = init::start(&self.own, &plan, walls.network, finish).and_then(|init| {
            let seen = PathBuf::from(format!("/proc/{}/root", init.pid.as_raw_nonzero()));
            match reach::rules(&seen, &writable) {
                Ok(reach) => Ok((init, reach)),
                Err(why) => {
                    end(&init);
                    let _ = waitpid(Some(init.pid), WaitOptions::empty());
                    Err(why)
                }
            }
        });
        let (init, reach) = match begun {
            Ok(begun) => begun,
            Err(why) => {
                group.remove();
                return Err(why);
            }
        };
        let (network, filters) = (walls.network, Arc::clone(&self.filters));
        let image = image.map(|image| image.facts.clone());
        let locks = walls.devices.iter().any(|path| is_fabrics(path));
        Ok(Room { init, group, uid, network, reach, own, filters, limits, locks, image })
    }

    /// The root that the tasks of a lease are to have.
    fn plan(
        &self,
        walls: &Walls,
        image: Option<&ImageRoot>,
        dirs: &LeaseDirs,
        writable: &[PathBuf],
        uid: u32,
    ) -> io::Result<Plan> {
        let paths = |all: &[String]| all.iter().map(PathBuf::from).collect::<Vec<_>>();
        let mut readable = paths(&walls.readable);
        if walls.network == Network::Host && image.is_none() {
            readable.extend(RESOLVER.map(PathBuf::from));
        }
        let blueprint = Blueprint {
            // What is done in an image is done once it is the root.
            on: if image.is_some() { Path::new("/") } else { &self.on },
            lease: &dirs.root,
            writable,
            scratch: &dirs.tmp(),
            readable: &readable,
            devices: &paths(&walls.devices),
            shared: walls.memory.0,
            uid,
        };
        match image {
            None => Ok(Plan::System(self.on.clone(), blueprint.steps()?)),
            Some(image) if is_mounted(Path::new(&image.path)) => {
                Ok(Plan::Image(ImagePlan::new(&self.on, image, &blueprint, walls.network)?))
            }
            Some(image) => Err(io::Error::other(format!("nothing is mounted at `{}`", image.path))),
        }
    }

    fn uid(&mut self) -> Result<u32, SandboxError> {
        for _ in 0..super::UIDS {
            let uid = super::UID_FIRST + self.next_uid % super::UIDS;
            self.next_uid = (self.next_uid + 1) % super::UIDS;
            if self.uids.insert(uid) {
                return Ok(uid);
            }
        }
        let why = format!("all {} are in use", super::UIDS);
        Err(SandboxError::new("find it a user of its own", why))
    }

    /// Ends a room that nothing was started in, and takes back what it held.
    pub fn abandon(&mut self, room: &Room) {
        room.end();
        let _ = waitpid(Some(room.init.pid), WaitOptions::empty());
        self.clear(room);
    }

    /// Takes back what a room held, once its first process has ended.
    pub fn clear(&mut self, room: &Room) {
        let _ = waitpid(Some(room.init.pid), WaitOptions::NOHANG);
        room.group.remove();
        self.uids.remove(&room.uid);
    }
}

impl Room {
    /// Its first process, which ends once nothing runs in it any more.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.init.pid
    }

    /// Whether nothing runs in it any more.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        init::has_ended(self.init.fd.as_fd())
    }

    /// Kills all that runs in it.
    pub fn end(&self) {
        self.group.kill();
        end(&self.init);
    }

    /// A limit that was reached so far.
    #[must_use]
    pub fn breach(&self) -> Option<Breach> {
        self.group.breach()
    }

    /// Its limits on memory and processes.
    #[must_use]
    pub fn limits(&self) -> (domain::Bytes, u64) {
        (self.limits.memory, self.limits.processes)
    }

    /// What is in force, for the record.
    #[must_use]
    pub fn facts(&self) -> SandboxFacts {
        SandboxFacts {
            uid: self.uid,
            network: self.network,
            cgroup: self.group.version,
            landlock: probe::landlock(),
            controllers: self.group.controllers(),
            memory: self.limits.memory,
            cpu_millis: self.limits.cpu.0,
            processes: self.limits.processes,
            image: self.image.clone(),
        }
    }

    /// Hands a file that the supervisor opened to the room's user.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn own(&self, file: &File) -> io::Result<()> {
        let (user, group) = (Uid::from_raw(self.uid), Gid::from_raw(self.uid));
        Ok(fchown(file, Some(user), Some(group))?)
    }

    /// Starts a program in it, in the folder `cwd`, as the leader of a process group of its own.
    ///
    /// # Errors
    /// Names the step that failed, or what the system says of the program.
    pub fn spawn(&self, program: Program<'_>, cwd: &str) -> io::Result<Pid> {
        let mut spaces = ThreadNameSpaceType::MOUNT
            | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
            | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME;
        if self.network == Network::None {
            spaces |= ThreadNameSpaceType::NETWORK;
        }
        let entry = Entry {
            doors: self.group.doors()?,
            init: self.init.fd.try_clone()?,
            spaces,
            cwd: CString::new(cwd)?,
            uid: self.uid,
            reach: self.reach.try_clone()?,
            locks: self.locks,
            filters: Arc::clone(&self.filters),
        };
        let group = self.group.cradle()?;
        rustix::thread::move_into_thread_name_spaces(
            self.init.fd.as_fd(),
            ThreadNameSpaceType::PROCESS_ID,
        )?;
        let born = bear(program, entry, group.as_ref());
        init::come_back(&self.own);
        born
    }
}

impl Groups {
    fn of_devices(numbers: impl Iterator<Item = (u32, u32)>) -> Vec<String> {
        numbers.map(|(major, minor)| format!("{major}:{minor}")).collect()
    }
}

fn limits(walls: &Walls, image: Option<&ImageRoot>) -> io::Result<Limits> {
    let mut devices = Groups::of_devices(DEVICES.iter().map(|(_, major, minor)| (*major, *minor)));
    let of_image = image.iter().flat_map(|image| image.devices.iter().map(|(path, _)| path));
    for path in walls.devices.iter().chain(of_image) {
        let number = stat(path.as_str())
            .map_err(|why| io::Error::other(format!("`{path}`: {why}")))?
            .st_rdev;
        devices.extend(Groups::of_devices(std::iter::once((major(number), minor(number)))));
    }
    let Walls { memory, cpu, processes, .. } = walls;
    Ok(Limits { memory: *memory, cpu: *cpu, processes: *processes, devices })
}

fn end(init: &Init) {
    // One that has ended is what we want.
    let _ = pidfd_send_signal(&init.fd, Signal::KILL);
}
