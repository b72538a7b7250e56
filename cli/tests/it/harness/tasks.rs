//! Tasks of a test's jobs, as the system sees them.

use super::cluster::Cluster;
use std::{collections::BTreeMap, path::Path};

/// A running process of a job.
#[derive(Clone, Debug)]
pub struct Task {
    pub pid: u32,
    pub env: BTreeMap<String, String>,
}

impl Task {
    /// A variable of its environment.
    pub fn var(&self, name: &str) -> &str {
        self.env.get(name).map_or("", String::as_str)
    }
}

/// The processes of a job that run, by what their environment says.
pub fn of(cluster: &Cluster, job: &str) -> Vec<Task> {
    let dir = cluster.dir().display().to_string();
    let entries = Path::new("/proc").read_dir().unwrap().flatten();
    let task = |entry: std::fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let bytes = std::fs::read(entry.path().join("environ")).ok()?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let pairs = text.split('\0').filter_map(|line| line.split_once('='));
        let env = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Some(Task { pid, env })
    };
    let ours = |task: &Task| {
        task.var("ASSAY_JOB") == job && task.var("ASSAY_OUTPUT_DIR").starts_with(&dir)
    };
    entries.filter_map(task).filter(ours).collect()
}

/// Whether a process is there and has not ended.
pub fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}
