//! `cargo xtask tidy`: the walls of the house, checked.
#![forbid(unsafe_code)]

mod edges;
mod source;

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// One broken rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    /// `file:line`.
    place: String,
    /// What is wrong, and what to do.
    what: String,
}

fn root() -> Result<PathBuf> {
    // Asked when it runs: clones that share a target folder share this program.
    let own = std::env::var_os("CARGO_MANIFEST_DIR").context("cargo runs xtask")?;
    let own = Path::new(&own);
    Ok(own.parent().context("xtask lies in the workspace")?.to_owned())
}

fn rust_files(root: &Path) -> Vec<PathBuf> {
    let skipped = |name: &str| matches!(name, "target" | ".git" | "node_modules");
    walkdir::WalkDir::new(root)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(|entry| !entry.file_name().to_str().is_some_and(skipped))
        .filter_map(Result::ok)
        .map(walkdir::DirEntry::into_path)
        .filter(|path| path.extension().is_some_and(|kind| kind == "rs"))
        .collect()
}

fn tidy() -> Result<()> {
    let root = root()?;
    let mut findings = edges::check(&root)?;
    let mut lengths = Vec::new();
    for path in rust_files(&root) {
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
        lengths.push(text.lines().count());
        findings.extend(source::check(&name, &text));
    }
    lengths.sort_unstable();
    for finding in &findings {
        println!("{}: {}", finding.place, finding.what);
    }
    let at = |share: usize| lengths.get(lengths.len() * share / 100).copied().unwrap_or(0);
    println!("{} files, median {} lines, nine in ten under {}", lengths.len(), at(50), at(90));
    if findings.is_empty() { Ok(()) } else { bail!("{} rules are broken", findings.len()) }
}

fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("tidy") => tidy(),
        _ => bail!("usage: cargo xtask tidy"),
    }
}
