//! The supervisor's own record: every lease with its tasks, and what time does to it.

use super::{
    family::Family,
    rooms::{self, Rooms},
    spawn, stray,
    wire::{Ask, LeaseView, Said, TaskCommand, TaskView},
};
use crate::{
    driver::{
        clock,
        sandbox::{ImageRoot, Room, Walls},
    },
    machine::Exit,
};
use domain::{LeaseId, Millis, observed::Observed};
use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    collections::BTreeMap,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::ExitStatus,
};

/// Time between two looks for processes that left their group, while a lease is being killed.
const SWEEP_AGAIN: Millis = Millis(10);

/// All leases of a node.
pub(super) struct Table {
    leases_dir: PathBuf,
    family: Family,
    leases: BTreeMap<LeaseId, Entry>,
    rooms: Rooms,
}

struct Entry {
    started: Millis,
    started_wall: Millis,
    deadline: Option<Millis>,
    tasks: BTreeMap<u32, Task>,
    killing: Option<Killing>,
    /// The walls around its tasks, until nothing runs within them any more.
    room: Option<Room>,
    /// The limit that ended it.
    over: Option<Exit>,
    /// What is told once nothing runs within its walls: the end of its last task.
    held_back: Vec<Said>,
    /// What was read from its tasks, by rank.
    observed: BTreeMap<u32, Observed>,
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
    Running(Pid),
    Ended(Exit, Millis),
}

/// What was just started and is to be watched.
pub(super) enum Born {
    /// A task.
    Task { lease: LeaseId, pid: Pid, task: TaskCommand },
    /// The first process of a lease's room.
    Room { lease: LeaseId, pid: Pid },
}

impl Table {
    pub(super) fn new(leases_dir: PathBuf, family: Family, rooms: Rooms) -> Self {
        Self { leases_dir, family, leases: BTreeMap::new(), rooms }
    }

    /// Whether no task runs.
    pub(super) fn is_idle(&self) -> bool {
        self.leases.values().all(|entry| !entry.runs() && entry.room.is_none())
    }

