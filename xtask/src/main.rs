//! `cargo xtask tidy`: the walls of the house, checked.
#![forbid(unsafe_code)]

mod doors;
mod edges;
mod floors;
mod lexer;
mod paths;
mod source;

use anyhow::{Context, Result, bail};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

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

/// All that is wrong with one file.
fn file(name: &str, text: &str, floors: &floors::Floors, crates: &[String]) -> Vec<Finding> {
    let mut findings = source::check(name, text, floors.is_pure(name));
    // The rules themselves name what they forbid.
    if name.starts_with("xtask/") {
        return findings;
    }
    let code = lexer::code(text);
    let tests = lexer::test_lines(name, &code);
    let lines: Vec<&str> =
        code.lines().zip(&tests).map(|(line, test)| if *test { "" } else { line }).collect();
    let named = paths::named(name, &lines.join("\n"), crates);
    findings.extend(floors.check(name, &named));
    findings.extend(doors::check(name, &lines, &named));
    findings
}

fn tidy() -> Result<()> {
    let root = root()?;
    let table = std::fs::read_to_string(root.join("docs/ARCHITECTURE.md"))
        .context("docs/ARCHITECTURE.md is missing")?;
    let floors = floors::Floors::parse(&table);
    let (mut findings, crates) = edges::check(&root, &table)?;
    let (mut lengths, mut names) = (Vec::new(), BTreeSet::new());
    for path in rust_files(&root) {
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
        lengths.push(text.lines().count());
        findings.extend(file(&name, &text, &floors, &crates));
        names.insert(name);
    }
    findings.extend(floors.empty(&names));
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
