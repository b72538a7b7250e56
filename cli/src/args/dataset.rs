//! Arguments of `assay dataset`.

use super::user::Live;
use clap::{ArgGroup, Args, Subcommand};
use std::path::PathBuf;

// `assay dataset`.
#[derive(Debug, Subcommand)]
pub enum Dataset {
    /// Make a file or folder the next version of a data set; it is looked through for personal
    /// data first
    Register(Register),
    /// List data sets, or the versions of one
    List {
        /// The data set
        name: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Once, or again and again.
        #[command(flatten)]
        live: Live,
    },
    /// Show one version in full
    Show {
        /// reviews@3, or reviews for the newest
        dataset: String,
    },
    /// Let a blocked data set be used (approvers; never who registered it)
    Clear {
        /// The version
        dataset: String,
        /// Your private key (Ed25519), in PEM
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Why, for others
        #[arg(long)]
        reason: String,
    },
    /// Put a version under legal hold: nothing of it may be deleted (admins)
    Hold {
        /// The version
        dataset: String,
        /// Why, for others
        #[arg(long)]
        reason: String,
    },
    /// End a legal hold (admins)
    Release {
        /// The version
        dataset: String,
        /// Why, for others
        #[arg(long)]
        reason: String,
    },
    /// Say whether a licence allows training (admins)
    Licence(Licence),
    /// List licences that are known, and whether they allow training
    Licences(Live),
}

// `assay dataset register`.
#[derive(Args, Debug)]
pub struct Register {
    /// The data set; its first version makes it
    pub name: String,
    /// The file or folder
    pub path: PathBuf,
    /// Where it comes from: an address, a system, a contract
    #[arg(long)]
    pub source: String,
    /// SPDX identifier, such as CC-BY-4.0, or LicenseRef-NAME
    #[arg(long, value_name = "SPDX")]
    pub licence: String,
    /// Who answers for it; you, if not given
    #[arg(long, value_name = "USER")]
    pub owner: Option<String>,
    /// What was done to it; may be repeated, in order
    #[arg(long = "transformation", value_name = "TEXT")]
    pub transformations: Vec<String>,
    /// A named part: NAME=PATH, and NAME=PATH again for more paths
    #[arg(long = "slice", value_name = "NAME=PATH", value_parser = slice)]
    pub slices: Vec<(String, String)>,
    /// It is known to hold personal data
    #[arg(long)]
    pub pii: bool,
}

// `assay dataset licence`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("verdict").required(true))]
pub struct Licence {
    /// SPDX identifier, or LicenseRef-NAME
    pub licence: String,
    /// It allows training
    #[arg(long, group = "verdict")]
    pub allow: bool,
    /// It does not
    #[arg(long, group = "verdict")]
    pub forbid: bool,
}

fn slice(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => {
            Ok((name.to_owned(), path.to_owned()))
        }
        _ => Err("write NAME=PATH, such as german=reviews/de".to_owned()),
    }
}
