//! The agent's end of the supervisor's socket.

use super::{
    serve::{self, IDLE_END},
    wire::{self, Ask, Said, SocketPath},
};
use std::{
    fs, io,
    os::unix::net::UnixStream as StdStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncWriteExt, BufReader, BufWriter},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// Looks for a supervisor that is starting.
const TRIES: u32 = 500;
/// The fewest, though the one that was started has ended.
const TRIES_MIN: u32 = 50;
/// Time between two looks.
const TRY_AGAIN: Duration = Duration::from_millis(10);

/// A supervisor that cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The program that is to serve could not be started.
    #[error("supervisor `{command}` does not start: {why}; see `{log}`")]
    Start {
        /// The command.
        command: String,
        /// Why not.
        why: io::Error,
        /// Where it writes.
        log: String,
    },
    /// The socket does not answer.
    #[error("supervisor in `{dir}` does not answer: {why}; what it said is in its supervisor.log")]
    Connect {
        /// Its folder.
        dir: String,
        /// Why not.
        why: io::Error,
    },
    /// It serves agents of another account.
    #[error(
        "the supervisor in `{dir}` serves {found}, this agent is to be {wanted}: `user` was changed \
         while it runs; set it back and drain the node, or wait: a supervisor without tasks and agent \
         ends within {} s, then start this agent", IDLE_END.0 / 1_000
    )]
    Owner {
        /// Its folder.
        dir: String,
        /// Whom it serves.
        found: String,
        /// Whom it is to serve.
        wanted: String,
    },
    /// It is of another release.
    #[error(
        "the supervisor in `{dir}` speaks version {found}, this agent {wanted}: it was started by \
         another release and may have tasks; start that release's agent again and drain the node, or \
         wait: a supervisor without tasks and agent ends within {} s, then start this one",
        IDLE_END.0 / 1_000
    )]
    Version {
        /// Its folder.
        dir: String,
        /// What it speaks.
        found: u32,
        /// What this build speaks.
        wanted: u32,
    },
}

/// An open connection.
pub struct Client {
    /// For asking.
    pub writer: Writer,
    /// For listening.
    pub reader: Reader,
}

/// The half that asks.
pub struct Writer(BufWriter<OwnedWriteHalf>);

/// The half that listens.
pub struct Reader(BufReader<OwnedReadHalf>);

impl Client {
    /// Connects to the supervisor that serves `dir`.
    ///
    /// # Errors
    /// When none does, or one of another release.
    pub async fn connect(dir: &Path) -> Result<Self, ClientError> {
        let failed = |why| ClientError::Connect { dir: dir.display().to_string(), why };
        // Before anything is said: to connect takes the place of the agent that is served now.
        Self::check_version(dir)?;
        let socket = SocketPath::in_folder(dir).map_err(failed)?;
        let stream = UnixStream::connect(&socket.path).await.map_err(failed)?;
        Ok(Self::of(stream))
    }

    fn of(stream: UnixStream) -> Self {
        let (input, output) = stream.into_split();
        Self { writer: Writer(BufWriter::new(output)), reader: Reader(BufReader::new(input)) }
    }

    /// The connection alone, for another event loop. Nothing may have been asked over it.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn into_std(self) -> io::Result<StdStream> {
        let (input, output) = (self.reader.0.into_inner(), self.writer.0.into_inner());
        input.reunite(output).map_err(io::Error::other)?.into_std()
    }

    /// Goes on over such a connection.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn over(stream: StdStream) -> io::Result<Self> {
        Ok(Self::of(UnixStream::from_std(stream)?))
    }

    fn check_version(dir: &Path) -> Result<(), ClientError> {
        let failed = |why| ClientError::Connect { dir: dir.display().to_string(), why };
        let wanted = wire::VERSION;
        match wire::read_version(dir).map_err(failed)? {
            Some(found) if found != wanted && serve::is_served(dir).map_err(failed)? => {
                let dir = dir.display().to_string();
                Err(ClientError::Version { dir, found, wanted })
            }
            _ => Ok(()),
        }
    }

    /// Checks that the supervisor of `dir`, if there is one, is of this release and for agents of
    /// this user.
    ///
    /// # Errors
    /// When it is of another, or serves another one.
    pub fn check(dir: &Path, wanted: Option<u32>) -> Result<(), ClientError> {
        Self::check_version(dir)?;
        let name = dir.display().to_string();
        let failed = |why| ClientError::Connect { dir: name.clone(), why };
        let found = wire::read_owner(dir).map_err(failed)?;
        if found == wanted || !serve::is_served(dir).map_err(failed)? {
            return Ok(());
        }
        let told = |uid: Option<u32>| match uid {
            None => "its own user".to_owned(),
            Some(uid) => format!("user {uid}"),
        };
        Err(ClientError::Owner { dir: name, found: told(found), wanted: told(wanted) })
    }

    /// Connects; starts `command` as the supervisor if none serves `dir`.
    ///
    /// The child, if one was started, is given back so that it can be reaped once it ends.
    ///
    /// # Errors
    /// When it does not start, or does not answer within five seconds.
    pub async fn ensure(
        dir: &Path,
        command: &[String],
    ) -> Result<(Self, Option<Child>), ClientError> {
        match Self::connect(dir).await {
            Ok(client) => return Ok((client, None)),
            Err(fault @ ClientError::Version { .. }) => return Err(fault),
            // None serves it.
            Err(_) => {}
        }
        let mut child = start(dir, command)?;
        let mut tries = 0;
        loop {
            match Self::connect(dir).await {
                Ok(client) => return Ok((client, Some(child))),
                // Ended: unless another one is about to serve, as it then says, that is all.
                Err(fault) if matches!(child.try_wait(), Ok(Some(_))) && tries >= TRIES_MIN => {
                    return Err(fault);
                }
                Err(fault) if tries == TRIES => return Err(fault),
                Err(_) => tries += 1,
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }
}

fn start(dir: &Path, command: &[String]) -> Result<Child, ClientError> {
    let log = dir.join("supervisor.log");
    let failed = |why| ClientError::Start {
        command: command.join(" "),
        why,
        log: log.display().to_string(),
    };
    let open = || fs::OpenOptions::new().create(true).append(true).open(&log);
    let out = open().map_err(failed)?;
    let (program, args) = command
        .split_first()
        .ok_or_else(|| failed(io::Error::new(io::ErrorKind::InvalidInput, "no command given")))?;
    Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(out)
        .spawn()
        .map_err(failed)
}

impl Writer {
    /// Queues a message; [`Writer::flush`] sends it.
    ///
    /// # Errors
    /// When the supervisor is gone.
    pub async fn ask(&mut self, ask: &Ask) -> io::Result<()> {
        wire::write(&mut self.0, ask).await
    }

    /// Sends what was queued.
    ///
    /// # Errors
    /// When the supervisor is gone.
    pub async fn flush(&mut self) -> io::Result<()> {
        self.0.flush().await
    }
}

impl Reader {
    /// The next message; none when the supervisor is gone. Not cancel-safe.
    ///
    /// # Errors
    /// When the stream breaks.
    pub async fn next(&mut self) -> io::Result<Option<Said>> {
        wire::read(&mut self.0).await
    }
}
