//! What tasks of the jobs that have not ended ask for of GPUs, and how many ask for it.
//!
//! An index in memory over the rows of jobs, by which places are judged (`planner::costs`).
//! Memory is left out, and other amounts are rounded, so that like tasks are one kind.

use super::row::Brief;
use domain::{Bytes, CpuMillis, resource::TaskResources};
use std::collections::BTreeMap;

/// Tasks of one job that count at most, with those of all its elements: a large job is one of those
/// who share a cluster.
const TASKS_MAX: u64 = 128;
/// Processor time is told apart to an eighth of a core, and to so many significant bits.
const CPU_UNIT: u64 = 125;
const CPU_BITS: u32 = 5;
/// Memory of a GPU is told apart to a GiB, rounded down: those that were asked for by what they
/// have still will do.
const GPU_MEMORY_UNIT: u64 = 1 << 30;

/// Tasks by what each asks for, as far as kinds are told apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usual(BTreeMap<TaskResources, u64>);

/// None of a job without GPUs, and of a run of a check, which comes with the machines and not with
/// the work.
fn kind(job: &Brief) -> Option<TaskResources> {
    let asked = &job.resources;
    let counts = asked.gpus > 0 && job.check.is_none();
    counts.then(|| TaskResources {
        gpus: asked.gpus,
        gpu_model: asked.gpu_model.as_ref().map(|model| model.to_ascii_lowercase()),
        cpu: CpuMillis(rounded(asked.cpu.0)),
        memory: Bytes(0),
        gpu_memory: asked.gpu_memory.map(|Bytes(least)| Bytes(least - least % GPU_MEMORY_UNIT)),
        gpu_share: asked.gpu_share,
    })
}

/// Up to the next amount that is told apart.
fn rounded(cpu: u64) -> u64 {
    let units = cpu.div_ceil(CPU_UNIT);
    let low = (u64::BITS - units.leading_zeros()).saturating_sub(CPU_BITS);
    let rounded = units.checked_next_multiple_of(1 << low).unwrap_or(units);
    rounded.saturating_mul(CPU_UNIT)
}

fn tasks(job: &Brief) -> u64 {
    (u64::from(job.elements()) * u64::from(job.tasks)).min(TASKS_MAX)
}

impl Usual {
    /// A job came.
    pub(super) fn add(&mut self, job: &Brief) {
        if let Some(kind) = kind(job) {
            *self.0.entry(kind).or_default() += tasks(job);
        }
    }

    /// A job has ended.
    pub(super) fn take(&mut self, job: &Brief) {
        let Some(kind) = kind(job) else { return };
        let Some(count) = self.0.get_mut(&kind) else { return };
        *count = count.saturating_sub(tasks(job));
        if *count == 0 {
            self.0.remove(&kind);
        }
    }

    /// Each kind with how many tasks ask for it.
    pub fn kinds(&self) -> impl Iterator<Item = (&TaskResources, u64)> {
        self.0.iter().map(|(kind, count)| (kind, *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn processor_time_is_rounded_up_to_few_amounts() {
        let as_it_is = [0, 125, 500, 1_000, 3_500, 12_000, 14_000, 32_000, 64_000, 96_000, 112_000];
        for amount in as_it_is {
            assert_eq!(rounded(amount), amount);
        }
        for (amount, up) in [(1, 125), (4_300, 4_500), (33_000, 34_000), (97_000, 100_000)] {
            assert_eq!(rounded(amount), up, "{amount}");
        }
        assert!(rounded(u64::MAX) >= u64::MAX - CPU_UNIT);
        let all: BTreeSet<u64> = (1..=1_024_000).step_by(25).map(rounded).collect();
        assert_eq!(all.len(), 32 + 16 * 8);
    }
}
