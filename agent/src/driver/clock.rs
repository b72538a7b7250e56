//! The two clocks of a node.

use domain::Millis;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Time since the machine booted, also while it was suspended. All lease times are on it.
#[must_use]
pub fn boot_now() -> Millis {
    millis(clock_gettime(ClockId::Boottime))
}

/// Time since the Unix epoch, for the record only.
#[must_use]
pub fn wall_now() -> Millis {
    millis(clock_gettime(ClockId::Realtime))
}

/// The instant of the boot-time clock as the system counts it.
#[must_use]
pub fn timespec(at: Millis) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(at.0 / 1_000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(at.0 % 1_000).unwrap_or(0) * 1_000_000,
    }
}

fn millis(time: Timespec) -> Millis {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Millis(seconds.saturating_mul(1_000).saturating_add(nanos / 1_000_000))
}
