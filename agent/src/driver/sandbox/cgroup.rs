//! Control groups: one for each sandboxed lease, in version 2 where it limits, else in version 1.
//!
//! Written by hand: it is some files with one number each, and the crate that does this for both
//! versions drops the errors of several of them (`create` above all), which here would be a limit
//! that does not hold.

use super::{Limits, SandboxError};
use domain::{Bytes, LeaseId};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// What limits nothing less than a task's memory, processor time and processes will do.
const WANTED: [&str; 3] = ["memory", "pids", "cpu"];
/// Length of the period in which processor time is counted. Unit: µs. Source: the kernel's default.
const PERIOD: u64 = 100_000;
/// The least share of it that the kernel takes. Unit: µs.
const QUOTA_MIN: u64 = 1_000;
/// Tries to remove a group whose last process has just ended, and the pause between two.
const REMOVALS: u32 = 50;
const REMOVE_AGAIN: Duration = Duration::from_millis(2);

/// Where the groups of one supervisor stand.
#[derive(Debug)]
pub struct Groups {
    /// 1 or 2.
    pub version: u8,
    /// The folder of each controller, or the one of all.
    homes: Vec<Home>,
}

#[derive(Clone, Debug)]
struct Home {
    /// Empty in version 2, where one folder has all.
    controller: &'static str,
    dir: PathBuf,
}

/// The group of one lease.
#[derive(Debug)]
pub struct Group {
    /// 1 or 2.
    pub version: u8,
    homes: Vec<Home>,
}

/// A limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// The kernel ended a process for want of memory.
    Memory {
        /// The most that was held.
        used: Bytes,
    },
    /// A process or thread was refused.
    Processes,
}

/// The folder of each controller, or the one of all under an empty name.
type Mounts = Vec<(&'static str, PathBuf)>;

/// Where this system has control groups that can limit.
pub fn find() -> Result<(u8, Mounts), String> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let fields = || mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    if let Some(mount) = fields().find(|it| it.get(2) == Some(&"cgroup2")) {
        let base = own_base(Path::new(mount[1]));
        let offered = fs::read_to_string(base.join("cgroup.controllers")).unwrap_or_default();
        let has = |wanted: &&str| offered.split_whitespace().any(|it| it == *wanted);
        if WANTED.iter().all(has) {
            return Ok((2, vec![("", base)]));
        }
    }
    let mut homes = Vec::new();
    for controller in WANTED.into_iter().chain(["devices"]) {
        let of = |it: &Vec<&str>| {
            it.get(2) == Some(&"cgroup") && it[3].split(',').any(|option| option == controller)
        };
        match fields().find(of) {
            Some(mount) => homes.push((controller, PathBuf::from(mount[1]))),
            // Without it, the private /dev alone keeps devices away.
            None if controller == "devices" => {}
            None => {
                return Err(format!(
                    "no control group limits `{controller}`: mount cgroup2 with it, or give the \
                     agent's unit `Delegate=yes`"
                ));
            }
        }
    }
    Ok((1, homes))
}

/// The group that was delegated to this process, or the root.
fn own_base(mount: &Path) -> PathBuf {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    // An agent that has moved itself aside stands one below what it was given.
    let path = path.strip_suffix(AGENT).map_or(path, |above| above.trim_end_matches('/'));
    mount.join(path)
}

/// The group of the agent and the supervisor themselves, beside those of leases: in version 2 a
/// group with processes of its own hands no limits down.
const AGENT: &str = "assay-agent";

impl Groups {
    /// The home of all groups of the supervisor that is told from others by `tag`.
    ///
    /// # Errors
    /// When no controller can be had.
    pub fn open(tag: &str) -> Result<Self, SandboxError> {
        let failed = |detail: String| SandboxError::new("find control groups", detail);
        let (version, found) = find().map_err(failed)?;
        let mut homes = Vec::new();
        for (controller, base) in found {
            let dir = base.join(format!("assay-{tag}"));
            if version == 2 {
                delegate(&base).map_err(|why| SandboxError::io("delegate control groups", &why))?;
            }
            make(&dir).map_err(|why| SandboxError::io("make the control group", &why))?;
            if version == 2 {
                enable(&dir).map_err(|why| SandboxError::io("delegate control groups", &why))?;
            }
            homes.push(Home { controller, dir });
        }
        Ok(Self { version, homes })
    }

