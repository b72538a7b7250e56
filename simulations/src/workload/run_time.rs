//! The command over traces of jobs that come and end.

use super::{
    command::Arguments,
    error::WorkloadError,
    estimate::Estimates,
    job::Trace,
    load::load,
    name::PolicyName,
    plot::{Files, over_time},
    report::{Report, Row},
    share::openb::Nodes,
    time::{
        assay::{Assay, Known},
        cluster::Cluster,
        easy::Easy,
        engine::{Ran, simulate},
        las::Las,
        metric::measure,
        order::{By, Fifo, Order},
    },
};
use std::path::Path;

/// Runs every policy over every trace.
pub fn run(a: &Arguments, report: &mut Report) -> Result<(), WorkloadError> {
    let cluster = Cluster::new(sizes(a)?);
    for (at, path) in a.trace.iter().enumerate() {
        let mut trace = load(path, a.format)?;
        if let Some(percent) = a.load {
            trace.scale_to(percent, cluster.total());
        }
        let mut drawn = Vec::new();
        for policy in &a.policy {
            let ran = one(a, &trace, &cluster, *policy);
            let mut row = Row::new(*policy, path);
            row.jobs_skipped = trace.skipped;
            let metrics = measure(&ran);
            if a.plots.is_some() {
                drawn.push((ran.samples, metrics.clone()));
            }
            row.time = Some(metrics);
            report.rows.push(row);
        }
        check_ran(report, path)?;
        if let Some(folder) = &a.plots {
            let words: Vec<String> = a.policy.iter().map(|policy| policy.word()).collect();
            Files::new(folder, path, at, a.trace.len()).write(&words, &over_time(&drawn))?;
        }
    }
    Ok(())
}

/// A cluster that holds none of the jobs is a mistake, not a result.
fn check_ran(report: &Report, path: &Path) -> Result<(), WorkloadError> {
    let ran = report.rows.last().and_then(|row| row.time.as_ref());
    if ran.is_some_and(|time| time.jobs == 0) {
        let what = "every job asks for more than the cluster has; give more `--nodes`".into();
        return Err(WorkloadError::Empty { path: path.to_owned(), what });
    }
    Ok(())
}

fn one<'a>(a: &Arguments, trace: &'a Trace, cluster: &Cluster, policy: PolicyName) -> Ran<'a> {
    let mut order = order(a, policy, cluster.total());
    let estimates = a.estimates.of(&trace.jobs);
    simulate(&trace.jobs, estimates, cluster.clone(), order.as_mut(), a.overhead)
}

fn order(a: &Arguments, policy: PolicyName, gpus: u32) -> Box<dyn Order> {
    let known = match a.estimates {
        Estimates::None => Known::Nothing,
        Estimates::Exact | Estimates::Asked | Estimates::Noise(_) => Known::Estimates,
    };
    match policy {
        PolicyName::Assay => Box::new(Assay::new(known, gpus)),
        PolicyName::Easy => Box::new(Easy::default()),
        PolicyName::Sjf => Box::new(By::sjf()),
        PolicyName::Srtf => Box::new(By::srtf()),
        PolicyName::Srsf => Box::new(By::srsf()),
        PolicyName::TiresiasL => Box::new(Las::default()),
        _ => Box::new(Fifo),
    }
}

/// GPUs of each node.
fn sizes(a: &Arguments) -> Result<Vec<u32>, WorkloadError> {
    let Some(path) = &a.node_list else { return alike(&a.nodes) };
    let nodes = Nodes::load(path)?;
    // At most NODE_GPUS_MAX.
    let gpus = nodes.rooms.iter().map(|room| room.gpus().len() as u32);
    Ok(gpus.filter(|gpus| *gpus > 0).collect())
}

/// Nodes written as COUNTxGPUS.
pub fn alike(text: &str) -> Result<Vec<u32>, WorkloadError> {
    let parts = text.split_once('x');
    let parsed = parts.and_then(|(count, gpus)| {
        let (count, gpus): (usize, u32) = (count.parse().ok()?, gpus.parse().ok()?);
        ((1..=100_000).contains(&count) && (1..=1_024).contains(&gpus)).then_some((count, gpus))
    });
    let Some((count, gpus)) = parsed else {
        let what = format!("--nodes is `{text}`; it must be COUNTxGPUS, such as 8x8");
        return Err(WorkloadError::Options(what));
    };
    Ok(vec![gpus; count])
}
