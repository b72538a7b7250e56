//! A thousand jobs that do nothing: ours submitted, run and sealed; Slurm's submitted and run.

use crate::{
    assay::{self, Assay},
    cpu, crew,
    report::{self, Figure, Quantity, Target},
    slurm::{Slurm, Tuning},
};
use anyhow::{Context as _, Result, bail};
use proto::v1;
use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Longest wait for all jobs.
const PATIENCE: Duration = Duration::from_secs(300);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// What one job runs: it writes one small file (an empty output is an error).
const SCRIPT: &str = "echo 1 >\"$ASSAY_OUTPUT_DIR/result\"";

/// Jobs a second, and CPU of all processes for each.
struct Total {
    rate: f64,
    cpu: Duration,
}

fn request(count: usize) -> v1::SubmitRequest {
    let job = |n: usize| v1::Job {
        name: format!("noop-{n}"),
        command: ["sh", "-c", SCRIPT].map(str::to_owned).to_vec(),
        tasks: 1,
        cpu_millis: 1_000,
        memory_bytes: 64 << 20,
        ..v1::Job::default()
    };
    v1::SubmitRequest {
        key: assay::key().into(),
        jobs: (0..count).map(job).collect(),
        reuse: false,
        ties: Vec::new(),
    }
}

async fn ours(assay: &Assay, count: usize) -> Result<Total> {
    let mut client = assay.client(0)?;
    let before = cpu::of(&assay.all_pids());
    let start = Instant::now();
    let reply = client.submit(request(count)).await?.into_inner();
    if reply.jobs.len() != count {
        bail!("{} jobs taken of {count}", reply.jobs.len());
    }
    for state in ["waiting", "running", "sealing"] {
        while !assay.jobs(0, state, 0, 1).await?.is_empty() {
            if start.elapsed() > PATIENCE {
                bail!("jobs are still {state} after {PATIENCE:?}");
            }
            tokio::time::sleep(LOOK).await;
        }
    }
    let elapsed = start.elapsed();
    let spent = cpu::of(&assay.all_pids()).saturating_sub(before);
    let limit = u32::try_from(count)?;
    let completed = assay.jobs(0, "completed", 0, limit).await?.len();
    if completed != count {
        bail!("{completed} jobs of {count} completed");
    }
    Ok(Total { rate: count as f64 / elapsed.as_secs_f64(), cpu: cpu::each(spent, count as u64) })
}

/// Runs one job to its sealed artifact, which is `a1` on a new cluster.
///
/// # Errors
/// When it does not complete.
pub async fn one(assay: &Assay) -> Result<()> {
    ours(assay, 1).await.map(drop)
}

fn slurm(dir: &Path, tuning: Tuning, count: u64) -> Result<Total> {
    let slurm = Slurm::start(dir, tuning)?;
    let before = cpu::of(&slurm.pids());
    let start = Instant::now();
    let work = crew::run(8, count / 8, |_| {
        let mut sbatch = slurm.command("sbatch");
        sbatch.args(["-Q", "-o", "/dev/null"]).arg(slurm.script());
        sbatch
    })?;
    slurm.wait_until_empty()?;
    let elapsed = start.elapsed();
    let spent = cpu::of(&slurm.pids()).saturating_sub(before) + work.cpu;
    Ok(Total { rate: work.done as f64 / elapsed.as_secs_f64(), cpu: cpu::each(spent, work.done) })
}

/// The same program, started `count` times with nobody around it: the bound.
fn spawns(dir: &Path, count: u64) -> Result<Total> {
    let workers = std::thread::available_parallelism()?.get() as u64;
    let work = crew::run(workers, count / workers, |_| {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT]).env_clear().env("ASSAY_OUTPUT_DIR", dir);
        command.stdin(Stdio::null());
        command
    })?;
    Ok(Total { rate: work.rate(), cpu: cpu::each(work.cpu, work.done) })
}

/// Runs the benchmark with so many jobs, `alone` without Slurm.
///
/// # Errors
/// When our cluster does not come up or does not seal all jobs.
pub async fn run(count: usize, alone: bool) -> Result<()> {
    report::section("No-op jobs: ours submitted, run and sealed; Slurm's submitted and run");
    let dir = tempfile::tempdir()?;
    let bound = tokio::task::block_in_place(|| spawns(dir.path(), count as u64))?;
    let assay = Assay::start(dir.path()).await?;
    let total = ours(&assay, count).await.context("no-op jobs")?;
    drop(assay);
    let name = format!("{count} no-op jobs sealed");
    let peers: &[Tuning] = if alone { &[] } else { &Tuning::BOTH };
    for &tuning in peers {
        let peer = tokio::task::block_in_place(|| slurm(dir.path(), tuning, count as u64));
        match peer {
            Ok(peer) => {
                let mut figure = Figure::new(&name, Quantity::Rate(total.rate))
                    .beside(tuning.name(), Quantity::Rate(peer.rate))
                    .cpu_beside(total.cpu, peer.cpu);
                // The better of the two is the peer that counts; both are held to it.
                figure = figure.target(Target::Times(10.0, 25.0));
                if tuning == Tuning::Installed {
                    figure = figure.note("issue, quiet machine: Slurm 52-57/s");
                }
                figure.print();
            }
            Err(why) => report::failed(&format!("noop: {}", tuning.name()), &why),
        }
    }
    Figure::new(&name, Quantity::Rate(total.rate))
        .beside("bound: fork+exec", Quantity::Rate(bound.rate))
        .cpu_beside(total.cpu, bound.cpu)
        .note("the bound starts the same shell on all cores with nothing around it")
        .print();
    Ok(())
}
