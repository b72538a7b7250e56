//! `nvml-wrapper`, through which the agent reads GPUs.

use super::support::{alone, open, write};
use fake_nvml::state::{Gpu, Machine, Process, RowRemaps};
use nvml_wrapper::{
    bitmasks::device::ThrottleReasons,
    enum_wrappers::device::{Clock, EccCounter, MemoryError, TemperatureSensor, TopologyLevel},
    enum_wrappers::nv_link::ErrorCounter,
    enums::device::SampleValue,
    error::NvmlError,
    structs::device::FieldId,
    sys_exports::field_id::{NVML_FI_DEV_REMAPPED_PENDING, NVML_FI_DEV_REMAPPED_UNC},
};
use std::time::{Duration, Instant};

#[test]
fn reads_what_the_state_file_says() {
    alone("wrapper::reads_what_the_state_file_says", |state| {
        let mut machine = Machine::profile("a100x4", "node-a").unwrap();
        write(state, &machine);
        let nvml = open();
        assert_eq!(nvml.device_count().unwrap(), 4);
        assert_eq!(nvml.sys_driver_version().unwrap(), "550.54.15");
        assert_eq!(nvml.sys_cuda_driver_version().unwrap(), 12_040);
        let device = nvml.device_by_index(2).unwrap();
        assert_eq!(device.name().unwrap(), "NVIDIA A100-PCIE-40GB");
        assert_eq!(device.uuid().unwrap(), machine.gpus[2].uuid);
        assert_eq!(device.memory_info().unwrap().total, 40 << 30);
        assert_eq!(device.cuda_compute_capability().unwrap().major, 8);
        assert_eq!(device.temperature(TemperatureSensor::Gpu).unwrap(), 34);
        assert_eq!(device.pci_info().unwrap().bus_id, "00000000:03:00.0");
        let same = nvml.device_by_uuid(machine.gpus[2].uuid.as_str()).unwrap();
        assert_eq!(same.index().unwrap(), 2);

        machine.gpus[2] = Gpu { lost: true, ..machine.gpus[2].clone() };
        machine.gpus[1].temperature_c = 96;
        write(state, &machine);
        assert!(matches!(device.name(), Err(NvmlError::GpuLost)), "a lost GPU says so");
        let hot = nvml.device_by_index(1).unwrap();
        assert_eq!(hot.temperature(TemperatureSensor::Gpu).unwrap(), 96);
        assert!(hot.info_rom_image_version().is_err(), "what is not simulated is no crash");
    });
}

#[test]
fn eight_gpus_on_a_switch_know_their_neighbours() {
    alone("wrapper::eight_gpus_on_a_switch_know_their_neighbours", |state| {
        write(state, &Machine::profile("h100x8", "node-a").unwrap());
        let nvml = open();
        let gpu = |index| nvml.device_by_index(index).unwrap();
        let near = |one, two| gpu(one).topology_common_ancestor(gpu(two)).unwrap();
        assert_eq!(near(0, 1), TopologyLevel::Single);
        assert_eq!(near(0, 2), TopologyLevel::Node);
        assert_eq!(near(0, 7), TopologyLevel::System);
        assert_eq!(gpu(7).topology_nearest_gpus(TopologyLevel::Node).unwrap().len(), 2);
        let affinity = gpu(7).cpu_affinity(2).unwrap();
        assert_eq!(affinity.iter().map(|word| word.count_ones()).sum::<u32>(), 56);
        assert_eq!(affinity[0].trailing_zeros(), 56);
        assert_eq!(gpu(7).numa_node_id().unwrap(), 1);
        let first = gpu(0);
        let links: Vec<_> =
            (0..).map_while(|n| first.link_wrapper_for(n).is_active().ok()).collect();
        assert_eq!(links, [true; 18]);
        // Not `remote_device_type`: version 0.13.0 drops the driver's answer to it.
        let end = first.link_wrapper_for(3).remote_pci_info().unwrap();
        assert_eq!(end.bus_id, "00000000:C1:00.0", "no GPU's place");
        assert_eq!(first.max_clock_info(Clock::SM).unwrap(), 1_980);
        let limits = first.power_management_limit_constraints().unwrap();
        assert_eq!((limits.min_limit, limits.max_limit), (200_000, 700_000));
    });
}

