//! Landlock: what of the file system a task may read and write, as a wall of its own.

use super::{SandboxError, root::SCRATCH};
use landlock::{
    ABI, Access, AccessFs, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr,
};
use std::path::{Path, PathBuf};

/// The newest rights that are asked for; older kernels know fewer of them.
const RIGHTS: ABI = ABI::V5;

/// Reading all that the room's root shows, writing what was lent, and the devices.
///
/// The rights hang on the root's own folder: a file that is reached by another way, outside of
/// the room's mounts, lies beneath none of them. `seen` is the room's root, as the supervisor
/// sees it.
pub fn rules(seen: &Path, writable: &[PathBuf]) -> Result<RulesetCreated, SandboxError> {
    let failed = |why: String| SandboxError::new("set what files are reached", why);
    let all = AccessFs::from_all(RIGHTS);
    let ruleset = Ruleset::default()
        .handle_access(all)
        .and_then(Ruleset::create)
        .map_err(|why| failed(why.to_string()))?;
    let inside = |path: &Path| seen.join(path.strip_prefix("/").unwrap_or(path));
    let read = (seen.to_owned(), AccessFs::from_read(RIGHTS));
    let write = writable.iter().map(|path| (inside(path), all));
    // `/proc/self` has files that a program writes to.
    let kernel = ["/dev", "/dev/shm", "/proc"].into_iter().chain(SCRATCH);
    let kernel = kernel.map(|path| (inside(Path::new(path)), all));
    let mut rules = ruleset;
    for (path, access) in std::iter::once(read).chain(write).chain(kernel) {
        rules = add(rules, &path, access)
            .map_err(|why| failed(format!("{}: {why}", path.display())))?;
    }
    Ok(rules)
}

fn add(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, String> {
    let folder = PathFd::new(path).map_err(|why| why.to_string())?;
    rules.add_rule(PathBeneath::new(folder, access)).map_err(|why| why.to_string())
}
