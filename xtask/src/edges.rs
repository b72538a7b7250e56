//! The edges between crates: the table in `docs/ARCHITECTURE.md` against every `Cargo.toml`.

use crate::Finding;
use anyhow::{Context, Result};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

type Edges = BTreeMap<String, BTreeSet<String>>;

/// Compares the table with the manifests.
pub fn check(root: &Path) -> Result<Vec<Finding>> {
    let table = root.join("docs/ARCHITECTURE.md");
    let text = std::fs::read_to_string(&table).context("docs/ARCHITECTURE.md is missing")?;
    let allowed = parse_table(&text);
    let mut found = Edges::new();
    let workspace = manifest(&root.join("Cargo.toml"))?;
    let members = workspace["workspace"]["members"].as_array().cloned().unwrap_or_default();
    for member in members.iter().filter_map(toml::Value::as_str) {
        let manifest = manifest(&root.join(member).join("Cargo.toml"))?;
        let name = manifest["package"]["name"].as_str().unwrap_or(member).to_owned();
        let uses = manifest.get("dependencies").and_then(toml::Value::as_table);
        let names = uses.into_iter().flat_map(|table| table.keys().cloned());
        found.insert(name, names.collect());
    }
    Ok(compare(&allowed, &found))
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
        let Some(allowed_uses) = allowed.get(name) else {
            let what = "has no line in the table of docs/ARCHITECTURE.md; add one".to_owned();
            findings.push(finding(name, what));
            continue;
        };
        for used in uses.iter().filter(|used| found.contains_key(*used)) {
            if !allowed_uses.contains(used) {
                let what = format!("uses `{used}`, which its floor may not; move the code down");
                findings.push(finding(name, what));
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
}