    /// Ends whatever an earlier supervisor with this `tag` left in its groups, and removes them.
    pub fn sweep(tag: &str) {
        let Ok((version, found)) = find() else { return };
        for (controller, base) in found {
            let Ok(entries) = fs::read_dir(base.join(format!("assay-{tag}"))) else { continue };
            for entry in entries.flatten().filter(|it| it.path().is_dir()) {
                let dir = entry.path();
                end_all(&dir);
                let stale = Group { version, homes: vec![Home { controller, dir }] };
                stale.remove();
            }
        }
    }

    /// A group for a lease, with its limits in force.
    ///
    /// # Errors
    /// Names the file that did not take its limit.
    pub fn make(&self, lease: LeaseId, limits: &Limits) -> io::Result<Group> {
        let homes = self.homes.iter().map(|home| Home {
            controller: home.controller,
            dir: home.dir.join(lease.to_string()),
        });
        let group = Group { version: self.version, homes: homes.collect() };
        for home in &group.homes {
            make(&home.dir)?;
        }
        match group.limit(limits) {
            Ok(()) => Ok(group),
            Err(why) => {
                group.remove();
                Err(why)
            }
        }
    }
}

impl Drop for Groups {
    /// A supervisor that ends leaves nothing: what still has a lease's group stays.
    fn drop(&mut self) {
        for home in &self.homes {
            let _ = fs::remove_dir(&home.dir);
        }
    }
}

impl Group {
    /// The files that a process with one thread writes `0` to, to be in it: none in version 2,
    /// where it is born there.
    ///
    /// They are the files of threads: a thread that moves itself alone takes no lock over the
    /// births of all processes, for which the kernel would wait out a grace period of its RCU.
    /// Source: `cgroup_procs_write_start`, Linux 5.4 and later.
    pub fn doors(&self) -> io::Result<Vec<File>> {
        let homes = self.homes.iter().filter(|_| self.version == 1);
        homes.map(|home| open(&home.dir.join("tasks"))).collect()
    }

    /// The folder in which a process is born to be in it, in version 2.
    pub fn cradle(&self) -> io::Result<Option<File>> {
        let home = self.homes.first().filter(|_| self.version == 2);
        home.map(|home| File::open(&home.dir).map_err(|why| named(&home.dir, &why))).transpose()
    }

    /// The controllers that hold a limit, by name.
    pub fn controllers(&self) -> Vec<String> {
        match self.version {
            2 => WANTED.iter().map(|it| (*it).to_owned()).collect(),
            _ => self.homes.iter().map(|home| home.controller.to_owned()).collect(),
        }
    }

    /// A limit that was reached so far.
    pub fn breach(&self) -> Option<Breach> {
        let (events, killed, peak) = match self.version {
            2 => ("memory.events", "oom_kill", "memory.peak"),
            _ => ("memory.oom_control", "oom_kill", "memory.max_usage_in_bytes"),
        };
        let memory = self.home("memory")?;
        if count(&memory.join(events), killed) > 0 {
            let used = fs::read_to_string(memory.join(peak)).unwrap_or_default();
            return Some(Breach::Memory { used: Bytes(used.trim().parse().unwrap_or(0)) });
        }
        let pids = self.home("pids")?;
        (count(&pids.join("pids.events"), "max") > 0).then_some(Breach::Processes)
    }

    /// Kills all that is in it, where the kernel can do so at once. What ends takes processor time
    /// to end, thousands of processes a lot of it: their limit goes first.
    pub fn kill(&self) {
        let (file, none) =
            if self.version == 2 { ("cpu.max", "max") } else { ("cpu.cfs_quota_us", "-1") };
        if let Some(home) = self.home("cpu") {
            let _ = fs::write(home.join(file), none);
        }
        if self.version == 2
            && let Some(home) = self.homes.first()
        {
            // Older kernels have no such file: the namespace's end does the same.
            let _ = fs::write(home.dir.join("cgroup.kill"), "1");
        }
    }

    /// Removes it. A group whose processes have ended may still be busy for a moment.
    pub fn remove(&self) {
        for home in &self.homes {
            for _ in 0..REMOVALS {
                match fs::remove_dir(&home.dir) {
                    Err(why) if why.kind() == io::ErrorKind::ResourceBusy => {
                        std::thread::sleep(REMOVE_AGAIN);
                    }
                    // Gone, or it cannot be: the next supervisor tries again.
                    Ok(()) | Err(_) => break,
                }
            }
        }
    }

    fn home(&self, controller: &str) -> Option<&Path> {
        let all = self.version == 2;
        let home = self.homes.iter().find(|home| all || home.controller == controller);
        home.map(|home| home.dir.as_path())
    }