#[test]
fn scripted_faults_are_read_as_such() {
    alone("wrapper::scripted_faults_are_read_as_such", |state| {
        let mut machine = Machine::profile("h100x2", "node-a").unwrap();
        let gpu = &mut machine.gpus[1];
        (gpu.ecc_volatile, gpu.ecc_aggregate, gpu.ecc_corrected_aggregate) = (2, 5, 9);
        gpu.row_remaps = RowRemaps { corrected: 1, uncorrected: 3, pending: true, failed: false };
        gpu.throttle_reasons = 0x48;
        gpu.nvlinks[4].crc_errors = 11;
        gpu.nvlinks[5].active = false;
        gpu.processes = vec![Process { pid: 77, memory_bytes: 5 << 30, ..Process::default() }];
        write(state, &machine);
        let nvml = open();
        let gpu = nvml.device_by_index(1).unwrap();
        let ecc = |kind, counter| gpu.total_ecc_errors(kind, counter).unwrap();
        assert_eq!(ecc(MemoryError::Uncorrected, EccCounter::Volatile), 2);
        assert_eq!(ecc(MemoryError::Uncorrected, EccCounter::Aggregate), 5);
        assert_eq!(ecc(MemoryError::Corrected, EccCounter::Aggregate), 9);
        let fields = [NVML_FI_DEV_REMAPPED_UNC, NVML_FI_DEV_REMAPPED_PENDING].map(FieldId);
        let values = gpu.field_values_for(&fields).unwrap();
        let value = |at: usize| values[at].as_ref().unwrap().value.as_ref().unwrap();
        assert!(matches!((value(0), value(1)), (SampleValue::U32(3), SampleValue::U32(1))));
        let reasons = gpu.current_throttle_reasons().unwrap();
        assert_eq!(reasons, ThrottleReasons::HW_SLOWDOWN | ThrottleReasons::HW_THERMAL_SLOWDOWN);
        let link = gpu.link_wrapper_for(4);
        assert_eq!(link.error_counter(ErrorCounter::DlCrcFlit).unwrap(), 11);
        assert!(!gpu.link_wrapper_for(5).is_active().unwrap());
        let processes = gpu.running_compute_processes().unwrap();
        assert_eq!((processes.len(), processes[0].pid), (1, 77));
    });
}

#[test]
fn slices_are_devices_of_their_own() {
    alone("wrapper::slices_are_devices_of_their_own", |state| {
        let machine = Machine::profile("a100mig", "node-a").unwrap();
        write(state, &machine);
        let nvml = open();
        let gpu = nvml.device_by_index(0).unwrap();
        assert_eq!(gpu.mig_device_count().unwrap(), 7, "so many fit");
        let slices: Vec<_> = (0..7).map_while(|n| gpu.mig_device_by_index(n).ok()).collect();
        let names: Vec<_> = slices.iter().map(|slice| slice.name().unwrap()).collect();
        assert_eq!(names.len(), 4);
        assert_eq!(names[1], "NVIDIA A100-SXM4-40GB MIG 2g.10gb");
        assert_eq!(slices[1].uuid().unwrap(), machine.gpus[0].slices[1].uuid);
        assert!(slices[1].mig_is_mig_device_handle().unwrap());
        assert_eq!(slices[1].mig_parent_device().unwrap().index().unwrap(), 0);
        let small = slices[3].memory_info().unwrap().total;
        assert_eq!(small >> 20, 4_864);
        assert!(matches!(
            slices[1].temperature(TemperatureSensor::Gpu),
            Err(NvmlError::NotSupported)
        ));
        let uuids = machine.gpus.iter().flat_map(|gpu| &gpu.slices).map(|slice| &slice.uuid);
        assert_eq!(uuids.collect::<std::collections::BTreeSet<_>>().len(), 11);
    });
}

#[test]
fn a_call_hangs_until_the_script_lets_it_go() {
    alone("wrapper::a_call_hangs_until_the_script_lets_it_go", |state| {
        let mut machine = Machine::profile("l40sx2", "node-a").unwrap();
        machine.gpus[0].hang_ms = u64::MAX;
        write(state, &machine);
        let nvml = open();
        let began = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(60));
                machine.gpus[0].hang_ms = 0;
                write(state, &machine);
            });
            assert_eq!(nvml.device_by_index(1).unwrap().name().unwrap(), "NVIDIA L40S");
            assert!(began.elapsed() < Duration::from_millis(50), "other GPUs answer");
            assert_eq!(nvml.device_by_index(0).unwrap().name().unwrap(), "NVIDIA L40S");
        });
        assert!(began.elapsed() >= Duration::from_millis(60));
    });
}
