//! Gangs over two nodes: how long the others live after a part has died.

use crate::{
    assay::{self, Assay},
    child, cpu, load,
    report::{self, Figure, Quantity, Target},
    tasks::{self, Task},
};
use anyhow::{Context as _, Result, bail};
use domain::limit::LEASE_TTL;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// Longest time from a rank's death to the death of all.
const RANK: Duration = Duration::from_secs(1);
/// What each rank becomes: it heeds no SIGTERM.
const SCRIPT: &str = "trap '' TERM; exec sleep 600";

/// A gang of two, each on a node of its own, once it runs.
async fn gang(assay: &Assay, program: &Path) -> Result<(String, Vec<Task>)> {
    let words = ["--tasks", "2", "--cpus", "5", "--retries", "0", "--outputs", "none"];
    let job = tasks::submit(assay, program, &[&words[..], &["--", "sh", "-c", SCRIPT]].concat())?;
    let since = Instant::now();
    loop {
        let found = tasks::of(&job, "sleep");
        if found.len() == 2 {
            return Ok((job, found));
        }
        if since.elapsed() > tasks::PATIENCE {
            bail!("the gang {job} does not run");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn until_ready(assay: &Assay) -> Result<()> {
    let since = Instant::now();
    while !assay.is_ready().await {
        if since.elapsed() > tasks::PATIENCE {
            bail!("the nodes did not come back");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// The node whose folder this path lies in.
fn node_of(task: &Task) -> Option<&'static str> {
    ["node-a", "node-b"].into_iter().find(|name| task.output.contains(&format!("/{name}/")))
}

/// Kills all of a node at once, as a failure of its power would, while nobody starts it again.
async fn lose_node(assay: &Assay, program: &Path) -> Result<Duration> {
    let (job, gang) = gang(assay, program).await?;
    let name = node_of(&gang[1]).context("rank 1 stands on a node")?;
    let marks = [format!("config/{name}.toml"), format!("data/{name}")];
    let line = |pid: u32| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let ours = |pid: &u32| {
        let text = String::from_utf8_lossy(&line(*pid)).into_owned();
        marks.iter().any(|mark| text.contains(mark.as_str()))
    };
    let mut pids: Vec<u32> = assay.all_pids().into_iter().filter(ours).collect();
    pids.push(gang[1].pid);
    signal(assay.dev_pid(), Signal::STOP);
    let since = Instant::now();
    for pid in &pids {
        child::kill(*pid);
    }
    let took = tasks::death(&[gang[0].pid], since).await;
    signal(assay.dev_pid(), Signal::CONT);
    let _ = tasks::say(assay, program, &["cancel", &job]);
    until_ready(assay).await?;
    took
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// Runs the benchmark.
///
/// # Errors
/// When our cluster does not come up or a rank outlives all patience.
pub async fn run(kills: usize, nodes: usize) -> Result<()> {
    report::section("A gang over two nodes, whose ranks heed no SIGTERM: the death of a part");
    let dir = tempfile::tempdir()?;
    let assay = Assay::start(dir.path()).await?;
    let program = assay::program()?;
    let mut times = Vec::new();
    let before = cpu::of(&assay.all_pids());
    for _ in 0..kills {
        let (job, gang) = gang(&assay, &program).await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let since = Instant::now();
        child::kill(gang[1].pid);
        times.push(tasks::death(&[gang[0].pid], since).await?);
        tasks::say(&assay, &program, &["wait", &job]).ok();
    }
    let spent = cpu::of(&assay.all_pids()).saturating_sub(before);
    let worst = times.iter().max().copied().unwrap_or_default();
    let bound = Quantity::Time(RANK);
    Figure::new("rank killed to all dead, median", Quantity::Time(load::median(&mut times)))
        .beside("the bound", bound)
        .target(Target::AtMost(bound, bound))
        .cpu(cpu::each(spent, kills as u64))
        .print();
    Figure::new(format!("rank killed to all dead, worst of {kills}"), Quantity::Time(worst))
        .beside("the bound", bound)
        .target(Target::AtMost(bound, bound))
        .note("half a second of it is the grace between SIGTERM and SIGKILL")
        .print();
    let mut worst = Duration::ZERO;
    for _ in 0..nodes {
        worst = worst.max(lose_node(&assay, &program).await?);
    }
    let bound = Quantity::Time(Duration::from_millis(LEASE_TTL.0) + RANK);
    Figure::new(format!("node lost to all dead, worst of {nodes}"), Quantity::Time(worst))
        .beside("lease time + 1 s", bound)
        .target(Target::AtMost(bound, bound))
        .print();
    Ok(())
}
