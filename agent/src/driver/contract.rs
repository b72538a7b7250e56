//! How each task is started: its program, its arguments and exactly its variables.

use super::{dirs::LeaseDirs, image::LaidImage, supervisor::TaskCommand};
use domain::{
    ElementId, LeaseId,
    check::{BUNDLED, CheckRun, CheckTask},
    contract,
    hardware::share,
    job::EndCause,
    job::JobSpec,
    lease::TaskPlace,
    link::WantedLease,
    resource::Gpu,
};
use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Ports for rendezvous start here, below what the kernel hands out by itself.
const PORT_FIRST: u64 = 20_000;
/// How many there are.
const PORTS: u64 = 12_000;

/// What decides a task's command beside the lease.
pub struct Placement<'a> {
    /// The lease.
    pub wanted: &'a WantedLease,
    /// Its folders, laid out.
    pub dirs: &'a LeaseDirs,
    /// This node's place in the gang.
    pub node_rank: u32,
    /// The node's GPUs.
    pub gpus: &'a [Gpu],
    /// Where ranks meet.
    pub master_addr: &'a str,
    /// The image that it runs on, and the variables that its devices bring along.
    pub image: Option<(&'a LaidImage, &'a [String])>,
}

impl Placement<'_> {
    /// How to start each of this node's `tasks`.
    ///
    /// # Errors
    /// When the program is not there, or a GPU is not offered any more.
    pub fn commands(&self, tasks: &[TaskPlace]) -> Result<Vec<TaskCommand>, EndCause> {
        let offered = |index: &&u32| self.gpus.iter().any(|gpu| gpu.index == **index);
        if let Some(index) = tasks.iter().flat_map(|task| &task.gpus).find(|it| !offered(it)) {
            let detail = format!("GPU {index} is not there any more");
            return Err(EndCause::GpuFault { detail });
        }
        let (spec, code) = (&self.wanted.spec, self.dirs.code());
        let own = spec.command.get(1..).unwrap_or_default().to_vec();
        let (program, args) = match (spec.command.first().map(String::as_str), self.image) {
            // Only the cluster's own runs may name what no job file can.
            (Some(BUNDLED), _) if spec.check.is_some() => {
                (own_program()?, vec!["burn-in".to_owned()])
            }
            (_, None) => (program(spec, &code)?, own),
            // What is in an image is looked up there, once it is the root.
            (_, Some(_)) => (program_inside(spec, &code), own),
        };
        let local_ranks = 0u32..;
        Ok(tasks
            .iter()
            .zip(local_ranks)
            .map(|(task, local_rank)| TaskCommand {
                rank: task.rank,
                program: text(&program),
                args: args.clone(),
                env: self.variables(task, local_rank, tasks.len()),
                cwd: text(&self.dirs.code()),
                log: text(&self.dirs.log(task.rank)),
            })
            .collect())
    }

    fn variables(
        &self,
        task: &TaskPlace,
        local_rank: u32,
        local_size: usize,
    ) -> Vec<(String, String)> {
        let (spec, lease, dirs) = (&self.wanted.spec, &self.wanted.lease, self.dirs);
        let fixed = contract::variables(spec.framework).into_iter();
        let mut all: Vec<(String, String)> =
            fixed.map(|(name, value)| (name.into(), value.into())).collect();
        all.extend(self.torchrun(task, local_rank, local_size));
        let mut set = |name: &str, value: String| all.push((name.to_owned(), value));
        set("ASSAY_SEED", spec.seed.to_string());
        set("ASSAY_OUTPUT_DIR", text(&dirs.out()));
        set("ASSAY_CHECKPOINT_DIR", text(&dirs.checkpoints()));
        if let Some(checkpoint) = &lease.resume_from {
            set("ASSAY_RESUME_FROM", text(&dirs.checkpoint(checkpoint.step)));
        }
        for (name, captured) in &spec.datasets {
            let path = dataset(dirs, name, captured);
            set(&format!("ASSAY_DATASET_{}", name.to_ascii_uppercase()), text(&path));
        }
        set("ASSAY_METRICS", text(&dirs.metrics(task.rank)));
        set("ASSAY_NOTICE", text(&dirs.notice()));
        let hyperparameters =
            serde_json::to_string(&spec.hyperparameters).expect("a map of strings is JSON");
        set("ASSAY_HYPERPARAMETERS", hyperparameters);
        set("ASSAY_JOB", lease.element.job.to_string());
        set("ASSAY_ATTEMPT", lease.attempt.0.to_string());
        if let Some(index) = element(self.wanted).index {
            set("ASSAY_ARRAY_INDEX", index.to_string());
        }
        if spec.framework.is_some() {
            set("ASSAY_IN_FORCE", text(&dirs.answers(task.rank)));
        }
        set("CUDA_VISIBLE_DEVICES", self.visible(task));
        self.share(task).into_iter().for_each(|(name, value)| set(name, value));
        set("HOME", text(&dirs.tmp()));
        set("TMPDIR", text(&dirs.tmp()));
        all.extend(spec.env.iter().map(|(name, value)| (name.clone(), value.clone())));
        match self.image {
            None => all,
            Some((image, devices)) => with_image(all, image, devices),
        }
    }

    /// What torchrun sets for its workers; each node of the gang is one group.
    ///
    /// Source: <https://docs.pytorch.org/docs/stable/elastic/run.html#environment-variables>.
    fn torchrun(
        &self,
        task: &TaskPlace,
        local_rank: u32,
        local_size: usize,
    ) -> impl Iterator<Item = (String, String)> {
        let (spec, lease) = (&self.wanted.spec, &self.wanted.lease);
        let (rank, world) = (task.rank.to_string(), spec.tasks.to_string());
        let all = [
            ("GROUP_RANK", self.node_rank.to_string()),
            ("GROUP_WORLD_SIZE", lease.members.len().to_string()),
            ("LOCAL_RANK", local_rank.to_string()),
            ("LOCAL_WORLD_SIZE", local_size.to_string()),
            ("MASTER_ADDR", self.master_addr.to_owned()),
            ("MASTER_PORT", master_port(lease.id).to_string()),
            ("NODE_RANK", self.node_rank.to_string()),
            ("RANK", rank.clone()),
            ("ROLE_RANK", rank),
            ("ROLE_WORLD_SIZE", world.clone()),
            ("TORCHELASTIC_RESTART_COUNT", lease.attempt.0.saturating_sub(1).to_string()),
            ("TORCHELASTIC_RUN_ID", lease.element.to_string()),
            ("WORLD_SIZE", world),
        ];
        all.into_iter().map(|(name, value)| (name.to_owned(), value))
    }

    /// What a task is told that has a share of a GPU, so that it takes no more of the memory.
    ///
    /// Source: <https://docs.jax.dev/en/latest/gpu_memory_allocation.html>,
    /// <https://www.tensorflow.org/guide/gpu#limiting_gpu_memory_growth>; without them each takes
    /// most of the GPU's memory at its start. CUDA's multi-process service, where an admin runs it,
    /// keeps to the last: <https://docs.nvidia.com/deploy/mps/appendix-tools-and-interface-reference.html>.
    fn share(&self, task: &TaskPlace) -> Vec<(&'static str, String)> {
        let [index] = task.gpus[..] else { return Vec::new() };
        let Some(gpu) = self.gpus.iter().find(|gpu| gpu.index == index) else { return Vec::new() };
        let count = share::shares_of(&gpu.model);
        if count == 1 {
            return Vec::new();
        }
        let mib = gpu.memory.0 >> 20;
        vec![
            ("ASSAY_GPU_MEMORY_BYTES", gpu.memory.0.to_string()),
            // A tenth is left for what is in no pool.
            ("XLA_PYTHON_CLIENT_MEM_FRACTION", format!("0.{:03}", 900 / count)),
            ("TF_FORCE_GPU_ALLOW_GROWTH", "true".to_owned()),
            ("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", format!("0={mib}M")),
        ]
    }

    /// The task's GPUs by unique name; empty hides all.
    fn visible(&self, task: &TaskPlace) -> String {
        let mine = |index: &u32| self.gpus.iter().find(|gpu| gpu.index == *index);
        let names: Vec<_> =
            task.gpus.iter().filter_map(mine).map(|gpu| share::whole(gpu).1).collect();
        names.join(",")
    }
}

