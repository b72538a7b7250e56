//! Arguments of the commands on reservations.

use super::user::Live;
use crate::{complete, moment};
use clap::{Args, Subcommand};
use domain::Millis;

// `assay reservation`.
#[derive(Debug, Subcommand)]
pub enum Reservation {
    /// Keep nodes for some users or queues, or from all, for a time
    Create(Box<Create>),
    /// List reservations that are not over, the first to begin first
    List(Live),
    /// Show a reservation in full, with what runs on its nodes
    Show {
        /// Its name
        #[arg(add = complete::reservations())]
        name: String,
        /// Once, or again and again.
        #[command(flatten)]
        live: Live,
    },
    /// End a reservation, or take it back before it begins
    Delete {
        /// Its name
        #[arg(add = complete::reservations())]
        name: String,
    },
}

// `assay reservation create`.
#[derive(Args, Debug)]
pub struct Create {
    /// Its name, which jobs may give as `reservation`
    pub name: String,
    /// The nodes, by name
    #[arg(long, value_name = "NAMES", value_delimiter = ',', add = complete::nodes())]
    #[arg(required_unless_present = "count", conflicts_with = "count")]
    pub nodes: Vec<String>,
    /// So many nodes, those that will soonest be free; which, is settled now
    #[arg(long, value_name = "N")]
    pub count: Option<u32>,
    /// Only nodes with GPUs whose model holds this word
    #[arg(long, value_name = "WORD", requires = "count")]
    pub gpu_model: Option<String>,
    /// When: now, +2h30m, 18:00 (the next, in UTC), 2026-01-31T18:00Z
    #[arg(long, value_name = "TIME", default_value = "now", value_parser = moment::read)]
    pub start: moment::Moment,
    /// For how long, such as 2h30m
    #[arg(long, value_name = "TIME", value_parser = crate::quantity::duration)]
    pub duration: Millis,
    /// Users whose jobs run there
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub users: Vec<String>,
    /// Queues whose jobs, and those of their parts, run there
    #[arg(long, value_name = "NAMES", value_delimiter = ',', add = complete::queues())]
    pub queues: Vec<String>,
    /// Let nobody in: the nodes are worked on
    #[arg(long, conflicts_with_all = ["users", "queues"])]
    pub maintenance: bool,
    /// Why, for others
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}
