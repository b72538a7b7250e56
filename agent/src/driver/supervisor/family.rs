//! Whether anything but tasks descends from the supervisor.
//!
//! The supervisor is a subreaper: a process whose parent ends becomes its child, whatever group,
//! session or environment it took. So while all of its children are tasks that run, no ended task
//! has left a process behind.
//! Source: prctl(2), `PR_SET_CHILD_SUBREAPER`; proc(5), `/proc/PID/task/TID/children`.

use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid,
};
use std::{fs, io};

/// All that this process has brought up or adopted.
pub(super) struct Family {
    whole: bool,
}

impl Family {
    /// Adopts from now on what its descendants leave behind.
    ///
    /// # Errors
    /// When the system refuses, which Linux since 3.4 does not.
    pub(super) fn adopt() -> io::Result<Self> {
        set_child_subreaper(Some(getpid()))?;
        Ok(Self { whole: true })
    }

    /// Knows nothing of what is left behind: for a process that has other children, too.
    pub(super) fn unknown() -> Self {
        Self { whole: false }
    }

    /// Its children that are not among `tasks` and have not ended; none if that is not known.
    pub(super) fn others(&self, tasks: &[Pid]) -> Option<Vec<Pid>> {
        let children = self.whole.then(children)?.ok()?;
        let ended = |pid| matches!(waitpid(Some(pid), WaitOptions::NOHANG), Ok(Some(_)));
        Some(children.into_iter().filter(|pid| !tasks.contains(pid) && !ended(*pid)).collect())
    }

    /// Kills what is not among `tasks`.
    pub(super) fn end_others(&self, tasks: &[Pid]) {
        for pid in self.others(tasks).unwrap_or_default() {
            // Not yet read, so the number is still its own; one that has ended is what we want.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

fn children() -> io::Result<Vec<Pid>> {
    let mut all = Vec::new();
    for thread in fs::read_dir("/proc/self/task")? {
        let text = fs::read_to_string(thread?.path().join("children"))?;
        all.extend(
            text.split_ascii_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)),
        );
    }
    Ok(all)
}
