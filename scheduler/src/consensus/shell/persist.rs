//! The thread that writes: all that has gathered goes out with one sync.

use super::Mail;
use crate::consensus::{Store, WriteOp};
use domain::ReplicaId;
use std::sync::{Arc, mpsc};

/// Writes that wait. A replica that is further ahead of its disk waits here.
const QUEUE: usize = 1_024;

/// What the thread is asked for, in order.
pub(super) enum Job {
    /// Write this.
    Write { seq: u64, op: WriteOp },
    /// Freeze the store as all writes before have left it.
    Checkpoint { to: ReplicaId },
}

/// Starts the thread. It ends when its sender is dropped.
pub(super) fn start<M: Send + 'static>(
    store: Store,
    mail: tokio::sync::mpsc::Sender<Mail<M>>,
) -> mpsc::SyncSender<Job> {
    let (jobs, queue) = mpsc::sync_channel(QUEUE);
    let mail = mail.downgrade();
    let thread = std::thread::Builder::new().name("log-writer".into());
    let spawned = thread.spawn(move || {
        while let Ok(first) = queue.recv() {
            let Some(mail) = mail.upgrade() else { return };
            let mut gathered = vec![first];
            gathered.extend(queue.try_iter());
            work(&store, gathered, &mail);
        }
    });
    spawned.expect("the system gives threads at start");
    jobs
}

fn work<M>(store: &Store, jobs: Vec<Job>, mail: &tokio::sync::mpsc::Sender<Mail<M>>) {
    let mut pending: Vec<(u64, WriteOp)> = Vec::new();
    for job in jobs {
        match job {
            Job::Write { seq, op } => {
                // Rows after a switch of families go to the new one: it ends its batch.
                let switches = op.install.is_some();
                pending.push((seq, op));
                if switches {
                    flush(store, &mut pending, mail);
                }
            }
            Job::Checkpoint { to } => {
                flush(store, &mut pending, mail);
                let checkpoint = match store.checkpoint() {
                    Ok(checkpoint) => Some(Arc::new(checkpoint)),
                    Err(fault) => {
                        tracing::warn!(error = %fault, "snapshot not built");
                        None
                    }
                };
                let _ = mail.blocking_send(Mail::Checkpointed { to, checkpoint });
            }
        }
    }
    flush(store, &mut pending, mail);
}

fn flush<M>(
    store: &Store,
    pending: &mut Vec<(u64, WriteOp)>,
    mail: &tokio::sync::mpsc::Sender<Mail<M>>,
) {
    let Some(seq) = pending.last().map(|(seq, _)| *seq) else { return };
    if let Err(fault) = store.write(pending.iter().map(|(_, op)| op)) {
        // What is on the disk is unknown now: only a start from the disk can tell.
        tracing::error!(error = %fault, "write to the log failed, process ends");
        eprintln!("assay server: {fault}; free space or replace the disk, then start it again");
        std::process::abort();
    }
    let installed = pending.iter().rev().find_map(|(_, op)| op.install.as_ref());
    let installed = installed.map(|install| install.family);
    pending.clear();
    let _ = mail.blocking_send(Mail::Written { seq, installed });
}
