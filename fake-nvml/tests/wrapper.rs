//! A real NVML client reads the stand-in without noticing.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use fake_nvml::state::{Gpu, Machine};
use nvml_wrapper::{Nvml, enum_wrappers::device::TemperatureSensor, error::NvmlError};
use std::path::{Path, PathBuf};

/// The built library beside this test's executable.
fn library() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let deps = exe.parent().unwrap();
    for dir in [deps, deps.parent().unwrap()] {
        let path = dir.join("libfake_nvml.so");
        if path.exists() {
            return path;
        }
    }
    panic!("libfake_nvml.so is not beside {}", exe.display());
}

fn write(path: &Path, machine: &Machine) {
    let temporary = path.with_extension("new");
    std::fs::write(&temporary, serde_json::to_vec(machine).unwrap()).unwrap();
    std::fs::rename(temporary, path).unwrap();
}

// One test, since the state file is named by the process's environment, which is set by the
// runner of `reads_what_the_state_file_says` below in a child process of its own.
#[test]
fn reads_what_the_state_file_says() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("gpus.json");
    if std::env::var_os("FAKE_NVML_STATE").is_none() {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "reads_what_the_state_file_says"])
            .env("FAKE_NVML_STATE", &state)
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let state = PathBuf::from(std::env::var_os("FAKE_NVML_STATE").unwrap());
    std::fs::create_dir_all(state.parent().unwrap()).unwrap();
    let mut machine = Machine::profile("a100x4", "node-a").unwrap();
    write(&state, &machine);

    let nvml = Nvml::builder().lib_path(library().as_os_str()).init().unwrap();
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
    write(&state, &machine);
    assert!(matches!(device.name(), Err(NvmlError::GpuLost)), "a lost GPU says so");
    let hot = nvml.device_by_index(1).unwrap();
    assert_eq!(hot.temperature(TemperatureSensor::Gpu).unwrap(), 96);
    assert!(hot.serial().is_err(), "what is not simulated is an error, no crash");
}
