//! The processes of jobs, as the system shows them.

use crate::assay::Assay;
use anyhow::{Context as _, Result, bail};
use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A task's process.
#[derive(Clone, Debug)]
pub struct Task {
    /// Its id.
    pub pid: u32,
    /// Its rank.
    pub rank: u32,
    /// The folder of its output, which lies in its node's.
    pub output: String,
}

/// The tasks of a job, ascending by rank. Not those that became other programs since.
pub fn of(job: &str, program: &str) -> Vec<Task> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut all: Vec<Task> = pids.filter_map(|pid| task(pid, job, program)).collect();
    all.sort_by_key(|task| task.rank);
    all
}

fn task(pid: u32, job: &str, program: &str) -> Option<Task> {
    let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).ok();
    let environ = read("environ")?;
    let text = String::from_utf8_lossy(&environ);
    let variable =
        |name: &str| text.split('\0').find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    if variable("ASSAY_JOB") != Some(job) || !read("cmdline")?.starts_with(program.as_bytes()) {
        return None;
    }
    let rank = variable("RANK")?.parse().ok()?;
    Some(Task { pid, rank, output: variable("ASSAY_OUTPUT_DIR")?.to_owned() })
}

/// Whether a process is there and has not ended.
pub fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Waits until all of these are dead.
///
/// # Errors
/// When one lives on.
pub async fn death(pids: &[u32], since: Instant) -> Result<Duration> {
    while pids.iter().any(|pid| runs(*pid)) {
        if since.elapsed() > PATIENCE {
            bail!("still alive after {PATIENCE:?}");
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(since.elapsed())
}

/// The command, as a user of the cluster.
pub fn command(assay: &Assay, program: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.arg("--profile").arg(assay.profile()).args(words).stdin(Stdio::null());
    command
}

/// Gives a command and returns what it printed.
///
/// # Errors
/// When it fails.
pub fn say(assay: &Assay, program: &Path, words: &[&str]) -> Result<String> {
    let out = command(assay, program, words).output()?;
    if !out.status.success() {
        bail!("assay {}: {}", words.join(" "), String::from_utf8_lossy(&out.stderr));
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Submits a job, and returns its id.
///
/// # Errors
/// When it is not taken.
pub fn submit(assay: &Assay, program: &Path, words: &[&str]) -> Result<String> {
    let text = say(assay, program, &[&["submit", "--json"], words].concat())?;
    let document: serde_json::Value = serde_json::from_str(&text)?;
    let found = crate::idle::find(&document, "job");
    found.context("the answer names the job")
}
