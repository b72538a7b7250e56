//! Submission through the command: eight shells that loop over `assay submit`, or over `sbatch`.

use crate::{
    assay::{self, Assay},
    cpu,
    crew::{self, Work},
    report::{self, Figure, Quantity, Target},
    slurm::{Slurm, Tuning},
};
use anyhow::{Context as _, Result};
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

/// Shells at once.
const SHELLS: u64 = 8;

/// One shell that runs its arguments `turns` times.
fn shell(turns: u64) -> Command {
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        "n=$1; shift; while [ $n -gt 0 ]; do \"$@\" >/dev/null 2>&1 || exit 1; n=$((n-1)); done",
        "shell",
    ]);
    shell.arg(turns.to_string());
    shell.stdin(Stdio::null());
    shell
}

/// Work with the CPU of the servers in it.
#[derive(Clone)]
struct Total {
    count: u64,
    elapsed: Duration,
    cpu: Duration,
}

impl Total {
    fn rate(&self) -> f64 {
        self.count as f64 / self.elapsed.as_secs_f64()
    }

    fn cpu_each(&self) -> Duration {
        cpu::each(self.cpu, self.count)
    }

    /// Both, as one measurement.
    fn and(&self, other: &Self) -> Self {
        Self {
            count: self.count + other.count,
            elapsed: self.elapsed + other.elapsed,
            cpu: self.cpu + other.cpu,
        }
    }
}

fn measure(pids: &[u32], turns: u64, make: impl Fn() -> Command + Sync) -> Result<Total> {
    let before = cpu::of(pids);
    let Work { elapsed, cpu: clients, .. } = crew::run(SHELLS, 1, |_| make())?;
    let spent = cpu::of(pids).saturating_sub(before) + clients;
    let count = SHELLS * turns;
    Ok(Total { count, elapsed, cpu: spent })
}

fn slurm(dir: &Path, tuning: Tuning, turns: u64) -> Result<Total> {
    let slurm = Slurm::start(dir, tuning)?;
    measure(&slurm.pids(), turns, || {
        let mut shell = shell(turns);
        shell.env("SLURM_CONF", slurm.config());
        shell.args(["sbatch", "-Q", "-H", "-o", "/dev/null"]).arg(slurm.script());
        shell
    })
}

const SUBMIT: &[&str] = &["submit", "--gpus", "64", "--", "true"];
/// What a command costs that asks one server for one row, and nothing of the log.
const READ: &[&str] = &["jobs", "--stale", "--limit", "1"];
/// What a command costs that asks nobody; a small document follows.
const START: &[&str] = &["debug", "canonical"];

fn ours(assay: &Assay, program: &Path, turns: u64, words: &[&str]) -> Result<Total> {
    measure(&assay.pids(), turns, || {
        let mut shell = shell(turns);
        shell.arg(program).arg("--profile").arg(assay.profile()).args(words);
        shell
    })
}

/// Runs the benchmark: `turns` submits in each shell, in two halves.
///
/// # Errors
/// When our cluster does not come up.
pub async fn run(turns: u64) -> Result<()> {
    report::section("Eight shells that loop over `assay submit` (TLS), or over `sbatch`");
    let half = turns.div_ceil(2);
    // The second halves come in the opposite order, so that none is always the first or last.
    let peers = |order: [Tuning; 2]| -> Result<Vec<(Tuning, Total)>> {
        let dir = tempfile::tempdir()?;
        let peer = |tuning| Ok((tuning, slurm(dir.path(), tuning, half)?));
        tokio::task::block_in_place(|| order.into_iter().map(peer).collect())
    };
    let [one, other] = Tuning::BOTH;
    let before = peers([one, other]);
    let (first, _) = ours_of(half, false).await?;
    let (second, bounds) = ours_of(half, true).await?;
    let after = peers([other, one]);
    let total = first.and(&second);
    let mut figure = Figure::new("`assay submit`, 8 shells", Quantity::Rate(total.rate()))
        .target(Target::Times(1.2, 2.0))
        .cpu(total.cpu_each())
        .note("CPU is that of the commands, their shells and the servers");
    match before.and_then(|before| Ok((before, after?))) {
        Ok((before, after)) => {
            // The faster of the two is the peer that counts.
            let mut best: Option<Total> = None;
            for (tuning, peer) in &before {
                let again = after.iter().find(|(it, _)| it == tuning);
                let peer = again.map_or_else(|| peer.clone(), |(_, again)| peer.and(again));
                figure = figure.note(format!("{}: {:.0}/s", tuning.name(), peer.rate()));
                if best.as_ref().is_none_or(|best| best.rate() < peer.rate()) {
                    best = Some(peer);
                }
            }
            if let Some(best) = best {
                figure = figure
                    .beside("sbatch", Quantity::Rate(best.rate()))
                    .cpu_beside(total.cpu_each(), best.cpu_each());
            }
        }
        Err(why) => report::failed("shells: sbatch", &why),
    }
    figure.print();
    for (name, bound) in bounds {
        Figure::new("`assay submit`, 8 shells", Quantity::Rate(total.rate()))
            .beside(name, Quantity::Rate(bound.rate()))
            .cpu_beside(total.cpu_each(), bound.cpu_each())
            .print();
    }
    Ok(())
}

/// Ours on a new cluster; then what bounds it, where that is asked for.
async fn ours_of(turns: u64, bounds: bool) -> Result<(Total, Vec<(&'static str, Total)>)> {
    let dir = tempfile::tempdir()?;
    let assay = Assay::start(dir.path()).await?;
    let program = assay::program()?;
    let run = |words: &[&str]| tokio::task::block_in_place(|| ours(&assay, &program, turns, words));
    let total = run(SUBMIT).context("assay submit in a shell")?;
    if !bounds {
        return Ok((total, Vec::new()));
    }
    let document = dir.path().join("document.json");
    fs::write(&document, "{}")?;
    let document = document.to_str().context("the path of a temporary folder")?;
    let bounds = vec![
        ("bound: the command's start alone", run(&[START, &[document]].concat())?),
        ("bound: start, connection, a read", run(READ)?),
    ];
    Ok((total, bounds))
}
