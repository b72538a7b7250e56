//! Where mail is worked off: by whoever brings it if that is quick, otherwise by the owner.
//!
//! To wake a thread costs more than most steps. So whoever posts tries to take the seat and steps
//! by itself; who finds it taken leaves the mail to whoever has it, who looks again after letting
//! go (flat combining: Hendler, Incze, Shavit, Tzafrir 2010). What may take long, and time, are
//! for the owner's thread.

use super::{mail::Mail, pump::guard};
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError, TryLockError},
    thread::Thread,
    time::Instant,
};

/// Mails that the owner takes in one go.
const OWNER_BATCH: usize = 4_096;
/// Mails that anybody else takes in one go.
const CALLER_BATCH: usize = 64;

/// Whose thread works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// One that has connections to serve: what is to be sent waits for its return.
    Caller,
    /// The writer's.
    Writer,
    /// The one that is there for it.
    Owner,
}

/// What a visit leaves to be done.
pub(super) struct Next {
    /// When the owner is to come by itself.
    pub(super) due: Instant,
    /// Whether the work is at its end: the owner closes up.
    pub(super) ended: bool,
}

/// The work that is done at the seat.
pub(super) trait Work<M>: Send {
    /// Takes what has gathered, all of it, and steps.
    fn visit(&mut self, mails: &mut Vec<Mail<M>>, by: By) -> Next;
    /// Writes what is left to be written, and tells whoever waits that this is the end.
    fn close(self: Box<Self>);
}

struct Tray<M> {
    mails: VecDeque<Mail<M>>,
    closed: bool,
}

impl<M> Tray<M> {
    /// Moves what `by` may take. Whether it is all.
    fn give(&mut self, by: By, batch: &mut Vec<Mail<M>>) -> bool {
        let most = if by == By::Owner { OWNER_BATCH } else { CALLER_BATCH };
        while let Some(mail) = self.mails.front() {
            if batch.len() >= most || (by != By::Owner && !mail.is_light()) {
                return false;
            }
            batch.extend(self.mails.pop_front());
        }
        true
    }
}

struct Seat<M> {
    work: Option<Box<dyn Work<M>>>,
    batch: Vec<Mail<M>>,
    /// When the owner comes by itself.
    due: Instant,
}

/// Mail, and the one seat at which it is worked off.
pub(super) struct Desk<M> {
    tray: Mutex<Tray<M>>,
    seat: Mutex<Seat<M>>,
    owner: OnceLock<Thread>,
}

