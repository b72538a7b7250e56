//! The task that follows logs: it polls only while something runs.

use crate::{
    driver::{dirs::LeaseDirs, logs::Follower},
    machine::Input,
};
use domain::{
    LeaseId,
    link::{LogSource, Up},
};
use std::time::Duration;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

/// Requests that wait for the follower.
pub(super) const TAIL_AHEAD: usize = 16_384;
/// Time between two looks at files that say nothing, and at files that grow.
const LOOK: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(10));
/// Room on the stream that is left for heartbeats and reports.
const ROOM_LEFT: usize = 1_024;

/// A request to the follower.
pub(super) enum Tail {
    /// A stream opened, or closed.
    Link(Option<mpsc::Sender<Up>>),
    /// Follow a lease's files.
    Add {
        /// The lease.
        lease: LeaseId,
        /// Its folders.
        dirs: LeaseDirs,
        /// Its ranks on this node.
        ranks: Vec<u32>,
    },
    /// The server has a file up to here.
    Have {
        /// The lease.
        lease: LeaseId,
        /// The file.
        source: LogSource,
        /// Send from here on.
        offset: u64,
    },
    /// Send all that a lease wrote, then hand on its news.
    Finish {
        /// The lease.
        lease: LeaseId,
        /// The news.
        then: Input,
    },
    /// Follow it no longer.
    Remove {
        /// The lease.
        lease: LeaseId,
        /// Hears of it once its files are closed.
        closed: oneshot::Sender<()>,
    },
}

/// Obeys `requests` until they end.
pub(super) async fn run(mut requests: mpsc::Receiver<Tail>, done: mpsc::Sender<Input>) {
    let mut follower = Follower::default();
    let mut up: Option<mpsc::Sender<Up>> = None;
    let mut due = Instant::now();
    loop {
        let busy = up.is_some() && !follower.is_empty();
        // Both arms are cancel-safe.
        let request = tokio::select! {
            request = requests.recv() => request,
            () = tokio::time::sleep_until(due), if busy => {
                let (mut grows, mut send) = (false, sender(up.as_ref()));
                follower.pump(&mut |piece| {
                    grows = true;
                    send(piece)
                });
                due = Instant::now() + if grows { LOOK.1 } else { LOOK.0 };
                continue;
            }
        };
        match request {
            None => return,
            Some(Tail::Link(open)) => {
                up = open;
                let mut take = sender(up.as_ref());
                for position in follower.positions() {
                    take(position);
                }
            }
            Some(Tail::Add { lease, dirs, ranks }) => {
                follower.add(lease, &dirs, ranks.into_iter());
            }
            Some(Tail::Have { lease, source, offset }) => follower.seek(lease, source, offset),
            Some(Tail::Finish { lease, then }) => {
                follower.finish(lease, &mut sender(up.as_ref()));
                if done.send(then).await.is_err() {
                    return;
                }
            }
            Some(Tail::Remove { lease, closed }) => {
                follower.remove(lease);
                // Gone where the agent stops: then nobody waits.
                let _ = closed.send(());
            }
        }
    }
}

/// Sends while there is room for what matters more.
fn sender(up: Option<&mpsc::Sender<Up>>) -> impl FnMut(Up) -> bool + '_ {
    move |message| up.is_some_and(|up| up.capacity() > ROOM_LEFT && up.try_send(message).is_ok())
}
