//! The command line.

pub mod backup;
pub mod dataset;
pub mod debug;
pub mod drift;
pub mod gc;
pub mod key;
pub mod operator;
pub mod process;
pub mod queue;
pub mod registry;
pub mod reservation;
pub mod selector;
pub mod sole;
pub mod spec;
pub mod top;
pub mod usage;
pub mod user;
pub mod whatif;

use crate::{client::keys::Keys, quantity};
use clap::{Parser, Subcommand};
use domain::{Millis, RequestKey};
use std::path::PathBuf;

const EXIT_CODES: &str = "\
Exit codes:
  0    ok
  1    internal, or the job failed without an exit code of its own
  2    usage: the command line, or a file given with it
  3    refused: policy, quota, impossible, wrong state
  4    not found
  5    unavailable: repeat it. A change names the --request-key that gives it no second effect
  6    not authorised
  7    verification mismatch
  124  --timeout was reached
  130  detached by Ctrl-C; the job keeps running
  `submit --wait` and `wait` pass the job's own code on, a signal n as 128+n.";

/// Runs training jobs on GPUs and proves what they made.
#[derive(Debug, Parser)]
#[command(name = "assay", version, max_term_width = 100, subcommand_required = true)]
#[command(arg_required_else_help = true, after_long_help = EXIT_CODES)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

// What holds for every command.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Global {
    /// Profile to use: its file or its folder; else ASSAY_PROFILE, else the usual places
    #[arg(long, global = true, value_name = "PATH")]
    pub profile: Option<PathBuf>,
    /// Answer with one JSON document
    #[arg(long, global = true, conflicts_with = "jsonl")]
    pub json: bool,
    /// Answer with one JSON document a line, as things happen
    #[arg(long, global = true)]
    pub jsonl: bool,
    /// Read what one server has applied, even without a leader: it may lag, and says at which
    /// log entry it is
    #[arg(long, global = true)]
    pub stale: bool,
    /// Give up waiting after this time, with exit code 124
    #[arg(long, global = true, value_name = "TIME", value_parser = quantity::duration)]
    pub timeout: Option<Millis>,
    /// Repeat a change that was not answered, under the key that was told then: it has no second
    /// effect
    #[arg(long, global = true, value_name = "HEX")]
    pub request_key: Option<RequestKey>,
    /// The keys of the changes that this command has sent.
    #[arg(skip)]
    pub keys: Keys,
}

// A noun with its verbs, which are laid out when it is typed. A doc comment, here or at a noun's
// verbs, would take the place of the noun's own.
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Noun<T: Subcommand> {
    /// What to do with it.
    #[command(subcommand)]
    pub verb: T,
}

// The commands: verbs for users, nouns for operators, and the processes themselves.
#[derive(Debug, Subcommand)]
// A command is laid out when it is typed: laying out all of them took longer than reading one.
#[command(defer = true)]
pub enum Command {
    /// Submit a job: a file, a script with directives, or a program
    Submit(Box<user::Submit>),
    /// List jobs, newest first
    Jobs(user::Jobs),
    /// Show one job in full
    Job(user::One),
    /// Follow a job's state until it ends
    Watch(user::One),
    /// Wait until jobs have ended
    Wait(user::Several),
    /// Show what a job wrote
    Logs(user::Logs),
    /// End jobs
    Cancel(user::Several),
    /// Keep jobs from starting; what runs goes on
    Hold(user::Several),
    /// Let held jobs go on
    Release(user::Several),
    /// Give a job another priority
    Priority(user::Priority),
    /// Say why a job waits
    Why(user::Why),
    /// List nodes
    Nodes(user::Live),
    /// Take a node out of service, or back in
    Node(Noun<operator::Node>),
    /// List sealed results
    Artifacts(user::Page),
    /// Show or export a sealed result
    Artifact(Noun<user::Artifact>),
    /// Fetch the files of a sealed result, verified
    Fetch(user::Fetch),
    /// Check a sealed result point by point
    Verify(user::Verify),
    /// Run a finished job again elsewhere and compare the bits
    Reproduce(user::Reproduce),
    /// Find the first checkpoint at which two runs parted
    Diff(user::Diff),
    /// List queues, or show one in full
    Queue(Noun<queue::Queue>),
    /// Keep nodes for some, or from all, for a time: reservations and maintenance windows
    Reservation(Noun<reservation::Reservation>),
    /// Show queues, nodes and jobs as they are now, again and again
    Top(top::Top),
    /// Show what became of GPU time, by queue, team, user, job or cause
    Usage(usage::Usage),
    /// Show what a configuration of queues would change, and who would be worse off
    Plan(queue::Plan),
    /// Put a configuration of queues into force, in one step
    Apply(queue::Apply),
    /// Show what a drain, a quota, a job or a configuration would do to the time ahead
    Whatif(whatif::Whatif),
    /// Show or change the servers
    Cluster(Noun<operator::Cluster>),
    /// List, export or check the audit chain
    Audit(Noun<operator::Audit>),
    /// Let the files of results go whose time is over
    Gc(Noun<gc::Gc>),
    /// Register data sets, clear those that are blocked
    Dataset(Noun<dataset::Dataset>),
    /// Register models, and show what they are made of
    Model(Noun<registry::Model>),
    /// Move models to staging and prod: through gates, policy, signature, approvals
    Promotion(Noun<registry::Promotion>),
    /// Say who may approve promotions
    Approver(Noun<registry::Approver>),
    /// List, rotate and revoke the keys that sign for the cluster
    Key(Noun<key::Key>),
    /// Compare samples of now with those that a model was made with
    Drift(drift::Words),
    /// Save the cluster in a folder, and read what was saved again
    Backup(Noun<backup::Backup>),
    /// Make a server's data from a backup, before it is started
    Restore(backup::Restore),
    /// Look at documents as Assay sees them
    Debug(Noun<debug::Debug>),
    /// Run a whole cluster on this machine
    Dev(process::Dev),
    /// Run a server
    Server(process::Server),
    /// Run an agent
    Agent(process::Agent),
    /// Run a node's supervisor; agents start it themselves
    #[command(hide = true)]
    Supervisor(process::Supervisor),
    /// Run the burn-in that agents bring along; the cluster starts it itself
    #[command(hide = true)]
    BurnIn,
    /// Print completions for a shell
    Completions(process::Completions),
    /// Write the man pages into a folder
    Man(process::Man),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    /// A description of the arguments would take the place of the command's own.
    #[test]
    fn each_help_begins_with_what_the_list_says_of_the_command() {
        fn under(listed: &clap::Command) {
            let mut full = listed.clone();
            full.build();
            for (listed, full) in listed.get_subcommands().zip(full.get_subcommands()) {
                let name = listed.get_name();
                let say = |it: &clap::Command| it.get_about().map(ToString::to_string);
                assert_eq!(say(listed), say(full), "{name}");
                if name != "help" {
                    assert!(say(listed).is_some(), "{name} says nothing");
                    under(full);
                }
            }
        }
        under(&Cli::command());
    }

    #[test]
    fn the_help_keeps_its_form() {
        let help = |words: &[&str]| {
            let asked = Cli::command().term_width(100).try_get_matches_from(words);
            asked.expect_err("help is not a command to run").to_string()
        };
        insta::assert_snapshot!("help.txt", help(&["assay", "--help"]));
        insta::assert_snapshot!("help_submit.txt", help(&["assay", "submit", "--help"]));
    }
}
