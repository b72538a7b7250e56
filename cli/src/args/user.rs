//! Arguments of the users' commands.

use super::{selector::Selector, spec::SpecFlags};
use crate::complete;
use clap::{Args, Subcommand};
use domain::queue;
use std::path::PathBuf;

// `assay submit`.
#[derive(Args, Debug)]
pub struct Submit {
    /// Job file (.toml, .json, .yaml), of one job or several; or a script with #ASSAY or
    /// #SBATCH lines
    #[arg(value_name = "FILE", required_unless_present = "command")]
    pub file: Option<PathBuf>,
    /// What the job is.
    #[command(flatten)]
    pub flags: SpecFlags,
    /// Wait until it has ended, and pass its exit code on
    #[arg(long, short = 'w')]
    pub wait: bool,
    /// Show what it writes until it has ended; Ctrl-C detaches
    #[arg(long, short = 'f')]
    pub follow: bool,
    /// Run it even if an artifact has its recipe already
    #[arg(long)]
    pub rerun: bool,
    /// Show the specification, its recipe, and where and when it would start; submit nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Program and arguments, after `--`
    #[arg(last = true, value_name = "PROGRAM")]
    pub command: Vec<String>,
}

// `assay jobs`.
#[derive(Args, Debug)]
pub struct Jobs {
    /// Which: j7, j10-j20, last, name=TEXT; all by default
    #[arg(value_name = "JOB", add = complete::jobs())]
    #[arg(conflicts_with_all = ["state", "user", "mine", "name", "queue", "watch"])]
    pub which: Vec<Selector>,
    /// Only those in this state
    #[arg(long, value_parser = STATES)]
    pub state: Option<String>,
    /// Only this user's
    #[arg(long)]
    pub user: Option<String>,
    /// Only your own
    #[arg(long, conflicts_with = "user")]
    pub mine: bool,
    /// Only those of this name
    #[arg(long)]
    pub name: Option<String>,
    /// Only those of this queue
    #[arg(long)]
    pub queue: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 50)]
    pub limit: u32,
    /// Once, or again and again.
    #[command(flatten)]
    pub live: Live,
}

// Whether a list is shown once, or again whenever it changes.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Live {
    /// Show it anew whenever it changes, until Ctrl-C
    #[arg(long, conflicts_with = "json")]
    pub watch: bool,
}

/// The words for a job's state.
pub const STATES: [&str; 7] =
    ["waiting", "held", "running", "sealing", "completed", "failed", "cancelled"];

// One job.
#[derive(Args, Debug)]
pub struct One {
    /// Which: j7, last, name=TEXT
    #[arg(value_name = "JOB", add = complete::jobs())]
    pub which: Selector,
}

// `assay why`.
#[derive(Args, Debug)]
pub struct Why {
    /// Which: j7, last, name=TEXT
    #[arg(value_name = "JOB", add = complete::jobs())]
    pub which: Selector,
    /// Once, or again and again.
    #[command(flatten)]
    pub live: Live,
}

// Some jobs.
#[derive(Args, Debug)]
pub struct Several {
    /// Which: j7, j7[3], j10-j20, last, name=TEXT
    #[arg(value_name = "JOB", required = true, add = complete::jobs())]
    pub which: Vec<Selector>,
}

// `assay priority`.
#[derive(Args, Debug)]
pub struct Priority {
    /// Which: j7, last, name=TEXT
    #[arg(value_name = "JOB", add = complete::jobs())]
    pub which: Selector,
    /// Higher goes first within its queue: a number, or the name of a class
    #[arg(value_name = "N|CLASS", allow_hyphen_values = true, add = complete::priorities())]
    pub priority: queue::Priority,
}

