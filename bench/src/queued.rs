//! 100,000 queued jobs: memory of the servers, time to restart, and latency of a further submit.

use crate::{
    assay::{self, Assay},
    cpu,
    report::{self, Figure, Quantity, Target},
    submits,
};
use anyhow::{Context as _, Result};
use std::time::Duration;

/// Jobs in one request while the queue is filled.
const BATCH: usize = 1_000;

/// Runs the benchmark with so many queued jobs.
///
/// # Errors
/// When the cluster does not come up or takes no more jobs.
pub async fn run(jobs: usize, time: Duration) -> Result<()> {
    report::section("Many queued jobs that no node can hold");
    let dir = tempfile::tempdir()?;
    let assay = Assay::start(dir.path()).await?;
    let without = submits::submits(&assay, 1, time).await?;
    let mut client = assay.client(0)?;
    for _ in 0..jobs.div_ceil(BATCH) {
        client.submit(assay::request(BATCH)).await.context("the queue is filled")?;
    }
    let with = submits::submits(&assay, 1, time).await?;
    let memory = assay.pids().into_iter().filter_map(cpu::resident).max();
    let memory = Quantity::Memory(memory.context("a server's memory")?);
    let most = Quantity::Memory(500_000_000);
    Figure::new(format!("memory of a server, {jobs} queued, most"), memory)
        .target(Target::AtMost(most, most))
        .print();
    for (name, without_ms, with_ms) in [
        ("median", without.median_ms(), with.median_ms()),
        ("p99", without.p99_ms(), with.p99_ms()),
    ] {
        // "As with none": within the noise between two runs.
        Figure::new(format!("submit latency, {jobs} queued, {name}"), Quantity::ms(with_ms))
            .beside("with none", Quantity::ms(without_ms))
            .target(Target::Times(0.9, 1.0))
            .cpu_beside(with.cpu_each(), without.cpu_each())
            .print();
    }
    let mut slowest = Duration::ZERO;
    for server in 0..assay.servers() {
        let old = assay.pid(server).context("the server runs")?;
        assay.kill(server)?;
        slowest = slowest.max(assay.back(server, old).await?);
    }
    let most = Quantity::Time(Duration::from_secs(5));
    Figure::new(format!("restart, {jobs} queued, slowest of 3"), Quantity::Time(slowest))
        .target(Target::AtMost(most, most))
        .note("from the start of a killed server to its first linearizable answer")
        .print();
    Ok(())
}