/// The contract's variables over those of an image and its devices. The path is the image's: what
/// programs there are is for it to say, and it is fixed by digest.
fn with_image(
    ours: Vec<(String, String)>,
    image: &LaidImage,
    devices: &[String],
) -> Vec<(String, String)> {
    let mut all = image.env.clone();
    let devices = devices.iter().filter_map(|line| line.split_once('='));
    all.extend(devices.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let path = image.env.get("PATH").cloned();
    all.extend(ours);
    all.extend(path.map(|path| ("PATH".to_owned(), path)));
    all.into_iter().collect()
}

/// The element whose work it is: of a run of a check, the one that is run again.
fn element(wanted: &WantedLease) -> ElementId {
    match &wanted.spec.check {
        Some(CheckRun { task: CheckTask::Segment { of, .. }, .. }) => *of,
        Some(CheckRun { task: CheckTask::BurnIn, .. }) | None => wanted.lease.element,
    }
}

/// The program that this agent is, which brings the burn-in along.
fn own_program() -> Result<PathBuf, EndCause> {
    std::env::current_exe().map_err(|why| EndCause::Prepare {
        detail: format!("the agent's own program is not found: {why}; restart the agent"),
    })
}

/// What the variable of a data set names: a captured folder, or the one captured file.
#[must_use]
pub fn dataset(dirs: &LeaseDirs, name: &str, captured: &domain::job::Captured) -> PathBuf {
    let folder = dirs.data().join(name);
    let is_file = captured.files == 1 && !captured.origin.ends_with('/');
    let file = Path::new(&captured.origin).file_name().filter(|_| is_file);
    match file.map(|file| folder.join(file)) {
        Some(file) if file.is_file() => file,
        _ => folder,
    }
}

/// The gang's port, the same on all of its nodes.
fn master_port(lease: LeaseId) -> u64 {
    let mixed = lease.index.wrapping_mul(31).wrapping_add(u64::from(lease.ordinal));
    PORT_FIRST + mixed % PORTS
}

/// The program's absolute path: in the code folder if it has a `/`, else on the contract's `PATH`.
fn program(spec: &JobSpec, code: &Path) -> Result<PathBuf, EndCause> {
    let name = spec.command.first().map_or("", String::as_str);
    let prepare = |detail: String| EndCause::Prepare { detail };
    if name.contains('/') {
        let path = code.join(name);
        return if path.is_file() {
            Ok(path)
        } else {
            Err(prepare(format!("program `{name}` is not in the code folder; give a path there")))
        };
    }
    let path = contract::FIXED.iter().find(|(variable, _)| *variable == "PATH");
    let folders = path.map_or("", |(_, value)| value);
    let mut candidates = folders.split(':').map(|folder| Path::new(folder).join(name));
    candidates.find(|path| is_executable(path)).ok_or_else(|| {
        prepare(format!("program `{name}` is not in {folders}; install it, or write `./{name}`"))
    })
}

/// The program as the kernel finds it in an image: by its path, or on the path of the image.
fn program_inside(spec: &JobSpec, code: &Path) -> PathBuf {
    let name = spec.command.first().map_or("", String::as_str);
    if name.contains('/') { code.join(name) } else { PathBuf::from(name) }
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Our own folders are given as text, so this loses nothing.
fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
