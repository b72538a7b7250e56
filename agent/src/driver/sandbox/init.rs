//! The first process of a room: makes its namespaces, then holds them until it is killed.
#![expect(unsafe_code, reason = "a process that goes on without a program of its own is a fork")]

use super::{
    SandboxError,
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
    path::Path,
    time::Duration,
};

/// Longest time in which a room is built.
const PATIENCE: Duration = Duration::from_secs(10);
/// What the first process says when all is built.
const READY: &[u8] = b"ready";
/// Longest word of it.
const WORD_MAX: usize = 512;

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
/// `own` is this process's own pid namespace, to come back to.
pub fn start(
    own: &File,
    on: &Path,
    steps: &[Step],
    network: Network,
) -> Result<Init, SandboxError> {
    let failed = |why: Errno| SandboxError::io("start a room", &why.into());
    let (said, say) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
    // SAFETY: none of the flags separates tables of descriptors.
    unsafe { unshare_unsafe(UnshareFlags::NEWPID) }.map_err(failed)?;
    // SAFETY: the child uses what was made before, and the C library's allocator, which outlives
    // a fork; it never returns from `live`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        live(&say, on, steps, network);
    }
    let fork = io::Error::last_os_error();
    come_back(own);
    drop(say);
    let pid = Pid::from_raw(child).filter(|_| child > 0);
    let pid = pid.ok_or_else(|| SandboxError::io("start a room", &fork))?;
    let heard = listen(&said);
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

/// Children of this thread are born in its own namespace again.
pub fn come_back(own: &File) {
    move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::ProcessID))
        .expect("a process may return to its own namespace");
}

fn listen(said: &OwnedFd) -> Result<(), SandboxError> {
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
        if read == 0 {
            let text = String::from_utf8_lossy(&word).into_owned();
            return Err(failed(if text.is_empty() { "it ended".into() } else { text }));
        }
    }
}

/// The life of the first process.
fn live(say: &OwnedFd, on: &Path, steps: &[Step], network: Network) -> ! {
    let built = settle(say).map_err(|why| ("be a process apart".to_owned(), why));
    let built = built.and_then(|()| build(on, steps, network));
    let word = match &built {
        Ok(()) => READY.to_vec(),
        Err((step, why)) => format!("{step}: {why}").into_bytes(),
    };
    let told = write(say, &word[..word.len().min(WORD_MAX)]);
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
fn settle(say: &OwnedFd) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let kept = say.as_raw_fd().cast_unsigned();
    // SAFETY: the descriptors belong to the supervisor, whose copies stay; only `say` is used
    // here. SIGCHLD that is ignored has the kernel bury orphans.
    unsafe {
        libc::close_range(0, kept - 1, 0);
        libc::close_range(kept + 1, u32::MAX, 0);
        libc::signal(libc::SIGCHLD, libc::SIG_IGN);
    }
    Ok(())
}

fn build(on: &Path, steps: &[Step], network: Network) -> Result<(), (String, io::Error)> {
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
    root::build(on, steps)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(named("hide its memory"))?;
    let none = CapabilitySet::empty();
    let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
    set_capabilities(None, none).map_err(named("give up its rights"))
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
