//! What the supervisor's loop waits for: descriptors, and an instant of the boot-time clock.

use crate::driver::clock;
use domain::Millis;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use std::{io, os::fd::OwnedFd};
use tokio::io::unix::AsyncFd;

/// A descriptor that the event loop watches.
#[expect(deprecated, reason = "sound for a descriptor that is owned; its successor is unsafe")]
pub(super) fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(fd)
}

/// Fires at an instant of the boot-time clock, also if the machine slept meanwhile.
pub(super) struct Timer {
    fd: AsyncFd<OwnedFd>,
    set: Option<Millis>,
}

impl Timer {
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = timerfd_create(TimerfdClockId::Boottime, flags)?;
        Ok(Self { fd: readable(fd)?, set: None })
    }

    pub(super) fn set(&mut self, at: Option<Millis>) {
        if self.set == at {
            return;
        }
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        // All zero would disarm it: an instant in the past is one that is over.
        let value = at.map_or(zero, |at| clock::timespec(at.plus(Millis(u64::from(at.0 == 0)))));
        let spec = Itimerspec { it_interval: zero, it_value: value };
        timerfd_settime(self.fd.get_ref(), TimerfdTimerFlags::ABSTIME, &spec)
            .expect("a valid instant on an open timer is accepted");
        self.set = at;
    }

    pub(super) async fn fired(&mut self) {
        if let Ok(mut ready) = self.fd.readable().await {
            let mut count = [0; 8];
            let _ = rustix::io::read(self.fd.get_ref(), &mut count);
            ready.clear_ready();
            self.set = None;
        }
    }
}
