//! Taking a backup and restoring a server from it, beside the disk's own writes and reads.
//!
//! The cluster, the backup and the restored server share one disk: a byte that is saved is read
//! from it and written to it, and the same again when it is restored.

use crate::{
    assay::{self, Assay},
    disk,
    report::{self, Figure, Quantity, Target},
};
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

/// Files of the data set that is saved.
const FILES: u64 = 8;
/// Bytes by which the disk is measured, at most.
const PROBE: u64 = 1 << 30;
/// The least share of the disk's speed, and what is aimed at.
const SHARE: Target = Target::Times(0.8, 0.95);

/// Measures with so many bytes under `dir`.
///
/// # Errors
/// When the cluster does not come up, a command fails, or the disk refuses.
pub async fn run(mib: u64, dir: Option<&Path>) -> Result<()> {
    report::section("backup and restore");
    let room = match dir {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let (data, saved) = (room.path().join("data"), room.path().join("backups"));
    fs::create_dir(&data)?;
    let size = mib << 20;
    for file in 0..FILES {
        disk::fill(&data.join(format!("part-{file}")), size / FILES, file + 1)?;
    }
    let cluster = Assay::start(room.path()).await?;
    let profile = cluster.profile().to_owned();
    upload(&profile, &data)?;
    let probe = PROBE.min(size.max(64 << 20));
    let written = disk::write_rate(&room.path().join("probe"), probe)?;
    let how = forgotten(room.path())?;
    let (took, taken) = timed(&profile, &["backup", "take", &saved.display().to_string()])?;
    let bytes = number(&taken, "fetched_bytes")?;
    rate("backup taken, first", bytes, took).beside_disk("disk written", written).note(how).print();
    let (took, again) = timed(&profile, &["backup", "take", &saved.display().to_string()])?;
    Figure::new("backup taken again, nothing new", Quantity::Time(took))
        .note(format!("{} bytes fetched", number(&again, "fetched_bytes")?))
        .print();
    drop(cluster);
    restore(room.path(), &profile, &saved, written)
}

/// Restores one server, whose disk is the one that the backup is on.
fn restore(room: &Path, profile: &Path, saved: &Path, written: f64) -> Result<()> {
    let text = fs::read_to_string(profile.join("config/server-1.toml"))?;
    let mut table: toml::Table = text.parse()?;
    table.insert("dir".into(), room.join("restored").display().to_string().into());
    let config = profile.join("config/restored.toml");
    fs::write(&config, table.to_string())?;
    let files = files_below(saved)?;
    let how = disk::forget(&files)?;
    let large: Vec<_> = files.iter().filter(|it| it.metadata().is_ok_and(|it| it.len() > 1 << 20));
    let large: Vec<PathBuf> = large.into_iter().cloned().collect();
    let read = disk::read_rate(&large, 2)?;
    disk::forget(&files)?;
    let words =
        ["restore", &saved.display().to_string(), "--config", &config.display().to_string()];
    let (took, restored) = timed(profile, &words)?;
    let bytes = number(&restored, "blobs_bytes")?;
    let lesser = read.min(written);
    rate("server restored", bytes, took)
        .beside_disk("disk read or written, the lesser", lesser)
        .note(how)
        .note(format!("disk read {:.2} GB/s, written {:.2} GB/s", read / 1e9, written / 1e9))
        .print();
    Ok(())
}

trait BesideDisk {
    fn beside_disk(self, name: &str, rate: f64) -> Self;
}

impl BesideDisk for Figure {
    fn beside_disk(self, name: &str, rate: f64) -> Self {
        self.beside(name, Quantity::Bandwidth(rate)).target(SHARE)
    }
}

fn rate(name: &str, bytes: u64, took: Duration) -> Figure {
    Figure::new(name, Quantity::Bandwidth(bytes as f64 / took.as_secs_f64())).note(format!(
        "{} MB in {:.2} s",
        bytes / 1_000_000,
        took.as_secs_f64()
    ))
}

/// Has the servers store the data, as that of a job.
fn upload(profile: &Path, data: &Path) -> Result<()> {
    let data = format!("data={}", data.display());
    let words = ["submit", "--wait", "--outputs", "none", "--dataset", &data, "--", "true"];
    timed(profile, &words).map(|_| ())
}

/// Runs a command of ours; gives its time and its document.
fn timed(profile: &Path, words: &[&str]) -> Result<(Duration, Value)> {
    let mut command = Command::new(assay::program()?);
    command.arg("--profile").arg(profile).arg("--json").args(words);
    let start = Instant::now();
    let output = command.output()?;
    let took = start.elapsed();
    if !output.status.success() {
        bail!("{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok((took, serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)))
}

fn number(document: &Value, key: &str) -> Result<u64> {
    document[key].as_u64().with_context(|| format!("no `{key}` in {document}"))
}

/// Makes the page cache forget what the servers hold.
fn forgotten(dir: &Path) -> Result<&'static str> {
    disk::forget(&files_below(dir)?)
}

fn files_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let (mut files, mut folders) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    Ok(files)
}
