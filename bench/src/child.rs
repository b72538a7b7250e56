//! Processes that the benchmark starts, ended with their value.

use rustix::process::{Pid, Signal, kill_process};
use std::{
    process::{Child, Command},
    time::{Duration, Instant},
};

/// Longest wait for a process to end after SIGTERM.
const STOP: Duration = Duration::from_secs(15);

/// How a process is ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// At once.
    Kill,
    /// By SIGTERM, and by SIGKILL when it does not heed it.
    Ask,
}

/// A running process.
pub struct Process {
    child: Child,
    ending: Ending,
}

impl Process {
    /// Starts it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command, ending: Ending) -> std::io::Result<Self> {
        Ok(Self { child: command.spawn()?, ending })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The child itself.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Kills it at once and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ending == Ending::Ask && signal(self.pid(), Signal::TERM) {
            let patience = Instant::now() + STOP;
            while self.runs() && Instant::now() < patience {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        self.kill();
    }
}

/// Sends SIGKILL to a process.
pub fn kill(pid: u32) -> bool {
    signal(pid, Signal::KILL)
}

fn signal(pid: u32, signal: Signal) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| kill_process(pid, signal).is_ok())
}
