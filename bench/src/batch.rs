//! A thousand distinct jobs in one request, beside Slurm's rate of `sbatch`.

use crate::{
    assay::{self, Assay},
    cpu, crew, load,
    report::{self, Figure, Quantity, Target},
    slurm::{Slurm, Tuning},
};
use anyhow::Result;
use std::{path::Path, time::Duration};

/// Jobs in one request.
const SIZE: usize = 1_000;
/// Jobs that `sbatch` submits one after another, which is slow.
const ALONE: u64 = 250;
/// Jobs that eight at once submit, each.
const TOGETHER: u64 = 125;

/// Slurm's best rate, and how it came about.
struct Peer {
    name: String,
    rate: f64,
    cpu: Duration,
}

/// Runs the benchmark.
///
/// # Errors
/// When a cluster does not come up.
pub async fn run(time: Duration) -> Result<()> {
    report::section("1,000 distinct jobs in one durable request, beside `sbatch` (not durable)");
    let dir = tempfile::tempdir()?;
    let peers = peers(dir.path());
    let assay = Assay::start(dir.path()).await?;
    let client = assay.client(0)?;
    let outcome = load::run(vec![client], time, &assay.pids(), |mut client, _| async move {
        let good = client.submit(assay::request(SIZE)).await.is_ok();
        (client, good)
    })
    .await;
    let jobs = outcome.done * SIZE as u64;
    let rate = Quantity::Rate(outcome.rate() * SIZE as f64);
    let ours = cpu::each(outcome.cpu, jobs);
    let mut figure = Figure::new("jobs in requests of 1,000", rate)
        .target(Target::Times(30.0, 80.0))
        .cpu(ours)
        .note(format!("{:.1} ms a request, failed {}", outcome.median_ms(), outcome.failed));
    match peers {
        Ok(peers) => {
            for peer in &peers {
                let text = format!("{}: {:.0}/s", peer.name, peer.rate);
                figure = figure.note(format!("{text}, daemons {:?} CPU a job", peer.cpu));
            }
            let best = peers.into_iter().max_by(|a, b| a.rate.total_cmp(&b.rate));
            if let Some(best) = best {
                figure = figure
                    .beside("sbatch", Quantity::Rate(best.rate))
                    .cpu_beside(ours, best.cpu)
                    .note(format!("sbatch is {}; issue, quiet machine: 459/s", best.name));
            }
        }
        Err(why) => report::failed("batch: sbatch", &why),
    }
    figure.print();
    Ok(())
}

/// Slurm under both settings, `sbatch` alone and eight at once. The jobs are held, so that only
/// their submission is measured.
fn peers(dir: &Path) -> Result<Vec<Peer>> {
    let mut peers = Vec::new();
    for tuning in Tuning::BOTH {
        let slurm = Slurm::start(dir, tuning)?;
        for (workers, each, how) in [(1, ALONE, "one at a time"), (8, TOGETHER, "eight at once")] {
            let before = cpu::of(&slurm.pids());
            let work = crew::run(workers, each, |number| {
                let mut sbatch = slurm.command("sbatch");
                sbatch.args(["-Q", "-H", "-o", "/dev/null", "-J", &format!("bench-{number}")]);
                sbatch.arg(slurm.script());
                sbatch
            })?;
            let spent = cpu::of(&slurm.pids()).saturating_sub(before);
            let name = format!("{}, {how}", tuning.name());
            peers.push(Peer { name, rate: work.rate(), cpu: cpu::each(spent, work.done) });
        }
    }
    Ok(peers)
}
