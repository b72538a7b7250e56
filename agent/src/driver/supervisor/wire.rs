//! What agent and supervisor say to each other, and how it is framed.

use crate::{
    driver::sandbox::{ImageRoot, Walls},
    machine::Exit,
};
use borsh::{BorshDeserialize, BorshSerialize};
use domain::{LeaseId, Millis, image::ImageRef, job::EndCause, observed::Observed};
use std::{
    io,
    path::{Path, PathBuf},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Longest message: a gang's part of one node with all its variables.
const MESSAGE_MAX: usize = 64 << 20;

/// The version of what is said here. To be raised with every change of a message: a supervisor
/// outlives the agent that started it, and so meets agents of other releases.
pub(super) const VERSION: u32 = 2;

/// The file, beside the socket, in which a supervisor says its version.
fn version_file(dir: &Path) -> PathBuf {
    dir.join("supervisor.version")
}

/// The file, beside it, in which a supervisor says whose agents it serves, where those are another
/// user's.
fn owner_file(dir: &Path) -> PathBuf {
    dir.join("supervisor.user")
}

/// Says this build's version to agents, and the user of agents that it serves where that is another
/// one, before they can connect.
pub(super) fn write_version(dir: &Path, owner: Option<u32>) -> io::Result<()> {
    match (owner, owner_file(dir)) {
        (Some(uid), file) => std::fs::write(file, format!("{uid}\n"))?,
        (None, file) => match std::fs::remove_file(file) {
            Err(fault) if fault.kind() != io::ErrorKind::NotFound => return Err(fault),
            _ => {}
        },
    }
    std::fs::write(version_file(dir), format!("{VERSION}\n"))
}

/// The version of the supervisor that serves `dir`; none before the first one has said it.
pub(super) fn read_version(dir: &Path) -> io::Result<Option<u32>> {
    number(&version_file(dir))
}

/// Whose agents the supervisor of `dir` serves; none means its own user's.
pub(super) fn read_owner(dir: &Path) -> io::Result<Option<u32>> {
    number(&owner_file(dir))
}

fn number(file: &Path) -> io::Result<Option<u32>> {
    match std::fs::read_to_string(file) {
        Ok(text) => text.trim().parse().map(Some).map_err(io::Error::other),
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// How to start one task.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TaskCommand {
    /// Its rank in the gang.
    pub rank: u32,
    /// Absolute path of the program.
    pub program: String,
    /// Its arguments, without the program.
    pub args: Vec<String>,
    /// All of its variables, and no others.
    pub env: Vec<(String, String)>,
    /// Its working directory.
    pub cwd: String,
    /// The file to which its standard output and standard error are appended.
    pub log: String,
}

/// From the agent.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Ask {
    /// Start a lease's tasks on this node.
    Start {
        /// The lease.
        lease: LeaseId,
        /// When to kill them; none means never.
        deadline: Option<Millis>,
        /// The tasks.
        tasks: Vec<TaskCommand>,
    },
    /// Kill later.
    Renew {
        /// The lease.
        lease: LeaseId,
        /// When; none means never.
        deadline: Option<Millis>,
    },
    /// SIGTERM every process of the lease, and SIGKILL after `grace`. Answered by
    /// [`Said::Killed`], also when there is none.
    Kill {
        /// The lease.
        lease: LeaseId,
        /// Time between the two signals; zero means SIGKILL at once.
        grace: Millis,
    },
    /// The exit codes of the lease are no longer needed. Answered by [`Said::Forgotten`] where the
    /// agent has an account of its own.
    Forget {
        /// The lease.
        lease: LeaseId,
    },
    /// Say what there is. Answered by [`Said::All`].
    List,
    /// Kill everything and end.
    End,
    /// Start a lease's tasks on this node within walls of their own.
    Confine {
        /// The lease.
        lease: LeaseId,
        /// When to kill them; none means never.
        deadline: Option<Millis>,
        /// The tasks.
        tasks: Vec<TaskCommand>,
        /// The walls.
        walls: Walls,
    },
    /// The same on the root of a container image.
    Contain {
        /// The lease.
        lease: LeaseId,
        /// When to kill them; none means never.
        deadline: Option<Millis>,
        /// The tasks.
        tasks: Vec<TaskCommand>,
        /// The walls.
        walls: Walls,
        /// The root.
        image: Box<ImageRoot>,
    },
    /// Find or fetch an image and mount it. Answered by [`Said::LaidOut`].
    LayOut {
        /// The image.
        image: ImageRef,
    },
    /// Look what ranks have done. Answered by [`Said::Looked`], unless a look is under way.
    Look {
        /// Each with its lease.
        ranks: Vec<(LeaseId, u32)>,
    },
    /// Add to what a rank printed. Answered by [`Said::Noted`], unless no task of the lease runs or
    /// far too much else is under way.
    Note {
        /// The lease.
        lease: LeaseId,
        /// The rank.
        rank: u32,
        /// What is added.
        text: String,
        /// Whether what its threads wait for is added, too.
        dump: bool,
    },
}

/// From the supervisor.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Said {
    /// A task runs.
    Started {
        /// The lease.
        lease: LeaseId,
        /// The rank.
        rank: u32,
        /// Its process, which leads a group of its own.
        pid: u32,
    },
    /// A task runs under other variables than were asked for.
    Differs {
        /// The lease.
        lease: LeaseId,
        /// The rank.
        rank: u32,
        /// The first variable that differs, with both values.
        why: String,
    },
    /// A task could not be started.
    NotStarted {
        /// The lease.
        lease: LeaseId,
        /// The rank.
        rank: u32,
        /// Why.
        why: String,
    },
    /// A task ended.
    Exited {
        /// The lease.
        lease: LeaseId,
        /// The rank.
        rank: u32,
        /// How.
        exit: Exit,
        /// When, by the wall clock.
        ended: Millis,
        /// Whether all that descends from the supervisor are tasks that still run: this task
        /// left nothing behind.
        alone: bool,
    },
    /// No process of the lease is left.
    Killed {
        /// The lease.
        lease: LeaseId,
    },
    /// All leases that have not been forgotten.
    All(Vec<LeaseView>),
    /// The walls that a lease's tasks are to run within could not be built: none was started.
    NotConfined {
        /// The lease.
        lease: LeaseId,
        /// Why.
        why: String,
    },
    /// What the tasks of a lease left cannot be handed back to the agent whole.
    NotReturned {
        /// The lease.
        lease: LeaseId,
        /// Why.
        why: String,
    },
    /// All of a lease's folders are the agent's to remove.
    Forgotten {
        /// The lease.
        lease: LeaseId,
    },
    /// What was read from a task's process. Said again when more is known, and after
    /// [`Said::All`].
    Observed {
        /// The lease.
        lease: LeaseId,
        /// The rank.
        rank: u32,
        /// What was read.
        observed: Observed,
    },
    /// A task, or what it started, has changed what the contract fixes.
    Drifted {
        /// The lease.
        lease: LeaseId,
        /// The rank.
        rank: u32,
        /// The variable.
        name: String,
        /// What was set.
        asked: String,
        /// What is in force.
        found: String,
    },
    /// An image is laid out, or cannot be had.
    LaidOut {
        /// The image.
        image: ImageRef,
        /// [`LaidImage`](crate::driver::image::LaidImage), as JSON.
        laid: Result<String, EndCause>,
    },
    /// What ranks have done so far.
    Looked {
        /// Each with its lease, a number that grows with what it writes, and its processor time.
        ranks: Vec<(LeaseId, u32, u64, Millis)>,
    },
    /// Something was added to what a rank printed.
    Noted {
        /// The lease.
        lease: LeaseId,
        /// The rank.
        rank: u32,
        /// How many bytes, or why none.
        added: Result<u64, String>,
        /// What its threads wait for, where that was asked for.
        dump: Option<String>,
    },
}

