//! Looks at what is in force in a task, as long as it runs.

use super::{
    observe,
    serve::Event,
    spawn::{self, InForce},
    wire::TaskCommand,
};
use domain::LeaseId;
use rustix::process::Pid;
use std::{path::Path, time::Duration};
use tokio::sync::mpsc;

/// Pauses before each look at what is in force in a task.
const LOOKS: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(2),
    Duration::from_millis(20),
    Duration::from_millis(200),
];
/// Pauses before each look at what a task has loaded and what it has started; the last one again
/// and again.
const LATER: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
];

/// Tells what is in force in a task: at its start and, while it runs, what it has changed since.
pub(super) async fn look_after(
    leases: &Path,
    lease: LeaseId,
    pid: Pid,
    task: &TaskCommand,
    events: &mpsc::Sender<Event>,
) {
    let rank = task.rank;
    let tell = |observed| Event::Observed { lease, rank, observed: Box::new(observed) };
    match at_the_start(pid, task).await {
        InForce::Unknown => {}
        InForce::AsAsked => {
            let _ = events.send(tell(observe::as_asked(task))).await;
        }
        InForce::Differs(why) => {
            let _ = events.send(Event::Differs { lease, rank, why }).await;
            return;
        }
    }
    let mut known = None;
    let last = LATER[LATER.len() - 1];
    for pause in LATER.into_iter().chain(std::iter::repeat(last)) {
        tokio::time::sleep(pause).await;
        let (leases, task) = (leases.to_owned(), task.clone());
        let number = pid.as_raw_nonzero().get();
        // All processes of the machine are looked at: not on the loop's thread.
        let look = move || (observe::look(number), observe::drift(&leases, lease, &task));
        let Ok((observed, drift)) = tokio::task::spawn_blocking(look).await else { return };
        let drift = drift.or_else(|| observed.as_ref().and_then(observe::umask));
        if observed.is_some() && observed != known {
            known.clone_from(&observed);
            let _ = events.send(tell(observed.unwrap_or_default())).await;
        }
        if let Some(drift) = drift {
            let _ = events.send(Event::Drifted { lease, rank, drift }).await;
            return;
        }
    }
}

/// The task's variables beside what was asked, once they are whole.
///
/// The kernel shows a program that has just begun, or is about to end, in part.
async fn at_the_start(pid: Pid, task: &TaskCommand) -> InForce {
    let mut found = InForce::Unknown;
    for pause in LOOKS {
        tokio::time::sleep(pause).await;
        let (number, task) = (pid.as_raw_nonzero().get(), task.clone());
        // To read a process's variables waits for a lock of its memory, which a fork bomb that is out
        // of processor time holds for minutes: not on the loop's thread.
        let look = tokio::task::spawn_blocking(move || spawn::in_force(number, &task));
        let Ok(now) = look.await else { return found };
        found = now;
        if found == InForce::AsAsked {
            break;
        }
    }
    found
}
