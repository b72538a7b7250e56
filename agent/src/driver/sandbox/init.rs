//! The first process of a room: makes its namespaces, then holds them until it is killed.
#![expect(unsafe_code, reason = "a process that goes on without a program of its own is a fork")]

use super::{
    SandboxError,
    image_root::ImagePlan,
    root::{self, Step},
};
use domain::isolation::Network;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, read, write},
    net::{AddressFamily, SendFlags, SocketType, send, socket},
    pipe::{PipeFlags, pipe_with},
    process::{
        DumpableBehavior, Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open,
        set_dumpable_behavior, set_parent_process_death_signal, waitpid,
    },
    thread::{
        CapabilitySet, CapabilitySets, LinkNameSpaceType, UnshareFlags, move_into_link_name_space,
        set_capabilities, unshare_unsafe,
    },
};
use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    time::Duration,
};

/// Longest time in which a room is built.
const PATIENCE: Duration = Duration::from_secs(10);
/// What the first process says when its root waits for the programs that finish it.
const FINISH: &[u8] = b"finish";
/// What the first process says when all is built.
const READY: &[u8] = b"ready";
/// Longest word of it.
const WORD_MAX: usize = 512;

/// The root that a room is to have.
#[derive(Clone, Debug)]
pub enum Plan {
    /// From the system's folders, on this one.
    System(PathBuf, Vec<Step>),
    /// From a container image.
    Image(ImagePlan),
}

/// Finishes the root of a room's first process.
pub type Finish<'a> = &'a dyn Fn(Pid) -> Result<(), (String, io::Error)>;

/// A room's first process.
#[derive(Debug)]
pub struct Init {
    /// Its number, as the supervisor sees it.
    pub pid: Pid,
    /// It, whatever becomes of its number.
    pub fd: OwnedFd,
}

/// Makes the first process of a room, and waits until the room stands.
///
/// `own` is this process's own pid namespace, to come back to. `finish` finishes the root, where
/// something does.
pub fn start(
    own: &File,
    plan: &Plan,
    network: Network,
    finish: Option<Finish<'_>>,
) -> Result<Init, SandboxError> {
    let failed = |why: Errno| SandboxError::io("start a room", &why.into());
    let (said, say) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
    let (hear, go_on) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
    // SAFETY: none of the flags separates tables of descriptors.
    unsafe { unshare_unsafe(UnshareFlags::NEWPID) }.map_err(failed)?;
    // SAFETY: the child uses what was made before, and the C library's allocator, which outlives
    // a fork; it never returns from `live`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        live(&Line { say, hear }, plan, network, finish.is_some());
    }
    let fork = io::Error::last_os_error();
    come_back(own);
    drop((say, hear));
    let pid = Pid::from_raw(child).filter(|_| child > 0);
    let pid = pid.ok_or_else(|| SandboxError::io("start a room", &fork))?;
    let heard = listen(&said, &go_on, pid, finish);
    let opened = pidfd_open(pid, PidfdFlags::NONBLOCK);
    match (heard, opened) {
        (Ok(()), Ok(fd)) => Ok(Init { pid, fd }),
        (heard, opened) => {
            let _ = kill_process(pid, Signal::KILL);
            let _ = waitpid(Some(pid), WaitOptions::empty());
            heard?;
            Err(opened.map_or_else(failed, |_| failed(Errno::SRCH)))
        }
    }
}

/// What the first process has of the supervisor while it builds.
struct Line {
    say: OwnedFd,
    hear: OwnedFd,
}

/// Children of this thread are born in its own namespace again.
pub fn come_back(own: &File) {
    move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::ProcessID))
        .expect("a process may return to its own namespace");
}

fn listen(
    said: &OwnedFd,
    go_on: &OwnedFd,
    pid: Pid,
    finish: Option<Finish<'_>>,
) -> Result<(), SandboxError> {
    let failed = |why: String| SandboxError::new("build a room", why);
    let mut word = Vec::new();
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        let left = end.saturating_duration_since(std::time::Instant::now());
        let left = Timespec::try_from(left).map_err(|why| failed(why.to_string()))?;
        let mut waits = [PollFd::new(said, PollFlags::IN)];
        match poll(&mut waits, Some(&left)) {
            Ok(0) => return Err(failed(format!("not built within {} s", PATIENCE.as_secs()))),
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(why) => return Err(failed(why.to_string())),
        }
        let mut piece = [0; WORD_MAX];
        let read = read(said, &mut piece).map_err(|why| failed(why.to_string()))?;
        word.extend_from_slice(&piece[..read]);
        if word == READY {
            return Ok(());
        }
        if let Some(finish) = finish.filter(|_| word == FINISH) {
            finish(pid).map_err(|(step, why)| failed(format!("{step}: {why}")))?;
            write(go_on, b"1").map_err(|why| failed(why.to_string()))?;
            word.clear();
        }
        if read == 0 {
            let text = String::from_utf8_lossy(&word).into_owned();
            return Err(failed(if text.is_empty() { "it ended".into() } else { text }));
        }
    }
}

