//! Arguments of the commands on GPU time.

use crate::{complete, quantity};
use clap::{Args, Subcommand, ValueEnum};
use domain::Millis;
use std::path::PathBuf;

/// What a list of GPU time tells apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// Jobs
    Job,
    /// Teams: the queues at the root of the tree
    Team,
    /// Queues
    #[default]
    Queue,
    /// Users in queues
    User,
    /// What became of the time
    Cause,
}

// `assay usage`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Usage {
    /// What is told apart
    #[arg(long, value_enum, default_value_t = By::Queue)]
    pub by: By,
    /// From this day on (2026-11-30, in UTC)
    #[arg(long, value_name = "DATE", value_parser = quantity::day, conflicts_with = "last")]
    pub since: Option<u64>,
    /// Over the days of this time up to now
    #[arg(long, value_name = "TIME", value_parser = quantity::duration, default_value = "7d")]
    pub last: Millis,
    /// Only this queue and its parts
    #[arg(long, add = complete::queues())]
    pub queue: Option<String>,
    /// By job: at most so many, those with the most GPU time first
    #[arg(long, default_value_t = 50)]
    pub limit: usize,
    /// What to do instead.
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

// `assay usage export`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Write the time of jobs as journals that Finance takes in
    Export(Export),
    /// Write what ran as a workload, for `assay-sim workload --format csv`
    Trace(Trace),
}

// `assay usage export`.
#[derive(Args, Debug)]
pub struct Export {
    /// The first day (2026-11-01, in UTC)
    #[arg(long, value_name = "DATE", value_parser = quantity::day)]
    pub from: u64,
    /// The day after the last one
    #[arg(long, value_name = "DATE", value_parser = quantity::day)]
    pub to: u64,
    /// What an hour of one GPU costs, in cents
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub cents_per_gpu_hour: u64,
    /// The currency
    #[arg(long, default_value = "USD")]
    pub currency: String,
    /// File to write; else standard output
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Also while the days are not over, or jobs of them hold time that is not settled yet
    #[arg(long)]
    pub provisional: bool,
}

// `assay usage trace`.
#[derive(Args, Debug)]
pub struct Trace {
    /// Submitted from this day on (2026-11-01, in UTC); by default, ever
    #[arg(long, value_name = "DATE", value_parser = quantity::day)]
    pub from: Option<u64>,
    /// Submitted before this day; by default, up to now
    #[arg(long, value_name = "DATE", value_parser = quantity::day)]
    pub to: Option<u64>,
    /// Only this queue and its parts
    #[arg(long, add = complete::queues())]
    pub queue: Option<String>,
    /// File to write; else standard output
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}
