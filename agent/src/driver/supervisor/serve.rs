//! The supervisor's event loop: one agent at a time, every task, and the boot-time clock.

use super::{
    SupervisorError,
    errands::{Errands, UNDER_WAY_MAX},
    family::Family,
    guard::{self, Rules},
    hand::{self, Owner},
    hand_back,
    look_after::look_after,
    observe::Drift,
    rooms::Rooms,
    stray,
    table::{Born, Table},
    timer::{Timer, readable},
    wire::{self, Ask, Said, SocketPath},
};
use crate::driver::{clock, dirs::NodeDirs};
use domain::{LeaseId, Millis, job::EndCause, observed::Observed};
use rustix::{
    fs::{FlockOperation, Gid, Mode, chmod, chown},
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};
use std::{
    fs,
    future::Future,
    io,
    os::{fd::OwnedFd, unix::fs::PermissionsExt},
    path::Path,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::unix::AsyncFd,
    net::{UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::{AbortHandle, JoinSet},
};

/// Time without tasks or an agent after which a supervisor ends by itself.
pub const IDLE_END: Millis = Millis(60_000);
/// Time between two looks for strays and idleness.
pub const HOUSEKEEPING: Duration = Duration::from_secs(10);
/// Time between two looks for limits that were reached by a task that goes on.
const LIMITS: Duration = Duration::from_millis(250);
/// Asks that wait for the loop, each as long as a message may be.
const ASKED_AHEAD: usize = 4;
/// Pause while no process can be watched.
const WATCH_AGAIN: Duration = Duration::from_millis(100);
/// Messages that an agent may leave unread before it is dropped; it lists all when it is back.
const SAID_AHEAD: usize = 8_192;
/// The file that a supervisor locks.
const LOCK: &str = "supervisor.lock";
/// Tries to lock it, and the pause between two.
const LOCK_TRIES: u32 = 20;
const LOCK_AGAIN: Duration = Duration::from_millis(10);
/// Events that wait for the loop.
const EVENTS_AHEAD: usize = 1_024;

/// What happens to a supervisor.
pub(super) enum Event {
    Asked { agent: u64, ask: Ask, room: OwnedSemaphorePermit },
    Left { agent: u64 },
    Differs { lease: LeaseId, rank: u32, why: String },
    Ended { lease: LeaseId, rank: u32 },
    Observed { lease: LeaseId, rank: u32, observed: Box<Observed> },
    Drifted { lease: LeaseId, rank: u32, drift: Drift },
    RoomLeft { lease: LeaseId },
    Returned { lease: LeaseId, why: Option<String> },
    Forgotten { lease: LeaseId },
    Done { errand: Errand, said: Option<Box<Said>> },
}

/// What is done for the agent beside tasks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Errand {
    /// Has children of its own.
    Image,
    Look,
    Note,
}

/// Reads what a supervisor goes by; again for each agent that comes, whose settings may be new.
pub type ReadRules = Box<dyn Fn() -> Result<Rules, String> + Send>;

/// Serves `dir` in this process, on its socket, until told to end or idle for [`IDLE_END`].
///
/// # Errors
/// When the folder cannot be used or is served already.
pub async fn serve(dir: &Path, read: ReadRules) -> Result<(), SupervisorError> {
    with(dir, Family::unknown(), read).await
}

