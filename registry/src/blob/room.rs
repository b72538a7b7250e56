//! Room on a disk that blobs and task logs share with the replicated log, which must not run out.

use domain::limit::DISK_KEPT;
use std::{io, path::Path};

/// Free bytes for `dir`; as good as infinite where the system does not say.
#[must_use]
pub fn free(dir: &Path) -> u64 {
    rustix::fs::statvfs(dir)
        .map_or(u64::MAX, |figures| figures.f_bavail.saturating_mul(figures.f_frsize))
}

/// Fails as a full disk does when `more` bytes would take what is kept for the log.
///
/// # Errors
/// When there is no room.
pub fn check(dir: &Path, more: u64) -> io::Result<()> {
    let free = free(dir);
    if free >= DISK_KEPT.0.saturating_add(more) {
        return Ok(());
    }
    let why = format!("{free} bytes are free, the last {} are kept for the log", DISK_KEPT.0);
    Err(io::Error::new(io::ErrorKind::StorageFull, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_before_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        check(dir.path(), 0).unwrap();
        let fault = check(dir.path(), free(dir.path())).unwrap_err();
        assert_eq!(fault.kind(), io::ErrorKind::StorageFull);
    }
}