/// A lease as the supervisor knows it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LeaseView {
    /// The lease.
    pub lease: LeaseId,
    /// When its tasks were started, by the boot-time clock.
    pub started: Millis,
    /// The same by the wall clock.
    pub started_wall: Millis,
    /// When they are killed; none means never.
    pub deadline: Option<Millis>,
    /// Its tasks, ascending by rank.
    pub tasks: Vec<TaskView>,
}

/// A task as the supervisor knows it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TaskView {
    /// Its rank.
    pub rank: u32,
    /// How it ended, and when by the wall clock; none while it runs.
    pub exit: Option<(Exit, Millis)>,
}

/// Writes one message.
pub(super) async fn write<T: BorshSerialize>(
    out: &mut (impl AsyncWriteExt + Unpin),
    message: &T,
) -> io::Result<()> {
    let body = borsh::to_vec(message)?;
    let length = u32::try_from(body.len()).ok().filter(|length| *length as usize <= MESSAGE_MAX);
    let length = length.ok_or_else(|| io::Error::other("message is too long"))?;
    let mut frame = length.to_le_bytes().to_vec();
    frame.extend(body);
    out.write_all(&frame).await
}

/// Reads one message; none at the end of the stream. Not cancel-safe.
pub(super) async fn read<T: BorshDeserialize>(
    input: &mut (impl AsyncReadExt + Unpin),
) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match input.read_exact(&mut length).await {
        Err(fault) if fault.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    let length = u32::from_le_bytes(length) as usize;
    if length > MESSAGE_MAX {
        return Err(io::Error::other("peer announced a message that is too long"));
    }
    let mut body = vec![0; length];
    input.read_exact(&mut body).await?;
    borsh::from_slice(&body).map(Some)
}

/// A socket's path, short enough for the system whatever the folder is called.
pub(super) struct SocketPath {
    /// Open while the path is used, since the path leads through it.
    _folder: std::fs::File,
    /// The path.
    pub(super) path: std::path::PathBuf,
}

impl SocketPath {
    /// The supervisor's socket in `dir`.
    pub(super) fn in_folder(dir: &Path) -> io::Result<Self> {
        use std::os::fd::AsRawFd;
        let folder = std::fs::File::open(dir)?;
        let path = format!("/proc/self/fd/{}/supervisor.sock", folder.as_raw_fd()).into();
        Ok(Self { _folder: folder, path })
    }
}