/// [`serve`] by a process that has no other children.
pub(super) async fn with(
    dir: &Path,
    family: Family,
    read: ReadRules,
) -> Result<(), SupervisorError> {
    let rules =
        read().map_err(|why| SupervisorError::Rules { dir: dir.display().to_string(), why })?;
    let owner = rules.owner;
    let folder = |path: &Path, why: io::Error| SupervisorError::Folder {
        path: path.display().to_string(),
        why,
    };
    let leases = dir.join("leases");
    fs::create_dir_all(&leases).map_err(|why| folder(&leases, why))?;
    let _lock = lock(dir)?;
    // What a predecessor that died left running belongs to no lease that anyone can renew.
    stray::kill(&leases, |_| true);
    let socket = SocketPath::in_folder(dir).map_err(|why| folder(dir, why))?;
    match fs::remove_file(&socket.path) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(folder(dir, why)),
        _ => {}
    }
    let dirs = NodeDirs { root: dir.to_owned() };
    // First, for it ends what an earlier supervisor's rooms hold.
    let rooms = Rooms::of(dir, owner);
    if let Some(owner) = owner {
        hand::files().map_err(|why| SupervisorError::System { what: "have files open", why })?;
        hand_back::settle(&dirs, owner).map_err(|why| folder(dir, why))?;
    }
    wire::write_version(dir, owner.map(|owner| owner.uid)).map_err(|why| folder(dir, why))?;
    let listener = UnixListener::bind(&socket.path).map_err(|why| folder(dir, why))?;
    if let Some(owner) = owner {
        chown(&*socket.path, None, Some(Gid::from_raw(owner.gid)))
            .and_then(|()| chmod(&*socket.path, Mode::from_raw_mode(0o660)))
            .map_err(|why| folder(dir, why.into()))?;
    }
    let timer = Timer::new().map_err(|why| SupervisorError::System { what: "set a timer", why })?;
    let (events, inbox) = mpsc::channel(EVENTS_AHEAD);
    let mut serve = Serve {
        table: Table::new(leases, family, rooms),
        errands: Errands::new(dirs.clone(), rules.clone()),
        under_way: Vec::new(),
        dirs,
        rules,
        read,
        agent: None,
        agents: 0,
        events,
        running: JoinSet::new(),
        idle_since: clock::boot_now(),
        ending: false,
    };
    serve.run(listener, timer, inbox).await;
    // The next supervisor binds its own; a client that finds none starts one.
    let _ = fs::remove_file(&socket.path);
    Ok(())
}

/// Whether a supervisor serves `dir`: it holds the lock as long as it lives.
pub(super) fn is_served(dir: &Path) -> io::Result<bool> {
    let file = match fs::File::open(dir.join(LOCK)) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(why) => Err(why.into()),
    }
}

fn lock(dir: &Path) -> Result<fs::File, SupervisorError> {
    let path = dir.join(LOCK);
    let named = path.display().to_string();
    let failed = |why| SupervisorError::Folder { path: named.clone(), why };
    let file = fs::File::create(&path).map_err(failed)?;
    // Whoever could open it could lock it.
    file.set_permissions(fs::Permissions::from_mode(0o600)).map_err(failed)?;
    let mut tries = 0;
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            // An agent that looks whether it is locked holds it for a moment.
            Err(Errno::WOULDBLOCK) if tries < LOCK_TRIES => tries += 1,
            Err(Errno::WOULDBLOCK) => {
                return Err(SupervisorError::Taken(dir.display().to_string()));
            }
            Err(why) => return Err(SupervisorError::Folder { path: named, why: why.into() }),
        }
        std::thread::sleep(LOCK_AGAIN);
    }
}

struct Serve {
    table: Table,
    errands: Errands,
    under_way: Vec<Errand>,
    dirs: NodeDirs,
    rules: Rules,
    read: ReadRules,
    agent: Option<Contact>,
    agents: u64,
    events: mpsc::Sender<Event>,
    running: JoinSet<()>,
    idle_since: Millis,
    ending: bool,
}

/// The agent in contact. Its connection ends with this.
struct Contact {
    number: u64,
    said: mpsc::Sender<Said>,
    carried: [AbortHandle; 2],
}

impl Drop for Contact {
    fn drop(&mut self) {
        self.carried.iter().for_each(AbortHandle::abort);
    }
}

impl Serve {
    async fn run(
        &mut self,
        listener: UnixListener,
        mut timer: Timer,
        mut inbox: mpsc::Receiver<Event>,
    ) {
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        let mut limits = tokio::time::interval(LIMITS);
        limits.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !self.is_over() {
            timer.set(self.table.wake());
            // Every arm is cancel-safe: accept, recv, an interval's tick, readiness, join_next.
            tokio::select! {
                accepted = listener.accept() => {
                    if let Ok((stream, _)) = accepted {
                        self.greet(stream);
                    }
                }
                Some(event) = inbox.recv() => self.take(event),
                () = timer.fired() => {}
                _ = housekeeping.tick() => self.table.sweep_ended(),
                _ = limits.tick(), if self.table.has_rooms() => {
                    self.table.look_for_breaches(clock::boot_now());
                }
                Some(_) = self.running.join_next() => {}
            }
            let mut said = Vec::new();
            self.table.tick(clock::boot_now(), &mut said);
            self.say(said);
        }
        self.running.shutdown().await;
    }

    fn is_over(&mut self) -> bool {
        let now = clock::boot_now();
        if !self.table.is_idle() || (self.agent.is_some() && !self.ending) {
            self.idle_since = now;
            return false;
        }
        self.ending || now >= self.idle_since.plus(IDLE_END)
    }

