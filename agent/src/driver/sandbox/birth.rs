//! The birth of a task inside of its walls.
//!
//! Not by the standard library: it cannot have a process be born in a control group, and one that
//! moves there afterwards waits for a grace period of the kernel's RCU, 10 to 20 ms.
//! Source: clone3(2), `CLONE_INTO_CGROUP`; ADR-0020.
#![expect(
    unsafe_code,
    reason = "a process that becomes a program of its own is born by system calls"
)]

use super::enter::{Entry, STEPS};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, read, retry_on_intr, write},
    pipe::{PipeFlags, pipe_with},
    process::{Pid, Signal, WaitOptions, kill_process, setpgid, waitpid},
};
use std::{
    ffi::{CString, c_char},
    fs::File,
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::Path,
    ptr,
};

/// Has the child be born in the control group whose folder is given.
const INTO_CGROUP: u64 = 0x2_0000_0000;
/// The step after those of [`STEPS`]: its program.
const PROGRAM: u8 = STEPS.len() as u8;

/// Longest time from a task's birth to its program.
const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// What a task becomes.
pub struct Program<'a> {
    /// Its path, or a name that is looked up on the `PATH` of `env`.
    pub program: &'a str,
    /// Its arguments, without the program.
    pub args: &'a [String],
    /// All of its variables.
    pub env: &'a [(String, String)],
    /// Where its standard output and standard error go.
    pub out: File,
}

/// All that the child uses, made before it is born.
struct Made {
    paths: Vec<CString>,
    argv: Vec<CString>,
    envp: Vec<CString>,
    none: File,
    out: File,
}

impl Made {
    fn new(program: Program<'_>) -> io::Result<Self> {
        let Program { program, args, env, out } = program;
        let text = |text: &str| CString::new(text).map_err(io::Error::from);
        let argv = std::iter::once(program).chain(args.iter().map(String::as_str));
        let paths = if program.contains('/') {
            vec![text(program)?]
        } else {
            let path = env.iter().find(|(name, _)| name == "PATH");
            let folders = path.map_or("", |(_, value)| value).split(':');
            let inside = |folder: &str| Path::new(folder).join(program).into_os_string().into_vec();
            let all = folders.filter(|it| !it.is_empty()).map(inside).map(CString::new);
            all.collect::<Result<_, _>>()?
        };
        Ok(Self {
            paths,
            argv: argv.map(text).collect::<io::Result<_>>()?,
            envp: env
                .iter()
                .map(|(name, value)| text(&format!("{name}={value}")))
                .collect::<io::Result<_>>()?,
            none: File::open("/dev/null")?,
            out,
        })
    }
}

/// A list as `execve` takes it.
fn pointers(all: &[CString]) -> Vec<*const c_char> {
    all.iter().map(|one| one.as_ptr()).chain([ptr::null()]).collect()
}

/// Has a task be born: in `group`, if one is given, through every step of `entry`, into `program`.
///
/// # Errors
/// Names the step that failed, or what the system says of the program.
pub fn bear(program: Program<'_>, entry: Entry, group: Option<&File>) -> io::Result<Pid> {
    let made = Made::new(program)?;
    let (argv, envp) = (pointers(&made.argv), pointers(&made.envp));
    let (said, told) = pipe_with(PipeFlags::CLOEXEC)?;
    // SAFETY: zero is a value of every field, and says that nothing is asked for.
    let mut how: libc::clone_args = unsafe { std::mem::zeroed() };
    how.exit_signal = libc::SIGCHLD.unsigned_abs().into();
    if let Some(group) = group {
        how.flags = INTO_CGROUP;
        how.cgroup = group.as_raw_fd().unsigned_abs().into();
    }
    // SAFETY: no memory is shared with the child, which makes system calls on what was made
    // before, allocates nothing, and never returns.
    let child = unsafe {
        libc::syscall(libc::SYS_clone3, ptr::from_mut(&mut how), size_of::<libc::clone_args>())
    };
    if child == 0 {
        let (step, why) = become_it(&made, &argv, &envp, entry);
        let mut word = [step; 5];
        word[1..].copy_from_slice(&why.raw_os_error().unwrap_or(libc::EINVAL).to_ne_bytes());
        let _ = write(&told, &word);
        // SAFETY: ends this process, and nothing else.
        unsafe { libc::_exit(127) }
    }
    let fault = io::Error::last_os_error();
    drop(told);
    let pid = i32::try_from(child).ok().and_then(Pid::from_raw).filter(|_| child > 0);
    let pid = pid.ok_or(fault)?;
    let mut word = [0; 5];
    // Nothing is said, and the line ends, when the program runs.
    match heard(&said).and_then(|()| retry_on_intr(|| read(&said, &mut word))) {
        Err(Errno::TIMEDOUT) => {
            let _ = kill_process(pid, Signal::KILL);
            let _ = waitpid(Some(pid), WaitOptions::empty());
            let why = format!("its program did not begin within {} s", PATIENCE.tv_sec);
            Err(io::Error::new(io::ErrorKind::TimedOut, why))
        }
        Ok(0) => Ok(pid),
        told => {
            let _ = waitpid(Some(pid), WaitOptions::empty());
            told?;
            let why = i32::from_ne_bytes([word[1], word[2], word[3], word[4]]);
            let why = io::Error::from_raw_os_error(why);
            Err(match STEPS.get(usize::from(word[0])) {
                Some(step) => io::Error::new(why.kind(), format!("cannot {step}: {why}")),
                None => why,
            })
        }
    }
}

/// Waits for the child's word, or the end of the line. Not for ever: who owns the program's file
/// can have its opening wait (fcntl(2), `F_SETLEASE`), and whoever waits here kills nobody else.
fn heard(said: &OwnedFd) -> rustix::io::Result<()> {
    let mut all = [PollFd::new(said, PollFlags::IN)];
    match retry_on_intr(|| poll(&mut all, Some(&PATIENCE)))? {
        0 => Err(Errno::TIMEDOUT),
        _ => Ok(()),
    }
}

/// The child's part: the step that failed, and why.
fn become_it(
    made: &Made,
    argv: &[*const c_char],
    envp: &[*const c_char],
    entry: Entry,
) -> (u8, io::Error) {
    if let Err(why) = settle(made) {
        return (PROGRAM, why.into());
    }
    if let Err(failed) = entry.step_in() {
        return failed;
    }
    let mut last = Errno::NOENT;
    for path in &made.paths {
        // SAFETY: the lists end with null, and what they point to lives in `made`.
        unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
        match io::Error::last_os_error().raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOENT | Errno::NOTDIR) => {}
            // One that may not be run tells more than one that is not there.
            Some(why @ Errno::ACCESS) => last = why,
            Some(why) => return (PROGRAM, why.into()),
            None => {}
        }
    }
    (PROGRAM, last.into())
}

/// A group of its own, its three standard files, and signals as a program expects them.
fn settle(made: &Made) -> rustix::io::Result<()> {
    setpgid(None, None)?;
    let (none, out) = (made.none.as_raw_fd(), made.out.as_raw_fd());
    // SAFETY: all five are open, and nothing of this process uses what stood in their place.
    let placed = unsafe { [libc::dup2(none, 0), libc::dup2(out, 1), libc::dup2(out, 2)] };
    if placed.contains(&-1) {
        return Err(Errno::BADF);
    }
    // SAFETY: the set is made before it is used; Rust ignores this signal, programs do not.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
    Ok(())
}
