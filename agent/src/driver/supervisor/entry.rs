//! One lease as the supervisor knows it: its tasks, its walls, and its end.

use super::{
    rooms,
    wire::{LeaseView, Said, TaskCommand, TaskView},
};
use crate::{
    driver::{clock, sandbox::Room},
    machine::Exit,
};
use domain::{LeaseId, Millis, observed::Observed};
use rustix::process::{Pid, Signal, kill_process_group};
use std::{collections::BTreeMap, os::unix::process::ExitStatusExt, process::ExitStatus};

/// A lease with its tasks.
pub(super) struct Entry {
    pub(super) started: Millis,
    pub(super) started_wall: Millis,
    pub(super) deadline: Option<Millis>,
    pub(super) tasks: BTreeMap<u32, Task>,
    pub(super) killing: Option<Killing>,
    /// The walls around its tasks, until nothing runs within them any more.
    pub(super) room: Option<Room>,
    /// The limit that ended it.
    pub(super) over: Option<Exit>,
    /// Whether walls were built for it, or tried: once.
    pub(super) was_walled: bool,
    /// Whether what its tasks left is being handed back to the agent.
    pub(super) returning: bool,
    /// What is told once nothing runs within its walls: the end of its last task.
    pub(super) held_back: Vec<Said>,
    /// What was read from its tasks, by rank.
    pub(super) observed: BTreeMap<u32, Observed>,
}

/// A lease whose processes are being ended.
#[derive(Clone, Copy)]
pub(super) struct Killing {
    /// When SIGKILL follows; none once it was sent.
    pub(super) harder: Option<Millis>,
    /// When to look again for what left its group.
    pub(super) look: Option<Millis>,
    /// Whether [`Said::Killed`] is owed to the agent.
    pub(super) told: bool,
}

/// A task.
pub(super) enum Task {
    Running(Pid),
    Ended(Exit, Millis),
}

impl Entry {
    pub(super) fn new(deadline: Option<Millis>) -> Self {
        Self {
            started: clock::boot_now(),
            started_wall: clock::wall_now(),
            deadline,
            tasks: BTreeMap::new(),
            killing: None,
            room: None,
            over: None,
            was_walled: false,
            returning: false,
            held_back: Vec::new(),
            observed: BTreeMap::new(),
        }
    }

    /// None of the tasks was started: their code is that of a shell that found no program.
    pub(super) fn all_ended(&mut self, tasks: &[TaskCommand]) {
        let ended =
            |task: &TaskCommand| (task.rank, Task::Ended(Exit::Code(127), clock::wall_now()));
        self.tasks.extend(tasks.iter().map(ended));
    }

    /// What a task's end says, given what was done to its lease.
    pub(super) fn meaning(&mut self, status: ExitStatus) -> Exit {
        let exit = exit(status);
        if self.over.is_none() && self.killing.is_none() && exit != Exit::Code(0) {
            self.over = self.room.as_ref().and_then(rooms::breach);
        }
        match (self.over, self.killing) {
            (Some(over), _) => over,
            (None, Some(_)) => Exit::Killed,
            (None, None) => exit,
        }
    }

    /// Once no task runs, nothing is to run within its walls.
    pub(super) fn close_if_done(&mut self) {
        if let Some(room) = self.room.as_ref().filter(|_| !self.tasks.values().any(runs)) {
            room.end();
        }
    }

    pub(super) fn runs(&self) -> bool {
        self.tasks.values().any(runs)
    }

    /// Whether something may still run within its walls, or what ran there is not yet the agent's.
    pub(super) fn is_walled(&self) -> bool {
        self.room.is_some() || self.returning
    }

    pub(super) fn signal(&self, signal: Signal) {
        for task in self.tasks.values() {
            if let Task::Running(pid) = task {
                // Not yet read, so the number is still its own; an ended group is no fault.
                let _ = kill_process_group(*pid, signal);
            }
        }
        if signal == Signal::KILL
            && let Some(room) = &self.room
        {
            room.end();
        }
    }

    /// Begins to end the lease, or goes on harder if that was begun more gently.
    pub(super) fn kill(&mut self, grace: Millis, now: Millis, told: bool) {
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

    /// What was read from its tasks, told again.
    pub(super) fn told(&self, lease: LeaseId) -> Vec<Said> {
        let all = self.observed.iter();
        all.map(|(rank, observed)| (*rank, observed.clone()))
            .map(|(rank, observed)| Said::Observed { lease, rank, observed })
            .collect()
    }

    pub(super) fn view(&self, lease: LeaseId) -> LeaseView {
        // An end that is held back is told once it may be acted upon.
        let held = |of: u32| {
            let is = |said: &Said| matches!(said, Said::Exited { rank, .. } if *rank == of);
            self.held_back.iter().any(is)
        };
        let tasks = self.tasks.iter().map(|(rank, task)| TaskView {
            rank: *rank,
            exit: match task {
                Task::Running(_) => None,
                Task::Ended(..) if held(*rank) => None,
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

/// The process of a task that has not ended.
pub(super) fn running(task: &Task) -> Option<Pid> {
    match task {
        Task::Running(pid) => Some(*pid),
        Task::Ended(..) => None,
    }
}

pub(super) fn runs(task: &Task) -> bool {
    matches!(task, Task::Running(_))
}

fn exit(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Code(-1),
    }
}
