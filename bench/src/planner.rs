//! The planner: passes over many nodes and many waiting jobs, and recorded plans made again.
//!
//! The state machine is the servers' own and so is the planner; log, disk and network are left out
//! but for [`durable`]. Jobs are drawn from a fixed seed.

mod cluster;
mod fragments;

use crate::report::{self, Figure, Quantity, Target};
use anyhow::{Result, anyhow, ensure};
pub use cluster::node;
use cluster::{Asks, Memory, job};
use domain::{Millis, job::JobSpec};
use std::time::{Duration, Instant};

/// The seed of all that is drawn.
const SEED: u64 = 20_261_128;
/// Changes after which a pass is measured.
const CHANGES: usize = 101;

/// Numbers from a seed (splitmix64).
struct Draw(u64);

impl Draw {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % most
    }

    /// One of about 200 shapes: mostly few GPUs, some gangs of whole nodes.
    fn asks(&mut self) -> Asks {
        let cores = 1 + self.below(12);
        match self.below(100) {
            0..60 => Asks { tasks: 1, gpus: 1 + self.below(4) as u32, cores },
            60..90 => Asks { tasks: 1 + self.below(4) as u32, gpus: 4, cores },
            _ => Asks { tasks: 1 << self.below(6), gpus: 8, cores: 8 * cores },
        }
    }
}

/// Jobs of which half say for how long they run at most.
fn mixed(draw: &mut Draw, first: usize, count: usize) -> Vec<JobSpec> {
    let mut one = |number| {
        let limit = (draw.below(2) == 0).then(|| Millis(60_000 * (1 + draw.below(600))));
        JobSpec { time_limit: limit, ..job(number, draw.asks()) }
    };
    (first..first + count).map(&mut one).collect()
}

/// A full cluster with so many jobs that wait.
fn busy(nodes: usize, waiting: usize) -> (Memory, Draw) {
    let (mut memory, mut draw) = (Memory::of_nodes(nodes), Draw(SEED));
    // Eight GPUs a node, at least one a job: whatever is drawn, so many fill it.
    let running = (0..nodes * 8).map(|number| JobSpec {
        time_limit: Some(Millis(3_600_000 * (1 + number as u64 % 24))),
        ..job(number, Asks { tasks: 1, gpus: 1 + (number % 4) as u32, cores: 4 })
    });
    memory.submit(running.take(nodes * 4));
    memory.fill();
    memory.submit(mixed(&mut draw, nodes * 8, waiting).into_iter());
    memory.now = memory.now.plus(Millis(120_000));
    memory.fill();
    (memory, draw)
}

/// The median time of a pass after one job ended and one came.
fn after_changes(nodes: usize, waiting: usize) -> Result<Duration> {
    let (mut memory, mut draw) = busy(nodes, waiting);
    let mut times = Vec::with_capacity(CHANGES);
    let mut placed = 0;
    for change in 0..CHANGES {
        memory.now = memory.now.plus(Millis(100));
        let leases = memory.leases();
        let ended = &leases[draw.below(leases.len() as u64) as usize];
        memory.end(std::slice::from_ref(ended));
        memory.submit(mixed(&mut draw, 10_000_000 + change, 1).into_iter());
        let (plan, took) = memory.plan();
        times.push(took);
        placed += plan.record.placements.len();
        if !plan.record.placements.is_empty() {
            memory.place(plan.record);
        }
    }
    ensure!(placed > 0, "no pass placed anything: nothing was measured");
    times.sort_unstable();
    Ok(times[CHANGES / 2])
}

fn at_most(name: impl Into<String>, took: Duration, most: Duration) -> Figure {
    let most = Quantity::Time(most);
    Figure::new(name, Quantity::Time(took)).target(Target::AtMost(most, most))
}

fn incremental() -> Result<()> {
    let most = Duration::from_millis(5);
    let base = after_changes(1_000, 10_000)?;
    at_most("a pass after a change, 1,000 nodes, 10,000 wait", base, most)
        .note("median; one job ended and one came since the pass before; 8 GPUs a node, all taken")
        .print();
    for (nodes, waiting) in [
        (2_000, 10_000),
        (5_000, 10_000),
        (10_000, 10_000),
        (1_000, 1_000),
        (1_000, 100_000),
        (1_000, 300_000),
    ] {
        let took = after_changes(nodes, waiting)?;
        Figure::new(format!("the same, {nodes} nodes, {waiting} wait"), Quantity::Time(took))
            .beside("1,000 nodes, 10,000 wait", Quantity::Time(base))
            .print();
    }
    Ok(())
}

fn full() -> Result<()> {
    let (mut memory, mut draw) = (Memory::of_nodes(10_000), Draw(SEED));
    memory.submit(mixed(&mut draw, 0, 100_000).into_iter());
    let start = Instant::now();
    let filled = memory.fill();
    let whole = start.elapsed();
    ensure!(filled.placed > 0, "nothing was placed");
    at_most("a full pass, 10,000 empty nodes, 100,000 wait", filled.planning, Duration::from_millis(300))
        .note(format!(
            "{} gangs placed in {} plans of one proposal each, the longest {:.1} ms; with the state \
             machine {:.2} s; published: Firmament below 1 s at 12,500 machines, KAI 2.4 s at 4,000 \
             nodes",
            filled.placed,
            filled.passes,
            filled.longest.as_secs_f64() * 1e3,
            whole.as_secs_f64(),
        ))
        .print();
    Ok(())
}

