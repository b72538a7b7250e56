//! The edges between crates: the table in `docs/ARCHITECTURE.md` against every `Cargo.toml`.

use crate::Finding;
use anyhow::{Context, Result};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

type Edges = BTreeMap<String, BTreeSet<String>>;

/// Compares the table with the manifests. Returns the names of our crates too.
pub fn check(root: &Path, table: &str) -> Result<(Vec<Finding>, Vec<String>)> {
    let allowed = parse_table(table);
    let mut crates = Vec::new();
    let mut found = Edges::new();
    let workspace = manifest(&root.join("Cargo.toml"))?;
    let shared = workspace["workspace"].get("dependencies").and_then(toml::Value::as_table);
    let shared = shared.cloned().unwrap_or_default();
    let members = workspace["workspace"]["members"].as_array().cloned().unwrap_or_default();
    for member in members.iter().filter_map(toml::Value::as_str) {
        let manifest = manifest(&root.join(member).join("Cargo.toml"))?;
        let name = manifest["package"]["name"].as_str().unwrap_or(member).to_owned();
        for (kind, uses) in uses(&manifest, &shared) {
            found.entry(format!("{name}{kind}")).or_default().extend(uses);
        }
        crates.push(name);
    }
    Ok((compare(&allowed, &found), crates))
}

/// What a crate uses: to run, and marked ` (dev)` or ` (build)` for its tests and its build.
fn uses(manifest: &toml::Table, shared: &toml::Table) -> Vec<(&'static str, BTreeSet<String>)> {
    let kinds =
        [("dependencies", ""), ("dev-dependencies", " (dev)"), ("build-dependencies", " (build)")];
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let targets = targets.into_iter().flat_map(toml::Table::values).filter_map(|it| it.as_table());
    let mut found = Vec::new();
    for table in std::iter::once(manifest).chain(targets) {
        for (key, kind) in kinds {
            let uses = table.get(key).and_then(toml::Value::as_table);
            let names = uses.into_iter().flatten().map(|(name, said)| {
                // A crate under another name is still that crate.
                let renamed = |said: &toml::Value| Some(said.get("package")?.as_str()?.to_owned());
                let real = renamed(said).or_else(|| renamed(shared.get(name)?));
                real.unwrap_or_else(|| name.clone())
            });
            found.push((kind, names.collect()));
        }
    }
    found
}

fn manifest(path: &Path) -> Result<toml::Table> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.parse().with_context(|| format!("{} is not TOML", path.display()))
}

fn parse_table(text: &str) -> Edges {
    let block = text.split("```edges").nth(1).and_then(|rest| rest.split("```").next());
    let lines = block.unwrap_or_default().lines().filter_map(|line| line.split_once(':'));
    lines
        .map(|(name, uses)| {
            (name.trim().to_owned(), uses.split_whitespace().map(str::to_owned).collect())
        })
        .collect()
}

fn compare(allowed: &Edges, found: &Edges) -> Vec<Finding> {
    let mut findings = Vec::new();
    let finding = |name: &str, what: String| Finding { place: format!("{name}/Cargo.toml"), what };
    for (name, uses) in found {
        let (room, kind) = name.split_once(' ').unwrap_or((name, ""));
        let ours = uses.iter().filter(|used| found.contains_key(*used));
        let Some(plain) = allowed.get(room) else {
            if kind.is_empty() {
                let what = "has no line in the table of docs/ARCHITECTURE.md; add one".to_owned();
                findings.push(finding(room, what));
            }
            continue;
        };
        // Tests and builds may use what the crate itself may, and what is listed for them.
        let more = allowed.get(name).filter(|_| !kind.is_empty());
        for used in ours {
            if !plain.contains(used) && !more.is_some_and(|more| more.contains(used)) {
                let kind = if kind.is_empty() { "to run" } else { kind };
                let what =
                    format!("uses `{used}` {kind}, which its floor may not; move the code down");
                findings.push(finding(room, what));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_that_is_not_in_the_table_is_found() {
        let table = parse_table("```edges\ndomain:\nagent: domain\n```");
        let good = parse_table("```edges\ndomain:\nagent: domain serde\n```");
        assert_eq!(compare(&table, &good), []);
        let upward = parse_table("```edges\ndomain: agent\nagent:\n```");
        assert_eq!(compare(&table, &upward).len(), 1);
        let unknown = parse_table("```edges\nnew:\n```");
        assert_eq!(compare(&table, &unknown).len(), 1);
    }

    #[test]
    fn an_edge_of_tests_or_of_a_build_is_found_too() {
        let shared = "other = { path = \"x\", package = \"agent\" }".parse().unwrap();
        let edges = |text: &str| {
            let mut found = parse_table("```edges\nagent:\nfake:\n```");
            for (kind, uses) in uses(&text.parse().unwrap(), &shared) {
                found.entry(format!("domain{kind}")).or_default().extend(uses);
            }
            found
        };
        let table = parse_table("```edges\ndomain:\ndomain (dev): fake\nagent:\nfake:\n```");
        let broken = [
            "[dependencies]\nagent = { path = \"a\" }",
            "[dependencies]\nfake = { path = \"a\" }",
            "[dev-dependencies]\nagent.workspace = true",
            "[build-dependencies]\nfake.workspace = true",
            "[dependencies]\nother.workspace = true",
            "[target.'cfg(unix)'.dev-dependencies]\nit = { package = \"agent\" }",
        ];
        for text in broken {
            assert_eq!(compare(&table, &edges(text)).len(), 1, "{text}");
        }
        assert_eq!(compare(&table, &edges("[dev-dependencies]\nfake.workspace = true")), []);
    }
}
