//! An idle cluster: from the start of the submit command to the job's first instruction.

use crate::{
    assay::{self, Assay},
    cpu, load,
    report::{self, Figure, Quantity, Target},
    slurm::{Slurm, Tuning},
};
use anyhow::{Context as _, Result, bail};
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Longest wait for one job.
const PATIENCE: Duration = Duration::from_secs(60);
/// Rest between two jobs, so that each finds the cluster idle.
const REST: Duration = Duration::from_millis(300);

/// The wall clock that `date` in a job shows, too.
fn now() -> Result<Duration> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?)
}

/// The clock that a job printed.
fn stamp(text: &str) -> Result<Duration> {
    let nanos = text.trim().parse().with_context(|| format!("`{text}` is no time"))?;
    Ok(Duration::from_nanos(nanos))
}

/// One of ours: the job is `date` itself.
fn ours(assay: &Assay, program: &Path) -> Result<Duration> {
    let run = |args: &[&str]| -> Result<String> {
        let mut command = Command::new(program);
        command.arg("--profile").arg(assay.profile()).args(args).stdin(Stdio::null());
        let out = command.output()?;
        if !out.status.success() {
            bail!("assay {}: {}", args.join(" "), String::from_utf8_lossy(&out.stderr));
        }
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    };
    let start = now()?;
    let text = run(&["submit", "--json", "--outputs", "none", "--", "date", "+%s%N"])?;
    let document: serde_json::Value = serde_json::from_str(&text)?;
    let job = find(&document, "job").context("the answer names the job")?;
    run(&["wait", &job])?;
    let started = stamp(&run(&["logs", &job])?)?;
    Ok(started.saturating_sub(start))
}

/// A text of the document, wherever its envelope keeps it.
pub fn find(document: &serde_json::Value, name: &str) -> Option<String> {
    match document {
        serde_json::Value::Object(fields) => match fields.get(name) {
            Some(serde_json::Value::String(text)) => Some(text.clone()),
            _ => fields.values().find_map(|value| find(value, name)),
        },
        _ => None,
    }
}

/// One of Slurm's: a batch job is a script, here one that becomes `date`.
fn slurm(slurm: &Slurm, dir: &Path) -> Result<Duration> {
    let (script, out) = (dir.join("date.sh"), dir.join("date.out"));
    fs::write(&script, format!("#!/bin/sh\nexec date +%s%N >'{}'\n", out.display()))?;
    let _ = fs::remove_file(&out);
    let start = now()?;
    let status = slurm.command("sbatch").args(["-Q", "-o", "/dev/null"]).arg(&script).status()?;
    if !status.success() {
        bail!("sbatch failed: {status}");
    }
    let patience = Instant::now() + PATIENCE;
    loop {
        let text = fs::read_to_string(&out).unwrap_or_default();
        if text.ends_with('\n') {
            slurm.wait_until_empty()?;
            return Ok(stamp(&text)?.saturating_sub(start));
        }
        if Instant::now() > patience {
            bail!("Slurm's job did not start within {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn samples(count: usize, one: impl Fn() -> Result<Duration>) -> Result<Vec<Duration>> {
    // The first finds nothing in any cache.
    one()?;
    let mut times = Vec::new();
    for _ in 0..count {
        std::thread::sleep(REST);
        times.push(one()?);
    }
    times.sort_unstable();
    Ok(times)
}

/// What `date` itself takes from its start to its end, which is in both figures.
fn date_alone() -> Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..20 {
        let start = Instant::now();
        Command::new("date").arg("+%s%N").stdout(Stdio::null()).status()?;
        times.push(start.elapsed());
    }
    Ok(load::median(&mut times))
}

/// Runs the benchmark with so many samples of each, `alone` without Slurm.
///
/// # Errors
/// When our cluster does not come up or does not run the job.
pub async fn run(count: usize, alone: bool) -> Result<()> {
    report::section(
        "Idle cluster: start of `assay submit` to the job's first instruction, quorum's fsyncs in it",
    );
    let dir = tempfile::tempdir()?;
    let assay = Assay::start(dir.path()).await?;
    let program = assay::program()?;
    let pids = assay.all_pids();
    let before = cpu::of(&pids);
    let mut times = tokio::task::block_in_place(|| samples(count, || ours(&assay, &program)))?;
    let spent = cpu::each(cpu::of(&pids).saturating_sub(before), count as u64);
    drop(assay);
    let median = load::median(&mut times);
    let target = Target::AtMost(Quantity::ms(11.0), Quantity::ms(5.0));
    let itself = date_alone()?;
    let name = "submit to first instruction, median";
    let ours = Figure::new(name, Quantity::Time(median)).target(target).cpu(spent);
    if alone {
        ours.print();
        return Ok(());
    }
    for tuning in Tuning::BOTH {
        let quoted = match tuning {
            Tuning::Installed => "2,768 ms",
            Tuning::Tuned => "633 ms",
        };
        let peer = tokio::task::block_in_place(|| {
            let peer = Slurm::start(dir.path(), tuning)?;
            samples(count, || slurm(&peer, dir.path()))
        });
        let mut figure = ours.clone();
        match peer {
            Ok(mut peer) => {
                figure = figure
                    .beside(tuning.name(), Quantity::Time(load::median(&mut peer)))
                    .note(format!("issue, quiet machine: {} {quoted}", tuning.name()));
            }
            Err(why) => report::failed(&format!("idle: {}", tuning.name()), &why),
        }
        if tuning == Tuning::Installed {
            figure = figure.note(format!(
                "{count} samples, fastest {:?}, slowest {:?}; `date` from start to end takes \
                 {itself:?}, most of it in each sample; CPU is that of the whole cluster, idle time \
                 included",
                times[0],
                times[times.len() - 1],
            ));
        }
        figure.print();
    }
    Ok(())
}
