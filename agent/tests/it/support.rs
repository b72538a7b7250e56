//! Simulated GPUs, and a process of its own for each test that reads them.

use agent::driver::gpu::NvmlGpus;
use fake_nvml::state::Machine;
use nvml_wrapper::Nvml;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Time for a reading: long enough for a busy machine, short enough to wait for.
pub const LIMIT: Duration = Duration::from_millis(400);

/// The simulated driver, beside this test's executable.
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

/// The GPUs as the agent opens them.
pub fn gpus() -> NvmlGpus {
    NvmlGpus::with_limit(Nvml::builder().lib_path(library().as_os_str()).init().unwrap(), LIMIT)
}

/// Replaces the state file whole.
pub fn write(path: &Path, machine: &Machine) {
    let temporary = path.with_extension("new");
    std::fs::write(&temporary, serde_json::to_vec(machine).unwrap()).unwrap();
    std::fs::rename(temporary, path).unwrap();
}

/// Runs `test` in a process of its own, whose environment names a state file: changing that of
/// this process would change it under other tests.
pub fn alone(name: &str, test: impl FnOnce(&Path)) {
    if let Some(state) = std::env::var_os("FAKE_NVML_STATE") {
        return test(Path::new(&state));
    }
    let dir = tempfile::tempdir().unwrap();
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env("FAKE_NVML_STATE", dir.path().join("gpus.json"))
        .status()
        .unwrap();
    assert!(status.success());
}
