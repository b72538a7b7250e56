//! Room on the disk: what is left, and what is done when it runs out.

use domain::{
    Bytes,
    limit::{DISK_FULL, DISK_LOW},
};

/// How much room is left on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Space {
    /// Enough.
    Enough,
    /// New jobs are refused, so that those that are known can still end, and a leader gives its
    /// leadership away.
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
        match Bytes(free) {
            left if left < DISK_FULL => Self::Full { free },
            left if left < DISK_LOW => Self::Low { free },
            _ => Self::Enough,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_fills_refuses_jobs_then_everything() {
        assert_eq!(Space::of(DISK_LOW.0), Space::Enough);
        assert_eq!(Space::of(DISK_LOW.0 - 1), Space::Low { free: DISK_LOW.0 - 1 });
        assert_eq!(Space::of(DISK_FULL.0), Space::Low { free: DISK_FULL.0 });
        assert_eq!(Space::of(DISK_FULL.0 - 1), Space::Full { free: DISK_FULL.0 - 1 });
    }
}