    /// Obeys the agent. [`Ask::End`] is the caller's.
    pub(super) fn obey(&mut self, ask: Ask, said: &mut Vec<Said>) -> Vec<Born> {
        match ask {
            Ask::Start { lease, deadline, tasks } => {
                self.start(lease, deadline, &tasks, None, said)
            }
            Ask::Confine { lease, deadline, tasks, walls } => {
                self.start(lease, deadline, &tasks, Some((&walls, None)), said)
            }
            Ask::Contain { lease, deadline, tasks, walls, image } => {
                self.start(lease, deadline, &tasks, Some((&walls, Some(&image))), said)
            }
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
                let over = |entry: &Entry| !entry.runs() && entry.room.is_none();
                if self.leases.get(&lease).is_some_and(over) {
                    self.leases.remove(&lease);
                }
                Vec::new()
            }
            Ask::List => {
                said.push(Said::All(self.leases.iter().map(|(id, it)| it.view(*id)).collect()));
                let of = |(lease, entry): (&LeaseId, &Entry)| entry.told(*lease);
                said.extend(self.leases.iter().flat_map(of));
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
        walls: Option<(&Walls, Option<&ImageRoot>)>,
        said: &mut Vec<Said>,
    ) -> Vec<Born> {
        let entry = self.leases.entry(lease).or_insert_with(|| Entry::new(deadline));
        let mut born = Vec::new();
        let first = entry.tasks.is_empty() && entry.killing.is_none();
        if let Some((walls, image)) = walls.filter(|_| first) {
            match self.rooms.build(lease, walls, image, tasks) {
                Ok(room) => {
                    born.push(Born::Room { lease, pid: room.pid() });
                    entry.room = Some(room);
                }
                Err(why) => {
                    entry.all_ended(tasks);
                    said.push(Said::NotConfined { lease, why: why.to_string() });
                }
            }
        }
        for task in tasks {
            let rank = task.rank;
            if entry.tasks.contains_key(&rank) || entry.killing.is_some() {
                continue;
            }
            let spawned = match &entry.room {
                Some(room) => spawn::spawn_in(room, task),
                None => spawn::spawn(task),
            };
            let why = match spawned {
                Ok(pid) => {
                    let number = pid.as_raw_nonzero().get().unsigned_abs();
                    said.push(Said::Started { lease, rank, pid: number });
                    born.push(Born::Task { lease, pid, task: task.clone() });
                    entry.tasks.insert(rank, Task::Running(pid));
                    continue;
                }
                Err(why) => why.to_string(),
            };
            // The rank has ended, in a way: its code is that of a shell that found no program.
            entry.tasks.insert(rank, Task::Ended(Exit::Code(127), clock::wall_now()));
            said.push(Said::NotStarted { lease, rank, why });
        }
        entry.close_if_done();
        born
    }

    /// The folder that holds the leases' folders.
    pub(super) fn leases_dir(&self) -> &Path {
        &self.leases_dir
    }

    /// Something was read from a task's process.
    pub(super) fn observed(
        &mut self,
        lease: LeaseId,
        rank: u32,
        observed: Observed,
        said: &mut Vec<Said>,
    ) {
        let Some(entry) = self.leases.get_mut(&lease) else { return };
        entry.observed.insert(rank, observed.clone());
        said.push(Said::Observed { lease, rank, observed });
    }

    /// A task's process has ended and waits to be read.
    pub(super) fn ended(&mut self, lease: LeaseId, rank: u32, said: &mut Vec<Said>) {
        let Some(entry) = self.leases.get_mut(&lease) else { return };
        let Some(Task::Running(pid)) = entry.tasks.get(&rank) else { return };
        // Before it is read, its number still names the group: what it left behind ends too.
        let _ = kill_process_group(*pid, Signal::KILL);
        let Ok(status) = spawn::wait(*pid) else { return };
        let exit = entry.meaning(status);
        let ended = clock::wall_now();
        entry.tasks.insert(rank, Task::Ended(exit, ended));
        entry.close_if_done();
        let walled = entry.room.is_some() && !entry.runs();
        if let Some(killing) = entry.killing.as_mut().filter(|_| !entry.tasks.values().any(runs)) {
            killing.look = Some(Millis(0));
        }
        let alone = !walled && self.is_alone();
        let told = Said::Exited { lease, rank, exit, ended, alone };
        match self.leases.get_mut(&lease).filter(|_| walled) {
            // What it left behind within its walls may still write: it ends first.
            Some(entry) => entry.held_back.push(told),
            None => said.push(told),
        }
    }

    /// Whether all that descends from the supervisor belongs to leases that run. What does not is
    /// ended where none runs: then it is nobody's helper.
    fn is_alone(&self) -> bool {
        let known = self.known();
        let alone = self.family.others(&known).is_some_and(|others| others.is_empty());
        if !alone && known.is_empty() {
            self.family.end_others(&known);
        }
        alone
    }

    /// The processes that the supervisor started: tasks, and the first ones of rooms.
    fn known(&self) -> Vec<Pid> {
        let of = |entry: &Entry| {
            let tasks: Vec<_> = entry.tasks.values().filter_map(running).collect();
            tasks.into_iter().chain(entry.room.as_ref().map(Room::pid))
        };
        self.leases.values().flat_map(of).collect()
    }

    /// Nothing runs within a lease's walls any more.
    pub(super) fn left(&mut self, lease: LeaseId, said: &mut Vec<Said>) {
        let Some(entry) = self.leases.get_mut(&lease) else { return };
        if let Some(room) = entry.room.take() {
            self.rooms.clear(&room);
        }
        let mut told = std::mem::take(&mut entry.held_back);
        let is_alone = self.is_alone();
        for said in &mut told {
            if let Said::Exited { alone, .. } = said {
                *alone = is_alone;
            }
        }
        said.append(&mut told);
    }

    /// Ends the leases that have reached a limit.
    pub(super) fn look_for_breaches(&mut self, now: Millis) {
        for entry in self.leases.values_mut().filter(|it| it.runs() && it.killing.is_none()) {
            if let Some(over) = entry.room.as_ref().and_then(rooms::breach) {
                entry.over = Some(over);
                entry.kill(Millis(0), now, false);
            }
        }
    }

    /// Whether any lease has walls.
    pub(super) fn has_rooms(&self) -> bool {
        self.leases.values().any(|entry| entry.room.is_some())
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
            if had.contains(&lease) || entry.room.is_some() {
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
        // While tasks run, what has no mark may be a helper of theirs; but what ended is read.
        self.is_alone();
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
            room: None,
            over: None,
            held_back: Vec::new(),
            observed: BTreeMap::new(),
        }
    }

    /// None of the tasks was started: their code is that of a shell that found no program.
    fn all_ended(&mut self, tasks: &[TaskCommand]) {
        let ended =
            |task: &TaskCommand| (task.rank, Task::Ended(Exit::Code(127), clock::wall_now()));
        self.tasks.extend(tasks.iter().map(ended));
    }

    /// What a task's end says, given what was done to its lease.
    fn meaning(&mut self, status: ExitStatus) -> Exit {
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
    fn close_if_done(&mut self) {
        if let Some(room) = self.room.as_ref().filter(|_| !self.tasks.values().any(runs)) {
            room.end();
        }
    }

    fn runs(&self) -> bool {
        self.tasks.values().any(runs)
    }

    fn signal(&self, signal: Signal) {
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

    /// What was read from its tasks, told again.
    fn told(&self, lease: LeaseId) -> Vec<Said> {
        let all = self.observed.iter();
        all.map(|(rank, observed)| (*rank, observed.clone()))
            .map(|(rank, observed)| Said::Observed { lease, rank, observed })
            .collect()
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

/// The process of a task that has not ended.
fn running(task: &Task) -> Option<Pid> {
    match task {
        Task::Running(pid) => Some(*pid),
        Task::Ended(..) => None,
    }
}

fn runs(task: &Task) -> bool {
    matches!(task, Task::Running(_))
}

fn exit(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Code(-1),
    }
}
