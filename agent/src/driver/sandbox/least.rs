//! What an agent keeps of the rights that it was started with: an account of its own, one right,
//! and a fence around what that right reaches.
//!
//! The right is to read whatever stands in its folder: tasks have users of their own, and may
//! write checkpoints that no other user can read. Landlock keeps it to that folder, for unlike the
//! permissions of files it holds against rights, too. Source: capabilities(7),
//! `CAP_DAC_READ_SEARCH`; landlock(7).

use super::{filter, is_tasks, probe::landlock};
use landlock::{
    ABI, Access, AccessFs, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus,
};
use rustix::{
    fs::{Gid, Uid},
    thread::{
        CapabilitySet, CapabilitySets, remove_capability_from_bounding_set, set_capabilities,
        set_keep_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid,
        set_thread_res_uid,
    },
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The newest rights that are asked for; older kernels know fewer of them.
const RIGHTS: ABI = ABI::V5;
/// What every program reads: libraries, names of hosts, and what the kernel tells. Nothing that
/// holds a secret: the fence is what stands between the right to read and `/etc/shadow`.
const SYSTEM: [&str; 20] = [
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/resolv.conf",
    "/etc/services",
    "/lib",
    "/lib32",
    "/lib64",
    "/proc",
    "/run/NetworkManager",
    "/run/resolvconf",
    "/run/systemd/resolve",
    "/sys/bus",
    "/sys/class",
    "/sys/devices",
    "/sys/fs/cgroup",
    "/usr",
];
/// Device files that are read and written, and how those of GPUs begin.
const DEVICES: [&str; 4] = ["/dev/null", "/dev/random", "/dev/urandom", "/dev/zero"];
const GPUS: &str = "nvidia";

/// An agent that cannot give its rights up.
#[derive(Debug, thiserror::Error)]
pub enum LeastError {
    /// No such account.
    #[error("`{0}` is not in /etc/passwd; make it: `useradd --system --no-create-home {0}`")]
    Unknown(String),
    /// An account with rights.
    #[error(
        "`{0}` has the rights of root, or its group, or is one that tasks run as; give another"
    )]
    Root(String),
    /// Nothing to give up.
    #[error("the agent was not started as root, which builds the walls; its unit has to")]
    NotRoot,
    /// Other threads would keep what this one gives up.
    #[error("{0} threads run already, which would keep the rights of root: this is a defect")]
    Threads(usize),
    /// A kernel without Landlock, or with its first version, under which no file can be moved
    /// from one folder to another.
    #[error(
        "the kernel's Landlock has version {0}, and 2 is needed to fence the agent in: use Linux 5.19 \
         or later, with `landlock` in `lsm=`"
    )]
    NoFence(u8),
    /// The system refused.
    #[error("cannot {what}: {why}")]
    Step {
        /// What was tried.
        what: &'static str,
        /// Why not.
        why: io::Error,
    },
}

/// Whom an agent becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Its user.
    pub uid: u32,
    /// Its first group.
    pub gid: u32,
    /// Its other groups, which may be those of device files.
    pub groups: Vec<u32>,
}

/// The folders that an agent reaches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fence {
    /// To read and write.
    pub own: Vec<PathBuf>,
    /// To read.
    pub read: Vec<PathBuf>,
}

impl Account {
    /// The account of this name.
    ///
    /// # Errors
    /// When there is none, or it has the rights of root.
    pub fn named(name: &str) -> Result<Self, LeastError> {
        let read = |path: &str, what| {
            fs::read_to_string(path).map_err(|why| LeastError::Step { what, why })
        };
        let users = read("/etc/passwd", "read /etc/passwd")?;
        let groups = read("/etc/group", "read /etc/group")?;
        Self::among(name, &users, &groups).ok_or_else(|| LeastError::Unknown(name.to_owned()))?
    }

    fn among(name: &str, users: &str, groups: &str) -> Option<Result<Self, LeastError>> {
        let fields = |line: &'_ str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
        let user = users.lines().map(fields).find(|user| user[0] == name)?;
        let (uid, gid) = (user.get(2)?.parse().ok()?, user.get(3)?.parse().ok()?);
        if uid == 0 || gid == 0 || is_tasks(uid) {
            return Some(Err(LeastError::Root(name.to_owned())));
        }
        let has = |group: &Vec<String>| {
            group.get(3).is_some_and(|members| members.split(',').any(|member| member == name))
        };
        let others = groups.lines().map(fields).filter(has);
        // The group of root reads what is root's.
        let others = others.filter_map(|group| group.get(2)?.parse().ok()).filter(|it| *it != 0);
        Some(Ok(Self { name: name.to_owned(), uid, gid, groups: others.collect() }))
    }
}

