//! `assay-sim`: runs seeds, names the law that breaks, and the command that replays it.

mod replay;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use scheduler::consensus::Planted;
use simulations::{
    bits::Bits,
    coverage::{self, Coverage},
    damage,
    kept::KEPT,
    law::Broken,
    machine::{self, Bug},
    workload::command as workload,
    world::{Plan, World},
};
use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

/// Worlds are made of many small allocations, on as many threads as there are cores.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[derive(Parser)]
#[command(name = "assay-sim", about = "A whole cluster in one thread from one seed")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run seeds; each twice, which must give the same bytes.
    Run {
        /// How many.
        #[arg(long, default_value_t = 10)]
        seeds: u64,
        /// The first.
        #[arg(long, default_value_t = 1)]
        first: u64,
        /// Virtual seconds with faults.
        #[arg(long, default_value_t = 300)]
        seconds: u64,
        /// Print every event.
        #[arg(long)]
        trace: bool,
    },
    /// Run the seeds that once failed, each twice.
    Kept,
    /// Run with planted bugs, each of which must be caught.
    Planted {
        /// Seeds for each bug at most.
        #[arg(long, default_value_t = 20)]
        seeds: u64,
        /// Virtual seconds with faults.
        #[arg(long, default_value_t = 300)]
        seconds: u64,
    },
    /// Run every segment of every job again, with right bits and with one GPU that flips one.
    Replay {
        /// Seeds in which all bits are right: nobody may be named.
        #[arg(long, default_value_t = 20)]
        clean: u64,
        /// Seeds in which one GPU of one of four nodes flips a bit: it alone is to be named.
        #[arg(long, default_value_t = 20)]
        flipped: u64,
        /// The first seed of each kind.
        #[arg(long, default_value_t = 1)]
        first: u64,
        /// Virtual seconds with faults.
        #[arg(long, default_value_t = 30)]
        seconds: u64,
        /// Print every event.
        #[arg(long)]
        trace: bool,
    },
    /// Run policies over a trace of jobs, in virtual time.
    Workload(workload::Arguments),
}

/// Virtual time in which a cluster must heal.
const HEAL_MS: u64 = 240_000;

fn plan(seed: u64, seconds: u64, planted: Planted, trace: bool) -> Plan {
    let bits = Bits::Usual;
    Plan { seed, fault_ms: seconds * 1_000, heal_ms: HEAL_MS, planted, trace, bits }
}

/// How a run failed.
struct Failed {
    law: String,
    what: String,
}

struct Ran {
    coverage: Coverage,
    virtual_ms: u64,
}

fn once(plan: Plan) -> (Result<domain::Digest, Broken>, Ran) {
    let mut world = World::new(plan);
    let result = world.run();
    let mut coverage = world.coverage;
    coverage.jobs = world.clients.iter().map(|client| client.acked.len() as u64).sum();
    coverage.sealed = world.sealed();
    (coverage.replays, coverage.named) = world.replayed();
    coverage.configs = world.clients.iter().map(|client| client.configs).sum();
    (result, Ran { coverage, virtual_ms: world.now })
}

/// One run; an assertion of the product counts as a law.
fn attempt(plan: Plan) -> Result<(domain::Digest, Ran), Failed> {
    match std::panic::catch_unwind(|| once(plan)) {
        Ok((Ok(digest), ran)) => Ok((digest, ran)),
        Ok((Err(broken), _)) => {
            Err(Failed { law: broken.law().to_owned(), what: broken.to_string() })
        }
        Err(_) => Err(Failed { law: "an assertion".into(), what: "an assertion failed".into() }),
    }
}

fn run_seed(seed: u64, seconds: u64, trace: bool) -> Result<Ran, String> {
    let once = |trace| attempt(plan(seed, seconds, Planted::Nothing, trace));
    let (first, ran) = once(trace).map_err(|failed| failed.what)?;
    match once(false) {
        Ok((second, _)) if second == first => Ok(ran),
        _ => Err("replay: the second run of the seed did other things".into()),
    }
}

/// What many seeds came to.
#[derive(Default)]
struct Total {
    coverage: Coverage,
    virtual_ms: u64,
    failed: Vec<u64>,
}

/// Runs seeds, each for so many seconds, on all cores.
fn run_all(seeds: &[(u64, u64)], trace: bool) -> Total {
    let next = AtomicUsize::new(0);
    let total = Mutex::new(Total::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(&(seed, seconds)) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let ran = run_seed(seed, seconds, trace);
                    let mut total = total.lock().expect("no panics inside");
                    match ran {
                        Ok(ran) => {
                            total.coverage.add(&ran.coverage);
                            total.virtual_ms += ran.virtual_ms;
                        }
                        Err(why) => {
                            println!("seed {seed} FAILED {why}");
                            total.failed.push(seed);
                        }
                    }
                }
            });
        }
    });
    let mut total = total.into_inner().expect("no panics inside");
    total.failed.sort_unstable();
    total
}

/// Says how to replay the first seed that failed, if any did.
fn judge(total: &Total, seeds: &[(u64, u64)]) -> Result<()> {
    let Some(first) = total.failed.first() else { return Ok(()) };
    let seconds = seeds.iter().find(|(seed, _)| seed == first).map_or(0, |(_, seconds)| *seconds);
    println!(
        "replay with: cargo run -p simulations --bin assay-sim -- run --first {first} --seeds 1 \
         --seconds {seconds} --trace"
    );
    bail!("{} of {} seeds failed: {:?}", total.failed.len(), seeds.len(), total.failed)
}

