//! A fixed machine for the golden tests.

use domain::{
    Bytes, CpuMillis, MegaBits, MegaHertz, MilliWatts,
    hardware::{
        CpuSet, Disk, GpuHardware, GpuSet, Hardware, HostHardware, Nearness, Network, NvLink,
        NvLinkPeer, PcieLink, PowerLimits, Unread, UnreadGpu,
    },
    resource::Gpu,
};

pub fn hardware() -> Hardware {
    let board = |index: u32| GpuHardware {
        gpu: Gpu {
            index,
            uuid: format!("GPU-{index}"),
            model: "NVIDIA H100 80GB HBM3".into(),
            memory: Bytes(80 << 30),
            compute_capability: "9.0".into(),
        },
        bus: format!("00000000:{}8:00.0", index + 1),
        numa_node: Some(index),
        cpus: CpuSet::from_words(&[0xff << (8 * index)]),
        power: Some(PowerLimits {
            now: MilliWatts(700_000),
            min: MilliWatts(200_000),
            max: MilliWatts(700_000),
        }),
        graphics_max: Some(MegaHertz(1_980)),
        memory_max: None,
        pcie: Some(PcieLink { generation: 5, lanes: 16 }),
        nvlinks: vec![NvLink { up: true, peer: NvLinkPeer::Switch }; 18],
        slices: None,
    };
    let mut bare = board(1);
    (bare.power, bare.graphics_max, bare.pcie) = (None, None, None);
    bare.nvlinks.clear();
    let near = [((0, 1), Nearness::NumaNode)].into();
    let unread = vec![UnreadGpu { index: 2, why: Unread::Lost }];
    let disk = |name: &str, rotates| Disk { name: name.into(), size: Bytes(1 << 40), rotates };
    let network = |name: &str, rate| Network { name: name.into(), rate };
    Hardware {
        host: HostHardware {
            boot_id: "b".into(),
            cpu: CpuMillis(2_000),
            cpu_model: "any".into(),
            cpu_level: "x86-64-v3".into(),
            memory: Bytes(4 << 30),
            kernel: "6.1".into(),
            disks: vec![disk("nvme0n1", false), disk("sda", true)],
            networks: vec![network("eth0", Some(MegaBits(400_000))), network("eth1", None)],
        },
        gpus: GpuSet { driver: None, all: vec![board(0), bare], near, unread },
    }
}
