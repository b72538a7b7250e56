//! The supervisor's own record: every lease with its tasks, and what time does to it.

use super::{
    family::Family,
    spawn, stray,
    wire::{Ask, LeaseView, Said, TaskCommand, TaskView},
};
use crate::{driver::clock, machine::Exit};
use domain::{LeaseId, Millis};
use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    collections::BTreeMap,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Child, ExitStatus},
};

/// Time between two looks for processes that left their group, while a lease is being killed.
const SWEEP_AGAIN: Millis = Millis(10);

/// All leases of a node.
pub(super) struct Table {
    leases_dir: PathBuf,
    family: Family,
    leases: BTreeMap<LeaseId, Entry>,
}

struct Entry {
    started: Millis,
    started_wall: Millis,
    deadline: Option<Millis>,
    tasks: BTreeMap<u32, Task>,
    killing: Option<Killing>,
}

/// A lease whose processes are being ended.
#[derive(Clone, Copy)]
struct Killing {
    /// When SIGKILL follows; none once it was sent.
    harder: Option<Millis>,
    /// When to look again for what left its group.
    look: Option<Millis>,
    /// Whether [`Said::Killed`] is owed to the agent.
    told: bool,
}

enum Task {
    Running(Child),
    Ended(Exit, Millis),
}

/// A task that was just started and is to be watched.
pub(super) struct Born {
    pub(super) lease: LeaseId,
    pub(super) pid: Pid,
    pub(super) task: TaskCommand,
}

impl Table {
    pub(super) fn new(leases_dir: PathBuf, family: Family) -> Self {
        Self { leases_dir, family, leases: BTreeMap::new() }
    }

    /// Whether no task runs.
    pub(super) fn is_idle(&self) -> bool {
        self.leases.values().all(|entry| !entry.runs())
    }

    /// Obeys the agent. [`Ask::End`] is the caller's.
    pub(super) fn obey(&mut self, ask: Ask, said: &mut Vec<Said>) -> Vec<Born> {
        match ask {
            Ask::Start { lease, deadline, tasks } => self.start(lease, deadline, &tasks, said),
            Ask::Renew { lease, deadline } => {
                if let Some(entry) = self.leases.get_mut(&lease) {
                    entry.deadline = deadline;
                }
                Vec::new()
            }
            Ask::Kill { lease, grace } => {
                self.kill(lease, grace, said);
                Vec::new()
            }
            Ask::Forget { lease } => {
                if self.leases.get(&lease).is_some_and(|entry| !entry.runs()) {
                    self.leases.remove(&lease);
                }
                Vec::new()
            }
            Ask::List => {
                said.push(Said::All(self.leases.iter().map(|(id, it)| it.view(*id)).collect()));
                Vec::new()
            }
            Ask::End => {
                self.kill_all();
                Vec::new()
            }
        }
    }

    /// Starts what the lease does not have yet: a repeated request starts nothing twice.
    fn start(
        &mut self,
        lease: LeaseId,
        deadline: Option<Millis>,
        tasks: &[TaskCommand],
        said: &mut Vec<Said>,
    ) -> Vec<Born> {
        let entry = self.leases.entry(lease).or_insert_with(|| Entry::new(deadline));
        let mut born = Vec::new();
        for task in tasks {
            let rank = task.rank;
            if entry.tasks.contains_key(&rank) || entry.killing.is_some() {
                continue;
            }
            let why = match spawn::spawn(task) {
                Ok(child) => {
                    said.push(Said::Started { lease, rank, pid: child.id() });
                    born.push(Born { lease, pid: group(&child), task: task.clone() });
                    entry.tasks.insert(rank, Task::Running(child));
                    continue;
                }
                Err(why) => why.to_string(),
            };
            // The rank has ended, in a way: its code is that of a shell that found no program.
            entry.tasks.insert(rank, Task::Ended(Exit::Code(127), clock::wall_now()));
            said.push(Said::NotStarted { lease, rank, why });
        }
        born
    }

    /// A task's process has ended and waits to be read.
    pub(super) fn ended(&mut self, lease: LeaseId, rank: u32, said: &mut Vec<Said>) {
        let Some(entry) = self.leases.get_mut(&lease) else { return };
        let Some(Task::Running(child)) = entry.tasks.get_mut(&rank) else { return };
        // Before it is read, its number still names the group: what it left behind ends too.
        let _ = kill_process_group(group(child), Signal::KILL);
        let Ok(status) = child.wait() else { return };
        let exit = if entry.killing.is_some() { Exit::Killed } else { exit(status) };
        let ended = clock::wall_now();
        entry.tasks.insert(rank, Task::Ended(exit, ended));
        if let Some(killing) = entry.killing.as_mut().filter(|_| !entry.tasks.values().any(runs)) {
            killing.look = Some(Millis(0));
        }
        let tasks = self.running();
        let alone = self.family.others(&tasks).is_some_and(|others| others.is_empty());
        if !alone && tasks.is_empty() {
            self.family.end_others(&tasks);
        }
        said.push(Said::Exited { lease, rank, exit, ended, alone });
    }