/// Becomes `account`, for good, with the right to read whatever `fence` lets it reach.
///
/// What the process starts afterwards would have no more; it can start nothing.
///
/// # Errors
/// When other threads run, or the system refuses. The process must end then: some of its rights
/// may be gone.
pub fn become_account(account: &Account, fence: &Fence) -> Result<(), LeastError> {
    if !rustix::process::geteuid().is_root() {
        return Err(LeastError::NotRoot);
    }
    let threads = fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    if threads != 1 {
        return Err(LeastError::Threads(threads));
    }
    let step = |what: &'static str| {
        move |why: rustix::io::Errno| LeastError::Step { what, why: why.into() }
    };
    set_keep_capabilities(true).map_err(step("keep a right"))?;
    for right in CapabilitySet::all().iter() {
        match remove_capability_from_bounding_set(right) {
            // A right that this kernel does not know.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(why) => return Err(step("bound its rights")(why)),
        }
    }
    let groups: Vec<_> = account.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    let (user, group) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    set_thread_groups(&groups).map_err(step("take its groups"))?;
    set_thread_res_gid(group, group, group).map_err(step("take its group"))?;
    set_thread_res_uid(user, user, user).map_err(step("become its user"))?;
    let kept = CapabilitySet::DAC_READ_SEARCH;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: none })
        .map_err(step("give its rights up"))?;
    set_no_new_privs(true).map_err(step("get no new rights"))?;
    fence.close()?;
    let refused = |why: String| LeastError::Step {
        what: "limit what calls it makes",
        why: io::Error::other(why),
    };
    for program in filter::of_agents().map_err(|why| refused(why.to_string()))? {
        seccompiler::apply_filter(&program).map_err(|why| refused(why.to_string()))?;
    }
    Ok(())
}

impl Fence {
    /// Nothing else is opened from now on.
    fn close(&self) -> Result<(), LeastError> {
        let failed = |why: String| LeastError::Step {
            what: "fence in what it reads",
            why: io::Error::other(why),
        };
        let version = landlock();
        if version < 2 {
            return Err(LeastError::NoFence(version));
        }
        let all = AccessFs::from_all(RIGHTS);
        let mut rules = Ruleset::default()
            .handle_access(all)
            .and_then(Ruleset::create)
            .map_err(|why| failed(why.to_string()))?;
        let write = AccessFs::from_file(RIGHTS) & !BitFlags::from(AccessFs::Execute);
        let read = AccessFs::from_read(RIGHTS) & !BitFlags::from(AccessFs::Execute);
        let own =
            self.own.iter().map(|path| (path.clone(), all & !BitFlags::from(AccessFs::Execute)));
        let reads = SYSTEM.map(PathBuf::from).into_iter().chain(self.read.iter().cloned());
        let devices = DEVICES.map(PathBuf::from).into_iter().chain(gpus());
        let devices = devices.map(|path| (path, write));
        for (path, access) in own.chain(reads.map(|path| (path, read))).chain(devices) {
            let Ok(meta) = fs::metadata(&path) else { continue };
            // A rule about a file knows no rights to folders.
            let access = if meta.is_dir() { access } else { access & AccessFs::from_file(RIGHTS) };
            let open = PathFd::new(&path).map_err(|why| failed(why.to_string()))?;
            rules = rules
                .add_rule(PathBeneath::new(open, access))
                .map_err(|why| failed(format!("{}: {why}", path.display())))?;
        }
        let status = rules.restrict_self().map_err(|why| failed(why.to_string()))?;
        match status.ruleset {
            RulesetStatus::NotEnforced => Err(LeastError::NoFence(0)),
            RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
        }
    }
}

/// The device files of GPUs, as they are now.
fn gpus() -> impl Iterator<Item = PathBuf> {
    let all = fs::read_dir("/dev").into_iter().flatten().flatten().map(|entry| entry.path());
    let name = |path: &Path| path.file_name().map(|it| it.to_string_lossy().into_owned());
    all.filter(move |path| name(path).is_some_and(|name| name.starts_with(GPUS)))
}

#[cfg(test)]
#[expect(unsafe_code, reason = "what gives its rights up is a process of its own, made by fork")]
mod tests {
    use super::*;
    use std::{
        os::unix::{
            fs::{PermissionsExt, chown},
            net::{UnixDatagram, UnixListener, UnixStream},
        },
        process::Command,
        thread,
    };

    const USERS: &str = "root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\n\
                         assay:x:990:980::/nonexistent:/usr/sbin/nologin\nbroken:x:\n";
    const GROUPS: &str = "root:x:0:assay\nvideo:x:44:other,assay\nassay:x:980:\nnot:x:45:assayer\n";

