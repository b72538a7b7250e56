//! Which GPUs of a machine are near each other, as the scheduler is told.

use super::{GpuHardware, GpuSet, NvLinkPeer};
use crate::topology::GpuSite;
use std::collections::{BTreeMap, BTreeSet};

impl GpuSet {
    /// Where what it offers is: cliques over links that are up, and NUMA nodes.
    ///
    /// What is linked to a switch reaches all that are; a slice reaches nothing.
    #[must_use]
    pub fn sites(&self) -> Vec<GpuSite> {
        let cliques = self.cliques();
        let offered: BTreeSet<u32> = self.offered().iter().map(|gpu| gpu.index).collect();
        let mut sites = Vec::new();
        for gpu in &self.all {
            let numa = gpu.numa_node;
            match &gpu.slices {
                None => {
                    let index = gpu.gpu.index;
                    sites.push(GpuSite { index, nvlink: cliques.get(&index).copied(), numa });
                }
                Some(slices) => sites.extend(slices.iter().zip(0..).map(|(slice, place)| {
                    let index = gpu.offer(slice, place).index;
                    GpuSite { index, nvlink: None, numa }
                })),
            }
        }
        sites.retain(|site| {
            offered.contains(&site.index) && (site.nvlink.is_some() || site.numa.is_some())
        });
        sites.sort_by_key(|site| site.index);
        sites.dedup_by_key(|site| site.index);
        sites
    }

    /// The least index of the clique of each GPU that has a link.
    fn cliques(&self) -> BTreeMap<u32, u32> {
        let whole = || self.all.iter().filter(|gpu| gpu.slices.is_none());
        let mut clique: BTreeMap<u32, u32> = whole()
            .filter(|gpu| is_linked(gpu))
            .map(|gpu| (gpu.gpu.index, gpu.gpu.index))
            .collect();
        let switched = || whole().filter(|gpu| peers(gpu).any(|peer| peer == NvLinkPeer::Switch));
        let first = switched().map(|gpu| gpu.gpu.index).min();
        let over_switch = switched().filter_map(|gpu| Some((gpu.gpu.index, first?)));
        let direct = whole().flat_map(|gpu| {
            let others = peers(gpu).filter_map(|peer| match peer {
                NvLinkPeer::Gpu(other) => Some(other),
                NvLinkPeer::Switch | NvLinkPeer::Unknown => None,
            });
            others.map(|other| (gpu.gpu.index, other)).collect::<Vec<_>>()
        });
        for (one, other) in over_switch.chain(direct).collect::<Vec<_>>() {
            let (Some(one), Some(other)) = (clique.get(&one), clique.get(&other)) else { continue };
            let (least, greater) = (*one.min(other), *one.max(other));
            clique.values_mut().filter(|of| **of == greater).for_each(|of| *of = least);
        }
        clique
    }
}

/// The other ends of its links that are up.
fn peers(gpu: &GpuHardware) -> impl Iterator<Item = NvLinkPeer> + '_ {
    gpu.nvlinks.iter().filter(|link| link.up).map(|link| link.peer)
}

fn is_linked(gpu: &GpuHardware) -> bool {
    peers(gpu).any(|peer| peer != NvLinkPeer::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        hardware::{CpuSet, NvLink, Slice},
        resource::Gpu,
        unit::Bytes,
    };

    fn gpu(index: u32, numa: u32, links: &[NvLinkPeer]) -> GpuHardware {
        let link = |peer: &NvLinkPeer| NvLink { up: true, peer: *peer };
        GpuHardware {
            gpu: Gpu {
                index,
                uuid: format!("GPU-{index}"),
                model: "H100".into(),
                memory: Bytes(1),
                compute_capability: "9.0".into(),
            },
            bus: String::new(),
            numa_node: Some(numa),
            cpus: CpuSet::from_words(&[1]),
            power: None,
            graphics_max: None,
            memory_max: None,
            pcie: None,
            nvlinks: links.iter().map(link).collect(),
            slices: None,
        }
    }

    fn cliques(all: Vec<GpuHardware>) -> Vec<(u32, Option<u32>)> {
        let set = GpuSet { all, ..GpuSet::default() };
        set.sites().iter().map(|site| (site.index, site.nvlink)).collect()
    }

    #[test]
    fn a_switch_joins_all_and_bridges_join_pairs() {
        let all = (0..4).map(|index| gpu(index, index / 2, &[NvLinkPeer::Switch])).collect();
        assert_eq!(cliques(all), [0, 1, 2, 3].map(|index| (index, Some(0))));
        let bridged = |index, other| gpu(index, 0, &[NvLinkPeer::Gpu(other)]);
        let all = vec![bridged(0, 2), bridged(1, 3), bridged(2, 0), bridged(3, 1), gpu(4, 0, &[])];
        let pairs = [(0, Some(0)), (1, Some(1)), (2, Some(0)), (3, Some(1)), (4, None)];
        assert_eq!(cliques(all), pairs);
    }

    #[test]
    fn a_link_that_is_down_joins_nothing_and_a_slice_is_alone() {
        let mut down = gpu(1, 0, &[NvLinkPeer::Gpu(0)]);
        down.nvlinks[0].up = false;
        let one = gpu(0, 0, &[NvLinkPeer::Gpu(1)]);
        assert_eq!(cliques(vec![one, down]), [(0, Some(0)), (1, None)]);
        let slice = Slice { uuid: "MIG-0".into(), model: "MIG".into(), memory: Bytes(1) };
        let sliced = GpuHardware { slices: Some(vec![slice]), ..gpu(0, 1, &[NvLinkPeer::Switch]) };
        let set = GpuSet { all: vec![sliced], ..GpuSet::default() };
        let sites = set.sites();
        assert_eq!((sites.len(), sites[0].nvlink, sites[0].numa), (1, None, Some(1)));
        assert_eq!(sites[0].index, set.offered()[0].index);
    }
}
