//! Real processes for the end-to-end tests: a cluster's folder, its processes, and the command.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

pub mod asked;
pub mod cluster;
pub mod disk;
pub mod emulator;
#[cfg(target_arch = "x86_64")]
pub mod hostile;
pub mod image;
pub mod machines;
pub mod people;
pub mod process;
pub mod rest;
pub mod s3;
pub mod shape;
pub mod tasks;
pub mod wire;

use serde_json::Value;
use std::{
    path::PathBuf,
    process::{Command, Output},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// One cluster at a time: they would slow each other down.
static ONE: Mutex<()> = Mutex::new(());

/// Waits for the cluster of another test to end.
pub fn alone() -> MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The program under test.
pub const ASSAY: &str = env!("CARGO_BIN_EXE_assay");

/// Looks until something is found.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(LOOK);
    }
}

/// What a process said on standard error.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The command, as a user of one profile gives it.
pub struct User {
    /// The profile, or its folder.
    pub profile: PathBuf,
}

impl User {
    /// Gives a command.
    pub fn assay(&self, words: &[&str]) -> Output {
        let mut command = Command::new(ASSAY);
        command.arg("--profile").arg(&self.profile).args(words).output().unwrap()
    }

    /// Gives a command that must succeed; returns what it printed.
    pub fn ok(&self, words: &[&str]) -> String {
        let output = self.assay(words);
        let told = String::from_utf8(output.stdout.clone()).unwrap();
        assert!(output.status.success(), "{words:?}: {}{told}", said(&output));
        told
    }

    /// Gives a command that must fail with `code`; returns what it said.
    pub fn fails(&self, code: i32, words: &[&str]) -> String {
        let output = self.assay(words);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {}", said(&output));
        said(&output)
    }

    /// The document that a command answers with, if it does.
    pub fn json(&self, words: &[&str]) -> Option<Value> {
        let output = self.assay(&[words, &["--json"]].concat());
        serde_json::from_slice(&output.stdout).ok()
    }

    /// Looks until something is found.
    pub fn until<T>(&self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        until(what, || look(self))
    }

    /// Waits for a leader and for `nodes` ready nodes.
    pub fn ready(&self, nodes: usize) {
        self.until(&format!("a leader and {nodes} ready nodes"), |user| {
            let all = user.json(&["nodes"])?;
            let ready = all["nodes"].as_array()?.iter();
            (ready.filter(|node| node["status"]["state"] == "ready").count() == nodes).then_some(())
        });
    }

    /// The cluster as its leader sees it, once there is one.
    pub fn status(&self) -> Value {
        self.until("there is a leader", |user| {
            let cluster = user.json(&["cluster", "status"])?;
            cluster["leader"].is_string().then_some(cluster)
        })
    }

    /// The leader's id: `r1`.
    pub fn leader(&self) -> String {
        self.status()["leader"].as_str().unwrap().to_owned()
    }

    /// Runs a job that writes one small file, to its end.
    pub fn run_job(&self, name: &str) {
        let script = format!("echo {name} > \"$ASSAY_OUTPUT_DIR/answer\"");
        let words = ["submit", "--wait", "--name", name, "--cpus", "0.5", "--"];
        self.ok(&[&words[..], &["sh", "-c", &script]].concat());
    }

    /// The states of all jobs by name.
    pub fn states(&self) -> std::collections::BTreeMap<String, String> {
        let jobs = self.until("jobs are listed", |user| user.json(&["jobs"]));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let jobs = jobs["jobs"].as_array().unwrap().iter();
        jobs.map(|job| (text(&job["name"]), text(&job["state"]))).collect()
    }
}