fn small() -> Result<()> {
    let mut memory = Memory::of_nodes(1_000);
    let one = Asks { tasks: 1, gpus: 0, cores: 1 };
    memory.submit((0..32_000).map(|number| job(number, one)));
    let start = Instant::now();
    let filled = memory.fill();
    let whole = start.elapsed();
    ensure!(filled.placed == 32_000, "{} of 32,000 were placed", filled.placed);
    at_most("32,000 small jobs onto 1,000 nodes", filled.planning, Duration::from_millis(200))
        .note(format!(
            "{} plans; with the state machine {:.2} s; published: Armada 0.61 s on its own machine",
            filled.passes,
            whole.as_secs_f64(),
        ))
        .print();
    Ok(())
}

/// Placements a second of planner and state machine alone, onto nodes that hold them all: the
/// bound of what one replica can take in. Proposals are as large as the servers' are.
pub fn placements(nodes: usize, jobs: usize) -> f64 {
    let mut memory = Memory::with_room(nodes, jobs.div_ceil(nodes));
    let one = Asks { tasks: 1, gpus: 0, cores: 1 };
    memory.submit((0..jobs).map(|number| job(number, one)));
    let start = Instant::now();
    let filled = memory.fill();
    filled.placed as f64 / start.elapsed().as_secs_f64()
}

/// One gang of 128 whole nodes on 10,000, of which every seventh has something running.
fn gang() -> Result<()> {
    for (words, name) in [("any", "anywhere"), ("rack", "within one rack")] {
        let mut memory = Memory::of_nodes(10_000);
        let one = Asks { tasks: 1, gpus: 8, cores: 8 };
        memory.submit((0..1_400).map(|number| job(number, one)));
        memory.fill();
        let whole = job(10_000, Asks { tasks: 128, ..one });
        let topology = words.parse().map_err(|why| anyhow!("{why}"))?;
        memory.submit([JobSpec { topology, ..whole }].into_iter());
        let mut times = Vec::new();
        for _ in 0..11 {
            let (plan, took) = memory.plan();
            let gangs = &plan.record.placements;
            ensure!(gangs.len() == 1 && gangs[0].members.len() == 128, "not placed whole");
            times.push(took);
        }
        times.sort_unstable();
        at_most(format!("a gang of 1,024 GPUs {name}, 10,000 nodes"), times[5], MILLIS_50)
            .note("median of 11 passes; one placement of 128 whole nodes each")
            .print();
    }
    Ok(())
}

const MILLIS_50: Duration = Duration::from_millis(50);

/// Placements a round of [`replay`] makes.
const ROUND: usize = 2_000;

/// Two state machines take the same entries; the second makes every plan again before it takes it.
fn replay(decisions: usize) -> Result<()> {
    let (mut live, mut second) = (Memory::of_nodes(500), Memory::of_nodes(500));
    let mut draw = Draw(SEED);
    let (mut made, mut again, mut rest) = (0, Duration::ZERO, Duration::ZERO);
    let mut plans = 0_u64;
    while made < decisions {
        let jobs: Vec<_> = (0..ROUND)
            .map(|at| {
                let asks =
                    Asks { tasks: 1, gpus: 1 + draw.below(2) as u32, cores: 1 + draw.below(8) };
                job(made + at, asks)
            })
            .collect();
        live.submit(jobs.clone().into_iter());
        let mut records = Vec::new();
        loop {
            let (plan, _) = live.plan();
            if plan.record.placements.is_empty() {
                break;
            }
            records.push(plan.record.clone());
            live.place(plan.record);
        }
        let leases = live.leases();
        ensure!(leases.len() == ROUND, "{} of {ROUND} were placed", leases.len());
        live.end(&leases);

        let start = Instant::now();
        second.submit(jobs.into_iter());
        rest += start.elapsed();
        for record in records {
            let start = Instant::now();
            ensure!(second.replay(&record), "plan {plans} was not made again");
            again += start.elapsed();
            plans += 1;
            made += record.placements.len();
            let start = Instant::now();
            second.place(record);
            rest += start.elapsed();
        }
        let start = Instant::now();
        second.end(&leases);
        rest += start.elapsed();
        for memory in [&mut live, &mut second] {
            memory.now = memory.now.plus(Millis(1_000));
        }
    }
    let per_million = |took: Duration| took.mul_f64(1e6 / made as f64);
    let whole = per_million(again + rest);
    at_most("replay of 1,000,000 decisions", whole, Duration::from_secs(60))
        .note(format!(
            "{made} placements in {plans} plans were made again, every digest equal; {:.1} s of it \
             in the planner, the rest in the state machine that leads from one plan to the next",
            per_million(again).as_secs_f64(),
        ))
        .print();
    Ok(())
}

/// Runs the benchmark.
///
/// # Errors
/// When a scene does not come about: nothing is placed, or a plan is not made again.
pub fn run(decisions: usize) -> Result<()> {
    report::section(&format!("The planner in memory, seed {SEED}"));
    incremental()?;
    full()?;
    small()?;
    gang()?;
    fragments::run()?;
    replay(decisions)
}
