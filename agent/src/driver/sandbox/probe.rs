//! What this machine, and this user, can do to keep tasks apart.
#![expect(unsafe_code, reason = "the version of Landlock is a system call that no crate offers")]

use super::cgroup;
use domain::isolation::{Isolation, NodeIsolation};
use rustix::thread::{CapabilitySet, capabilities};
use std::path::Path;

/// What a room needs of the rights of root, each with what for.
const RIGHTS: [(CapabilitySet, &str); 10] = [
    (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN (namespaces, mounts)"),
    (CapabilitySet::SYS_CHROOT, "CAP_SYS_CHROOT (a root of its own)"),
    (CapabilitySet::SETUID, "CAP_SETUID (a user of its own)"),
    (CapabilitySet::SETGID, "CAP_SETGID (a group of its own)"),
    (CapabilitySet::CHOWN, "CAP_CHOWN (folders of that user)"),
    (CapabilitySet::DAC_OVERRIDE, "CAP_DAC_OVERRIDE (reading what it wrote)"),
    (CapabilitySet::KILL, "CAP_KILL (ending it)"),
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN (loopback)"),
    (CapabilitySet::SYS_PTRACE, "CAP_SYS_PTRACE (looking into it)"),
    (CapabilitySet::MKNOD, "CAP_MKNOD (its own /dev)"),
];
const NAMESPACES: [&str; 5] = ["mnt", "pid", "net", "ipc", "uts"];

/// Reads what can be had. Changes nothing.
#[must_use]
pub fn probe(default: Isolation) -> NodeIsolation {
    let mut lacks = Vec::new();
    let held = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    let lacking: Vec<_> =
        RIGHTS.iter().filter(|(right, _)| !held.contains(*right)).map(|(_, name)| *name).collect();
    match lacking.as_slice() {
        [] => {}
        all if all.len() == RIGHTS.len() => lacks.push("root: start the agent as root".to_owned()),
        some => lacks.push(format!("rights: {}; give them to the agent's unit", some.join(", "))),
    }
    for name in NAMESPACES {
        if !Path::new("/proc/self/ns").join(name).exists() {
            lacks.push(format!("{name} namespaces: use a kernel that has them"));
        }
    }
    if !Path::new("/proc/sys/kernel/seccomp/actions_avail").exists() {
        lacks.push("seccomp: use a kernel with CONFIG_SECCOMP_FILTER".to_owned());
    }
    let landlock = landlock();
    if landlock == 0 {
        lacks.push("Landlock: add `landlock` to the kernel's `lsm=` (Linux 5.13 or later)".into());
    }
    let cgroup = match cgroup::find() {
        Ok((version, homes)) => {
            let shut = homes
                .iter()
                .find(|(_, dir)| rustix::fs::access(dir, rustix::fs::Access::WRITE_OK).is_err());
            if let Some((_, dir)) = shut {
                lacks.push(format!("control groups: `{}` cannot be written", dir.display()));
            }
            version
        }
        Err(lack) => {
            lacks.push(lack);
            0
        }
    };
    NodeIsolation { default, lacks, cgroup, landlock, ..NodeIsolation::default() }
}

/// The version of Landlock's interface, or 0.
pub fn landlock() -> u8 {
    const VERSION: libc::c_uint = 1;
    let none = std::ptr::null::<libc::c_void>();
    // SAFETY: with no rules given, the call reads nothing and makes nothing.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0usize, VERSION) };
    u8::try_from(version).unwrap_or(0)
}
