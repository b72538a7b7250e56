//! Laws of what changed, and of what is offered.

use super::*;
use crate::{
    limit,
    node::Inventory,
    resource::Gpu,
    unit::{Bytes, CpuMillis, MegaBits, MegaHertz, MilliWatts},
};
use proptest::{collection::vec, prelude::*};
use std::collections::BTreeSet;

fn gpu(index: u32) -> GpuHardware {
    GpuHardware {
        gpu: Gpu {
            index,
            uuid: format!("GPU-{index}"),
            model: "H100".into(),
            memory: Bytes(80 << 30),
            compute_capability: "9.0".into(),
        },
        bus: format!("00000000:{index:02X}:00.0"),
        numa_node: Some(0),
        cpus: CpuSet::from_words(&[0xFF]),
        power: Some(PowerLimits {
            now: MilliWatts(700_000),
            min: MilliWatts(200_000),
            max: MilliWatts(700_000),
        }),
        graphics_max: Some(MegaHertz(1_980)),
        memory_max: Some(MegaHertz(2_619)),
        pcie: Some(PcieLink { generation: 5, lanes: 16 }),
        nvlinks: vec![NvLink { up: true, peer: NvLinkPeer::Switch }; 2],
        slices: None,
    }
}

fn machine(gpus: u32) -> Hardware {
    let pairs = (0..gpus).flat_map(|two| (0..two).map(move |one| (one, two)));
    Hardware {
        host: HostHardware { cpu_level: "x86-64-v3".into(), ..HostHardware::default() },
        gpus: GpuSet {
            driver: Some(GpuDriver { version: "550.54.15".into(), cuda: "12.4".into() }),
            all: (0..gpus).map(gpu).collect(),
            near: pairs.map(|pair| (pair, Nearness::NumaNode)).collect(),
            unread: Vec::new(),
        },
    }
}

fn slice(place: u32) -> Slice {
    let uuid = format!("MIG-{place}");
    Slice { uuid, model: "A100 MIG 1g.5gb".into(), memory: Bytes(5 << 30) }
}

/// One thing that happens to a machine; the number says to which GPU, or how much.
fn happen(machine: &mut Hardware, what: u8, at: usize) {
    let (host, gpus) = (&mut machine.host, &mut machine.gpus);
    let count = gpus.all.len().max(1);
    match (what, gpus.all.get_mut(at % count)) {
        (0, _) => gpus.driver = None,
        (1, _) => gpus.driver = Some(GpuDriver { version: at.to_string(), cuda: "13.0".into() }),
        (2, _) => gpus.near.values_mut().for_each(|near| *near = Nearness::Machine),
        (3, _) => gpus.all.reverse(),
        (4, Some(_)) => {
            let gone = gpus.all.remove(at % count);
            gpus.unread.push(UnreadGpu { index: gone.gpu.index, why: Unread::Lost });
        }
        (5, Some(gpu)) => gpu.gpu.memory = Bytes(at as u64),
        (6, Some(gpu)) => gpu.numa_node = None,
        (7, Some(gpu)) => gpu.power = None,
        (8, Some(gpu)) => gpu.graphics_max = Some(MegaHertz(at as u64)),
        (9, Some(gpu)) => gpu.nvlinks[at % 2].up = false,
        (10, Some(gpu)) => gpu.slices = Some((0..at as u32 % 8).map(slice).collect()),
        (11, Some(gpu)) => gpu.pcie = Some(PcieLink { generation: 3, lanes: at as u32 }),
        (12, _) => host.cpu = CpuMillis(at as u64),
        (13, _) => host.disks.push(Disk { name: "sda".into(), size: Bytes(1), rotates: false }),
        (14, _) => {
            host.networks = vec![Network { name: "eth0".into(), rate: Some(MegaBits(at as u64)) }];
        }
        (15, _) => host.boot_id = at.to_string(),
        _ => host.kernel = at.to_string(),
    }
}

#[test]
fn a_lost_gpu_and_an_updated_driver_are_named() {
    let before = machine(2);
    let mut after = machine(2);
    happen(&mut after, 4, 1);
    after.gpus.near.clear();
    after.gpus.driver = Some(GpuDriver { version: "560.1".into(), cuda: "12.6".into() });
    let text: Vec<_> = changes(&before, &after).iter().map(ToString::to_string).collect();
    assert_eq!(
        text,
        [
            "driver: [550.54.15, CUDA 12.4] became [560.1, CUDA 12.6]",
            "GPU 1 (GPU-1) lost",
            "GPUs without answer: [] became [1 lost]",
        ]
    );
    assert_eq!(changes(&after, &before).len(), 3, "and back");
    assert_ne!(before.class(), after.class());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn every_difference_is_a_change_and_nothing_else_is(
        gpus in 0u32..4, one in vec((0u8..18, 0usize..9), 0..5), two in vec((0u8..18, 0usize..9), 0..5)
    ) {
        let made = |happens: &[(u8, usize)]| {
            let mut made = machine(gpus);
            happens.iter().for_each(|(what, at)| happen(&mut made, *what, *at));
            made
        };
        let (one, two) = (made(&one), made(&two));
        prop_assert_eq!(changes(&one, &one), []);
        let found = changes(&one, &two);
        prop_assert_eq!(found.is_empty(), one == two, "{:?}", found);
        prop_assert_eq!(changes(&two, &one).is_empty(), found.is_empty());
    }

    #[test]
    fn what_is_offered_has_an_index_of_its_own_that_others_do_not_move(
        gpus in 1u32..9, sliced in vec((0usize..9, 0u32..8), 0..9)
    ) {
        let mut all = machine(gpus).gpus;
        for (at, count) in sliced {
            let count_of = all.all.len();
            all.all[at % count_of].slices = Some((0..count).map(slice).collect());
        }
        let offered = all.offered();
        let indices: BTreeSet<_> = offered.iter().map(|gpu| gpu.index).collect();
        prop_assert_eq!(indices.len(), offered.len());
        prop_assert!(offered.len() <= limit::NODE_GPUS_MAX);
        let last = all.all.pop().expect("there is one").gpu.index;
        let others: BTreeSet<_> = all.offered().into_iter().map(|gpu| gpu.index).collect();
        let mine = |index: &u32| *index == last || *index >= 64 + last * 8;
        prop_assert_eq!(others, indices.into_iter().filter(|it| !mine(it)).collect::<BTreeSet<_>>());
    }
}

#[test]
fn the_class_is_the_one_of_the_inventory() {
    let machine = machine(2);
    let inventory = Inventory {
        name: "a".into(),
        boot_id: String::new(),
        cpu: CpuMillis(1),
        memory: Bytes(1),
        gpus: machine.gpus.offered(),
        driver_version: "550.54.15".into(),
        cuda_version: "12.4".into(),
        cpu_model: String::new(),
        cpu_level: "x86-64-v3".into(),
        kernel: String::new(),
        agent_version: String::new(),
        isolation: crate::isolation::NodeIsolation::default(),
        topology: crate::topology::NodeTopology::default(),
    };
    assert_eq!(machine.class(), "H100/driver-550/x86-64-v3");
    assert_eq!(machine.class(), inventory.hardware_class());
    assert_eq!(Hardware::default().class(), "no-gpu/driver-none/");
}