/// The life of the first process.
fn live(line: &Line, plan: &Plan, network: Network, waits: bool) -> ! {
    let built = settle(line).map_err(|why| ("be a process apart".to_owned(), why));
    let built = built.and_then(|()| build(line, plan, network, waits));
    let word = match &built {
        Ok(()) => READY.to_vec(),
        Err((step, why)) => format!("{step}: {why}").into_bytes(),
    };
    let told = write(&line.say, &word[..word.len().min(WORD_MAX)]);
    // SAFETY: nothing of this process uses a descriptor from here on, and both calls end it.
    unsafe {
        if built.is_err() || told.is_err() {
            libc::_exit(1);
        }
        libc::close_range(0, u32::MAX, 0);
        loop {
            libc::pause();
        }
    }
}

/// Ends with the supervisor, holds none of its descriptors, and cannot be looked into.
fn settle(line: &Line) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let kept = [&line.say, &line.hear].map(|fd| fd.as_raw_fd().cast_unsigned());
    let (low, high) = (kept[0].min(kept[1]), kept[0].max(kept[1]));
    // SAFETY: the descriptors belong to the supervisor, whose copies stay; only those of the line
    // are used here. SIGCHLD that is ignored has the kernel bury orphans.
    unsafe {
        libc::close_range(0, low - 1, 0);
        if high - low > 1 {
            libc::close_range(low + 1, high - 1, 0);
        }
        libc::close_range(high + 1, u32::MAX, 0);
        libc::signal(libc::SIGCHLD, libc::SIG_IGN);
    }
    Ok(())
}

fn build(
    line: &Line,
    plan: &Plan,
    network: Network,
    waits: bool,
) -> Result<(), (String, io::Error)> {
    let named = |what: &str| {
        let what = what.to_owned();
        move |why: Errno| (what, io::Error::from(why))
    };
    let mut apart = UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    if network == Network::None {
        apart |= UnshareFlags::NEWNET;
    }
    // SAFETY: none of the flags separates tables of descriptors.
    unsafe { unshare_unsafe(apart) }.map_err(named("make namespaces"))?;
    if network == Network::None {
        raise_loopback().map_err(|why| ("raise loopback".to_owned(), why))?;
    }
    match plan {
        Plan::System(on, steps) => root::build(on, steps)?,
        Plan::Image(plan) => plan.build(|| if waits { be_finished(line) } else { Ok(()) })?,
    }
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(named("hide its memory"))?;
    let none = CapabilitySet::empty();
    let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
    set_capabilities(None, none).map_err(named("give up its rights"))
}

/// Waits until the root is finished from outside; the supervisor's patience bounds the wait.
fn be_finished(line: &Line) -> Result<(), (String, io::Error)> {
    let told = write(&line.say, FINISH).and_then(|_| read(&line.hear, &mut [0; 1]));
    match told {
        Ok(1) => Ok(()),
        Ok(_) => Err(("wait for its devices".to_owned(), io::ErrorKind::UnexpectedEof.into())),
        Err(why) => Err(("wait for its devices".to_owned(), why.into())),
    }
}

/// Tasks of one lease on one node meet on 127.0.0.1.
fn raise_loopback() -> io::Result<()> {
    // `struct nlmsghdr` and `struct ifinfomsg`: RTM_NEWLINK with a request for an acknowledgement
    // left out, for interface 1, which is loopback in every namespace, to be up.
    let mut message = Vec::with_capacity(32);
    message.extend(32u32.to_ne_bytes());
    message.extend(libc::RTM_NEWLINK.to_ne_bytes());
    message.extend((libc::NLM_F_REQUEST.cast_unsigned() as u16).to_ne_bytes());
    message.extend([0; 8]);
    message.extend([0; 4]);
    message.extend(1i32.to_ne_bytes());
    let up = libc::IFF_UP.cast_unsigned();
    message.extend(up.to_ne_bytes());
    message.extend(up.to_ne_bytes());
    // The first protocol of this family is that of interfaces and routes.
    let socket = socket(AddressFamily::NETLINK, SocketType::RAW, None)?;
    send(&socket, &message, SendFlags::empty())?;
    Ok(())
}

/// Whether the room of `fd` has ended, and with it every process in it.
pub fn has_ended(fd: BorrowedFd<'_>) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
}