fn run(seeds: u64, first: u64, seconds: u64, trace: bool) -> Result<()> {
    println!("seeds {first} to {}, {seconds} virtual seconds with faults each", first + seeds - 1);
    let started = Instant::now();
    let all: Vec<(u64, u64)> = (first..first + seeds).map(|seed| (seed, seconds)).collect();
    let total = run_all(&all, trace);
    print!("{}", coverage::table(&total.coverage));
    let (wall, virtual_s) = (started.elapsed().as_secs_f64(), total.virtual_ms as f64 / 1_000.0);
    // Each seed runs twice.
    println!("{virtual_s:.0} virtual s in {wall:.1} s: {:.0} a second", 2.0 * virtual_s / wall);
    judge(&total, &all)?;
    println!("{seeds} seeds passed, each replayed to the same bytes");
    Ok(())
}

/// Runs the seeds that once failed.
fn run_kept() -> Result<()> {
    let all = KEPT.map(|kept| (kept.seed, kept.seconds));
    let total = run_all(&all, false);
    for kept in &KEPT {
        let word = if total.failed.contains(&kept.seed) { "FAILED" } else { "passed" };
        println!("kept seed {} {word}; it once found: {}", kept.seed, kept.found);
    }
    judge(&total, &all)
}

/// A bug, as it is named here, in the replica or in the state.
const BUGS: [(&str, Planted, Bug); 16] = [
    ("no duplicate check", Planted::Nothing, Bug::NoDuplicateCheck),
    ("unsynced tail lost", Planted::UnsyncedAcknowledged, Bug::Nothing),
    ("vote not persisted", Planted::VoteForgotten, Bug::Nothing),
    ("message sent before persistence", Planted::SentBeforePersisted, Bug::Nothing),
    ("stale lease accepted", Planted::Nothing, Bug::StaleLeaseAccepted),
    ("stale read", Planted::StaleRead, Bug::Nothing),
    ("version unasked", Planted::VersionUnasked, Bug::Nothing),
    ("row change lost", Planted::RowLost, Bug::Nothing),
    ("room wasted", Planted::Nothing, Bug::RoomWasted),
    ("time forgotten", Planted::Nothing, Bug::TimeForgotten),
    ("inputs forgotten", Planted::Nothing, Bug::InputsForgotten),
    ("revoked key still signs", Planted::Nothing, Bug::RevokedKeySigns),
    ("cool-down forgotten", Planted::Nothing, Bug::CoolDownForgotten),
    ("trigger forgotten", Planted::Nothing, Bug::TriggerForgotten),
    ("data unlooked", Planted::Nothing, Bug::DataUnlooked),
    ("checkpoint overlooked", Planted::Nothing, Bug::CheckpointOverlooked),
];

fn planted(seeds: u64, seconds: u64) -> Result<()> {
    if !cfg!(feature = "planted") {
        bail!("built without bugs; run: cargo run -p simulations --features planted -- planted");
    }
    let mut missed = Vec::new();
    for (name, replica, state) in BUGS {
        let caught = catch(seeds, seconds, replica, state);
        match caught {
            Some((tried, law)) => println!("{name}: caught by {law} in {tried} of {seeds} seeds"),
            None => {
                println!("{name}: NOT caught in {seeds} seeds");
                missed.push(name);
            }
        }
    }
    if missed.is_empty() { Ok(()) } else { bail!("not caught: {}", missed.join(", ")) }
}

/// In how many seeds a bug is caught, and by which law in the first of them.
fn catch(seeds: u64, seconds: u64, replica: Planted, state: Bug) -> Option<(u64, String)> {
    let next = AtomicU64::new(1);
    let caught = Mutex::new(BTreeMap::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                machine::plant(state);
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > seeds {
                        return;
                    }
                    if let Err(failed) = attempt(plan(seed, seconds, replica, false)) {
                        caught.lock().expect("no panics inside").insert(seed, failed.law);
                    }
                }
            });
        }
    });
    let mut caught = caught.into_inner().expect("no panics inside");
    let count = caught.len() as u64;
    caught.pop_first().map(|(_, law)| (count, law))
}

/// Damage that was done on purpose ends a server by a panic, which nobody needs to read.
fn hide_expected_panics() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |words| {
        if !damage::panic_is_expected() {
            report(words);
        }
    }));
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Run { seeds, first, seconds, trace } => {
            hide_expected_panics();
            run(seeds, first, seconds, trace)
        }
        Command::Kept => {
            hide_expected_panics();
            run_kept()
        }
        Command::Replay { clean, flipped, first, seconds, trace } => {
            hide_expected_panics();
            replay::run(first, clean, flipped, seconds, trace)
        }
        Command::Planted { seeds, seconds } => {
            std::panic::set_hook(Box::new(|_| {}));
            planted(seeds, seconds)
        }
        Command::Workload(arguments) => {
            match workload::run(&arguments) {
                Ok(text) => println!("{}", text.trim_end()),
                // What was given is wrong, not the program: the chain of causes is enough.
                Err(error) => {
                    eprintln!("error: {:#}", anyhow::Error::from(error));
                    std::process::exit(2);
                }
            }
            Ok(())
        }
    }
}
