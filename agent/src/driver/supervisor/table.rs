//! The supervisor's own record: every lease with its tasks, and what time does to it.

use super::{
    entry::{Entry, Task, running, runs},
    family::Family,
    hand::Owner,
    rooms::{self, Rooms},
    spawn, stray,
    wire::{Ask, Said, TaskCommand},
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
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

/// Time between two looks for processes that left their group, while a lease is being killed.
const SWEEP_AGAIN: Millis = Millis(10);

/// All leases of a node.
pub(super) struct Table {
    leases_dir: PathBuf,
    family: Family,
    leases: BTreeMap<LeaseId, Entry>,
    rooms: Rooms,
    /// Whether helpers of the supervisor's own run, which are nobody's tasks.
    helped: bool,
}

/// What was just started and is to be watched.
pub(super) enum Born {
    /// A task.
    Task { lease: LeaseId, pid: Pid, task: TaskCommand },
    /// The first process of a lease's room.
    Room { lease: LeaseId, pid: Pid },
    /// Nothing, and what was given for it is to be handed back.
    Left { lease: LeaseId, owner: Owner },
}

impl Table {
    pub(super) fn new(leases_dir: PathBuf, family: Family, rooms: Rooms) -> Self {
        Self { leases_dir, family, leases: BTreeMap::new(), rooms, helped: false }
    }

    /// Whether no task runs.
    pub(super) fn is_idle(&self) -> bool {
        !self.helped && self.leases.values().all(|entry| !entry.runs() && !entry.is_walled())
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
                let over = |entry: &Entry| !entry.runs() && !entry.is_walled();
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
            // Errands are the caller's.
            Ask::LayOut { .. } | Ask::Look { .. } | Ask::Note { .. } => Vec::new(),
        }
    }

    /// Starts nothing of what was asked, and says so.
    pub(super) fn refuse(&mut self, ask: &Ask, why: &str, said: &mut Vec<Said>) {
        let (Ask::Start { lease, deadline, tasks }
        | Ask::Confine { lease, deadline, tasks, .. }
        | Ask::Contain { lease, deadline, tasks, .. }) = ask
        else {
            return;
        };
        let entry = self.leases.entry(*lease).or_insert_with(|| Entry::new(*deadline));
        if entry.tasks.is_empty() {
            entry.all_ended(tasks);
            said.push(Said::NotConfined { lease: *lease, why: why.to_owned() });
        }
    }

    /// Says whether helpers of the supervisor's own run.
    pub(super) fn help(&mut self, helped: bool) {
        self.helped = helped;
    }

    /// To whom the rest of a lease's folders is to be handed before it is forgotten; none while
    /// something may run there. It is on record until then: nothing is started meanwhile in folders
    /// that change hands.
    pub(super) fn forget_last(&mut self, lease: LeaseId) -> Option<Owner> {
        let owner = self.rooms.owner()?;
        let entry = self.leases.entry(lease).or_insert_with(|| Entry::new(None));
        let is_over = !entry.runs() && !entry.is_walled();
        entry.was_walled = true;
        entry.returning |= is_over;
        is_over.then_some(owner)
    }

    /// All of a lease's folders are the agent's.
    pub(super) fn forgotten(&mut self, lease: LeaseId) {
        self.leases.remove(&lease);
    }

    /// Whether a task of a lease runs.
    pub(super) fn is_running(&self, lease: LeaseId) -> bool {
        self.leases.get(&lease).is_some_and(Entry::runs)
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
        let first = entry.tasks.is_empty() && entry.killing.is_none() && !entry.was_walled;
        if let Some((walls, image)) = walls.filter(|_| first) {
            entry.was_walled = true;
            match self.rooms.build(lease, walls, image, tasks) {
                Ok(room) => {
                    born.push(Born::Room { lease, pid: room.pid() });
                    entry.room = Some(room);
                }
                Err(why) => {
                    entry.all_ended(tasks);
                    said.push(Said::NotConfined { lease, why: why.to_string() });
                    if let Some(owner) = self.rooms.owner() {
                        // They may be the tasks' in part.
                        entry.returning = true;
                        born.push(Born::Left { lease, owner });
                    }
                }
            }
        }
        let mut late = false;
        for task in tasks {
            let rank = task.rank;
            if entry.tasks.contains_key(&rank) || entry.killing.is_some() {
                continue;
            }
            let spawned = match (&entry.room, walls) {
                // One that hung may mean that the next one does.
                _ if late => Err(io::ErrorKind::TimedOut.into()),
                (Some(room), _) => spawn::spawn_in(room, task),
                (None, None) if self.rooms.owner().is_none() => spawn::spawn(task),
                (None, _) => Err(io::Error::other("the walls of its lease are gone")),
            };
            late |= spawned.as_ref().is_err_and(|why| why.kind() == io::ErrorKind::TimedOut);
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
        if self.helped {
            return false;
        }
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

    /// Nothing runs within a lease's walls any more. To whom what its tasks left is to be handed
    /// back first; else it is over.
    pub(super) fn left(&mut self, lease: LeaseId, said: &mut Vec<Said>) -> Option<Owner> {
        let entry = self.leases.get_mut(&lease)?;
        if let Some(room) = entry.room.take() {
            self.rooms.clear(&room);
        }
        let owner = self.rooms.owner();
        entry.returning = owner.is_some();
        if owner.is_none() {
            self.returned(lease, said);
        }
        owner
    }

    /// What a lease's tasks left is the agent's.
    pub(super) fn returned(&mut self, lease: LeaseId, said: &mut Vec<Said>) {
        let Some(entry) = self.leases.get_mut(&lease) else { return };
        entry.returning = false;
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
        // Where all tasks have walls, nothing strays; and to look waits for locks that the agent holds.
        let had = match self.rooms.owner() {
            None => stray::kill(&self.leases_dir, due),
            Some(_) => BTreeSet::new(),
        };
        let all: Vec<_> = leases.keys().copied().filter(|lease| due(*lease)).collect();
        for lease in all {
            let Some(entry) = self.leases.get_mut(&lease) else { continue };
            let walled = entry.is_walled();
            let Some(killing) = &mut entry.killing else { continue };
            if had.contains(&lease) || walled {
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
        if self.rooms.owner().is_none() {
            stray::kill(&self.leases_dir, |lease| {
                self.leases.get(&lease).is_none_or(|entry| !entry.runs())
            });
        }
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