    /// A newer agent takes the place of an older one, which may be dead or hang.
    fn greet(&mut self, stream: UnixStream) {
        if !self.knows(&stream) {
            return;
        }
        match (self.read)() {
            Ok(rules) if rules.owner == self.rules.owner => {
                self.errands.renew(&rules);
                self.rules = rules;
            }
            Ok(_) => eprintln!("assay: `user` was changed: it holds from this supervisor's end on"),
            Err(why) => eprintln!("assay: settings are not read anew: {why}"),
        }
        self.agents += 1;
        let agent = self.agents;
        let (mut input, mut output) = stream.into_split();
        let (said, mut outbox) = mpsc::channel::<Said>(SAID_AHEAD);
        let events = self.events.clone();
        let writing = self.running.spawn(async move {
            while let Some(message) = outbox.recv().await {
                if wire::write(&mut output, &message).await.is_err() {
                    return;
                }
            }
        });
        let ahead = Arc::new(Semaphore::new(ASKED_AHEAD));
        let reading = self.running.spawn(async move {
            while let Ok(room) = Arc::clone(&ahead).acquire_owned().await
                && let Ok(Some(ask)) = wire::read(&mut input).await
            {
                if events.send(Event::Asked { agent, ask, room }).await.is_err() {
                    return;
                }
            }
            let _ = events.send(Event::Left { agent }).await;
        });
        self.agent = Some(Contact { number: agent, said, carried: [reading, writing] });
    }

    fn take(&mut self, event: Event) {
        let current = self.agent.as_ref().map(|agent| agent.number);
        let mut said = Vec::new();
        match event {
            Event::Asked { agent, ask, room } if current == Some(agent) => {
                self.asked(ask, &mut said);
                drop(room);
            }
            Event::Left { agent } if current == Some(agent) => self.agent = None,
            // From an agent whose place was taken.
            Event::Asked { .. } | Event::Left { .. } => {}
            Event::Differs { lease, rank, why } => said.push(Said::Differs { lease, rank, why }),
            Event::Ended { lease, rank } => self.table.ended(lease, rank, &mut said),
            Event::Observed { lease, rank, observed } => {
                self.table.observed(lease, rank, *observed, &mut said);
            }
            Event::Drifted { lease, rank, drift: Drift { name, asked, found } } => {
                said.push(Said::Drifted { lease, rank, name, asked, found });
            }
            Event::RoomLeft { lease } => {
                if let Some(owner) = self.table.left(lease, &mut said) {
                    self.hand_back(lease, owner);
                }
            }
            Event::Returned { lease, why } => {
                said.extend(why.map(|why| Said::NotReturned { lease, why }));
                self.table.returned(lease, &mut said);
            }
            Event::Forgotten { lease } => {
                self.table.forgotten(lease);
                said.push(Said::Forgotten { lease });
            }
            Event::Done { errand, said: done } => {
                let at = self.under_way.iter().position(|it| *it == errand);
                at.map(|at| self.under_way.swap_remove(at));
                self.table.help(self.under_way.contains(&Errand::Image));
                said.extend(done.map(|said| *said));
            }
        }
        self.say(said);
    }

    fn asked(&mut self, mut ask: Ask, said: &mut Vec<Said>) {
        self.ending |= ask == Ask::End;
        match ask {
            Ask::LayOut { image } if self.under_way.len() >= UNDER_WAY_MAX => {
                let detail = format!("{UNDER_WAY_MAX} errands are under way at the supervisor");
                said.push(Said::LaidOut { image, laid: Err(EndCause::Prepare { detail }) });
            }
            Ask::LayOut { image } if guard::well_formed(&image).is_err() => {
                let detail = "no text says this name of an image".to_owned();
                said.push(Said::LaidOut { image, laid: Err(EndCause::Prepare { detail }) });
            }
            Ask::LayOut { image } => {
                let errands = self.errands.clone();
                self.run_errand(Errand::Image, errands.lay_out(image));
            }
            // The agent asks again.
            Ask::Look { .. } if self.under_way.contains(&Errand::Look) => {}
            Ask::Look { ranks } => {
                let errands = self.errands.clone();
                self.run_errand(Errand::Look, errands.look(ranks));
            }
            Ask::Note { lease, rank, text, dump } => {
                if self.table.is_running(lease) {
                    let errands = self.errands.clone();
                    self.run_errand(Errand::Note, errands.note(lease, rank, text, dump));
                }
            }
            Ask::Forget { lease } if self.rules.owner.is_some() => {
                if let Some(owner) = self.table.forget_last(lease) {
                    self.hand_last_back(lease, owner);
                }
            }
            _ => {
                let checked = self.rules.check(&self.dirs, self.errands.images(), &mut ask);
                let born = match checked {
                    Ok(()) => self.table.obey(ask, said),
                    Err(why) => return self.table.refuse(&ask, &why, said),
                };
                for born in born {
                    self.watch(born);
                }
            }
        }
    }

