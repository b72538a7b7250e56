//! What walls this node puts around a lease's tasks.

use super::sandbox::{TASK_PROCESSES, Walls};
use domain::{
    Bytes, CpuMillis,
    isolation::{Isolation, NodeIsolation},
    job::EndCause,
    lease::TaskPlace,
    link::WantedLease,
    resource::Gpu,
};
use std::{fs, path::Path};

/// Where NVIDIA's driver tells of its GPUs; not there without the driver.
const DRIVER: &str = "/proc/driver/nvidia/gpus";
/// Device files that every use of one of its GPUs takes.
const SHARED: [&str; 3] = ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"];

/// This node's rules.
#[derive(Clone, Debug)]
pub struct House {
    /// What it demands, and what it can do.
    pub isolation: NodeIsolation,
    /// Memory of a lease that asks for none: all that the node offers.
    pub memory: Bytes,
    /// Folders beside the system's that tasks may read.
    pub readable: Vec<String>,
}

impl House {
    /// The walls that are to stand around a lease's tasks here; none for plain processes.
    ///
    /// # Errors
    /// When this node cannot build what is asked for.
    pub fn walls(
        &self,
        wanted: &WantedLease,
        tasks: &[TaskPlace],
        gpus: &[Gpu],
    ) -> Result<Option<Walls>, EndCause> {
        let spec = &wanted.spec;
        if spec.confinement.on(self.isolation.default) == Isolation::None {
            return Ok(None);
        }
        if let Some(lack) = self.isolation.lacks.first() {
            let detail = format!("this node lacks {lack}; `assay node show` lists all");
            return Err(EndCause::Sandbox { detail });
        }
        let count = tasks.len() as u64;
        let memory = match spec.resources.memory.0.saturating_mul(count) {
            0 => self.memory,
            asked => Bytes(asked),
        };
        let devices = devices(tasks, gpus, Path::new(DRIVER))
            .map_err(|detail| EndCause::Sandbox { detail })?;
        Ok(Some(Walls {
            network: spec.confinement.reaches(),
            memory,
            cpu: CpuMillis(spec.resources.cpu.0.saturating_mul(count)),
            processes: TASK_PROCESSES.saturating_mul(count),
            devices,
            readable: self.readable.clone(),
        }))
    }
}

/// The device files of the tasks' GPUs, and of no others. None where no driver is loaded.
fn devices(tasks: &[TaskPlace], gpus: &[Gpu], driver: &Path) -> Result<Vec<String>, String> {
    let wanted: Vec<_> = tasks.iter().flat_map(|task| &task.gpus).collect();
    if wanted.is_empty() || !driver.is_dir() {
        return Ok(Vec::new());
    }
    let known = minors(driver);
    let mut files: Vec<_> =
        SHARED.iter().filter(|path| Path::new(path).exists()).map(|it| (*it).to_owned()).collect();
    for index in wanted {
        let uuid = gpus.iter().find(|gpu| gpu.index == *index).map(|gpu| gpu.uuid.as_str());
        let minor = known.iter().find(|(name, _)| Some(name.as_str()) == uuid);
        let (_, minor) = minor.ok_or_else(|| {
            let uuid = uuid.unwrap_or("unknown");
            format!(
                "GPU {index} ({uuid}) has no device file of its own under {}: slices of a GPU \
                 cannot be kept apart yet; ask for a whole one",
                driver.display()
            )
        })?;
        files.push(format!("/dev/nvidia{minor}"));
    }
    Ok(files)
}

/// Unique names with the numbers of device files, as the driver lists them.
fn minors(driver: &Path) -> Vec<(String, u32)> {
    let told = |path: &Path| {
        let text = fs::read_to_string(path.join("information")).ok()?;
        let field = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
        };
        Some((field("GPU UUID")?, field("Device Minor")?.parse().ok()?))
    };
    let entries = fs::read_dir(driver).into_iter().flatten().flatten();
    entries.filter_map(|entry| told(&entry.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_sees_the_device_files_of_its_own_gpus_alone() {
        let dir = tempfile::tempdir().unwrap();
        for (bus, uuid, minor) in [("0000:01:00.0", "GPU-b", 1), ("0000:02:00.0", "GPU-a", 0)] {
            let folder = dir.path().join(bus);
            fs::create_dir(&folder).unwrap();
            let text = format!("Model: \t H100\nGPU UUID: \t {uuid}\nDevice Minor: \t {minor}\n");
            fs::write(folder.join("information"), text).unwrap();
        }
        let gpu = |index: u32, uuid: &str| Gpu {
            index,
            uuid: uuid.into(),
            model: "H100".into(),
            memory: Bytes(1),
            compute_capability: "9.0".into(),
        };
        let gpus = [gpu(0, "GPU-a"), gpu(1, "GPU-b"), gpu(64, "MIG-c")];
        let task = |gpus: &[u32]| [TaskPlace { rank: 0, gpus: gpus.to_vec() }];
        let found = devices(&task(&[1]), &gpus, dir.path()).unwrap();
        assert_eq!(found.last().map(String::as_str), Some("/dev/nvidia1"));
        assert!(!found.contains(&"/dev/nvidia0".to_owned()));
        let why = devices(&task(&[64]), &gpus, dir.path()).unwrap_err();
        assert!(why.contains("MIG-c") && why.contains("whole one"), "{why}");
        assert_eq!(devices(&task(&[64]), &gpus, Path::new("/none")), Ok(vec![]));
    }
}
