//! Finds processes of a lease that left their group, by the folder that their environment names.

use domain::LeaseId;
use rustix::process::{Pid, Signal, kill_process};
use std::{collections::BTreeSet, fs, os::unix::ffi::OsStrExt, path::Path};

/// The variable that every task carries and that names its lease's folder.
const MARK: &str = "ASSAY_OUTPUT_DIR";

/// Where processes are looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Where {
    /// Outside of all rooms: what is in a room ends with the room. The loop may look at these: to
    /// read a process's environment waits for a lock of its memory, which a fork bomb that is out of
    /// processor time holds for minutes.
    Outside,
    /// In rooms too: may wait for long.
    Everywhere,
}

/// The lease, among those with a folder in `leases`, that each running process belongs to.
pub(super) fn processes(leases: &Path, among: Where) -> Vec<(Pid, LeaseId)> {
    let mut prefix = format!("{MARK}=").into_bytes();
    prefix.extend_from_slice(leases.as_os_str().as_bytes());
    prefix.push(b'/');
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let own = fs::read_link("/proc/self/ns/pid").ok();
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        let Some(pid) = pid else { continue };
        let space = || fs::read_link(entry.path().join("ns/pid")).ok();
        if among == Where::Outside && space().is_some_and(|it| Some(it) != own) {
            continue;
        }
        // Unreadable ones belong to other users or have just ended.
        let Ok(environ) = fs::read(entry.path().join("environ")) else { continue };
        if let Some(lease) = lease_of(&environ, &prefix) {
            found.push((pid, lease));
        }
    }
    found
}

fn lease_of(environ: &[u8], prefix: &[u8]) -> Option<LeaseId> {
    let rest = environ.split(|byte| *byte == 0).find_map(|line| line.strip_prefix(prefix))?;
    let name = rest.split(|byte| *byte == b'/').next()?;
    std::str::from_utf8(name).ok()?.parse().ok()
}

/// Kills every process whose lease `dead` accepts. Returns the leases that had one.
pub(super) fn kill(leases: &Path, dead: impl Fn(LeaseId) -> bool) -> BTreeSet<LeaseId> {
    let mut had = BTreeSet::new();
    for (pid, lease) in processes(leases, Where::Outside) {
        if dead(lease) {
            // One that has ended meanwhile is what we want.
            let _ = kill_process(pid, Signal::KILL);
            had.insert(lease);
        }
    }
    had
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_belongs_to_the_lease_whose_folder_it_was_given() {
        let environ = b"A=1\0ASSAY_OUTPUT_DIR=/var/a/leases/l42.3/out\0B=2\0";
        let of = |prefix: &str| lease_of(environ, prefix.as_bytes());
        let lease = LeaseId { index: 42, ordinal: 3 };
        assert_eq!(of("ASSAY_OUTPUT_DIR=/var/a/leases/"), Some(lease));
        assert_eq!(of("ASSAY_OUTPUT_DIR=/var/b/leases/"), None);
    }
}