    fn running(&self) -> Vec<Pid> {
        let tasks = self.leases.values().flat_map(|entry| entry.tasks.values());
        tasks
            .filter_map(|task| match task {
                Task::Running(child) => Some(group(child)),
                Task::Ended(..) => None,
            })
            .collect()
    }

    fn kill(&mut self, lease: LeaseId, grace: Millis, said: &mut Vec<Said>) {
        let now = clock::boot_now();
        match self.leases.get_mut(&lease) {
            None => said.push(Said::Killed { lease }),
            Some(entry) => entry.kill(grace, now, true),
        }
    }

    fn kill_all(&mut self) {
        for entry in self.leases.values_mut() {
            entry.kill(Millis(0), Millis(0), false);
        }
    }

    /// Does what is due at `now`.
    pub(super) fn tick(&mut self, now: Millis, said: &mut Vec<Said>) {
        let mut look = false;
        for entry in self.leases.values_mut() {
            if entry.deadline.is_some_and(|at| at <= now) && entry.runs() {
                entry.kill(Millis(0), now, false);
            }
            let Some(killing) = &mut entry.killing else { continue };
            if killing.harder.is_some_and(|at| at <= now) {
                killing.harder = None;
                entry.signal(Signal::KILL);
            }
            look |= entry.killing.is_some_and(|it| it.look.is_some_and(|at| at <= now));
        }
        if look {
            self.sweep(now, said);
        }
    }

    /// Says of each lease that is due that nothing is left of it, if so.
    fn sweep(&mut self, now: Millis, said: &mut Vec<Said>) {
        let leases = &self.leases;
        let due = |lease: LeaseId| {
            let killing = leases.get(&lease).and_then(|entry| entry.killing);
            killing.is_some_and(|it| it.look.is_some_and(|at| at <= now))
        };
        let had = stray::kill(&self.leases_dir, due);
        let all: Vec<_> = leases.keys().copied().filter(|lease| due(*lease)).collect();
        for lease in all {
            let Some(entry) = self.leases.get_mut(&lease) else { continue };
            let Some(killing) = &mut entry.killing else { continue };
            if had.contains(&lease) {
                killing.look = Some(now.plus(SWEEP_AGAIN));
                continue;
            }
            killing.look = None;
            if killing.told {
                said.push(Said::Killed { lease });
            }
        }
    }

    /// Kills what belongs to no lease that runs: it left its group and outlived its task.
    pub(super) fn sweep_ended(&self) {
        stray::kill(&self.leases_dir, |lease| {
            self.leases.get(&lease).is_none_or(|entry| !entry.runs())
        });
        let tasks = self.running();
        // While tasks run, what has no mark may be a helper of theirs; but what ended is read.
        let _ = self.family.others(&tasks);
        if tasks.is_empty() {
            self.family.end_others(&tasks);
        }
    }

    /// The next instant at which [`Table::tick`] has something to do.
    pub(super) fn wake(&self) -> Option<Millis> {
        let due = |entry: &Entry| {
            let deadline = entry.deadline.filter(|_| entry.runs() && entry.killing.is_none());
            let killing = entry.killing.iter().flat_map(|it| [it.harder, it.look]).flatten();
            killing.chain(deadline).min()
        };
        self.leases.values().filter_map(due).min()
    }
}

impl Entry {
    fn new(deadline: Option<Millis>) -> Self {
        Self {
            started: clock::boot_now(),
            started_wall: clock::wall_now(),
            deadline,
            tasks: BTreeMap::new(),
            killing: None,
        }
    }

    fn runs(&self) -> bool {
        self.tasks.values().any(runs)
    }

    fn signal(&self, signal: Signal) {
        for task in self.tasks.values() {
            if let Task::Running(child) = task {
                // Not yet read, so the number is still its own; an ended group is no fault.
                let _ = kill_process_group(group(child), signal);
            }
        }
    }

    /// Begins to end the lease, or goes on harder if that was begun more gently.
    fn kill(&mut self, grace: Millis, now: Millis, told: bool) {
        let at_once = grace == Millis(0);
        self.signal(if at_once { Signal::KILL } else { Signal::TERM });
        let before = self.killing;
        let later = now.plus(grace);
        let harder = before.map_or(Some(later), |it| it.harder.map(|at| at.min(later)));
        self.killing = Some(Killing {
            harder: harder.filter(|_| !at_once),
            look: Some(Millis(0)).filter(|_| !self.runs()),
            told: told || before.is_some_and(|it| it.told),
        });
    }

    fn view(&self, lease: LeaseId) -> LeaseView {
        let tasks = self.tasks.iter().map(|(rank, task)| TaskView {
            rank: *rank,
            exit: match task {
                Task::Running(_) => None,
                Task::Ended(exit, at) => Some((*exit, *at)),
            },
        });
        LeaseView {
            lease,
            started: self.started,
            started_wall: self.started_wall,
            deadline: self.deadline,
            tasks: tasks.collect(),
        }
    }
}

fn runs(task: &Task) -> bool {
    matches!(task, Task::Running(_))
}

/// The process group that the task leads.
fn group(child: &Child) -> Pid {
    Pid::from_child(child)
}

fn exit(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Code(-1),
    }
}
