//! How a task steps into its room, between its birth and its program.

use landlock::RulesetCreated;
use rustix::{
    fs::{CWD, Gid, Mode, OFlags, ResolveFlags, Uid, openat2},
    io::write,
    process::{Resource, Rlimit, fchdir, getrlimit, setrlimit},
    thread::{
        CapabilitySet, ThreadNameSpaceType, move_into_thread_name_spaces,
        remove_capability_from_bounding_set, set_no_new_privs, set_thread_groups,
        set_thread_res_gid, set_thread_res_uid,
    },
};
use seccompiler::BpfProgram;
use std::{
    ffi::{CStr, CString},
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

/// Open files of a task, where the system grants as many. Source: loaders of large data sets.
const FILES: u64 = 65_536;

/// All that the child needs, made before it is born: between fork and exec nothing is allocated.
pub struct Entry {
    /// Writing `0` to each puts the writer into the room's control groups.
    pub doors: Vec<File>,
    /// The room's first process.
    pub init: OwnedFd,
    /// Its namespaces.
    pub spaces: ThreadNameSpaceType,
    /// The working folder, inside.
    pub cwd: CString,
    /// The tasks' user and group.
    pub uid: u32,
    /// What files it reaches.
    pub reach: RulesetCreated,
    /// Whether it may lock all of its memory.
    pub locks: bool,
    /// What calls it makes.
    pub filters: Arc<Vec<BpfProgram>>,
}

/// The steps in order; their place is what a child tells when one fails.
pub const STEPS: [&str; 7] = [
    "join its control groups",
    "join its namespaces",
    "enter the working folder",
    "set limits of its own",
    "become its user",
    "limit what files it reaches",
    "limit what calls it makes",
];

impl Entry {
    /// Takes every step; the one that failed, by its place, and why.
    pub fn step_in(self) -> Result<(), (u8, io::Error)> {
        let Self { doors, init, spaces, cwd, uid, reach, locks, filters } = self;
        let step = |place: u8, done: io::Result<()>| done.map_err(|why| (place, why));
        let join = || doors.iter().try_for_each(|door| write(door, b"0").map(drop));
        step(0, join().map_err(Into::into))?;
        step(1, move_into_thread_name_spaces(init.as_fd(), spaces).map_err(Into::into))?;
        step(2, work_in(&cwd).map_err(Into::into))?;
        step(3, limit(locks).map_err(Into::into))?;
        step(4, become_user(uid).map_err(Into::into))?;
        step(5, reach.restrict_self().map(drop).map_err(io::Error::other))?;
        // The last filter refuses what loads the next one no more than what a task may do.
        let all = || filters.iter().try_for_each(|filter| seccompiler::apply_filter(filter));
        step(6, all().map_err(io::Error::other))
    }
}

/// Enters a folder of the room. Not by way of `/proc/self/fd`: what is open here, between birth and
/// program, may be a folder of the machine. Source: CVE-2024-21626.
fn work_in(cwd: &CStr) -> rustix::io::Result<()> {
    let how = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    fchdir(openat2(CWD, cwd, how, Mode::empty(), ResolveFlags::NO_MAGICLINKS)?)
}

fn limit(locks: bool) -> rustix::io::Result<()> {
    if locks {
        let all = Rlimit { current: None, maximum: None };
        let granted = getrlimit(Resource::Memlock).maximum;
        // Whoever cannot grant more than it has itself grants that.
        setrlimit(Resource::Memlock, all).or_else(|_| {
            setrlimit(Resource::Memlock, Rlimit { current: granted, maximum: granted })
        })?;
    }
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none)?;
    let most = getrlimit(Resource::Nofile).maximum.map_or(FILES, |most| most.min(FILES));
    setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: Some(most) })
}

fn become_user(uid: u32) -> rustix::io::Result<()> {
    for right in CapabilitySet::all().iter() {
        match remove_capability_from_bounding_set(right) {
            // A right that this kernel does not know.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(why) => return Err(why),
        }
    }
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
    set_thread_groups(&[])?;
    set_thread_res_gid(group, group, group)?;
    set_thread_res_uid(user, user, user)?;
    set_no_new_privs(true)
}
