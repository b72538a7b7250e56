//! Arguments of `assay key`.

use super::user::Live;
use crate::quantity;
use clap::Subcommand;
use domain::Millis;
use std::path::PathBuf;

// `assay key`.
#[derive(Debug, Subcommand)]
pub enum Key {
    /// List the keys that sign for the cluster, and say which one seals now
    List {
        /// Also event keys whose time is over
        #[arg(long)]
        all: bool,
        /// Once, or again and again.
        #[command(flatten)]
        live: Live,
    },
    /// Write all keys with the times of their word into a file, for `verify --offline --keys`
    Export {
        /// File to make
        file: PathBuf,
    },
    /// Seal with another key from now on
    Rotate {
        /// Its id, or the beginning of it
        key: String,
        /// Time for which the key before counts beside it
        #[arg(long, value_name = "TIME", default_value = "24h", value_parser = quantity::duration)]
        overlap: Millis,
    },
    /// Say that a key's word no longer counts
    Revoke {
        /// Its id, or the beginning of it
        key: String,
        /// From when on: 2026-01-31T12:00:00.000000Z; else from now on
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Why, for others
        #[arg(long)]
        reason: String,
    },
    /// Make a model key in a file: for clusters whose keys are files
    New {
        /// File to make, beside the cluster's other keys: model-2.key.pem
        file: PathBuf,
    },
}
