//! `assay-sim workload`: reads traces, runs policies over them, prints what came out.

use super::{
    error::WorkloadError,
    estimate::Estimates,
    name::{Format, Overhead, PolicyName},
    report::Report,
    run_share, run_time,
};
use std::path::PathBuf;

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
    #[arg(long, default_value = "8x8")]
    pub nodes: String,
    /// Nodes from a table with a column `gpu`.
    #[arg(long)]
    pub node_list: Option<PathBuf>,
    /// When a job pays for its start.
    #[arg(long, default_value = "restart")]
    pub overhead: Overhead,
    /// What `assay`, `sjf` and `easy` are told of run times: `none` (then the latter two know the
    /// truth), `exact`, `asked` (as SWF records it), or
    /// `noise:PERCENT`.
    #[arg(long, default_value = "none")]
    pub estimates: Estimates,
    /// How many seeds; seed k is the k-th from 1 on.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub seeds: u64,
    /// Load in percent of capacity: how far pod lists are drawn, or how close jobs come.
    #[arg(long)]
    pub load: Option<f64>,
    /// Draw SVG and PNG into this folder, one of each for every trace, policies side by side.
    #[arg(long)]
    pub plots: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Runs it and gives the text to print.
///
/// # Errors
/// When a file or an option is not as it has to be.
pub fn run(arguments: &Arguments) -> Result<String, WorkloadError> {
    check(arguments)?;
    let mut report = Report::default();
    if arguments.format == Format::Openb {
        run_share::run(arguments, &mut report)?;
    } else {
        run_time::run(arguments, &mut report)?;
    }
    Ok(if arguments.json { report.json() } else { report.table() })
}

/// Whether policies and format go together, and the load is a number.
fn check(a: &Arguments) -> Result<(), WorkloadError> {
    let pods = a.format == Format::Openb;
    let wrong =
        a.policy.iter().find(|policy| !if pods { policy.places() } else { policy.orders() });
    if let Some(policy) = wrong {
        let what = if pods {
            "it orders jobs over time; for openb name random, best-fit, dot-product, packing, \
             clustering, fgd or assay"
        } else {
            "it chooses nodes for pods; for jobs over time name fifo, easy, sjf, srtf, srsf, \
             tiresias-l or assay"
        };
        return Err(WorkloadError::Options(format!("policy `{}`: {what}", policy.word())));
    }
    if a.load.is_some_and(|load| !(load > 0.0 && load <= 10_000.0)) {
        return Err(WorkloadError::Options("--load must be above 0 and up to 10000".into()));
    }
    Ok(())
}
