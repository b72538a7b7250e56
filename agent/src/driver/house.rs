//! What walls this node puts around a lease's tasks.

use super::{
    image::{Cdi, CdiError, DeviceNode, Edits, LaidImage},
    sandbox::{ImageRoot, TASK_PROCESSES, Walls},
};
use domain::{
    Bytes, CpuMillis,
    hardware::share,
    isolation::{ImageFacts, Isolation, Network, NodeIsolation},
    job::EndCause,
    lease::TaskPlace,
    link::WantedLease,
    resource::Gpu,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where NVIDIA's driver tells of its GPUs; not there without the driver.
const DRIVER: &str = "/proc/driver/nvidia/gpus";
/// Device files that every use of one of its GPUs takes.
const SHARED: [&str; 3] = ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"];
/// Where adapters of InfiniBand and RoCE have their device files, and where the kernel lists them:
/// an agent with an account of its own reads no folder of devices.
const FABRIC: &str = "/dev/infiniband/";
const ADAPTERS: &str = "/sys/class/infiniband_verbs";
/// What makes connections over them.
const CONNECTIONS: &str = "rdma_cm";
/// How an adapter's own device file begins. Those that manage the fabric (`umad`, `issm`) are
/// nobody's. Source: linux/drivers/infiniband/core.
const ADAPTER: &str = "uverbs";

/// This node's rules.
#[derive(Clone, Debug)]
pub struct House {
    /// What it demands, and what it can do.
    pub isolation: NodeIsolation,
    /// Memory of a lease that asks for none: all that the node offers.
    pub memory: Bytes,
    /// Folders beside the system's that tasks may read.
    pub readable: Vec<String>,
    /// Folders with descriptions of devices for containers; none means those of the standard.
    pub cdi: Option<Vec<PathBuf>>,
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
        let confinement = wanted.confinement();
        let isolation = confinement.on(self.isolation.default);
        let lack = match isolation {
            Isolation::None => return Ok(None),
            Isolation::Sandbox => self.isolation.lacks.first().map(String::as_str),
            Isolation::Container => self.isolation.container_lack(),
        };
        if let Some(lack) = lack {
            let detail = format!("this node lacks {lack}; `assay node show` lists all");
            return Err(EndCause::Sandbox { detail });
        }
        let count = tasks.len() as u64;
        let memory = match spec.resources.memory.0.saturating_mul(count) {
            0 => self.memory,
            asked => Bytes(asked),
        };
        let mut devices = match isolation {
            // A container has them as their maker describes them.
            Isolation::Container => Vec::new(),
            Isolation::None | Isolation::Sandbox => devices(tasks, gpus, Path::new(DRIVER))
                .map_err(|detail| EndCause::Sandbox { detail })?,
        };
        if confinement.reaches() == Network::Host {
            devices.extend(fabric(Path::new(ADAPTERS), Path::new(FABRIC)));
        }
        Ok(Some(Walls {
            network: confinement.reaches(),
            memory,
            cpu: CpuMillis(spec.resources.cpu.0.saturating_mul(count)),
            processes: TASK_PROCESSES.saturating_mul(count),
            devices,
            readable: self.readable.clone(),
        }))
    }

    /// The root that a lease's tasks are to have from an image, and the variables that their GPUs
    /// bring along.
    ///
    /// # Errors
    /// When a GPU cannot be handed in.
    pub fn image_root(
        &self,
        laid: &LaidImage,
        tasks: &[TaskPlace],
        gpus: &[Gpu],
    ) -> Result<(ImageRoot, Vec<String>), EndCause> {
        let edits = self.edits(tasks, gpus, Path::new(DRIVER)).map_err(|fault| {
            let detail = fault.to_string();
            EndCause::Sandbox { detail }
        })?;
        let (devices, edits) = edits;
        Ok(root_of(laid, devices, edits))
    }

    /// What the tasks' GPUs need inside, by the names under which they are described. Nothing
    /// where neither a driver is loaded nor anything is described: such GPUs are simulated.
    fn edits(
        &self,
        tasks: &[TaskPlace],
        gpus: &[Gpu],
        driver: &Path,
    ) -> Result<(Vec<String>, Edits), CdiError> {
        let (mut names, mut all) = (Vec::new(), Edits::default());
        let wanted: Vec<_> = tasks.iter().flat_map(|task| &task.gpus).collect();
        if wanted.is_empty() {
            return Ok((names, all));
        }
        let cdi = Cdi::read(self.cdi.as_deref())?;
        if cdi == Cdi::default() && !driver.is_dir() {
            return Ok((names, all));
        }
        for index in wanted {
            let gpu = gpus.iter().find(|gpu| gpu.index == *index);
            let (index, uuid) = gpu.map_or((*index, "unknown"), share::whole);
            let (name, edits) = cdi.gpu(uuid, index)?;
            names.push(name);
            all.add(edits);
        }
        Ok((names, all))
    }
}

