//! What the agent reads of each kind of node.

use super::support::{LIMIT, alone, gpus, write};
use agent::driver::gpu::Gpus;
use domain::{
    Bytes, MegaHertz, MilliWatts,
    hardware::{
        GpuSet, Hardware, InventoryChange, Nearness, NvLinkPeer, PowerLimits, Unread, changes,
    },
};
use fake_nvml::state::Machine;
use std::time::Instant;

fn with(gpus: GpuSet) -> Hardware {
    Hardware { gpus, ..Hardware::default() }
}

#[test]
fn eight_h100_are_read_with_their_switch_and_their_sockets() {
    alone("gpus::eight_h100_are_read_with_their_switch_and_their_sockets", |state| {
        write(state, &Machine::profile("h100x8", "a").unwrap());
        let found = gpus().read().unwrap();
        assert_eq!((found.all.len(), found.unread.len()), (8, 0));
        let driver = found.driver.as_ref().unwrap();
        assert_eq!((driver.version.as_str(), driver.cuda.as_str()), ("550.54.15", "12.4"));
        let last = &found.all[7];
        assert_eq!(last.gpu.model, "NVIDIA H100 80GB HBM3");
        assert_eq!((last.gpu.memory, last.numa_node), (Bytes(80 << 30), Some(1)));
        assert_eq!(last.cpus.to_string(), "56-111");
        let (now, max) = (MilliWatts(700_000), MilliWatts(700_000));
        assert_eq!(last.power, Some(PowerLimits { now, min: MilliWatts(200_000), max }));
        assert_eq!(last.graphics_max, Some(MegaHertz(1_980)));
        assert_eq!(last.nvlinks.len(), 18);
        assert!(last.nvlinks.iter().all(|link| link.up && link.peer == NvLinkPeer::Switch));
        assert_eq!(found.near.len(), 28);
        assert_eq!(found.near[&(0, 1)], Nearness::Switch);
        assert_eq!(found.near[&(0, 3)], Nearness::NumaNode);
        assert_eq!(found.near[&(0, 7)], Nearness::Machine);
    });
}

#[test]
fn bridges_lead_to_neighbours_and_no_links_are_none() {
    alone("gpus::bridges_lead_to_neighbours_and_no_links_are_none", |state| {
        write(state, &Machine::profile("a100x4", "a").unwrap());
        let found = gpus().read().unwrap();
        let peers = |gpu: usize| found.all[gpu].nvlinks.iter().map(|link| link.peer);
        assert!(peers(2).all(|peer| peer == NvLinkPeer::Gpu(3)));
        assert_eq!(peers(2).count(), 12);
        write(state, &Machine::profile("l40sx2", "a").unwrap());
        let found = gpus().read().unwrap();
        assert!(found.all.iter().all(|gpu| gpu.nvlinks.is_empty() && gpu.slices.is_none()));
        assert_eq!(found.near[&(0, 1)], Nearness::Machine);
    });
}

#[test]
fn a_sliced_gpu_is_offered_as_its_slices() {
    alone("gpus::a_sliced_gpu_is_offered_as_its_slices", |state| {
        let mut machine = Machine::profile("a100mig", "a").unwrap();
        write(state, &machine);
        let gpus = gpus();
        let found = gpus.read().unwrap();
        let offered = found.offered();
        assert_eq!(offered.len(), 11);
        let models: Vec<_> = offered.iter().map(|gpu| gpu.model.as_str()).collect();
        assert_eq!(models[0], "NVIDIA A100-SXM4-40GB MIG 3g.20gb");
        assert_eq!(offered[4].uuid, machine.gpus[1].slices[0].uuid);
        assert_eq!(offered[4].memory, Bytes(4_864 << 20));
        machine.gpus[0].mig = false;
        write(state, &machine);
        let whole = gpus.read().unwrap();
        assert_eq!(whole.offered()[0].model, "NVIDIA A100-SXM4-40GB");
        assert_eq!(whole.offered()[1..], offered[4..], "the other GPU's slices stay");
        assert_eq!(changes(&with(found), &with(whole)).len(), 1);
    });
}

#[test]
fn a_gpu_that_hangs_or_is_lost_is_named_and_keeps_no_other_from_being_read() {
    let name = "gpus::a_gpu_that_hangs_or_is_lost_is_named_and_keeps_no_other_from_being_read";
    alone(name, |state| {
        let mut machine = Machine::profile("h100x8", "a").unwrap();
        write(state, &machine);
        let gpus = gpus();
        let before = gpus.read().unwrap();
        machine.gpus[3].hang_ms = u64::MAX;
        machine.gpus[5].lost = true;
        machine.driver = "560.28.03".into();
        write(state, &machine);
        let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
        let began = Instant::now();
        let after = gpus.read().unwrap();
        assert!(began.elapsed() >= LIMIT && began.elapsed() < 4 * LIMIT);
        let why: Vec<_> = after.unread.iter().map(|gpu| (gpu.index, gpu.why)).collect();
        assert_eq!(why, [(3, Unread::Hung), (5, Unread::Lost)]);
        let named = changes(&with(before.clone()), &with(after));
        let gone = |it: &&InventoryChange| matches!(it, InventoryChange::GpuGone { .. });
        assert_eq!(named.iter().filter(gone).count(), 2, "{named:?}");
        assert!(named.iter().any(|it| matches!(it, InventoryChange::Driver { .. })));
        assert_eq!(named.len(), 4);

        let (began, running) = (Instant::now(), threads());
        for _ in 0..50 {
            assert_eq!(gpus.read().unwrap().unread.len(), 2);
        }
        assert!(began.elapsed() < 4 * LIMIT, "a known hang is not waited for again");
        assert_eq!(threads(), running, "one thread hangs, and no more");

        machine.gpus[3].hang_ms = 0;
        machine.gpus[5].lost = false;
        machine.driver = "550.54.15".into();
        write(state, &machine);
        std::thread::sleep(LIMIT / 4);
        assert_eq!(gpus.read().unwrap(), before, "all is as it was");
    });
}