// `assay logs`.
#[derive(Args, Debug)]
pub struct Logs {
    /// Which: j7, j7[3], last, name=TEXT
    #[arg(value_name = "JOB", add = complete::jobs())]
    pub which: Selector,
    /// Go on until the job has ended; Ctrl-C detaches
    #[arg(long, short = 'f')]
    pub follow: bool,
    /// One task of the gang, as it wrote it; all by default, identical lines folded
    #[arg(long)]
    pub rank: Option<u32>,
    /// Attempt; the newest by default
    #[arg(long)]
    pub attempt: Option<u32>,
    /// The metrics that the job wrote, rather than its output
    #[arg(long)]
    pub metrics: bool,
    /// What the threads of the rank waited for when it last hung
    #[arg(long, conflicts_with_all = ["follow", "metrics"])]
    pub dump: bool,
}

// A page of a list.
#[derive(Args, Debug)]
pub struct Page {
    /// Only those after this one
    #[arg(long, value_name = "ID")]
    pub after: Option<domain::ArtifactId>,
    /// At most so many
    #[arg(long, default_value_t = 50)]
    pub limit: u32,
    /// Once, or again and again.
    #[command(flatten)]
    pub live: Live,
}

// `assay artifact`.
#[derive(Debug, Subcommand)]
pub enum Artifact {
    /// Show one, with its files and its checkpoints
    Show {
        /// Artifact (a3) or the job that made it (j7, last)
        #[arg(value_name = "ID", add = complete::artifacts())]
        which: Selector,
    },
    /// Write files, signature, public key and provenance into a folder that any tool can check
    Export {
        /// Artifact (a3) or the job that made it (j7, last)
        #[arg(value_name = "ID", add = complete::artifacts())]
        which: Selector,
        /// Folder to make
        dir: PathBuf,
    },
    /// Put one under legal hold: its files stay whatever its job says (admins)
    Hold {
        /// Artifact (a3), or the job that made it (j7, last)
        which: Selector,
        /// Why, for others
        #[arg(long)]
        reason: String,
    },
    /// End a legal hold (admins)
    Release {
        /// Artifact (a3), or the job that made it (j7, last)
        which: Selector,
        /// Why, for others
        #[arg(long)]
        reason: String,
    },
    /// Say that one is not to be used any more: no version is made of it, none is promoted
    Revoke {
        /// Artifact: a3
        id: domain::ArtifactId,
        /// Why, for others
        #[arg(long)]
        reason: String,
    },
}

// `assay fetch`.
#[derive(Args, Debug)]
pub struct Fetch {
    /// Artifact (a3) or the job that made it (j7, last)
    #[arg(value_name = "ID", add = complete::artifacts())]
    pub which: Selector,
    /// Folder to make
    pub dir: PathBuf,
}

// `assay verify`.
#[derive(Args, Debug)]
pub struct Verify {
    /// Artifact (a3) or the job that made it (j7, last); with --offline an exported folder, or a
    /// file in one
    #[arg(value_name = "WHAT", required_unless_present = "offline")]
    pub which: Option<String>,
    /// Without any cluster: an exported folder, or a file in one
    #[arg(long, value_name = "PATH", requires = "keys", num_args = 0..=1)]
    pub offline: Option<Option<PathBuf>>,
    /// The keys that you trust: public keys in PEM, or what `assay key export` wrote
    #[arg(long, value_name = "FILE", requires = "offline")]
    pub keys: Option<PathBuf>,
    /// The folder is one that any tool for OpenSSF Model Signing has signed, and this its signature
    #[arg(long, value_name = "FILE", requires = "offline")]
    pub signature: Option<PathBuf>,
}

// `assay reproduce`.
#[derive(Args, Debug)]
pub struct Reproduce {
    /// The job to run again: j7, last, name=TEXT
    #[arg(value_name = "JOB", add = complete::jobs())]
    pub which: Selector,
}

// `assay diff`.
#[derive(Args, Debug)]
pub struct Diff {
    /// Job or artifact
    #[arg(value_name = "A")]
    pub left: Selector,
    /// Job or artifact
    #[arg(value_name = "B")]
    pub right: Selector,
}
