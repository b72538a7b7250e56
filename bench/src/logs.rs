//! A line's way: from the task that prints it to the terminal of one who follows.

use crate::{
    assay::{self, Assay},
    cpu,
    report::{self, Figure, Quantity, Target},
    tasks,
};
use anyhow::{Context as _, Result, bail};
use std::{
    io::{BufRead, BufReader, Write},
    process::Stdio,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Longest way of a line.
const BOUND: Duration = Duration::from_millis(100);
/// What an agent may hold.
const AGENT: u64 = 60_000_000;
/// What one who follows may hold.
const FOLLOWER: u64 = 60_000_000;
/// Lines between two looks at the clock, while printing.
const BURST: u64 = 10;

fn now() -> Result<Duration> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?)
}

/// Prints so many lines a second, each with the time: what the job runs.
///
/// # Errors
/// When standard output is gone.
pub fn print(rate: u64, time: Duration) -> Result<()> {
    let start = Instant::now();
    let mut out = std::io::stdout();
    for line in (0..).step_by(usize::try_from(BURST)?) {
        let due = Duration::from_nanos(line * 1_000_000_000 / rate.max(1));
        if due > time {
            return Ok(());
        }
        std::thread::sleep(due.saturating_sub(start.elapsed()));
        let mut text = String::new();
        for number in line..line + BURST {
            text +=
                &format!("{} line {number} of a training job that says much\n", now()?.as_nanos());
        }
        out.write_all(text.as_bytes())?;
    }
    Ok(())
}

/// What was seen of one run.
struct Seen {
    times: Vec<Duration>,
    /// Largest memory of agents, of servers, of the follower.
    memory: [u64; 3],
    cpu: Duration,
}

fn largest(pids: &[u32]) -> u64 {
    pids.iter().filter_map(|pid| cpu::resident(*pid)).max().unwrap_or(0)
}

fn named(assay: &Assay, mark: &str) -> Vec<u32> {
    let line = |pid: u32| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let ours = |pid: &u32| String::from_utf8_lossy(&line(*pid)).contains(mark);
    assay.all_pids().into_iter().filter(ours).collect()
}

fn follow(assay: &Assay, rate: u64, time: Duration) -> Result<Seen> {
    let (program, own) = (assay::program()?, std::env::current_exe()?);
    let own = own.display().to_string();
    let (rate, seconds) = (rate.to_string(), time.as_secs().to_string());
    let words = ["--outputs", "none", "--cpus", "1", "--", &own, "print", &rate, &seconds];
    let before = cpu::of(&assay.all_pids());
    let job = tasks::submit(assay, &program, &words)?;
    let mut command = tasks::command(assay, &program, &["logs", "-f", &job]);
    let mut follower = command.stdout(Stdio::piped()).spawn()?;
    let out = follower.stdout.take().context("its output is piped")?;
    let (agents, servers) = (named(assay, "config/node-"), named(assay, "config/server-"));
    let mut seen = Seen { times: Vec::new(), memory: [0; 3], cpu: Duration::ZERO };
    let mut look = Instant::now();
    for line in BufReader::new(out).lines() {
        let line = line?;
        let stamp = line.split(' ').next().and_then(|word| word.parse().ok());
        let stamp = Duration::from_nanos(stamp.with_context(|| format!("`{line}` has no time"))?);
        seen.times.push(now()?.saturating_sub(stamp));
        if look.elapsed() > Duration::from_millis(500) {
            look = Instant::now();
            let now = [largest(&agents), largest(&servers), largest(&[follower.id()])];
            for (most, now) in seen.memory.iter_mut().zip(now) {
                *most = now.max(*most);
            }
        }
    }
    follower.wait()?;
    seen.cpu = cpu::of(&assay.all_pids()).saturating_sub(before);
    Ok(seen)
}

/// Runs the benchmark.
///
/// # Errors
/// When our cluster does not come up, or a line is lost.
pub async fn run(rate: u64, time: Duration) -> Result<()> {
    report::section("A log line from the task to a follower's terminal, at a steady rate");
    let dir = tempfile::tempdir()?;
    let assay = Assay::start(dir.path()).await?;
    let mut seen = tokio::task::block_in_place(|| follow(&assay, rate, time))?;
    let wanted = rate * time.as_secs();
    let count = seen.times.len() as u64;
    if count < wanted {
        bail!("{count} of {wanted} lines came");
    }
    // The first second holds the start of the follower.
    let mut steady = seen.times.split_off(usize::try_from(rate)?.min(seen.times.len() / 2));
    steady.sort_unstable();
    let at = |share: f64| {
        let place = (steady.len() as f64 * share) as usize;
        Quantity::Time(steady[place.min(steady.len() - 1)])
    };
    let bound = Quantity::Time(BOUND);
    for (name, share) in [("median", 0.5), ("p99", 0.99), ("worst", 1.0)] {
        Figure::new(format!("log line at {rate}/s, {name}"), at(share))
            .beside("the bound", bound)
            .target(Target::AtMost(bound, bound))
            .cpu(cpu::each(seen.cpu, count))
            .print();
    }
    let [agent, server, follower] = seen.memory.map(Quantity::Memory);
    let most = |bytes| Target::AtMost(Quantity::Memory(bytes), Quantity::Memory(bytes));
    Figure::new("memory of the agent, most", agent).target(most(AGENT)).print();
    Figure::new("memory of the follower, most", follower).target(most(FOLLOWER)).print();
    Figure::new("memory of the largest server, most", server)
        .note("of which the log's way is one buffer of 256 KiB for each who follows")
        .print();
    Ok(())
}
