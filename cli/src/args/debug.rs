//! Arguments of the commands that look at things closely: scores of samples, documents, decisions.

use clap::{Args, Subcommand, ValueEnum};
use domain::ReplicaId;
use std::path::PathBuf;

// `assay drift score`.
#[derive(Args, Debug)]
pub struct DriftScore {
    /// JSON: an array of numbers or of strings, or an object of such arrays by feature
    #[arg(long, value_name = "FILE")]
    pub reference: PathBuf,
    /// The same, of now
    #[arg(long, value_name = "FILE")]
    pub current: PathBuf,
    /// Significance, after the correction
    #[arg(long, default_value_t = 0.05)]
    pub alpha: f64,
    /// How p-values are corrected for the number of features
    #[arg(long, value_enum, default_value_t = Correct::BenjaminiHochberg)]
    pub correction: Correct,
    /// Samples that each window must have; below 4 no test can reach 5 %
    #[arg(long, default_value_t = 4)]
    pub min_samples: u64,
    /// Population stability index from which on it is drift
    #[arg(long, default_value_t = 0.1)]
    pub psi: f64,
    /// Jensen-Shannon distance from which on it is drift
    #[arg(long, default_value_t = 0.1)]
    pub jensen_shannon: f64,
    /// Wasserstein distance, in standard deviations of the reference, from which on it is drift
    #[arg(long, default_value_t = 0.1)]
    pub wasserstein: f64,
}

/// Which errors are kept rare among many features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Correct {
    /// Few of those that are named are named wrongly
    BenjaminiHochberg,
    /// It is unlikely that any is named wrongly
    Holm,
    /// No correction
    None,
}

// `assay debug`.
#[derive(Debug, Subcommand)]
pub enum Debug {
    /// Print the canonical form (RFC 8785) of a JSON document with its SHA-256
    Canonical {
        /// The document; `-` is standard input
        #[arg(value_name = "FILE", default_value = "-")]
        file: PathBuf,
    },
    /// Look for personal data in a file: where it stands and of what kind, never what it says
    Pii {
        /// The file; `-` is standard input
        #[arg(value_name = "FILE", default_value = "-")]
        file: PathBuf,
    },
    /// Make plans that are on record again, and compare them byte for byte
    Replay(Replay),
}

/// `assay debug replay`.
#[derive(Args, Debug)]
pub struct Replay {
    /// First log entry whose plans are made again; by default the first that can be
    #[arg(long, value_name = "INDEX", value_parser = clap::value_parser!(u64).range(1..))]
    pub from: Option<u64>,
    /// Last one; by default the newest
    #[arg(long, value_name = "INDEX", value_parser = clap::value_parser!(u64).range(1..))]
    pub to: Option<u64>,
    /// The server that is to do it (`r2`); by default any
    #[arg(long, value_name = "SERVER")]
    pub on: Option<ReplicaId>,
}
