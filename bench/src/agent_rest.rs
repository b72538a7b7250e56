//! An agent at rest: what it takes from the jobs that it waits for.

use crate::{
    assay::Assay,
    cpu,
    report::{self, Figure, Quantity, Target},
};
use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// Memory that an agent may hold with eight GPUs.
const MEMORY: u64 = 60_000_000;
/// Share of one core that it may take.
const SHARE: f64 = 0.01;
/// Time for what a start brings with it.
const SETTLE: Duration = Duration::from_secs(10);

/// Runs the benchmark over so long a time.
///
/// # Errors
/// When our cluster does not come up.
pub async fn run(time: Duration) -> Result<()> {
    report::section("An agent at rest, with eight simulated GPUs and its supervisor");
    let dir = tempfile::tempdir()?;
    let assay = Assay::start(dir.path()).await?;
    tokio::time::sleep(SETTLE).await;
    let line = |pid: u32| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let of = |mark: &str| -> Vec<u32> {
        let ours = |pid: &u32| String::from_utf8_lossy(&line(*pid)).contains(mark);
        assay.all_pids().into_iter().filter(ours).collect()
    };
    let (agent, supervisor) = (of("config/node-a.toml"), of("data/node-a"));
    if agent.len() != 1 || supervisor.is_empty() {
        bail!("agents {agent:?}, supervisors {supervisor:?}");
    }
    let both: Vec<u32> = agent.iter().chain(&supervisor).copied().collect();
    let (before, start) = (cpu::of(&both), Instant::now());
    tokio::time::sleep(time).await;
    let spent = cpu::of(&both).saturating_sub(before);
    let share = spent.as_secs_f64() / start.elapsed().as_secs_f64();
    let memory: u64 = both.iter().filter_map(|pid| cpu::resident(*pid)).sum();
    let bound = Quantity::Memory(MEMORY);
    Figure::new("memory of agent and supervisor", Quantity::Memory(memory))
        .beside("the bound", bound)
        .target(Target::AtMost(bound, bound))
        .note(format!(
            "agent {}, supervisor {}: resident, pages of the program among it",
            Quantity::Memory(agent.iter().filter_map(|pid| cpu::resident(*pid)).sum()),
            Quantity::Memory(supervisor.iter().filter_map(|pid| cpu::resident(*pid)).sum()),
        ))
        .print();
    let bound = Quantity::Share(SHARE);
    Figure::new("share of a core, agent and supervisor", Quantity::Share(share))
        .beside("the bound", bound)
        .target(Target::AtMost(bound, bound))
        .print();
    Ok(())
}
