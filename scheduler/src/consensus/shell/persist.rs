//! The thread that writes: all that has gathered in one batch, with one sync.

use super::mail::{Mail, Mailbox};
use crate::consensus::{store::Store, write::WriteOp};
use domain::ReplicaId;
use std::{
    sync::mpsc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// A sync that takes no longer is waited for.
const QUICK: Duration = Duration::from_micros(300);
/// Bytes of entries up to which a write is small.
const QUICK_BYTES: usize = 32 << 10;
/// A sync of a lone request is waited for longer: nothing else is to be done meanwhile.
const LONE: Duration = Duration::from_millis(1);
/// Bytes of entries that hold a request or two.
const LONE_BYTES: usize = 2 << 10;
/// Writes merged into one batch at most.
const BATCH_MAX: usize = 256;

/// Something for the writer.
#[expect(clippy::large_enum_variant, reason = "short-lived and moved once; a box would cost more")]
pub(super) enum Job {
    /// Write this.
    Write { seq: u64, op: WriteOp },
    /// Freeze what is written so far, for `to`.
    Copy { to: ReplicaId },
    /// Drop a family that does not count.
    Drop { family: u64 },
    /// Drop all families made before this one.
    DropOlder { family: u64 },
}

/// Starts the writer. It ends when the sender is dropped and all is written.
pub(super) fn start<M: Send + 'static>(
    store: Store,
    mail: Mailbox<M>,
) -> std::io::Result<(mpsc::Sender<Job>, JoinHandle<()>)> {
    let (sender, jobs) = mpsc::channel();
    let thread = std::thread::Builder::new()
        .name("persist".into())
        .spawn(move || super::pump::guard("persist", || run(&store, &mail, &jobs)))?;
    Ok((sender, thread))
}

fn run<M: Send + 'static>(store: &Store, mail: &Mailbox<M>, jobs: &mpsc::Receiver<Job>) {
    let mut ops: Vec<WriteOp> = Vec::new();
    let mut next = None;
    while let Some(first) = next.take().or_else(|| jobs.recv().ok()) {
        let mut newest = 0;
        for job in std::iter::once(first).chain(jobs.try_iter()) {
            match job {
                Job::Write { seq, op } => {
                    newest = seq;
                    ops.push(op);
                }
                job => next = Some(job),
            }
            if next.is_some() || ops.len() >= BATCH_MAX {
                break;
            }
        }
        if ops.is_empty() {
            if let Some(job) = next.take() {
                perform(store, mail, &job);
            }
            continue;
        }
        let begun = Instant::now();
        write(store, &ops);
        let took = ops.iter().any(|op| op.sync).then(|| begun.elapsed());
        let family = ops.iter().rev().find_map(|op| Some(op.install.as_ref()?.family));
        ops.clear();
        next = next.or_else(|| jobs.try_recv().ok());
        mail.report(Mail::Written { seq: newest, family, took }, next.is_some());
    }
}

/// Whether a write may be done by whoever asks for it: a few small entries, on a disk whose last
/// sync took no longer than waking another thread does. Where a sync takes long, or much is to be
/// written, the next batch gathers meanwhile.
pub(super) fn is_quick(op: &WriteOp, last_sync: Duration) -> bool {
    let bytes: usize = op.entries.iter().map(|entry| entry.bytes.len()).sum();
    let most = if bytes <= LONE_BYTES { LONE } else { QUICK };
    last_sync <= most && op.install.is_none() && op.sync && bytes <= QUICK_BYTES
}

/// After a write that failed nobody knows what is on the disk: a second try could report as
/// durable what the first has lost. The process ends and starts again from the disk.
pub(super) fn write(store: &Store, ops: &[WriteOp]) {
    if let Err(fault) = store.write(ops) {
        let cause = std::error::Error::source(&fault).map(ToString::to_string);
        tracing::error!(%fault, cause, "disk write failed, process ends");
        eprintln!("assay: {fault} ({})", cause.unwrap_or_default());
        std::process::abort();
    }
}

fn perform<M: Send + 'static>(store: &Store, mail: &Mailbox<M>, job: &Job) {
    match job {
        Job::Write { .. } => {}
        Job::Copy { to } => {
            let (store, mail, to) = (store.clone(), mail.clone(), *to);
            let copy = move || {
                let copy = store.checkpoint();
                if let Err(fault) = &copy {
                    tracing::warn!(%fault, %to, "snapshot could not be built");
                }
                mail.report(Mail::Copied { to, copy: copy.ok() }, true);
            };
            // Off this thread: freezing flushes memtables, and syncs must not wait for it.
            if std::thread::Builder::new().name("checkpoint".into()).spawn(copy).is_err() {
                tracing::warn!(%to, "snapshot could not be built: the system refuses a thread");
            }
        }
        Job::Drop { family } => warn(store.drop_family(*family)),
        Job::DropOlder { family } => warn(store.drop_older(*family)),
    }
}

fn warn(result: Result<(), crate::consensus::StoreError>) {
    if let Err(fault) = result {
        tracing::warn!(%fault, "old rows could not be dropped; the next start does it");
    }
}
