//! Arguments of the operators' commands.

use super::user::Live;
use crate::{
    complete,
    moment::{self, Moment},
};
use clap::Subcommand;
use domain::{LeaseId, ReplicaId};
use std::path::PathBuf;

// `assay node`.
#[derive(Debug, Subcommand)]
pub enum Node {
    /// Show a node in full, with its GPUs' health
    Show {
        /// The node's name
        #[arg(add = complete::nodes())]
        name: String,
        /// Once, or again and again.
        #[command(flatten)]
        live: Live,
    },
    /// Have what is in quarantine run the acceptance job, a node or its GPUs; what passes serves again
    Accept {
        /// The node's name
        #[arg(add = complete::nodes())]
        name: String,
        /// The GPU's index or UUID, as `assay node show` has it; the node and all by default
        gpu: Option<String>,
        /// The same, as a flag
        #[arg(long = "gpu", value_name = "GPU", conflicts_with = "gpu")]
        only: Option<String>,
        /// Without an acceptance job: your word that this one GPU is well is all the proof
        #[arg(long)]
        vouch: bool,
    },
    /// Let nodes finish what they run and take nothing new
    Drain {
        /// Names of nodes, or of racks, which are all of their nodes
        #[arg(required = true, value_name = "NODE", add = complete::nodes())]
        names: Vec<String>,
        /// Why, for others
        #[arg(long)]
        reason: String,
        /// Back in service by itself: +2h30m, 18:00 (the next, in UTC), 2026-01-31T18:00Z
        #[arg(long, value_name = "TIME", value_parser = moment::read)]
        until: Option<Moment>,
        /// Have what runs there save its work and go on elsewhere, rather than finish; what is
        /// not preemptible finishes all the same
        #[arg(long)]
        migrate: bool,
    },
    /// Take nothing new on nodes until the acceptance job has passed there
    Quarantine {
        /// Names of nodes, or of racks, which are all of their nodes
        #[arg(required = true, value_name = "NODE", add = complete::nodes())]
        names: Vec<String>,
        /// Why, for others
        #[arg(long)]
        reason: String,
        /// Have what runs there save its work and go on elsewhere, rather than finish
        #[arg(long)]
        migrate: bool,
    },
    /// Put drained nodes back into service
    Resume {
        /// Names of nodes, or of racks, which are all of their nodes
        #[arg(required = true, value_name = "NODE", add = complete::nodes())]
        names: Vec<String>,
        /// Also those in quarantine, without an acceptance job: your word is all the proof
        #[arg(long)]
        vouch: bool,
    },
    /// Vouch that nothing of a lease runs any more (for jobs with `restart = "confirmed"`)
    ConfirmDead {
        /// The lease, as `assay job` shows it
        lease: LeaseId,
    },
}

// `assay cluster`.
#[derive(Debug, Subcommand)]
pub enum Cluster {
    /// Show servers, leader and log
    Status(Live),
    /// Add a server; it joins as a learner and votes once it has caught up
    Add {
        /// Its id, never used before: r4
        id: ReplicaId,
        /// host:port
        address: String,
    },
    /// Remove a server for good
    Remove {
        /// Its id
        id: ReplicaId,
        /// Even if it is the only one that holds a result, which is lost with it
        #[arg(long)]
        force: bool,
    },
    /// Hand the lead to another server
    Transfer {
        /// Its id
        to: ReplicaId,
    },
}

// `assay audit`.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// List events
    List {
        /// From this sequence number on
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// At most so many
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Once, or again and again.
        #[command(flatten)]
        live: Live,
    },
    /// Check the chain from its first event to its head
    Verify(AuditVerify),
    /// Prove one event: a file that any verifier of transparency logs checks without a cluster
    Prove(AuditProve),
    /// Vouch for a document as an approver: its digest and your signature become an event
    SignOff {
        /// The document
        file: PathBuf,
        /// Your private key (Ed25519), in PEM
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// What you vouch for, for those who read the record
        #[arg(long)]
        reason: String,
        /// What the document is called; its file's name without this
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
    },
    /// List who has vouched for what, each signature checked
    SignOffs {
        /// Only for this document, as it is now
        file: Option<PathBuf>,
    },
    /// Write all events, one JSON object a line
    Export {
        /// File to make
        file: PathBuf,
        /// File to make with the signers' public keys, for `audit verify --keys`
        #[arg(long, value_name = "FILE")]
        signers: Option<PathBuf>,
    },
}

// `assay audit prove`.
#[derive(Clone, Debug, clap::Args)]
pub struct AuditProve {
    /// The event's number, as `assay audit list` shows it
    #[arg(value_name = "EVENT")]
    pub event: u64,
    /// File to make with the proof
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Public keys of the signers to trust, in place of those that the server names
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,
}

// `assay audit verify`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct AuditVerify {
    /// Where the head that holds is kept: the chain must extend it, and it moves on. Made if
    /// it is not there; keep it where no server can change it
    #[arg(long, value_name = "FILE")]
    pub head_file: Option<PathBuf>,
    /// Public keys of the signers to trust, in place of those that the server names
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,
    /// Check what `audit export` wrote, without a cluster
    #[arg(long, value_name = "FILE", requires = "keys")]
    pub offline: Option<PathBuf>,
    /// A proof of `audit prove`, whose signed head must be that of the exported events
    #[arg(long, value_name = "FILE", requires = "offline")]
    pub proof: Option<PathBuf>,
}
