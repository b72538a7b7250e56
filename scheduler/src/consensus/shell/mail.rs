//! The mailbox of the thread that owns a replica.

use super::{Rows, space::Space};
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
        mpsc,
    },
    time::Duration,
};
use tokio::sync::oneshot;

/// Bytes of peers' messages that may wait.
const MESSAGES_MAX: usize = 4 * limit::UNCOMMITTED_MAX.0 as usize;

/// A read that waits for its view.
pub(super) type Task<M> = Box<dyn FnOnce(Result<(&M, &Rows), ReadError>) + Send>;

/// Something for the thread that owns a replica.
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
    sender: mpsc::Sender<Mail<M>>,
    gauges: Arc<Gauges>,
}

impl<M> Clone for Mailbox<M> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), gauges: Arc::clone(&self.gauges) }
    }
}

impl<M: Send + 'static> Mailbox<M> {
    pub(super) fn new(gauges: Gauges) -> (Self, mpsc::Receiver<Mail<M>>) {
        let (sender, receiver) = mpsc::channel();
        (Self { sender, gauges: Arc::new(gauges) }, receiver)
    }

    pub(super) fn gauges(&self) -> Arc<Gauges> {
        Arc::clone(&self.gauges)
    }

    pub(super) fn space(&self) -> Space {
        self.gauges.space()
    }

    /// Whether it reached a living replica.
    pub(super) fn post(&self, mail: Mail<M>) -> bool {
        self.sender.send(mail).is_ok()
    }

    /// A place among the callers, if there is one.
    pub(super) fn enter(&self) -> Option<Place> {
        let waiting = self.gauges.calls.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(&self.gauges));
        (waiting < limit::PROPOSE_QUEUE).then_some(place)
    }

    pub(super) fn deliver(&self, from: ReplicaId, bytes: Bytes) {
        let size = bytes.len();
        let waiting = self.gauges.messages.fetch_add(size, Ordering::Relaxed);
        let fits = waiting < MESSAGES_MAX;
        if !(fits && self.post(Mail::Input(Input::Message { from, bytes }))) {
            self.gauges.taken(size);
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
