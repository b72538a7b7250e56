//! Shares of a GPU: equal parts of its time and memory, for tasks that trust each other.
//!
//! A share is offered in the place of its GPU, as a slice in MIG mode is. It is told by its model,
//! `NVIDIA L40S (1/4)`, and by its unique name, `GPU-5d3f…::2/4`, both of which hold the GPU's own.
//! Nothing keeps what runs on one GPU apart but the driver's time slicing: that is an admin's
//! choice for a node, and asked for by a job.

use super::{GpuHardware, GpuSet, Slice, whole_index};
use crate::{limit, resource::Gpu, unit::Bytes};
use std::collections::BTreeMap;

/// Shares of one GPU at most: as many as there are indices for.
pub const SHARES_MAX: u32 = 8;

/// Which GPUs a node offers in shares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum GpuShares {
    /// None.
    #[default]
    None,
    /// Each that is not in MIG mode, in so many.
    All(u32),
    /// These, by the driver's index or by their unique names.
    Of(BTreeMap<String, u32>),
}

/// Shares that cannot be offered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// It names a GPU twice.
    #[error("names GPU {index} by its index and by its unique name; leave one of both out")]
    Twice {
        /// The GPU.
        index: u32,
    },
    /// The GPU is in slices already.
    #[error("GPU {index} is in MIG mode; leave it out: its slices are offered")]
    Sliced {
        /// The GPU.
        index: u32,
    },
    /// There would be more than a node may have.
    #[error("makes {count} GPUs and shares, at most {max} can be offered; make fewer of each")]
    TooMany {
        /// How many.
        count: usize,
        /// The bound.
        max: usize,
    },
}

/// The unique name of the GPU that one of this name is, or is a share of.
#[must_use]
pub fn whole_name(uuid: &str) -> &str {
    uuid.split_once("::").map_or(uuid, |(whole, _)| whole)
}

/// Whether a GPU's unique name is that of a share.
#[must_use]
pub fn is_share(uuid: &str) -> bool {
    uuid.contains("::")
}

/// Whether a configuration may name a GPU so: by its index, or by its unique name.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let index = name.parse::<u32>().is_ok_and(|index| index < limit::NODE_GPUS_MAX as u32);
    index || (name.starts_with("GPU-") && !is_share(name))
}

/// In how many shares the GPU of one of this model is offered: one, if it is whole.
#[must_use]
pub fn shares_of(model: &str) -> u32 {
    suffix(model).map_or(1, |(_, count)| count)
}

/// The model of the GPU that one of this model is, or is a share of.
#[must_use]
pub fn whole_model(model: &str) -> &str {
    suffix(model).map_or(model, |(whole, _)| whole)
}

/// The index and the unique name of the GPU that a task on this uses: of a share those of its GPU.
#[must_use]
pub fn whole(gpu: &Gpu) -> (u32, &str) {
    match gpu.uuid.split_once("::") {
        None => (gpu.index, &gpu.uuid),
        Some((whole, _)) => (whole_index(gpu.index), whole),
    }
}

/// The model of a GPU and the number of its shares, if this is one of them.
fn suffix(model: &str) -> Option<(&str, u32)> {
    let (whole, count) = model.strip_suffix(')')?.rsplit_once(" (1/")?;
    let count = count.parse().ok().filter(|count| (2..=SHARES_MAX).contains(count))?;
    Some((whole, count))
}

fn is_named(gpu: &GpuHardware, name: &str) -> bool {
    gpu.gpu.index.to_string() == name || gpu.gpu.uuid == name
}

fn shares(gpu: &GpuHardware, count: u32) -> Vec<Slice> {
    let share = |at: u32| Slice {
        uuid: format!("{}::{}/{count}", gpu.gpu.uuid, at + 1),
        model: format!("{} (1/{count})", gpu.gpu.model),
        memory: Bytes(gpu.gpu.memory.0 / u64::from(count)),
    };
    (0..count).map(share).collect()
}

impl GpuShares {
    /// In how many shares a GPU is offered; one for none.
    #[must_use]
    pub fn count(&self, gpu: &GpuHardware) -> u32 {
        match self {
            Self::None => 1,
            Self::All(count) => *count,
            Self::Of(named) => {
                let index = gpu.gpu.index.to_string();
                named.get(&index).or_else(|| named.get(&gpu.gpu.uuid)).copied().unwrap_or(1)
            }
        }
    }

    /// What it names and this machine has not, now: a GPU may have died.
    #[must_use]
    pub fn missing(&self, set: &GpuSet) -> Vec<&str> {
        let Self::Of(named) = self else { return Vec::new() };
        let there = |name: &str| set.all.iter().any(|gpu| is_named(gpu, name));
        named.keys().map(String::as_str).filter(|name| !there(name)).collect()
    }

    /// Whether it can be had on this machine.
    ///
    /// # Errors
    /// When a GPU that it names is sliced or named twice, or when there would be too many.
    pub fn check(&self, set: &GpuSet) -> Result<(), ShareError> {
        if let Self::Of(named) = self {
            for gpu in &set.all {
                let index = gpu.gpu.index;
                match named.keys().filter(|name| is_named(gpu, name)).count() {
                    0 => {}
                    1 if gpu.slices.is_none() => {}
                    1 => return Err(ShareError::Sliced { index }),
                    _ => return Err(ShareError::Twice { index }),
                }
            }
        }
        let offers = |gpu: &GpuHardware| match &gpu.slices {
            None => self.count(gpu) as usize,
            Some(slices) => slices.len(),
        };
        let (count, max) = (set.all.iter().map(offers).sum(), limit::NODE_GPUS_MAX);
        if *self != Self::None && count > max {
            return Err(ShareError::TooMany { count, max });
        }
        Ok(())
    }
}

