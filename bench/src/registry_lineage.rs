//! Lineage in a registry of many artifacts: from a base model down to all that was made of it, and
//! from a leaf up to the base.

use crate::{
    registry_rows::{BATCH, Rows},
    report::{Figure, Quantity, Target},
};
use anyhow::{Context as _, Result, ensure};
use domain::{
    AttemptNo, Bytes, Digest, ElementId, JobId, LeaseId, Millis, NodeId, ReplicaId,
    artifact::{OutputDigests, SealTicket},
    job::{Captured, JobSpec},
    limit,
    model::{LineageKind, LineageView, ModelRef},
};
use registry::{
    ledger::{
        Background, Ledger, RegistryCommand, SealInput,
        lineage::{Bounds, Sources, lineage},
    },
    seal::recipe::recipe,
};
use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

/// Versions made of the base, and chains below each: no version has more children than a page.
const FAN: (u64, u64) = (40, 52);
/// How often each is measured; the slowest counts.
const TURNS: usize = 5;

fn digest(kind: &str, of: u64) -> Digest {
    Digest::of(format!("{kind} {of}").as_bytes())
}

fn version(of: u64) -> ModelRef {
    ModelRef { family: "model".into(), version: of }
}

/// What artifact `of` was made of; none for the base, which is the first.
fn parent(of: u64) -> Option<u64> {
    let (first, chains) = (1 + FAN.0, FAN.0 * FAN.1);
    match of {
        0 | 1 => None,
        of if of <= first => Some(1),
        of if of <= first + chains => Some(2 + (of - first - 1) % FAN.0),
        of => Some(of - chains),
    }
}

/// Steps from the base.
fn level(of: u64) -> u64 {
    std::iter::successors(parent(of), |of| parent(*of)).count() as u64
}

/// A job that trains on the files of the parent.
fn spec(of: u64) -> Result<JobSpec> {
    let job = proto::v1::Job {
        name: "tune".into(),
        command: vec!["tune".into()],
        tasks: 1,
        seed: of,
        ..proto::v1::Job::default()
    };
    let mut spec: JobSpec = job.into_spec("bench").context("the job is well formed")?;
    let tree = parent(of).map_or_else(|| digest("corpus", 0), |parent| digest("tree", parent));
    let corpus = Captured { tree, files: 1, size: Bytes(1), origin: "base".into() };
    spec.datasets.insert("base".into(), corpus);
    Ok(spec)
}

fn ticket(of: u64, spec: &JobSpec) -> SealTicket {
    SealTicket {
        lease: LeaseId { index: of, ordinal: 0 },
        element: JobId(of).into(),
        attempt: AttemptNo(1),
        node: NodeId(1),
        output: OutputDigests {
            root: digest("root", of),
            tree: digest("tree", of),
            statement: digest("statement", of),
            provenance: digest("provenance", of),
            log: digest("log", of),
            files: 1,
            size: Bytes(1),
        },
        logs: Vec::new(),
        recipe: recipe(spec),
        build_key: digest("build", of),
        opened: Millis(of),
    }
}

/// Seals and registers artifacts 1 to `count`, each made of its parent.
fn fill(rows: &Rows, count: u64) -> Result<()> {
    let mut ledger = Ledger::default();
    let numbers: Vec<u64> = (1..=count).collect();
    for batch in numbers.chunks(BATCH as usize) {
        let specs = batch.iter().map(|of| spec(*of)).collect::<Result<Vec<_>>>()?;
        let refused = rows.change(&mut ledger, |ledger, rows| {
            for (of, spec) in batch.iter().zip(&specs) {
                let (of, now) = (*of, Millis(*of));
                let input = SealInput {
                    ticket: ticket(of, spec),
                    spec,
                    signature: digest("signature", of),
                    provenance: digest("provenance", of),
                    signer: digest("signer", 0),
                    copies: vec![ReplicaId(1), ReplicaId(2)],
                    checkpoints: Vec::new(),
                    now,
                    actor: "server:1",
                };
                let artifact = ledger.seal(rows, input).id;
                let register = RegistryCommand::RegisterModel {
                    family: "model".into(),
                    artifact,
                    metrics: BTreeMap::new(),
                    parents: parent(of).map(version).into_iter().collect(),
                    aliases: Vec::new(),
                };
                ledger.step(rows, now, "user:ada", register, &Background::none())?;
            }
            Ok::<(), domain::refusal::RegistryRefusal>(())
        });
        refused?.context("the registry refuses a version")?;
    }
    rows.settle()
}