impl<M: 'static> Desk<M> {
    pub(super) fn new() -> Self {
        Self {
            tray: Mutex::new(Tray { mails: VecDeque::new(), closed: false }),
            seat: Mutex::new(Seat { work: None, batch: Vec::new(), due: Instant::now() }),
            owner: OnceLock::new(),
        }
    }

    fn tray(&self) -> MutexGuard<'_, Tray<M>> {
        // A panic at the seat ends the process; elsewhere the lock is held for a move only.
        self.tray.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves mail to whoever comes next. Whether somebody will.
    pub(super) fn put(&self, mail: Mail<M>) -> bool {
        let mut tray = self.tray();
        if !tray.closed {
            tray.mails.push_back(mail);
        }
        !tray.closed
    }

    /// Works off what lies there, as far as that is quick and nobody is at it.
    pub(super) fn work(&self, by: By) {
        let mut seat = match self.seat.try_lock() {
            Ok(seat) => seat,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Whoever has the seat looks again after letting go.
            Err(TryLockError::WouldBlock) => return,
        };
        let Seat { work, batch, due } = &mut *seat;
        let Some(work) = work else { return };
        let all = self.tray().give(by, batch);
        let mut call = !all;
        if !batch.is_empty() {
            guard("replica", || {
                let next = work.visit(batch, by);
                call |= next.ended || next.due < *due;
                *due = next.due.min(*due);
            });
        }
        drop(seat);
        if call || !self.tray().mails.is_empty() {
            self.call();
        }
    }

    /// Has the owner come.
    pub(super) fn call(&self) {
        if let Some(owner) = self.owner.get() {
            owner.unpark();
        }
    }

    /// The owner's life: from now to the end of the work.
    pub(super) fn own(&self, work: Box<dyn Work<M>>) {
        // There is one owner, so nobody has set it before.
        let _ = self.owner.set(std::thread::current());
        self.seat.lock().unwrap_or_else(PoisonError::into_inner).work = Some(work);
        loop {
            let mut seat = self.seat.lock().unwrap_or_else(PoisonError::into_inner);
            let Seat { work, batch, due } = &mut *seat;
            let Some(at_work) = work else { return };
            self.tray().give(By::Owner, batch);
            let next = at_work.visit(batch, By::Owner);
            *due = next.due;
            if next.ended {
                let work = work.take();
                drop(seat);
                let left = {
                    let mut tray = self.tray();
                    tray.closed = true;
                    std::mem::take(&mut tray.mails)
                };
                // Whoever waits for an answer hears that there will be none.
                drop(left);
                if let Some(work) = work {
                    work.close();
                }
                return;
            }
            drop(seat);
            if self.tray().mails.is_empty() {
                std::thread::park_timeout(next.due.saturating_duration_since(Instant::now()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::replica::Input;
    use domain::ReplicaId;
    use std::{
        sync::{Arc, mpsc},
        time::Duration,
    };

    /// Tells what it was given, and by whom; ends with [`Mail::Stop`].
    struct Clerk(mpsc::Sender<(u64, By)>);

    impl Work<()> for Clerk {
        fn visit(&mut self, mails: &mut Vec<Mail<()>>, by: By) -> Next {
            let mut ended = false;
            for mail in mails.drain(..) {
                match mail {
                    Mail::Input(Input::Unreachable { to }) => {
                        self.0.send((to.0, by)).expect("the test listens");
                    }
                    _ => ended = true,
                }
            }
            Next { due: Instant::now() + Duration::from_secs(3_600), ended }
        }

        fn close(self: Box<Self>) {}
    }

    fn numbered(number: u64) -> Mail<()> {
        Mail::Input(Input::Unreachable { to: ReplicaId(number) })
    }

    type Open = (Arc<Desk<()>>, mpsc::Receiver<(u64, By)>, std::thread::JoinHandle<()>);

    fn open() -> Open {
        let desk = Arc::new(Desk::new());
        let (told, tells) = mpsc::channel();
        let owned = Arc::clone(&desk);
        let owner = std::thread::spawn(move || owned.own(Box::new(Clerk(told))));
        (desk, tells, owner)
    }

    #[test]
    fn nothing_that_threads_leave_to_each_other_is_left_lying_or_overtaken() {
        const EACH: u64 = 20_000;
        let (desk, tells, owner) = open();
        let post = |thread: u64| {
            let desk = Arc::clone(&desk);
            std::thread::spawn(move || {
                for number in 0..EACH {
                    assert!(desk.put(numbered(thread * EACH + number)));
                    match number % 7 {
                        0 => desk.call(),
                        _ => desk.work(By::Caller),
                    }
                }
            })
        };
        let threads: Vec<_> = (0..4).map(post).collect();
        let mut next = [0; 4];
        for _ in 0..4 * EACH {
            let (number, _) = tells.recv_timeout(Duration::from_secs(60)).expect("none is lost");
            let (thread, number) = ((number / EACH) as usize, number % EACH);
            assert_eq!(number, next[thread], "in the order of thread {thread}");
            next[thread] += 1;
        }
        threads.into_iter().for_each(|thread| thread.join().expect("it ends"));
        desk.put(Mail::Stop);
        desk.call();
        owner.join().expect("it ends");
        assert!(!desk.put(numbered(0)), "the desk is closed");
    }

    #[test]
    fn what_takes_long_is_for_the_owner_and_what_follows_waits_for_it() {
        let (desk, tells, owner) = open();
        desk.put(numbered(1));
        desk.call();
        assert_eq!(tells.recv(), Ok((1, By::Owner)));
        desk.put(numbered(2));
        desk.work(By::Caller);
        let (number, _) = tells.recv_timeout(Duration::from_secs(60)).expect("it is worked off");
        assert_eq!(number, 2);
        desk.put(Mail::Stop);
        desk.put(numbered(3));
        desk.work(By::Caller);
        owner.join().expect("the owner was called and closed up");
        assert!(tells.iter().all(|(number, by)| number == 3 && by == By::Owner));
    }
}
