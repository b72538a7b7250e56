//! Room on the disk: what is left, and what is done when it runs out.

use std::path::Path;

/// Free bytes below which submits are refused.
const LOW: u64 = 256 << 20;
/// Free bytes below which a leader gives its leadership away.
const CRITICAL: u64 = 96 << 20;

/// How much room is left on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Enough.
    Enough,
    /// New jobs are refused, so that those that are known can still end.
    Low {
        /// Bytes that are free.
        free: u64,
    },
}

impl Space {
    pub(super) fn of(free: u64) -> Self {
        if free < LOW { Self::Low { free } } else { Self::Enough }
    }

    /// Whether a leader on this disk should give its leadership away.
    #[must_use]
    pub fn is_critical(self) -> bool {
        matches!(self, Self::Low { free } if free < CRITICAL)
    }
}

/// Free bytes for `dir`; as good as infinite where the system does not say.
pub(super) fn free(dir: &Path) -> u64 {
    rustix::fs::statvfs(dir)
        .map_or(u64::MAX, |figures| figures.f_bavail.saturating_mul(figures.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_fills_first_refuses_jobs_and_then_the_leadership() {
        assert_eq!(Space::of(LOW), Space::Enough);
        assert!(!Space::of(LOW).is_critical());
        assert_eq!(Space::of(LOW - 1), Space::Low { free: LOW - 1 });
        assert!(!Space::of(CRITICAL).is_critical());
        assert!(Space::of(CRITICAL - 1).is_critical());
        assert!(free(Path::new("/")) > 0);
    }
}
