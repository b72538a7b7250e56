//! The command over lists of pods that come and stay.

use super::{
    command::Arguments,
    error::WorkloadError,
    name::PolicyName,
    plot::{Files, over_load},
    report::{Report, Row},
    run_time::alike,
    share::{
        assay::Assay,
        baseline::{BestFit, Clustering, DotProduct, Packing, Random},
        engine::{self, Point},
        fgd::Fgd,
        openb::{self, Nodes},
        scorer::Scorer,
        stats::Shares,
        stream::Stream,
    },
};
use scheduler::planner::{
    mix::Mix,
    room::{Ask, Room},
};
#[cfg(test)]
use std::path::Path;
use std::path::PathBuf;

/// Requests at the end, in percent of capacity, as published.
const LOAD_PCT: f64 = 130.0;
/// Points of a curve over the load.
const CURVE_STEPS: u32 = 65;
/// The usual tasks are the most frequent ones that cover this share of all.
pub const USUAL_PCT: u64 = 95;

/// Runs every policy over every list.
pub fn run(a: &Arguments, report: &mut Report) -> Result<(), WorkloadError> {
    let (lists, pods) = split(a)?;
    let mut nodes = match lists.as_slice() {
        [] => Nodes::alike(&alike(&a.nodes)?),
        [list] => Nodes::load(list)?,
        _ => return Err(WorkloadError::Options("more than one node list".into())),
    };
    for (at, path) in pods.iter().enumerate() {
        let asks = openb::pods(path, &mut nodes.models)?;
        let mut drawn = Vec::new();
        for policy in &a.policy {
            let mut row = Row::new(*policy, path);
            let mut runs = runs(a, &nodes, &asks, *policy);
            row.share = Some(Shares::of(&runs));
            report.rows.push(row);
            drawn.extend(runs.drain(..1));
        }
        if let Some(folder) = &a.plots {
            let words: Vec<String> = a.policy.iter().map(|policy| policy.word()).collect();
            Files::new(folder, path, at, pods.len()).write(&words, &over_load(&drawn))?;
        }
    }
    Ok(())
}

/// Node lists among the traces are taken as such.
fn split(a: &Arguments) -> Result<(Vec<PathBuf>, Vec<PathBuf>), WorkloadError> {
    let mut lists: Vec<PathBuf> = a.node_list.iter().cloned().collect();
    let mut pods = Vec::new();
    for path in &a.trace {
        let into = if openb::is_node_list(path)? { &mut lists } else { &mut pods };
        into.push(path.clone());
    }
    match pods.first() {
        Some(_) => Ok((lists, pods)),
        None => Err(WorkloadError::Options("--trace names no pod list".into())),
    }
}

fn runs(a: &Arguments, nodes: &Nodes, pods: &[Ask], policy: PolicyName) -> Vec<Vec<Point>> {
    let mix = Mix::of(pods.iter().copied(), USUAL_PCT);
    let scorer = scorer(policy, &mix, &nodes.rooms);
    let load = a.load.unwrap_or(LOAD_PCT);
    let wanted = (nodes.capacity() as f64 * load / 100.0).ceil() as u64;
    let loads = loads(a, load);
    let runs = (1..=a.seeds).map(|seed| {
        let stream = Stream::draw(pods, wanted, seed);
        engine::run(&nodes.rooms, &stream, scorer.as_ref(), &mix, seed, &loads)
    });
    runs.collect()
}

/// The load at which figures are taken, and before it those of a curve if one is drawn.
fn loads(a: &Arguments, last: f64) -> Vec<f64> {
    let steps = if a.plots.is_some() { CURVE_STEPS } else { 1 };
    (1..=steps).map(|step| last * f64::from(step) / f64::from(steps)).collect()
}

/// A policy with what it knows: the usual tasks.
pub fn scorer(policy: PolicyName, mix: &Mix, nodes: &[Room]) -> Box<dyn Scorer> {
    match policy {
        PolicyName::Random => Box::new(Random),
        PolicyName::BestFit => Box::new(BestFit),
        PolicyName::DotProduct => Box::new(DotProduct),
        PolicyName::Packing => Box::new(Packing),
        PolicyName::Clustering => Box::new(Clustering),
        PolicyName::Assay => Box::new(Assay::new(mix, nodes)),
        _ => Box::new(Fgd::new(mix.clone())),
    }
}

/// For tests: the mean and the deviation of a policy on one list, at each load.
#[cfg(test)]
pub fn at_loads(path: &Path, list: &Path, policy: PolicyName, loads: &[f64]) -> Vec<(f64, f64)> {
    let mut nodes = Nodes::load(list).unwrap();
    let pods = openb::pods(path, &mut nodes.models).unwrap();
    let mix = Mix::of(pods.iter().copied(), USUAL_PCT);
    let scorer = scorer(policy, &mix, &nodes.rooms);
    let most = loads.iter().copied().fold(0.0, f64::max);
    let wanted = (nodes.capacity() as f64 * most / 100.0).ceil() as u64;
    let mut at: Vec<Vec<f64>> = vec![Vec::new(); loads.len()];
    for seed in 1..=10 {
        let stream = Stream::draw(&pods, wanted, seed);
        let points = engine::run(&nodes.rooms, &stream, scorer.as_ref(), &mix, seed, loads);
        for (at, point) in at.iter_mut().zip(points) {
            at.push(point.unallocated_pct);
        }
    }
    at.iter().map(|values| super::share::stats::mean_sd(values)).collect()
}
