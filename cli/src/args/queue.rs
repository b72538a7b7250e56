//! Arguments of the commands on queues.

use super::user::Live;
use crate::complete;
use clap::{Args, Subcommand};
use std::path::PathBuf;

// `assay queue`.
#[derive(Debug, Subcommand)]
pub enum Queue {
    /// List queues with what they hold
    List(Live),
    /// Show a queue in full, with its bounds, its budget and its users
    Show {
        /// Its name
        #[arg(add = complete::queues())]
        name: String,
        /// Once, or again and again.
        #[command(flatten)]
        live: Live,
    },
}

// `assay plan`.
#[derive(Args, Debug)]
pub struct Plan {
    /// The configuration, such as cluster.toml
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

// `assay apply`.
#[derive(Args, Debug)]
pub struct Apply {
    /// The configuration, such as cluster.toml
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Why, for others
    #[arg(long)]
    pub reason: String,
}
