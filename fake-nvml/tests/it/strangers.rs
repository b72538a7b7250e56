//! The Python clients `nvidia-ml-py` and `nvitop`.
//!
//! Needs `python3`, and the first time PyPI: see `scripts/read-nvml-with-strangers`.

use super::support::{library, write};
use fake_nvml::state::{Gpu, Machine, NvLink, Process, RowRemaps};
use serde_json::{Value, json};
use std::{path::Path, process::Command};

/// A machine of which no two GPUs are in one condition.
fn worn(profile: &str) -> Machine {
    let mut machine = Machine::profile(profile, "node-a").unwrap();
    for (gpu, n) in machine.gpus.iter_mut().zip(1..) {
        gpu.temperature_c += n as u32;
        gpu.power_mw += 1_000 * n as u32;
        gpu.utilization_pct = 10 * n as u32;
        gpu.memory_used_bytes = n << 30;
        (gpu.ecc_volatile, gpu.ecc_aggregate) = (n, 10 * n);
        gpu.row_remaps.uncorrected = n as u32;
        gpu.throttle_reasons = n;
        if let Some(link) = gpu.nvlinks.first_mut() {
            link.crc_errors = n;
        }
        // nvitop shows only processes that run, such as this one.
        gpu.processes =
            vec![Process { pid: std::process::id(), memory_bytes: n << 30, ..Process::default() }];
    }
    machine
}

fn read(state: &Path) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/read-nvml-with-strangers");
    let output =
        Command::new(script).arg(library()).env("FAKE_NVML_STATE", state).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the clients read the library: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn cpus(gpu: &Gpu) -> [u64; 2] {
    [0, 64].map(|first| {
        let has = |bit: &u32| (gpu.cpus.0..=gpu.cpus.1).contains(&(first + bit));
        (0..64).filter(has).fold(0, |set, bit| set | 1 << bit)
    })
}

fn as_nvidia_prints(gpu: &Gpu) -> Value {
    let RowRemaps { corrected, uncorrected, pending, failed } = gpu.row_remaps;
    let links = gpu
        .nvlinks
        .iter()
        .map(|NvLink { active, crc_errors, .. }| json!([u32::from(*active), crc_errors]));
    let mig = if gpu.compute_capability == (8, 9) {
        json!("NVMLError_NotSupported")
    } else {
        json!([u32::from(gpu.mig), u32::from(gpu.mig)])
    };
    json!({
        "name": gpu.model,
        "uuid": gpu.uuid,
        "memory": [gpu.memory_bytes, gpu.memory_used_bytes],
        "capability": gpu.compute_capability,
        "temperature": gpu.temperature_c,
        "power": [gpu.power_mw, gpu.power_limit_mw],
        "clock": gpu.clocks_max.graphics_mhz,
        "ecc": [gpu.ecc_volatile, gpu.ecc_aggregate],
        "rows": [corrected, uncorrected, u32::from(pending), u32::from(failed)],
        "throttle": gpu.throttle_reasons,
        "numa": gpu.numa_node,
        "cpus": cpus(gpu),
        "pids": [[std::process::id(), gpu.processes[0].memory_bytes]],
        "mig": mig,
        "links": links.collect::<Vec<_>>(),
    })
}

fn as_nvitop_prints(gpu: &Gpu) -> Value {
    let slices = gpu.slices.iter().map(|slice| {
        json!([format!("{} MIG {}", gpu.model, slice.profile), slice.uuid, slice.memory_bytes])
    });
    json!({
        "name": gpu.model,
        "uuid": gpu.uuid,
        "memory": [gpu.memory_bytes, gpu.memory_used_bytes],
        "temperature": gpu.temperature_c,
        "power": [gpu.power_mw, gpu.power_limit_mw],
        "ecc": gpu.ecc_volatile,
        "use": gpu.utilization_pct,
        "pids": [std::process::id()],
        "slices": slices.collect::<Vec<_>>(),
    })
}

#[test]
fn python_clients_read_each_profile_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("gpus.json");
    for profile in ["h100x8", "a100x4", "l40sx2", "a100mig"] {
        let machine = worn(profile);
        write(&state, &machine);
        let told = read(&state);
        assert_eq!(told["driver"], json!(["550.54.15", "550.54.15"]), "{profile}");
        assert_eq!(told["cuda"], json!([12_040, "12.4"]), "{profile}");
        let nvidia: Vec<_> = machine.gpus.iter().map(as_nvidia_prints).collect();
        assert_eq!(told["nvidia"], json!(nvidia), "{profile}");
        let nvitop: Vec<_> = machine.gpus.iter().map(as_nvitop_prints).collect();
        assert_eq!(told["nvitop"], json!(nvitop), "{profile}");
    }
}
