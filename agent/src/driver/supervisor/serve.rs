//! The supervisor's event loop: one agent at a time, every task, and the boot-time clock.

use super::{
    SupervisorError,
    family::Family,
    observe::{self, Drift},
    rooms::Rooms,
    spawn::{self, InForce},
    stray,
    table::{Born, Table},
    wire::{self, Ask, Said, SocketPath, TaskCommand},
};
use crate::driver::clock;
use domain::{LeaseId, Millis, observed::Observed};
use rustix::{
    fs::FlockOperation,
    process::{Pid, PidfdFlags, pidfd_open},
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    },
};
use std::{fs, io, os::fd::OwnedFd, path::Path, time::Duration};
use tokio::{
    io::unix::AsyncFd,
    net::{UnixListener, UnixStream},
    sync::mpsc,
    task::JoinSet,
};

/// Time without tasks or an agent after which a supervisor ends by itself.
pub const IDLE_END: Millis = Millis(60_000);
/// Time between two looks for strays and idleness.
pub const HOUSEKEEPING: Duration = Duration::from_secs(10);
/// Time between two looks for limits that were reached by a task that goes on.
const LIMITS: Duration = Duration::from_millis(250);
/// Pauses before each look at what is in force in a task.
const LOOKS: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(2),
    Duration::from_millis(20),
    Duration::from_millis(200),
];
/// Pauses before each look at what a task has loaded and what it has started; the last one again
/// and again.
const LATER: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
];
/// Messages that an agent may leave unread before it is dropped; it lists all when it is back.
const SAID_AHEAD: usize = 8_192;
/// The file that a supervisor locks.
const LOCK: &str = "supervisor.lock";
/// Events that wait for the loop.
const EVENTS_AHEAD: usize = 1_024;

enum Event {
    Asked { agent: u64, ask: Ask },
    Left { agent: u64 },
    Differs { lease: LeaseId, rank: u32, why: String },
    Ended { lease: LeaseId, rank: u32 },
    Observed { lease: LeaseId, rank: u32, observed: Box<Observed> },
    Drifted { lease: LeaseId, rank: u32, drift: Drift },
    RoomLeft { lease: LeaseId },
}

/// Serves `dir` in this process, on its socket, until told to end or idle for [`IDLE_END`].
///
/// # Errors
/// When the folder cannot be used or is served already.
pub async fn serve(dir: &Path) -> Result<(), SupervisorError> {
    with(dir, Family::unknown()).await
}

/// [`serve`] by a process that has no other children.
pub(super) async fn with(dir: &Path, family: Family) -> Result<(), SupervisorError> {
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
    wire::write_version(dir).map_err(|why| folder(dir, why))?;
    let listener = UnixListener::bind(&socket.path).map_err(|why| folder(dir, why))?;
    let timer = Timer::new().map_err(|why| SupervisorError::System { what: "set a timer", why })?;
    let (events, inbox) = mpsc::channel(EVENTS_AHEAD);
    let mut serve = Serve {
        table: Table::new(leases, family, Rooms::of(dir)),
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
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(why) => Err(why.into()),
    }
}

fn lock(dir: &Path) -> Result<fs::File, SupervisorError> {
    let path = dir.join(LOCK);
    let named = path.display().to_string();
    let file = fs::File::create(&path)
        .map_err(|why| SupervisorError::Folder { path: named.clone(), why })?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Err(SupervisorError::Taken(dir.display().to_string()))
        }
        Err(why) => Err(SupervisorError::Folder { path: named, why: why.into() }),
    }
}