    fn limit(&self, limits: &Limits) -> io::Result<()> {
        let set = |controller: &str, file: &str, value: &str| match self.home(controller) {
            Some(home) => write(&home.join(file), value),
            None => Ok(()),
        };
        let memory = limits.memory.0.to_string();
        let quota = match limits.cpu.0 {
            0 => 0,
            cpu => cpu.saturating_mul(PERIOD / 1_000).max(QUOTA_MIN),
        };
        set("pids", "pids.max", &limits.processes.to_string())?;
        if self.version == 2 {
            set("memory", "memory.max", &memory)?;
            // Not there without swap.
            optional(set("memory", "memory.swap.max", "0"))?;
            optional(set("memory", "memory.oom.group", "1"))?;
            if quota > 0 {
                set("cpu", "cpu.max", &format!("{quota} {PERIOD}"))?;
            }
            return Ok(());
        }
        set("memory", "memory.limit_in_bytes", &memory)?;
        optional(set("memory", "memory.memsw.limit_in_bytes", &memory))?;
        if quota > 0 {
            set("cpu", "cpu.cfs_period_us", &PERIOD.to_string())?;
            set("cpu", "cpu.cfs_quota_us", &quota.to_string())?;
        }
        set("devices", "devices.deny", "a")?;
        for device in &limits.devices {
            set("devices", "devices.allow", &format!("c {device} rw"))?;
        }
        Ok(())
    }
}

/// A limit that only some kernels have.
fn optional(set: io::Result<()>) -> io::Result<()> {
    match set {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn make(dir: &Path) -> io::Result<()> {
    match fs::create_dir(dir) {
        Err(why) if why.kind() != io::ErrorKind::AlreadyExists => Err(named(dir, &why)),
        _ => Ok(()),
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).open(path).map_err(|why| named(path, &why))
}

fn write(path: &Path, value: &str) -> io::Result<()> {
    use io::Write;
    open(path)?.write_all(value.as_bytes()).map_err(|why| named(path, &why))
}

fn named(path: &Path, why: &io::Error) -> io::Error {
    io::Error::new(why.kind(), format!("`{}`: {why}", path.display()))
}

/// The number after a word in a file of such lines.
fn count(path: &Path, word: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

/// Moves what runs in `base` aside, so that it may hand limits down.
fn delegate(base: &Path) -> io::Result<()> {
    if enable(base).is_ok() {
        return Ok(());
    }
    let aside = base.join(AGENT);
    make(&aside)?;
    for pid in fs::read_to_string(base.join("cgroup.procs"))?.lines() {
        // One that has ended meanwhile is not in the way.
        let _ = write(&aside.join("cgroup.procs"), pid);
    }
    enable(base)
}

fn enable(dir: &Path) -> io::Result<()> {
    let all: Vec<_> = WANTED.iter().map(|it| format!("+{it}")).collect();
    write(&dir.join("cgroup.subtree_control"), &all.join(" "))
}

fn end_all(dir: &Path) {
    let _ = fs::write(dir.join("cgroup.kill"), "1");
    for line in fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default().lines() {
        if let Some(pid) = line.parse().ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::CpuMillis;

    /// Says what we write and read, not what a kernel does with it.
    #[test]
    fn version_2_is_told_in_its_own_words() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name);
        for name in ["memory.max", "memory.oom.group", "pids.max", "cpu.max"] {
            fs::write(file(name), "").unwrap();
        }
        let homes = vec![Home { controller: "", dir: dir.path().to_owned() }];
        let group = Group { version: 2, homes };
        let limits = Limits {
            memory: Bytes(64 << 20),
            cpu: CpuMillis(1_500),
            processes: 8,
            devices: vec!["1:3".into()],
        };
        group.limit(&limits).unwrap();
        let told = |name: &str| fs::read_to_string(file(name)).unwrap();
        assert_eq!(told("memory.max"), "67108864");
        assert_eq!(told("cpu.max"), "150000 100000");
        assert_eq!((told("pids.max").as_str(), told("memory.oom.group").as_str()), ("8", "1"));
        assert_eq!(group.breach(), None);
        fs::write(file("pids.events"), "max 2\n").unwrap();
        assert_eq!(group.breach(), Some(Breach::Processes));
        fs::write(file("memory.events"), "low 0\noom 1\noom_kill 1\n").unwrap();
        fs::write(file("memory.peak"), "67108000\n").unwrap();
        assert_eq!(group.breach(), Some(Breach::Memory { used: Bytes(67_108_000) }));
    }
}
