//! 100,000 queued jobs, or more: memory of the servers, time to restart, latency of a further submit
//! and of `assay why`.

use crate::{
    assay::{self, Assay},
    cpu,
    load::{self, Outcome},
    report::{self, Figure, Quantity, Target},
    submits,
};
use anyhow::{Context as _, Result, ensure};
use proto::v1::{QueryRequest, query_request::What};
use std::time::Duration;

/// Jobs in one request while the queue is filled.
const BATCH: usize = 1_000;

/// Queued jobs that one client asks about, spread over all.
async fn explained(assay: &Assay, jobs: usize, time: Duration) -> Result<Outcome> {
    let jobs = jobs as u64;
    let why = load::run(vec![assay.client(0)?], time, &assay.pids(), move |mut client, turn| {
        let job = format!("j{}", 1 + turn.wrapping_mul(7_919) % jobs);
        async move {
            let request = QueryRequest { stale: false, what: Some(What::Why(job)) };
            let answer = client.query(request).await;
            (client, answer.is_ok())
        }
    })
    .await;
    ensure!(why.done > 0, "no job was explained");
    Ok(why)
}

/// Runs the benchmark with so many queued jobs.
///
/// # Errors
/// When the cluster does not come up or takes no more jobs.
pub async fn run(jobs: usize, time: Duration) -> Result<()> {
    report::section("Many queued jobs that no node can hold");
    let dir = tempfile::tempdir()?;
    let assay = Assay::start(dir.path()).await?;
    // Twice, since a cluster that has just started differs from one that has worked: the second is
    // what is compared with, and how far the two are apart is what chance does.
    let fresh = submits::submits(&assay, 1, time).await?;
    let without = submits::submits(&assay, 1, time).await?;
    let mut client = assay.client(0)?;
    for _ in 0..jobs.div_ceil(BATCH) {
        client.submit(assay::request(BATCH)).await.context("the queue is filled")?;
    }
    let with = submits::submits(&assay, 1, time).await?;
    let why = explained(&assay, jobs, time).await?;
    let memory = assay.pids().into_iter().filter_map(cpu::resident).max();
    let memory = Quantity::Memory(memory.context("a server's memory")?);
    // 500 MB for 100,000, 3 GB for a million: the issues' bounds.
    let most = Quantity::Memory(if jobs > 100_000 { 3_000_000_000 } else { 500_000_000 });
    Figure::new(format!("memory of a server, {jobs} queued, most"), memory)
        .target(Target::AtMost(most, most))
        .print();
    for (name, fresh_ms, without_ms, with_ms) in [
        ("median", fresh.median_ms(), without.median_ms(), with.median_ms()),
        ("p99", fresh.p99_ms(), without.p99_ms(), with.p99_ms()),
    ] {
        // "As with none": within the noise between two runs.
        Figure::new(format!("submit latency, {jobs} queued, {name}"), Quantity::ms(with_ms))
            .beside("with none", Quantity::ms(without_ms))
            .target(Target::Times(0.9, 1.0))
            .cpu_beside(with.cpu_each(), without.cpu_each())
            .note(format!("with none just before that: {fresh_ms:.2} ms"))
            .print();
    }
    let most = Quantity::ms(50.0);
    Figure::new(format!("`assay why`, {jobs} queued, p99"), Quantity::ms(why.p99_ms()))
        .target(Target::AtMost(most, most))
        .cpu(why.cpu_each())
        .note(format!(
            "median {:.2} ms of {} answers, one after another",
            why.median_ms(),
            why.done
        ))
        .print();
    let mut slowest = Duration::ZERO;
    for server in 0..assay.servers() {
        let old = assay.pid(server).context("the server runs")?;
        assay.kill(server)?;
        slowest = slowest.max(assay.back(server, old).await?);
    }
    // Asked of 100,000.
    let most = Quantity::Time(Duration::from_secs(5));
    let target = if jobs > 100_000 { Target::None } else { Target::AtMost(most, most) };
    Figure::new(format!("restart, {jobs} queued, slowest of 3"), Quantity::Time(slowest))
        .target(target)
        .note("from the start of a killed server to its first linearizable answer")
        .print();
    Ok(())
}