/// The root that tasks are to have from an image, with these devices described so, and the variables
/// that they bring along.
#[must_use]
pub fn root_of(laid: &LaidImage, devices: Vec<String>, edits: Edits) -> (ImageRoot, Vec<String>) {
    let node = |node: DeviceNode| (node.host_path.unwrap_or(node.path.clone()), node.path);
    let facts = ImageFacts {
        name: laid.name.clone(),
        id: laid.id.clone(),
        podman: laid.podman.clone(),
        devices,
    };
    let before = ["prestart", "createRuntime", "createContainer"];
    let hooks = edits.hooks.into_iter().filter(|it| before.contains(&it.hook_name.as_str()));
    let root = ImageRoot {
        path: laid.root.to_string_lossy().into_owned(),
        facts,
        devices: edits.device_nodes.into_iter().map(node).collect(),
        shown: edits.mounts.into_iter().map(|it| (it.host_path, it.container_path)).collect(),
        hooks: hooks.map(|hook| (hook.path, hook.args)).collect(),
    };
    (root, edits.env)
}

/// Whether a device file is one of GPUs or of their network, by its name: what [`House::walls`]
/// names is.
#[must_use]
pub fn may_be_handed_in(path: &str) -> bool {
    let gpu = path.strip_prefix("/dev/nvidia").is_some_and(is_number);
    gpu || SHARED.contains(&path) || is_fabrics(path)
}

/// Whether a device file is one of the network that GPUs of several nodes meet over.
#[must_use]
pub fn is_fabrics(path: &str) -> bool {
    path.strip_prefix(FABRIC).is_some_and(is_fabrics_name)
}

fn is_fabrics_name(name: &str) -> bool {
    name == CONNECTIONS || name.strip_prefix(ADAPTER).is_some_and(is_number)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The device files of the fast network, if the machine has one.
fn fabric(adapters: &Path, devices: &Path) -> Vec<String> {
    let all = fs::read_dir(adapters).into_iter().flatten().flatten();
    let name = |entry: fs::DirEntry| entry.file_name().into_string().ok();
    let mut names: Vec<_> = all.filter_map(name).filter(|name| is_fabrics_name(name)).collect();
    names.sort();
    names.push(CONNECTIONS.to_owned());
    let files = names.into_iter().map(|name| devices.join(name)).filter(|path| path.exists());
    files.map(|path| path.display().to_string()).collect()
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
        let gpu = gpus.iter().find(|gpu| gpu.index == *index);
        let uuid = gpu.map(|gpu| share::whole(gpu).1);
        let minor = known.iter().find(|(name, _)| Some(name.as_str()) == uuid);
        let (_, minor) = minor.ok_or_else(|| {
            let uuid = uuid.unwrap_or("unknown");
            format!(
                "GPU {index} ({uuid}) has no device file of its own under {}: slices of a GPU \
                 cannot be kept apart in a sandbox; ask for a whole one, or run in a container",
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
    fn what_is_handed_in_is_of_gpus_and_of_their_network_and_manages_neither() {
        let (class, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for name in ["uverbs0", "uverbs10", "uverbs11", "abi_version"] {
            fs::write(class.path().join(name), "").unwrap();
        }
        // The driver of the eleventh is gone, and its device file with it.
        for name in ["uverbs0", "uverbs10", "rdma_cm", "umad0", "issm0"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let base = dir.path().display();
        let expected = ["uverbs0", "uverbs10", "rdma_cm"].map(|it| format!("{base}/{it}"));
        assert_eq!(fabric(class.path(), dir.path()), expected);
        assert_eq!(fabric(Path::new("/none"), Path::new("/none")), [""; 0]);
        let files = ["/dev/nvidia0", "/dev/nvidia-uvm", "/dev/infiniband/uverbs3"];
        assert!(files.into_iter().all(may_be_handed_in));
        let others = [
            "/dev/sda",
            "/dev/nvidia",
            "/dev/nvidia-caps/nvidia-cap1",
            "/dev/infiniband/umad0",
            "/dev/infiniband/../sda",
            "/dev/nvidia0/../mem",
        ];
        assert!(!others.into_iter().any(may_be_handed_in));
    }

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
        // A share's task opens its GPU.
        let shares = [gpu(73, "GPU-b::2/4")];
        let found = devices(&task(&[73]), &shares, dir.path()).unwrap();
        assert_eq!(found.last().map(String::as_str), Some("/dev/nvidia1"));
    }
}
