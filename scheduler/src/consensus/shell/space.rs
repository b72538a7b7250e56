//! Room on the disk: what is left, and what is done when it runs out.

use std::path::Path;

/// Free bytes below which submits are refused.
const LOW: u64 = 256 << 20;
/// Free bytes below which a leader gives its leadership away.
const CRITICAL: u64 = 96 << 20;
/// Free bytes below which everything is refused.
const FULL: u64 = 32 << 20;

/// How much room is left on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Space {
    /// Enough.
    Enough,
    /// New jobs are refused, so that those that are known can still end.
    Low {
        /// Bytes that are free.
        free: u64,
    },
    /// Everything is refused, so that the log can still be written.
    Full {
        /// Bytes that are free.
        free: u64,
    },
}

impl Space {
    pub(super) fn of(free: u64) -> Self {
        match free {
            ..FULL => Self::Full { free },
            FULL..LOW => Self::Low { free },
            LOW.. => Self::Enough,
        }
    }

    /// Whether a leader on this disk should give its leadership away.
    pub(super) fn is_critical(self) -> bool {
        match self {
            Self::Enough => false,
            Self::Low { free } | Self::Full { free } => free < CRITICAL,
        }
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
    fn a_disk_that_fills_refuses_jobs_then_the_leadership_then_everything() {
        assert_eq!(Space::of(LOW), Space::Enough);
        assert_eq!(Space::of(LOW - 1), Space::Low { free: LOW - 1 });
        assert!(!Space::of(CRITICAL).is_critical());
        assert!(Space::of(CRITICAL - 1).is_critical());
        assert_eq!(Space::of(FULL - 1), Space::Full { free: FULL - 1 });
        assert!(Space::of(0).is_critical());
        assert!(free(Path::new("/")) > 0);
    }
}
