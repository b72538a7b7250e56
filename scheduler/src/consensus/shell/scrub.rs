//! The thread that scrubs: see [`crate::consensus::scrub`].

use super::mail::{Mail, Mailbox};
use crate::consensus::{
    replica::Input,
    scrub::{self, Outcome},
    store::Store,
};
use domain::limit;
use std::{
    convert::Infallible,
    sync::mpsc::{self, RecvTimeoutError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Ends the thread when it is dropped.
pub(super) type Leash = mpsc::Sender<Infallible>;

/// Starts the thread. It ends when its leash is dropped, at most a page later, or when it has
/// found damage.
pub(super) fn start<M: Send + 'static>(
    store: Store,
    mail: Mailbox<M>,
    every: Duration,
) -> std::io::Result<(Leash, JoinHandle<()>)> {
    let (leash, held) = mpsc::channel();
    let body = move || super::pump::guard("scrub", || run(&store, &mail, every, &held));
    let thread = std::thread::Builder::new().name("scrub".into()).spawn(body)?;
    Ok((leash, thread))
}

fn run<M: Send + 'static>(
    store: &Store,
    mail: &Mailbox<M>,
    every: Duration,
    held: &mpsc::Receiver<Infallible>,
) {
    let rest = |time| held.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
    let mut wait = every.min(Duration::from_millis(limit::SCRUB_FIRST.0));
    while rest(wait) {
        wait = every;
        let begun = Instant::now();
        match scrub::scrub(store, rest) {
            Ok(Outcome::Whole { at, rows, bytes }) => {
                let took_ms = begun.elapsed().as_millis() as u64;
                tracing::info!(at, rows, bytes, took_ms, "rows scrubbed, all as they were written");
            }
            Ok(Outcome::Damaged(damage)) => {
                tracing::error!(?damage, "scrub found the rows damaged, this server must stop");
                mail.post(Mail::Input(Input::Damaged(damage)));
                return;
            }
            Ok(Outcome::Empty) => {}
            Ok(Outcome::CutOff) => return,
            Err(fault) => tracing::warn!(%fault, "rows not scrubbed, tried again later"),
        }
    }
}
