//! Arguments of the registry's commands: models, approvers, promotions.

use super::{selector::Selector, user::Live};
use crate::quantity;
use clap::{Args, Subcommand, ValueEnum};
use domain::{Decimal, Millis, PromotionId, model::ModelRef};
use std::path::PathBuf;

// `assay model`.
#[derive(Debug, Subcommand)]
pub enum Model {
    /// Make a sealed artifact the next version of a family
    Register(Register),
    /// List families, or the versions of one
    List {
        /// The family
        family: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Once, or again and again.
        #[command(flatten)]
        live: Live,
    },
    /// Show one version in full
    Show {
        /// digits@3, digits@prod, or digits for the newest
        model: String,
    },
    /// Show what a version was made of, and what was made of it
    Lineage(Lineage),
    /// Show in what two versions differ: inputs, metrics, digests
    Compare {
        /// A version
        #[arg(value_name = "A")]
        left: String,
        /// Another
        #[arg(value_name = "B")]
        right: String,
    },
    /// Measure a version by a job, and record what its sealed result says
    Evaluate(Evaluate),
    /// Let a name stand for a version
    Alias {
        /// The version; with --remove the family is enough
        model: String,
        /// The name
        name: String,
        /// Let the name stand for nothing
        #[arg(long)]
        remove: bool,
    },
    /// Take a version out of use
    Deprecate {
        /// The version
        model: String,
        /// Why, for others
        #[arg(long)]
        reason: String,
    },
}

// `assay model register`.
#[derive(Args, Debug)]
pub struct Register {
    /// The family; its first version makes it
    pub family: String,
    /// What it is made of: artifact (a3) or the job that made it (j7, last)
    #[arg(long, value_name = "ID")]
    pub artifact: Selector,
    /// Where it begins; only a promotion moves it on
    #[arg(long, default_value = "draft", value_parser = ["draft"])]
    pub stage: String,
    /// A name that stands for it from now on
    #[arg(long = "alias", value_name = "NAME")]
    pub aliases: Vec<String>,
    /// What you say was measured of it: accuracy=0.913; gates ask for more (assay model evaluate)
    #[arg(long = "metric", value_name = "NAME=VALUE", value_parser = metric)]
    pub metrics: Vec<(String, Decimal)>,
    /// A version that it was made from
    #[arg(long = "parent", value_name = "MODEL@VERSION")]
    pub parents: Vec<ModelRef>,
}

// `assay model evaluate`.
#[derive(Args, Debug)]
pub struct Evaluate {
    /// digits@3, digits@prod, or digits for the newest
    pub model: String,
    /// The job: it reads the version's files as a data set, and writes metrics.json
    #[arg(long, value_name = "FILE", required_unless_present = "artifact")]
    pub job: Option<PathBuf>,
    /// The job's name for the version's files: they stand in $ASSAY_DATASET_MODEL
    #[arg(long, value_name = "NAME", default_value = "model", requires = "job")]
    pub input: String,
    /// Run it even if an artifact has its recipe already
    #[arg(long, requires = "job")]
    pub rerun: bool,
    /// Record a result that is sealed already: artifact (a3) or the job that made it (j7, last)
    #[arg(long, value_name = "ID", conflicts_with = "job")]
    pub artifact: Option<Selector>,
}

/// Reads `accuracy=0.913`.
fn metric(text: &str) -> Result<(String, Decimal), String> {
    let (name, value) = text.split_once('=').ok_or("write it like `accuracy=0.913`")?;
    let value = value.parse().map_err(|fault| format!("{fault}"))?;
    Ok((name.to_owned(), value))
}

// `assay model lineage`.
#[derive(Args, Debug)]
pub struct Lineage {
    /// digits@3, digits@prod, or digits for the newest
    pub model: String,
    /// Steps from the version at most, up to 50
    #[arg(long, default_value_t = 50)]
    pub depth: u32,
    /// Things in all at most, up to 10,000
    #[arg(long, default_value_t = 1_000)]
    pub max: u32,
    /// Draw it into this file
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

/// Where a promotion leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// On trial
    Staging,
    /// In use
    Prod,
}

/// What is at stake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Stake {
    /// No approver is asked, unless the rules say so
    Low,
    /// A quorum of approvers has to agree
    High,
}

// `assay promotion`.
#[derive(Debug, Subcommand)]
pub enum Promotion {
    /// Ask for a version to be moved to a stage
    Request(Request),
    /// List promotions, newest first
    List {
        /// At most so many
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Once, or again and again.
        #[command(flatten)]
        live: Live,
    },
    /// Show one in full: gates, policy, signature, approvals
    Show {
        /// p3
        id: PromotionId,
    },
    /// Approve one: signed here, with your own key
    Approve {
        /// p3
        id: PromotionId,
        /// Your private key, in PEM: it is read here and never sent
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Say no to one; an emergency promotion is taken back at once
    Reject {
        /// p3
        id: PromotionId,
        /// Why, for others
        #[arg(long)]
        reason: String,
    },
    /// Show every step of one
    History {
        /// p3
        id: PromotionId,
    },
    /// Write the approvals as one DSSE envelope that any tool for such can check
    Export {
        /// p3
        id: PromotionId,
        /// File to make
        file: PathBuf,
    },
}

// `assay promotion request`.
#[derive(Args, Debug)]
pub struct Request {
    /// The version: digits@3, digits@staging
    pub model: String,
    /// Where to
    #[arg(long, value_enum)]
    pub to: Target,
    /// What is at stake; the rules may see more, never less
    #[arg(long, value_enum, default_value_t = Stake::Low)]
    pub risk: Stake,
    /// Apply it on one approver's word; a quorum has 48 h to ratify it, else it is reversed
    #[arg(long)]
    pub emergency: bool,
    /// Why, for others
    #[arg(long)]
    pub reason: String,
    /// Time within which it has to be cleared; 14 days are the most
    #[arg(long, value_name = "TIME", value_parser = quantity::duration)]
    pub expires: Option<Millis>,
    /// Return before gates and policy have decided
    #[arg(long)]
    pub no_wait: bool,
}

// `assay approver`.
#[derive(Debug, Subcommand)]
pub enum Approver {
    /// Register an approver, or give one a new key (admins)
    Add {
        /// The user's name, as its certificate has it
        name: String,
        /// The approver's public key (Ed25519), in PEM
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Let an approver's word count no more (admins)
    Remove {
        /// The user's name
        name: String,
    },
    /// List approvers
    List(Live),
    /// Say how many of how many have to agree (admins)
    Quorum {
        /// So many have to agree
        required: u32,
        /// So many there may be
        of: u32,
    },
    /// Make a key of your own: FILE, and its public half FILE.pub
    NewKey {
        /// The private key's file
        file: PathBuf,
    },
}
