//! Arguments of `assay top`.

use crate::quantity;
use clap::Args;
use domain::Millis;

// `assay top`.
#[derive(Args, Debug)]
pub struct Top {
    /// Show it once and end; so it is with --json, and where standard output is no terminal
    #[arg(long)]
    pub once: bool,
    /// Time between two looks
    #[arg(long, value_name = "TIME", value_parser = quantity::duration, default_value = "2s")]
    pub every: Millis,
    /// Jobs and nodes at most, of each
    #[arg(long, default_value_t = 20)]
    pub limit: u32,
}