impl GpuSet {
    /// The same GPUs, offered in shares.
    #[must_use]
    pub fn in_shares(mut self, asked: &GpuShares) -> Self {
        for gpu in self.all.iter_mut().filter(|gpu| gpu.slices.is_none()) {
            let count = asked.count(gpu).min(SHARES_MAX);
            if count > 1 {
                gpu.slices = Some(shares(gpu, count));
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::{Gpu, GpuShare, TaskResources};

    fn gpu(index: u32) -> GpuHardware {
        GpuHardware {
            gpu: Gpu {
                index,
                uuid: format!("GPU-{index}"),
                model: "NVIDIA L40S".into(),
                memory: Bytes(48 << 30),
                compute_capability: "8.9".into(),
            },
            bus: format!("{index}"),
            numa_node: Some(0),
            cpus: Default::default(),
            power: None,
            graphics_max: None,
            memory_max: None,
            pcie: None,
            nvlinks: Vec::new(),
            slices: None,
        }
    }

    fn set(count: u32) -> GpuSet {
        GpuSet { all: (0..count).map(gpu).collect(), ..GpuSet::default() }
    }

    #[test]
    fn a_share_is_offered_in_the_place_of_its_gpu_and_says_what_it_is_a_part_of() {
        let named = GpuShares::Of([("1".to_owned(), 4)].into());
        assert_eq!(named.check(&set(2)), Ok(()));
        let offered = set(2).in_shares(&named).offered();
        let names: Vec<_> = offered.iter().map(|it| (it.index, it.uuid.as_str())).collect();
        assert_eq!(names[..3], [(0, "GPU-0"), (72, "GPU-1::1/4"), (73, "GPU-1::2/4")]);
        let share = &offered[4];
        assert_eq!((share.model.as_str(), share.memory), ("NVIDIA L40S (1/4)", Bytes(12 << 30)));
        assert_eq!((shares_of(&share.model), whole_model(&share.model)), (4, "NVIDIA L40S"));
        assert_eq!((whole(share), whole(&offered[0])), ((1, "GPU-1"), (0, "GPU-0")));
        assert_eq!(set(2).in_shares(&GpuShares::None).offered(), set(2).offered());
    }

    #[test]
    fn what_is_whole_is_told_from_what_is_not() {
        for whole in ["NVIDIA L40S", "NVIDIA A100 MIG 1g.5gb", "GPU (1/x)", "(1/4", "G (1/99)", ""]
        {
            assert_eq!((shares_of(whole), whole_model(whole)), (1, whole));
        }
    }

    #[test]
    fn a_part_is_at_least_as_large_as_is_asked_for_and_a_whole_one_is_whole() {
        let suits = |share, model: &str| {
            let asked = TaskResources { gpus: 1, gpu_share: share, ..TaskResources::default() };
            asked.suits(model, Bytes(1))
        };
        let least = |part| GpuShare::AtLeast(crate::unit::PerMille(part));
        let models = ["L40S", "L40S (1/2)", "L40S (1/3)", "L40S (1/4)"];
        let all = |share| models.map(|model| suits(share, model));
        assert_eq!(all(GpuShare::Whole), [true, false, false, false]);
        assert_eq!(all(GpuShare::Any), [true; 4]);
        assert_eq!(all(least(500)), [false, true, false, false]);
        assert_eq!(all(least(333)), [false, true, true, false]);
        assert_eq!(all(least(1)), [false, true, true, true]);
        assert_eq!(all(least(501)), [false; 4]);
    }

    #[test]
    fn what_cannot_be_offered_is_named() {
        let of = |name: &str, count| GpuShares::Of([(name.to_owned(), count)].into());
        let fault = |shares: &GpuShares, set: &GpuSet| shares.check(set).unwrap_err().to_string();
        let twice = GpuShares::Of([("1".to_owned(), 2), ("GPU-1".to_owned(), 4)].into());
        assert!(fault(&twice, &set(2)).contains("names GPU 1 by its index and"));
        // What is not there now may be dead: the others serve.
        let gone = of("7", 2);
        assert_eq!((gone.check(&set(2)), gone.missing(&set(2))), (Ok(()), vec!["7"]));
        assert_eq!(gone.missing(&set(8)), Vec::<&str>::new());
        let names = ["0", "63", "64", "GPU-5d3f", "gpu0", "GPU-1::1/4", ""];
        assert_eq!(names.map(is_name), [true, true, false, true, false, false, false]);
        assert!(fault(&GpuShares::All(8), &set(9)).contains("makes 72 GPUs and shares"));
        assert_eq!(GpuShares::All(8).check(&set(8)), Ok(()));
        let mut sliced = set(1);
        sliced.all[0].slices = Some(Vec::new());
        assert!(fault(&of("GPU-0", 2), &sliced).contains("MIG mode"));
        assert_eq!(sliced.clone().in_shares(&GpuShares::All(4)), sliced, "slices stay");
    }
}
