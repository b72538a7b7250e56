//! Calls that may never return, each kept from holding up whoever asks.

use std::{
    io,
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

type Job = Box<dyn FnOnce() + Send>;

/// A call that did not return in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("calls on {what} do not return within {limit_ms} ms")]
pub struct Hung {
    /// What the calls are on.
    pub what: String,
    /// The time they had.
    pub limit_ms: u64,
}

/// One thread for the calls on one thing. If a call hangs, this thread hangs with it and no other
/// is started: what it serves is called hung until the call returns.
#[derive(Debug)]
pub struct Worker {
    what: String,
    limit: Duration,
    turn: Mutex<Turn>,
}

/// Whose turn it is: one call at a time.
#[derive(Debug)]
struct Turn {
    jobs: SyncSender<Job>,
    /// Says that the call which was given up has returned.
    late: Option<Receiver<()>>,
}

impl Worker {
    /// A worker for `what`, each of whose calls may take `limit`.
    ///
    /// # Errors
    /// When the system grants no thread.
    pub fn new(what: String, limit: Duration) -> io::Result<Self> {
        let (jobs, inbox) = sync_channel::<Job>(1);
        // Ends with the sender, unless it hangs: then with the process.
        thread::Builder::new().name(what.chars().take(15).collect()).spawn(move || {
            for job in inbox {
                job();
            }
        })?;
        Ok(Self { what, limit, turn: Mutex::new(Turn { jobs, late: None }) })
    }

    /// The answer of `call`.
    ///
    /// # Errors
    /// When it does not return in time, or an earlier one still has not returned.
    pub fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Hung> {
        let limit_ms = u64::try_from(self.limit.as_millis()).unwrap_or(u64::MAX);
        let hung = || Hung { what: self.what.clone(), limit_ms };
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        match turn.late.as_ref().map(Receiver::try_recv) {
            Some(Err(std::sync::mpsc::TryRecvError::Empty)) => return Err(hung()),
            _ => turn.late = None,
        }
        let (answer, answers) = sync_channel(1);
        let (done, late) = sync_channel(1);
        let job = Box::new(move || {
            // Nobody may listen any more: that is what this is for.
            let _ = answer.send(call());
            let _ = done.send(());
        });
        turn.jobs.send(job).map_err(|_| hung())?;
        match answers.recv_timeout(self.limit) {
            Ok(answer) => Ok(answer),
            Err(RecvTimeoutError::Timeout) => {
                turn.late = Some(late);
                Err(hung())
            }
            // The call panicked, and took the thread along.
            Err(RecvTimeoutError::Disconnected) => Err(hung()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::Instant,
    };

    #[test]
    fn a_hung_call_holds_up_nobody_and_nothing_is_started_behind_it() {
        let worker = Worker::new("GPU 0".into(), Duration::from_millis(50)).unwrap();
        assert_eq!(worker.call(|| 7), Ok(7));
        let (release, released) = sync_channel::<()>(1);
        let hung = worker.call(move || released.recv().is_ok()).unwrap_err();
        assert_eq!(hung.to_string(), "calls on GPU 0 do not return within 50 ms");
        let began = Instant::now();
        let ran = Arc::new(AtomicUsize::new(0));
        for _ in 0..100 {
            let ran = Arc::clone(&ran);
            let call = move || ran.fetch_add(1, Ordering::Relaxed);
            assert!(worker.call(call).is_err());
        }
        assert!(began.elapsed() < Duration::from_millis(50), "the known hang is told at once");
        release.send(()).unwrap();
        let until = Instant::now() + Duration::from_secs(5);
        while worker.call(|| ()).is_err() {
            assert!(Instant::now() < until, "once the call returns, the worker serves again");
            thread::yield_now();
        }
        assert_eq!(ran.load(Ordering::Relaxed), 0);
    }
}
