//! Files that root acts upon: nobody else may be able to change them.

use rustix::fs::{AtFlags, CWD, Mode, Stat, statat};
use std::path::Path;

/// Refuses a file or folder that others than root may change, or whose name they may: by its
/// permissions, or by those of a folder above it.
///
/// # Errors
/// Says what may be changed.
pub fn check(path: &Path) -> Result<(), String> {
    let failed = |part: &Path, why: String| format!("`{}`: {why}", part.display());
    let named = std::path::absolute(path).map_err(|why| failed(path, why.to_string()))?;
    // One that is not there may be made by whoever may write to the folders above it.
    let there = named.ancestors().find(|part| part.symlink_metadata().is_ok()).unwrap_or(&named);
    let real = there.canonicalize().map_err(|why| failed(there, why.to_string()))?;
    // Where it is, and, as far as a link leads there, where its name is.
    let above = named.ancestors().skip(1).filter(|part| part.exists());
    let above = above.map(|part| (1, part));
    let parts = real.ancestors().enumerate();
    for (level, part) in parts.chain(above) {
        let meta =
            statat(CWD, part, AtFlags::empty()).map_err(|why| failed(part, why.to_string()))?;
        if !is_roots(&meta, level) {
            return Err(format!(
                "`{}` may be changed by others than root, who acts upon `{}`: give it to root, and \
                 take the right to write from its group and others",
                part.display(),
                path.display()
            ));
        }
    }
    Ok(())
}

/// In a folder with the sticky bit others make files, and rename none of root's.
fn is_roots(meta: &Stat, level: usize) -> bool {
    let mode = Mode::from_raw_mode(meta.st_mode);
    let shared = mode.intersects(Mode::WGRP | Mode::WOTH);
    meta.st_uid == 0 && (!shared || (level > 0 && mode.contains(Mode::SVTX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, chown},
    };

    #[test]
    fn what_others_may_change_or_replace_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, file) = (dir.path().join("a"), dir.path().join("a/file"));
        fs::create_dir(&folder).unwrap();
        fs::write(&file, "").unwrap();
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let refused = |what: &Path| check(&file).unwrap_err().contains(&what.display().to_string());
        assert_eq!(check(&file), Ok(()), "in /tmp, where others rename nothing of root's");
        mode(&file, 0o666);
        assert!(refused(&file));
        mode(&file, 0o644);
        mode(&folder, 0o775);
        assert!(refused(&folder));
        mode(&folder, 0o755);
        chown(&folder, Some(1), None).unwrap();
        assert!(refused(&folder));
        assert!(check(&folder.join("not/there")).is_err(), "it may be made");
        assert_eq!(check(&dir.path().join("not/there")), Ok(()));
        std::os::unix::fs::symlink("/etc/passwd", folder.join("link")).unwrap();
        assert!(check(&folder.join("link")).is_err(), "it may lead elsewhere tomorrow");
    }
}
