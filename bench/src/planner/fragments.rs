//! GPUs that nobody can use, once more is asked for than there is.
//!
//! Jobs come one after the other onto nodes of three kinds, and none leaves, as in Weng et al. (ATC
//! '23), until they ask for as many GPUs as there are, or for more. What is left over then is what
//! their places cost. The peer is best fit, which most schedulers have: of the nodes that can hold
//! a job the one with the fewest GPUs free, then the fewest cores.

use super::{
    Draw,
    cluster::{Asks, Memory, job, node},
};
use crate::report::{Figure, Quantity, Target};
use anyhow::{Result, ensure};
use domain::{Bytes, CpuMillis, job::JobSpec, node::Inventory, resource::Gpu};

/// Nodes of a cluster.
const NODES: usize = 200;
/// Clusters, each with jobs of its own.
const SEEDS: u64 = 5;
/// Jobs that come at once.
const AT_ONCE: usize = 20;
/// GPUs that are asked for, in hundredths of those that there are.
const ASKED_PCT: [u64; 2] = [100, 130];
/// Model, memory in GiB, GPUs and cores of a node; by turns.
const KINDS: [(&str, u64, u32, u64); 5] = [
    ("NVIDIA H100 80GB HBM3", 80, 8, 96),
    ("NVIDIA A100-PCIE-40GB", 40, 4, 64),
    ("NVIDIA L40S", 48, 2, 96),
    ("NVIDIA H100 80GB HBM3", 80, 8, 112),
    ("NVIDIA A100-PCIE-40GB", 40, 4, 48),
];

/// One job of the stream: GPUs, cores, and the model that it insists on.
#[derive(Clone, Copy)]
struct Wanted {
    gpus: u32,
    cores: u64,
    model: Option<&'static str>,
}

fn wanted(draw: &mut Draw) -> Wanted {
    let (gpus, each, model) = match draw.below(100) {
        0..24 => (1, 4 + draw.below(16), None),
        24..34 => (2, 4 + draw.below(14), None),
        34..42 => (4, 4 + draw.below(12), None),
        42..48 => (8, 6 + draw.below(8), None),
        48..60 => (1 << draw.below(4), 6 + draw.below(8), Some("H100")),
        60..66 => (1, 8 + draw.below(32), Some("L40S")),
        _ => (0, 2 + draw.below(20), None),
    };
    Wanted { gpus, cores: each * u64::from(gpus.max(1)), model }
}

fn inventory(number: usize) -> Inventory {
    let (model, gib, gpus, cores) = KINDS[number % KINDS.len()];
    let gpu = |index| Gpu {
        index,
        uuid: format!("GPU-{number}-{index}"),
        model: model.into(),
        memory: Bytes(gib << 30),
        compute_capability: "9.0".into(),
    };
    let cpu = CpuMillis(cores * 1_000);
    Inventory { cpu, gpus: (0..gpus).map(gpu).collect(), ..node(number) }
}

fn spec(number: usize, wanted: Wanted) -> JobSpec {
    let mut job = job(number, Asks { tasks: 1, gpus: wanted.gpus, cores: wanted.cores });
    job.resources.gpu_model = wanted.model.map(str::to_owned);
    // What is short here are processors and GPUs.
    job.resources.memory = Bytes(1 << 30);
    job
}

/// The stream, and how many GPUs there are.
fn stream(seed: u64, asked_pct: u64) -> (Vec<Wanted>, u64) {
    let there: u64 = (0..NODES).map(|number| u64::from(KINDS[number % KINDS.len()].2)).sum();
    let (mut draw, mut asked, mut stream) = (Draw(seed), 0, Vec::new());
    while asked * 100 < there * asked_pct {
        let next = wanted(&mut draw);
        asked += u64::from(next.gpus);
        stream.push(next);
    }
    (stream, there)
}

/// GPUs that the planner gives.
fn ours(stream: &[Wanted]) -> u64 {
    let mut memory = Memory::of((0..NODES).map(inventory));
    for (turn, jobs) in stream.chunks(AT_ONCE).enumerate() {
        let specs = jobs.iter().enumerate().map(|(at, it)| spec(turn * AT_ONCE + at, *it));
        memory.submit(specs);
        memory.fill();
    }
    let leases = memory.leases();
    let tasks = leases.iter().flat_map(|lease| &lease.members).flat_map(|member| &member.tasks);
    tasks.map(|task| task.gpus.len() as u64).sum()
}

/// GPUs that best fit gives.
fn best_fit(stream: &[Wanted]) -> u64 {
    let kind = |number: usize| KINDS[number % KINDS.len()];
    let mut free: Vec<(u32, u64)> = (0..NODES).map(|at| (kind(at).2, kind(at).3)).collect();
    let mut given = 0;
    for job in stream {
        let suits = |at: &usize| {
            let (gpus, cores) = free[*at];
            let model = job.model.is_none_or(|model| kind(*at).0.contains(model));
            gpus >= job.gpus && cores >= job.cores && (model || job.gpus == 0)
        };
        if let Some(at) = (0..NODES).filter(suits).min_by_key(|at| free[*at]) {
            free[at] = (free[at].0 - job.gpus, free[at].1 - job.cores);
            given += u64::from(job.gpus);
        }
    }
    given
}

/// Prints what is left of both.
pub fn run() -> Result<()> {
    for asked_pct in ASKED_PCT {
        let (mut there, mut left, mut left_by_fit) = (0, 0, 0);
        for seed in 1..=SEEDS {
            let (stream, gpus) = stream(seed, asked_pct);
            let (given, by_fit) = (ours(&stream), best_fit(&stream));
            ensure!(given <= gpus && by_fit <= gpus, "more GPUs were given than there are");
            there += gpus;
            left += gpus - given;
            left_by_fit += gpus - by_fit;
        }
        Figure::new(format!("GPUs left over at {asked_pct} % asked for"), Quantity::Count(left))
            .beside("best fit", Quantity::Count(left_by_fit))
            .target(Target::Times(1.0, 2.0))
            .note(format!(
                "of {there} in {SEEDS} clusters of {NODES} nodes, GPUs of three models; none ends"
            ))
            .print();
    }
    Ok(())
}
