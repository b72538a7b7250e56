//! `assay-sim workload`: reads traces, runs policies over them, prints what came out.

use super::{
    error::WorkloadError,
    job::Trace,
    load,
    name::{Format, Overhead, PolicyName},
    report::{Report, Row},
    time::{
        cluster::Cluster,
        easy::Easy,
        engine,
        las::Las,
        metric,
        order::{By, Fifo, Order},
    },
};
use std::path::{Path, PathBuf};

/// What to run.
#[derive(clap::Args, Clone, Debug)]
pub struct Arguments {
    /// Traces, plain or gzip; each is run by itself.
    #[arg(long, value_delimiter = ',', required = true)]
    pub trace: Vec<PathBuf>,
    /// How they are written.
    #[arg(long)]
    pub format: Format,
    /// Policies to hold against each other.
    #[arg(long, value_delimiter = ',', required = true)]
    pub policy: Vec<PolicyName>,
    /// Nodes as COUNTxGPUS.
    #[arg(long, default_value = "8x8", conflicts_with = "node_list")]
    pub nodes: String,
    /// Nodes from a table with a column `gpu`.
    #[arg(long)]
    pub node_list: Option<PathBuf>,
    /// When a job pays for its start.
    #[arg(long, default_value = "restart")]
    pub overhead: Overhead,
    /// How many seeds; seed k is the k-th from 1 on.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub seeds: u64,
    /// Load in percent of capacity: how far pod lists are drawn, or how close jobs come.
    #[arg(long)]
    pub load: Option<f64>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Runs it and gives the text to print.
///
/// # Errors
/// When a file or an option is not as it has to be.
pub fn run(arguments: &Arguments) -> Result<String, WorkloadError> {
    let mut report = Report::default();
    for path in &arguments.trace {
        time(arguments, path, &mut report)?;
    }
    Ok(if arguments.json { report.json() } else { report.table() })
}

fn time(a: &Arguments, path: &Path, report: &mut Report) -> Result<(), WorkloadError> {
    let mut trace = load::load(path, a.format)?;
    let cluster = Cluster::new(sizes(&a.nodes)?);
    if let Some(percent) = a.load {
        trace.scale_to(percent, cluster.total());
    }
    for policy in &a.policy {
        report.rows.push(one(a, path, &trace, &cluster, *policy)?);
    }
    Ok(())
}

fn one(
    a: &Arguments,
    path: &Path,
    trace: &Trace,
    cluster: &Cluster,
    policy: PolicyName,
) -> Result<Row, WorkloadError> {
    let mut order = order(policy)?;
    let estimates = trace.jobs.iter().map(|job| job.service_s).collect();
    let ran = engine::simulate(&trace.jobs, estimates, cluster.clone(), order.as_mut(), a.overhead);
    let metrics = metric::measure(&ran);
    Ok(Row {
        policy: policy.word(),
        trace: path.display().to_string(),
        jobs_skipped: trace.skipped,
        time: Some(metrics),
    })
}

fn order(policy: PolicyName) -> Result<Box<dyn Order>, WorkloadError> {
    Ok(match policy {
        PolicyName::Fifo => Box::new(Fifo),
        PolicyName::Easy => Box::new(Easy::default()),
        PolicyName::Sjf => Box::new(By::sjf()),
        PolicyName::Srtf => Box::new(By::srtf()),
        PolicyName::Srsf => Box::new(By::srsf()),
        PolicyName::TiresiasL => Box::new(Las::default()),
        other => {
            let what = format!(
                "policy `{}` places pods of format openb; for jobs over time name fifo, easy, \
                 sjf, srtf, srsf, tiresias-l or assay",
                other.word()
            );
            return Err(WorkloadError::Options(what));
        }
    })
}

/// Nodes written as COUNTxGPUS.
fn sizes(text: &str) -> Result<Vec<u32>, WorkloadError> {
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