struct Serve {
    table: Table,
    /// The agent in contact, and its number.
    agent: Option<(u64, mpsc::Sender<Said>)>,
    agents: u64,
    events: mpsc::Sender<Event>,
    running: JoinSet<()>,
    idle_since: Millis,
    ending: bool,
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
        self.agents += 1;
        let agent = self.agents;
        let (mut input, mut output) = stream.into_split();
        let (said, mut outbox) = mpsc::channel::<Said>(SAID_AHEAD);
        let events = self.events.clone();
        self.running.spawn(async move {
            while let Some(message) = outbox.recv().await {
                if wire::write(&mut output, &message).await.is_err() {
                    return;
                }
            }
        });
        self.running.spawn(async move {
            while let Ok(Some(ask)) = wire::read(&mut input).await {
                if events.send(Event::Asked { agent, ask }).await.is_err() {
                    return;
                }
            }
            let _ = events.send(Event::Left { agent }).await;
        });
        self.agent = Some((agent, said));
    }

    fn take(&mut self, event: Event) {
        let current = self.agent.as_ref().map(|(agent, _)| *agent);
        let mut said = Vec::new();
        match event {
            Event::Asked { agent, ask } if current == Some(agent) => {
                self.ending |= ask == Ask::End;
                for born in self.table.obey(ask, &mut said) {
                    self.watch(born);
                }
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
            Event::RoomLeft { lease } => self.table.left(lease, &mut said),
        }
        self.say(said);
    }

    fn say(&mut self, said: Vec<Said>) {
        for message in said {
            let Some((_, agent)) = &self.agent else { return };
            if agent.try_send(message).is_err() {
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
        };
        let rank = task.rank;
        let leases = self.table.leases_dir().to_owned();
        self.running.spawn(async move {
            if let Ok(fd) = pidfd_open(pid, PidfdFlags::NONBLOCK).map_err(io::Error::from)
                && let Ok(fd) = readable(fd)
            {
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
}

impl Serve {
    /// Waits for the end of a room's first process, which is the last of the room to end.
    fn watch_room(&mut self, lease: LeaseId, pid: Pid) {
        let events = self.events.clone();
        self.running.spawn(async move {
            if let Ok(fd) = pidfd_open(pid, PidfdFlags::NONBLOCK).map_err(io::Error::from)
                && let Ok(fd) = readable(fd)
            {
                let _ = fd.readable().await;
            }
            let _ = events.send(Event::RoomLeft { lease }).await;
        });
    }
}

/// Tells what is in force in a task: at its start and, while it runs, what it has changed since.
async fn look_after(
    leases: &Path,
    lease: LeaseId,
    pid: Pid,
    task: &TaskCommand,
    events: &mpsc::Sender<Event>,
) {
    let rank = task.rank;
    let tell = |observed| Event::Observed { lease, rank, observed: Box::new(observed) };
    match at_the_start(pid, task).await {
        InForce::Unknown => {}
        InForce::AsAsked => {
            let _ = events.send(tell(observe::as_asked(task))).await;
        }
        InForce::Differs(why) => {
            let _ = events.send(Event::Differs { lease, rank, why }).await;
            return;
        }
    }
    let mut known = None;
    let last = LATER[LATER.len() - 1];
    for pause in LATER.into_iter().chain(std::iter::repeat(last)) {
        tokio::time::sleep(pause).await;
        let (leases, task) = (leases.to_owned(), task.clone());
        let number = pid.as_raw_nonzero().get();
        // All processes of the machine are looked at: not on the loop's thread.
        let look = move || (observe::look(number), observe::drift(&leases, lease, &task));
        let Ok((observed, drift)) = tokio::task::spawn_blocking(look).await else { return };
        let drift = drift.or_else(|| observed.as_ref().and_then(observe::umask));
        if observed.is_some() && observed != known {
            known.clone_from(&observed);
            let _ = events.send(tell(observed.unwrap_or_default())).await;
        }
        if let Some(drift) = drift {
            let _ = events.send(Event::Drifted { lease, rank, drift }).await;
            return;
        }
    }
}

/// The task's variables beside what was asked, once they are whole.
///
/// The kernel shows a program that has just begun, or is about to end, in part.
async fn at_the_start(pid: Pid, task: &TaskCommand) -> InForce {
    let mut found = InForce::Unknown;
    for pause in LOOKS {
        tokio::time::sleep(pause).await;
        let (number, task) = (pid.as_raw_nonzero().get(), task.clone());
        // To read a process's variables waits for a lock of its memory, which a fork bomb that is out
        // of processor time holds for minutes: not on the loop's thread.
        let look = tokio::task::spawn_blocking(move || spawn::in_force(number, &task));
        let Ok(now) = look.await else { return found };
        found = now;
        if found == InForce::AsAsked {
            break;
        }
    }
    found
}

/// A descriptor that the event loop watches.
#[expect(deprecated, reason = "sound for a descriptor that is owned; its successor is unsafe")]
fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(fd)
}

/// Fires at an instant of the boot-time clock, also if the machine slept meanwhile.
struct Timer {
    fd: AsyncFd<OwnedFd>,
    set: Option<Millis>,
}

impl Timer {
    fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = timerfd_create(TimerfdClockId::Boottime, flags)?;
        Ok(Self { fd: readable(fd)?, set: None })
    }

    fn set(&mut self, at: Option<Millis>) {
        if self.set == at {
            return;
        }
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        // All zero would disarm it: an instant in the past is one that is over.
        let value = at.map_or(zero, |at| clock::timespec(at.plus(Millis(u64::from(at.0 == 0)))));
        let spec = Itimerspec { it_interval: zero, it_value: value };
        timerfd_settime(self.fd.get_ref(), TimerfdTimerFlags::ABSTIME, &spec)
            .expect("a valid instant on an open timer is accepted");
        self.set = at;
    }

    async fn fired(&mut self) {
        if let Ok(mut ready) = self.fd.readable().await {
            let mut count = [0; 8];
            let _ = rustix::io::read(self.fd.get_ref(), &mut count);
            ready.clear_ready();
            self.set = None;
        }
    }
}
