//! The supervisor's event loop: one agent at a time, every task, and the boot-time clock.

use super::{
    SupervisorError,
    family::Family,
    rooms::Rooms,
    spawn::{self, InForce},
    stray,
    table::{Born, Table},
    wire::{self, Ask, Said, SocketPath, TaskCommand},
};
use crate::driver::clock;
use domain::{LeaseId, Millis};
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
/// Messages that an agent may leave unread before it is dropped; it lists all when it is back.
const SAID_AHEAD: usize = 8_192;
/// Events that wait for the loop.
const EVENTS_AHEAD: usize = 1_024;

enum Event {
    Asked { agent: u64, ask: Ask },
    Left { agent: u64 },
    Differs { lease: LeaseId, rank: u32, why: String },
    Ended { lease: LeaseId, rank: u32 },
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

fn lock(dir: &Path) -> Result<fs::File, SupervisorError> {
    let path = dir.join("supervisor.lock");
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
        let (lease, pid, rank, look) = match born {
            Born::Task { lease, pid, rank, look } => (lease, pid, rank, look),
            Born::Room { lease, pid } => return self.watch_room(lease, pid),
        };
        self.running.spawn(async move {
            if let Ok(fd) = pidfd_open(pid, PidfdFlags::NONBLOCK).map_err(io::Error::from)
                && let Ok(fd) = readable(fd)
            {
                // Both arms are cancel-safe: readiness stays, and looking changes nothing.
                let difference = tokio::select! {
                    _ = fd.readable() => None,
                    difference = lasting_difference(pid, look.as_ref()) => difference,
                };
                if let Some(why) = difference {
                    let _ = events.send(Event::Differs { lease, rank, why }).await;
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

/// How the task's variables differ from what was asked, if they still do after a while.
///
/// The kernel shows a program that has just begun, or is about to end, in part.
async fn lasting_difference(pid: Pid, task: Option<&TaskCommand>) -> Option<String> {
    let task = task?;
    let mut found = None;
    for pause in LOOKS {
        tokio::time::sleep(pause).await;
        found = match spawn::in_force(pid.as_raw_nonzero().get(), task) {
            InForce::AsAsked => return None,
            InForce::Unknown => None,
            InForce::Differs(why) => Some(why),
        };
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
