//! How a node's GPUs are cut in shares, over restarts of its agent.
//!
//! A lease names a GPU by an index that follows from the cut. While something runs on a GPU its cut
//! stays, whatever the configuration says now: the next start after that takes the new one.

use super::{GpuError, Gpus};
use crate::driver::{dirs::NodeDirs, state};
use domain::hardware::{GpuHardware, GpuSet, share::GpuShares, whole_index};
use proto::frame;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

/// In how many shares GPUs are offered, by unique name; one for those that are whole.
pub type Cut = BTreeMap<String, u32>;

/// The shares that are to be offered now. `boot` tells what is of before a boot, and runs no more.
///
/// # Errors
/// When the GPUs cannot be listed, the configuration cannot be had, or the record of the last cut
/// cannot be read or written.
pub fn keep(
    dirs: &NodeDirs,
    asked: &GpuShares,
    gpus: &dyn Gpus,
    boot: &str,
) -> Result<Cut, GpuError> {
    let record = dirs.records().join("shares");
    let before = read(&record).map_err(GpuError::Cut)?;
    if *asked == GpuShares::None && before.is_empty() {
        return Ok(Cut::new());
    }
    let set = gpus.read()?;
    asked.check(&set)?;
    for gpu in asked.missing(&set) {
        tracing::warn!(gpu, "`gpu_shares` names a GPU that is not there");
    }
    let held = held(dirs, boot).map_err(GpuError::Cut)?;
    let mut now = cut(asked, &before, &set, &held);
    // What stays and what is new may together be more than either.
    if let Err(why) = GpuShares::Of(now.clone()).check(&set) {
        tracing::warn!(%why, "GPUs stay as they were cut until jobs have ended");
        now.clone_from(&before);
    }
    // A full disk keeps no agent from starting.
    if now != before {
        state::replace(&record, &now).map_err(GpuError::Cut)?;
    }
    Ok(now)
}

/// The cut of each GPU: as before where something runs on it, else as it is asked for.
fn cut(asked: &GpuShares, before: &Cut, set: &GpuSet, held: &BTreeSet<u32>) -> Cut {
    let of = |gpu: &GpuHardware| {
        let uuid = &gpu.gpu.uuid;
        let (wanted, had) = (asked.count(gpu), before.get(uuid).copied().unwrap_or(1));
        let count = if held.contains(&gpu.gpu.index) { had } else { wanted };
        if count != wanted {
            tracing::warn!(
                gpu = gpu.gpu.index,
                shares = had,
                "jobs run on it: it stays as it was cut until the next start after them"
            );
        }
        (uuid.clone(), count)
    };
    let whole = set.all.iter().filter(|gpu| gpu.slices.is_none());
    let mut cut: Cut = whole.map(of).collect();
    // What does not answer now may come back with what ran on it.
    let there = |uuid: &str| set.all.iter().any(|gpu| gpu.gpu.uuid == uuid);
    cut.extend(
        before.iter().filter(|(uuid, _)| !there(uuid)).map(|(u, count)| (u.clone(), *count)),
    );
    cut
}

/// GPUs on which something may run, by the driver's index.
fn held(dirs: &NodeDirs, boot: &str) -> io::Result<BTreeSet<u32>> {
    state::forget_other_boots(dirs, boot)?;
    let leases = state::read_all(dirs)?;
    let members = leases.iter().filter_map(|(node, wanted)| wanted.lease.member(*node));
    let indices = members.flat_map(|member| &member.tasks).flat_map(|task| &task.gpus);
    Ok(indices.map(|index| whole_index(*index)).collect())
}

fn read(record: &Path) -> io::Result<Cut> {
    match fs::read(record) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(Cut::new()),
        Err(why) => Err(why),
        Ok(bytes) => frame::decode(&bytes).map_err(io::Error::other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{Bytes, resource::Gpu};

    fn set(names: &[&str]) -> GpuSet {
        let gpu = |(index, name): (u32, &&str)| GpuHardware {
            gpu: Gpu {
                index,
                uuid: (*name).to_owned(),
                model: "L40S".into(),
                memory: Bytes(1 << 30),
                compute_capability: "8.9".into(),
            },
            bus: index.to_string(),
            numa_node: None,
            cpus: Default::default(),
            power: None,
            graphics_max: None,
            memory_max: None,
            pcie: None,
            nvlinks: Vec::new(),
            slices: None,
        };
        GpuSet { all: (0..).zip(names).map(gpu).collect(), ..GpuSet::default() }
    }

    #[test]
    fn a_gpu_on_which_something_runs_stays_as_it_was_cut() {
        let of = |all: &[(&str, u32)]| -> Cut {
            all.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
        };
        let set = set(&["GPU-a", "GPU-b", "GPU-c"]);
        let before = of(&[("GPU-a", 4), ("GPU-b", 4), ("GPU-gone", 2)]);
        let all = GpuShares::All(2);
        let now = |held: &[u32]| cut(&all, &before, &set, &held.iter().copied().collect());
        assert_eq!(now(&[]), of(&[("GPU-a", 2), ("GPU-b", 2), ("GPU-c", 2), ("GPU-gone", 2)]));
        // The first in its old shares, the third whole.
        let kept = of(&[("GPU-a", 4), ("GPU-b", 2), ("GPU-c", 1), ("GPU-gone", 2)]);
        assert_eq!(now(&[0, 2]), kept);
        let none = cut(&GpuShares::None, &before, &set, &[1].into());
        assert_eq!(none, of(&[("GPU-a", 1), ("GPU-b", 4), ("GPU-c", 1), ("GPU-gone", 2)]));
    }

    #[test]
    fn the_record_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let record = dir.path().join("shares");
        assert_eq!(read(&record).unwrap(), Cut::new());
        let cut: Cut = [("GPU-a".to_owned(), 4)].into();
        state::replace(&record, &cut).unwrap();
        assert_eq!(read(&record).unwrap(), cut);
        fs::write(&record, b"other").unwrap();
        assert!(read(&record).is_err());
    }
}
