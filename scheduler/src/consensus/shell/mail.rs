//! What is posted to a replica, and how much of it may wait.

use super::{
    Rows,
    desk::{By, Desk},
    space::Space,
};
use crate::{
    consensus::{
        membership::{ChangeError, MemberChange},
        replica::{Input, ProposeError, ReadError, Received},
        store::Checkpointed,
    },
    state::command::{Reply, Request},
};
use bytes::Bytes;
use domain::{LogIndex, ReplicaId, limit};
use registry::blob::room;
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::oneshot;

/// Bytes of peers' messages that may wait.
const MESSAGES_MAX: usize = 4 * limit::UNCOMMITTED_MAX.0 as usize;

/// Bytes of a message, and jobs of a request, that are worked off by whoever brings them.
const LIGHT: (usize, usize) = (1 << 10, 8);
/// Callers beyond which the owner works, so that what arrives meanwhile shares a step.
const CROWD: usize = 1;

/// A read that waits for its view.
pub(super) type Task<M> = Box<dyn FnOnce(Result<(&M, &Rows), ReadError>) + Send>;

/// Something for a replica.
pub(super) enum Mail<M> {
    /// For the replica itself.
    Input(Input),
    /// From a caller.
    Propose { request: Request, reply: oneshot::Sender<Result<Reply, ProposeError>> },
    /// From a caller.
    Read { task: Task<M>, quorum: bool },
    /// From an operator.
    Change { change: MemberChange, reply: oneshot::Sender<Result<LogIndex, ChangeError>> },
    /// From the writer: done up to `seq`, with the rows now in `family` if they moved, and
    /// how long it took if it was synced.
    Written { seq: u64, family: Option<u64>, took: Option<Duration> },
    /// From the writer: a copy for `to`, or none.
    Copied { to: ReplicaId, copy: Option<Checkpointed> },
    /// From the transport: a snapshot was received whole.
    Snapshot { from: ReplicaId, message: Bytes, received: Received, done: oneshot::Sender<bool> },
    /// The end.
    Stop,
}

impl<M> Mail<M> {
    /// Whether it is worked off in less time than it takes to wake a thread, or nearly.
    pub(super) fn is_light(&self) -> bool {
        match self {
            Self::Input(Input::Message { bytes, .. }) => bytes.len() <= LIGHT.0,
            Self::Propose { request, .. } => request.command.jobs() <= LIGHT.1,
            Self::Input(_) | Self::Read { .. } | Self::Change { .. } | Self::Written { .. } => true,
            Self::Copied { .. } | Self::Snapshot { .. } | Self::Stop => false,
        }
    }
}

/// How much waits, and how much room is left on the disk.
pub(super) struct Gauges {
    calls: AtomicUsize,
    messages: AtomicUsize,
    free: AtomicU64,
    dir: PathBuf,
}

impl Gauges {
    pub(super) fn new(dir: &Path) -> Self {
        let gauges = Self {
            calls: AtomicUsize::new(0),
            messages: AtomicUsize::new(0),
            free: AtomicU64::new(u64::MAX),
            dir: dir.to_owned(),
        };
        gauges.measure();
        gauges
    }

    /// Looks how much room is left.
    pub(super) fn measure(&self) -> Space {
        self.free.store(room::free(&self.dir), Ordering::Relaxed);
        self.space()
    }

    fn space(&self) -> Space {
        Space::of(self.free.load(Ordering::Relaxed))
    }

    /// A message of `bytes` has been taken out.
    pub(super) fn taken(&self, bytes: usize) {
        self.messages.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A place among the callers that wait; given back when dropped.
pub(super) struct Place(Arc<Gauges>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where mail is posted. Callers and messages are bounded by gauges, so that what the writer and
/// the transport report always gets through.
pub(super) struct Mailbox<M> {
    desk: Arc<Desk<M>>,
    gauges: Arc<Gauges>,
}

impl<M> Clone for Mailbox<M> {
    fn clone(&self) -> Self {
        Self { desk: Arc::clone(&self.desk), gauges: Arc::clone(&self.gauges) }
    }
}

impl<M: 'static> Mailbox<M> {
    pub(super) fn new(gauges: Gauges) -> Self {
        Self { desk: Arc::new(Desk::new()), gauges: Arc::new(gauges) }
    }

    pub(super) fn desk(&self) -> Arc<Desk<M>> {
        Arc::clone(&self.desk)
    }

    pub(super) fn gauges(&self) -> Arc<Gauges> {
        Arc::clone(&self.gauges)
    }

    pub(super) fn space(&self) -> Space {
        self.gauges.space()
    }

    /// Posts from a thread that has connections to serve. Whether it reached a living replica.
    pub(super) fn post(&self, mail: Mail<M>) -> bool {
        let light = mail.is_light();
        let put = self.desk.put(mail);
        self.see_to_it(light);
        put
    }

    /// Posts from the writer: it steps by itself unless it has more to write.
    pub(super) fn report(&self, mail: Mail<M>, busy: bool) {
        self.desk.put(mail);
        match busy {
            true => self.desk.call(),
            false => self.desk.work(By::Writer),
        }
    }

    /// A place among the callers, if there is one.
    pub(super) fn enter(&self) -> Option<Place> {
        let waiting = self.gauges.calls.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(&self.gauges));
        (waiting < limit::PROPOSE_QUEUE).then_some(place)
    }

    /// Takes messages in; those that do not fit are lost, and Raft sends again.
    pub(super) fn deliver(&self, from: ReplicaId, messages: impl Iterator<Item = Bytes>) {
        let mut light = true;
        for bytes in messages {
            let size = bytes.len();
            let waiting = self.gauges.messages.fetch_add(size, Ordering::Relaxed);
            let mail = Mail::Input(Input::Message { from, bytes });
            light &= mail.is_light();
            if !(waiting < MESSAGES_MAX && self.desk.put(mail)) {
                self.gauges.taken(size);
            }
        }
        self.see_to_it(light);
    }

    fn see_to_it(&self, light: bool) {
        let crowd = self.gauges.calls.load(Ordering::Relaxed) > CROWD;
        let heap = self.gauges.messages.load(Ordering::Relaxed) > LIGHT.0;
        match light && !crowd && !heap {
            true => self.desk.work(By::Caller),
            false => self.desk.call(),
        }
    }

    pub(super) fn reports(&self) -> Reports {
        let mail = self.clone();
        Reports(Arc::new(move |input| {
            mail.post(Mail::Input(input));
        }))
    }
}

/// Where a transport reports what became of what it was to send.
#[derive(Clone)]
pub struct Reports(Arc<dyn Fn(Input) + Send + Sync>);

impl Reports {
    /// Messages to `to` were lost on this side.
    pub fn unreachable(&self, to: ReplicaId) {
        (self.0)(Input::Unreachable { to });
    }

    /// A snapshot for `to` has been sent, or not.
    pub fn snapshot(&self, to: ReplicaId, delivered: bool) {
        (self.0)(Input::SnapshotReported { to, delivered });
    }
}