    fn run_errand(&mut self, errand: Errand, work: impl Future<Output = Said> + Send + 'static) {
        if self.under_way.len() >= UNDER_WAY_MAX {
            return;
        }
        self.under_way.push(errand);
        self.table.help(self.under_way.contains(&Errand::Image));
        let events = self.events.clone();
        self.running.spawn(async move {
            // One that fails in an unforeseen way is over, too.
            let said = tokio::spawn(work).await.ok().map(Box::new);
            let _ = events.send(Event::Done { errand, said }).await;
        });
    }

    /// Hands a lease's folders back to the agent: not on the loop's thread, for they may be large.
    fn hand_back(&mut self, lease: LeaseId, owner: Owner) {
        let (events, dirs) = (self.events.clone(), self.dirs.clone());
        self.running.spawn(async move {
            let back = move || hand_back::back(&dirs, &dirs.lease(lease), owner);
            let back = tokio::task::spawn_blocking(back).await;
            let why = match back {
                Ok(Ok(())) => None,
                Ok(Err(why)) => Some(why.to_string()),
                Err(why) => Some(why.to_string()),
            };
            let _ = events.send(Event::Returned { lease, why }).await;
        });
    }

    /// Hands the rest back: a fault is the agent's to meet, when it removes them.
    fn hand_last_back(&mut self, lease: LeaseId, owner: Owner) {
        let (events, dirs) = (self.events.clone(), self.dirs.clone());
        self.running.spawn(async move {
            let last = move || hand_back::last(&dirs, &dirs.lease(lease), owner);
            let last = tokio::task::spawn_blocking(last).await.map_err(io::Error::other).flatten();
            if let Err(why) = last {
                eprintln!("assay: checkpoints of {lease} not handed back: {why}");
            }
            let _ = events.send(Event::Forgotten { lease }).await;
        });
    }

    /// Whether the agent at the other end is one that is served.
    fn knows(&self, stream: &UnixStream) -> bool {
        let Some(owner) = self.rules.owner else { return true };
        stream.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == owner.uid)
    }

    fn say(&mut self, said: Vec<Said>) {
        for message in said {
            let Some(agent) = &self.agent else { return };
            if agent.said.try_send(message).is_err() {
                self.agent = None;
            }
        }
    }

    /// Waits for a task's end without a thread of its own, and meanwhile reads back what is in
    /// force.
    fn watch(&mut self, born: Born) {
        let events = self.events.clone();
        let (lease, pid, task) = match born {
            Born::Task { lease, pid, task } => (lease, pid, task),
            Born::Room { lease, pid } => return self.watch_room(lease, pid),
            Born::Left { lease, owner } => return self.hand_back(lease, owner),
        };
        let rank = task.rank;
        let leases = self.table.leases_dir().to_owned();
        self.running.spawn(async move {
            if let Some(fd) = end_of(pid).await {
                // Both arms are cancel-safe: readiness stays, and looking changes nothing.
                tokio::select! {
                    _ = fd.readable() => {}
                    () = look_after(&leases, lease, pid, &task, &events) => {}
                }
                let _ = fd.readable().await;
            }
            let _ = events.send(Event::Ended { lease, rank }).await;
        });
    }

    /// Waits for the end of a room's first process, which is the last of the room to end.
    fn watch_room(&mut self, lease: LeaseId, pid: Pid) {
        let events = self.events.clone();
        self.running.spawn(async move {
            if let Some(fd) = end_of(pid).await {
                let _ = fd.readable().await;
            }
            let _ = events.send(Event::RoomLeft { lease }).await;
        });
    }
}

/// Readable once a process has ended; none when it has been waited for already. While no more files
/// can be opened it is tried again: what is not watched must not count as ended.
async fn end_of(pid: Pid) -> Option<AsyncFd<OwnedFd>> {
    loop {
        match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Err(Errno::SRCH) => return None,
            Ok(fd) => {
                if let Ok(fd) = readable(fd) {
                    return Some(fd);
                }
            }
            Err(_) => {}
        }
        tokio::time::sleep(WATCH_AGAIN).await;
    }
}