/// What each job was given: in production a row of the scheduler's.
fn sources(element: ElementId) -> Option<Sources> {
    let of = element.job.0;
    let base = parent(of).map_or_else(|| digest("corpus", 0), |parent| digest("tree", parent));
    let datasets = [("base".to_owned(), base)].into();
    Some(Sources { name: "tune".into(), code: None, datasets })
}

/// The slowest of some turns, with what it found.
fn measure(rows: &Rows, of: u64, bounds: Bounds) -> Result<(Duration, LineageView)> {
    let mut slowest = Duration::ZERO;
    let mut found = None;
    for _ in 0..TURNS {
        let start = Instant::now();
        found = std::hint::black_box(lineage(rows, &version(of), bounds, &sources));
        slowest = slowest.max(start.elapsed());
    }
    Ok((slowest, found.context("the version has a lineage")?))
}

/// Runs the benchmark over so many artifacts.
///
/// # Errors
/// When the rows cannot be kept, or a lineage is not what was laid out.
pub fn run(dir: &Path, artifacts: u64) -> Result<()> {
    let start = Instant::now();
    let rows = Rows::create(&dir.join("lineage"))?;
    fill(&rows, artifacts)?;
    println!("{artifacts} artifacts sealed and registered in {:.1?}", start.elapsed());
    let leaf = artifacts;
    let target = Target::AtMost(Quantity::ms(50.0), Quantity::ms(50.0));

    let most = Bounds::asked(0, 0);
    let (time, down) = measure(&rows, 1, most)?;
    let wanted = limit::LINEAGE_NODES_MAX.min(artifacts as usize);
    ensure!(down.nodes.len() >= wanted, "{} things, {wanted} were laid out", down.nodes.len());
    Figure::new(format!("lineage of {artifacts}, all a call shows"), Quantity::Time(time))
        .target(target)
        .note(format!("{} things: as many as a call gives", down.nodes.len()))
        .print();

    let (time, up) = measure(&rows, leaf, most)?;
    let models = up.nodes.iter().filter(|node| node.kind == LineageKind::Model).count() as u64;
    ensure!(models == level(leaf) + 1, "{models} versions, {} were laid out", level(leaf) + 1);
    Figure::new(format!("lineage of {artifacts}, a leaf's"), Quantity::Time(time))
        .target(target)
        .note(format!("{} things over {} steps", up.nodes.len(), level(leaf)))
        .print();

    // Beyond what a call gives: how long the walk over everything would take.
    let all = Bounds { depth: limit::LINEAGE_DEPTH_MAX, nodes: usize::MAX };
    let (time, whole) = measure(&rows, 1, all)?;
    let models = whole.nodes.iter().filter(|node| node.kind == LineageKind::Model).count();
    ensure!(models as u64 == artifacts, "{models} versions, {artifacts} were laid out");
    Figure::new(format!("lineage of {artifacts}, without a bound"), Quantity::Time(time))
        .note(format!("{} things, {} ways", whole.nodes.len(), whole.edges.len()))
        .print();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_thousand_artifacts_are_fifty_steps_deep_and_no_version_has_a_page_of_children() {
        let mut children: BTreeMap<u64, u64> = BTreeMap::new();
        let deepest = (1..=100_000).map(|of| {
            if let Some(parent) = parent(of) {
                assert!((1..of).contains(&parent), "{of}");
                *children.entry(parent).or_default() += 1;
            }
            level(of)
        });
        assert_eq!(deepest.max(), Some(limit::LINEAGE_DEPTH_MAX.into()));
        assert!(children.values().all(|count| *count < limit::PAGE_MAX as u64));
    }
}