    #[test]
    fn an_account_has_its_groups_and_never_those_of_root() {
        let named = |name: &str| Account::among(name, USERS, GROUPS);
        let assay = named("assay").unwrap().unwrap();
        assert_eq!((assay.uid, assay.gid, assay.groups), (990, 980, vec![44]));
        assert!(matches!(named("toor"), Some(Err(LeastError::Root(_)))));
        assert!(named("broken").is_none() && named("nobody").is_none());
    }

    #[test]
    fn rights_are_given_up_before_anything_else_runs_or_not_at_all() {
        let account = Account::among("assay", USERS, GROUPS).unwrap().unwrap();
        let fault = become_account(&account, &Fence::default()).unwrap_err();
        let expected = match rustix::process::geteuid().is_root() {
            true => matches!(fault, LeastError::Threads(_)),
            false => matches!(fault, LeastError::NotRoot),
        };
        assert!(expected, "a test runs beside other threads: {fault}");
    }

    /// What a fenced agent tries: its name, whether it is to succeed, and whether it did.
    fn tries(dir: &Path) -> Vec<(&'static str, bool, bool)> {
        let (own, other) = (dir.join("own"), dir.join("other"));
        let secret = fs::read_to_string(own.join("a/secret"));
        vec![
            ("read what tasks wrote for themselves alone", true, secret.is_ok()),
            ("write to its folder", true, fs::write(own.join("b/new"), "x").is_ok()),
            ("move a file within it", true, fs::rename(own.join("b/new"), own.join("new")).is_ok()),
            ("read a library", true, fs::read("/etc/ld.so.cache").is_ok()),
            ("start threads", true, thread::spawn(|| 1).join().is_ok()),
            ("make a pair of streams", true, UnixStream::pair().is_ok()),
            ("read the shadow file", false, fs::read("/etc/shadow").is_ok()),
            ("read any other file", false, fs::read("/etc/passwd").is_ok()),
            ("list root's folder", false, fs::read_dir("/root").is_ok()),
            ("read beside its folder", false, fs::read(other.join("file")).is_ok()),
            ("write beside its folder", false, fs::write(other.join("new"), "x").is_ok()),
            ("move a file out", false, fs::rename(own.join("new"), other.join("new")).is_ok()),
            ("reach a service", false, UnixStream::connect(other.join("socket")).is_ok()),
            ("make a datagram socket", false, UnixDatagram::unbound().is_ok()),
            ("make a pair of them", false, UnixDatagram::pair().is_ok()),
            ("run a program", false, Command::new("/bin/true").status().is_ok()),
            ("become root", false, rustix::thread::set_thread_uid(Uid::ROOT).is_ok()),
        ]
    }

    #[test]
    fn a_fenced_agent_does_its_work_and_nothing_else() {
        assert!(rustix::process::geteuid().is_root(), "not enforced here: start it as root");
        let dir = tempfile::tempdir().unwrap();
        let (own, other) = (dir.path().join("own"), dir.path().join("other"));
        for path in [own.join("a"), own.join("b"), other.clone()] {
            fs::create_dir_all(path).unwrap();
        }
        fs::write(own.join("a/secret"), "weights").unwrap();
        fs::write(other.join("file"), "").unwrap();
        let _service = UnixListener::bind(other.join("socket")).unwrap();
        for path in [other.clone(), other.join("file"), other.join("socket")] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
        }
        fs::set_permissions(own.join("a/secret"), fs::Permissions::from_mode(0o600)).unwrap();
        chown(own.join("a/secret"), Some(0x7000_0001), None).unwrap();
        for path in [own.clone(), own.join("b")] {
            chown(path, Some(1), Some(1)).unwrap();
        }
        let account = Account::among("daemon", "daemon:x:1:1::/:/bin/false", "").unwrap().unwrap();
        let fence = Fence { own: vec![own.clone()], read: vec![] };
        // SAFETY: the child has one thread, and ends without returning to the harness.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let fault = become_account(&account, &fence).err().map(|fault| fault.to_string());
            let wrong = tries(dir.path()).into_iter().filter(|(_, wanted, done)| wanted != done);
            let text: String = wrong.map(|(what, _, done)| format!("{what}: {done}\n")).collect();
            let said = fs::write(own.join("said"), fault.unwrap_or_default() + &text);
            // SAFETY: ends this process, and nothing else.
            unsafe { libc::_exit(i32::from(said.is_err())) }
        }
        let pid = rustix::process::Pid::from_raw(child).unwrap();
        let options = rustix::process::WaitOptions::empty();
        let (_, status) = rustix::process::waitpid(Some(pid), options).unwrap().unwrap();
        assert_eq!(status.exit_status(), Some(0));
        assert_eq!(fs::read_to_string(own.join("said")).unwrap(), "");
    }
}
