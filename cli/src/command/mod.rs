//! What each command does.

pub mod artifact;
pub mod audit;
pub mod backup;
pub mod canonical;
pub mod change;
pub mod cluster;
pub mod config;
pub mod dataset;
pub mod diff;
pub mod drift;
pub mod evaluate;
pub mod find;
pub mod follow;
pub mod gc;
pub mod graph;
pub mod key;
pub mod list;
pub mod live;
pub mod model;
mod named;
pub mod pii;
pub mod process;
pub mod progress;
pub mod promotion;
pub mod queue;
pub mod replay;
pub mod reproduce;
pub mod reservation;
pub mod server_init;
pub mod steer;
pub mod submit;
pub mod top;
pub mod usage;
pub mod usage_export;
pub mod usage_trace;
pub mod verify;
mod waiting;
pub mod whatif;

use crate::{
    args::{Cli, Command, Global, Noun, debug::Debug, process as process_args, registry::Approver},
    client::Client,
    config::profile::{self, Places},
    exit::Exit,
    fault::{Fault, Kind},
    output::{Form, Output, Style},
};
use std::time::Duration;

/// What every command of a client has at hand.
pub struct Context {
    /// The cluster.
    pub client: Client,
    /// Where answers go.
    pub output: Output,
}

impl Context {
    /// As the flags and the profile say.
    ///
    /// # Errors
    /// When there is no profile, or it cannot be used.
    pub fn new(global: &Global) -> Result<Self, Fault> {
        let path = Places::of_process(global.profile.clone()).find()?;
        let client = Client::new(&profile::load(&path)?)?
            .stale(global.stale)
            .under(global.request_key, global.keys.clone());
        Ok(Self { client, output: output(global) })
    }

    /// Tells a person who asked for `--stale` what they see.
    fn mark(&self, log_index: u64) {
        if self.client.is_stale() {
            self.output.note(&format!("as of log entry {log_index}; later ones may be missing"));
        }
    }
}

/// Where answers go, as the flags say.
#[must_use]
pub fn output(global: &Global) -> Output {
    let form = match (global.json, global.jsonl) {
        (_, true) => Form::JsonLines,
        (true, false) => Form::Json,
        (false, false) => Form::Text,
    };
    Output { form, style: Style::of_stdout() }
}

/// Runs a command to its end, or to `--timeout`.
///
/// # Errors
/// Whatever the command could not do.
pub async fn run(cli: Cli) -> Result<Exit, Fault> {
    let Cli { global, command } = cli;
    let ended = match global.timeout {
        None => dispatch(&global, command).await,
        Some(limit) => {
            let time = Duration::from_millis(limit.0);
            let limited = tokio::time::timeout(time, dispatch(&global, command)).await;
            limited.unwrap_or_else(|_| {
                let shown = crate::quantity::show_duration(limit);
                Err(Fault::new(Kind::Timeout, "timeout", format!("--timeout {shown} was reached"))
                    .hint("what was submitted goes on: assay jobs"))
            })
        }
    };
    ended.map_err(|fault| global.keys.tell(global.request_key, fault))
}

async fn dispatch(global: &Global, command: Command) -> Result<Exit, Fault> {
    let context = || Context::new(global);
    match command {
        Command::Submit(args) => submit::run(global, *args).await,
        Command::Jobs(args) => list::jobs(&context()?, args).await,
        Command::Job(args) => list::job(&context()?, &args.which).await,
        Command::Watch(args) => follow::watch(&context()?, &args.which).await,
        Command::Wait(args) => follow::wait(&context()?, &args.which).await,
        Command::Logs(args) => follow::logs(&context()?, args).await,
        Command::Cancel(args) => change::cancel(&context()?, &args.which).await,
        Command::Hold(args) => steer::hold(&context()?, &args.which, true).await,
        Command::Release(args) => steer::hold(&context()?, &args.which, false).await,
        Command::Priority(args) => steer::priority(&context()?, &args).await,
        Command::Why(args) => list::why(&context()?, &args).await,
        Command::Nodes(live) => list::nodes(&context()?, live).await,
        Command::Node(Noun { verb: args }) => change::node(&context()?, args).await,
        Command::Artifacts(args) => list::artifacts(&context()?, &args).await,
        Command::Artifact(Noun { verb: args }) => artifact::run(&context()?, args).await,
        Command::Fetch(args) => artifact::fetch(&context()?, &args).await,
        Command::Verify(args) => verify::run(global, args).await,
        Command::Reproduce(args) => reproduce::run(&context()?, &args.which).await,
        Command::Diff(args) => diff::run(&context()?, &args).await,
        Command::Queue(Noun { verb: args }) => queue::run(&context()?, &args).await,
        Command::Reservation(Noun { verb: args }) => reservation::run(&context()?, args).await,
        Command::Top(args) => top::run(&context()?, &args).await,
        Command::Usage(args) => usage::run(&context()?, args).await,
        Command::Plan(args) => config::plan(&context()?, &args.file).await,
        Command::Apply(args) => config::apply(&context()?, args).await,
        Command::Whatif(args) => whatif::run(&context()?, &args).await,
        Command::Cluster(Noun { verb: args }) => cluster::run(&context()?, args).await,
        Command::Audit(Noun { verb: args }) => audit::run(global, args).await,
        Command::Gc(Noun { verb: args }) => gc::run(&context()?, args).await,
        Command::Dataset(Noun { verb: args }) => dataset::run(&context()?, args).await,
        Command::Model(Noun { verb: args }) => model::run(&context()?, args).await,
        Command::Promotion(Noun { verb: args }) => promotion::run(&context()?, args).await,
        Command::Approver(Noun { verb: Approver::NewKey { file } }) => {
            promotion::new_key(&output(global), &file)
        }
        Command::Approver(Noun { verb: args }) => promotion::approver(&context()?, args).await,
        Command::Drift(args) => drift::run(global, args).await,
        Command::Backup(Noun { verb: args }) => backup::run(global, args).await,
        Command::Restore(args) => process::restore(global, &args),
        Command::Debug(Noun { verb: Debug::Canonical { file } }) => {
            canonical::run(&output(global), &file)
        }
        Command::Debug(Noun { verb: Debug::Pii { file } }) => pii::run(&output(global), &file),
        Command::Debug(Noun { verb: Debug::Replay(args) }) => replay::run(&context()?, &args).await,
        Command::Key(Noun { verb: args }) => key::run(global, args).await,
        Command::Dev(args) => crate::dev::run(global, args).await,
        Command::Server(args) => server(global, args).await,
        Command::Agent(_) | Command::Supervisor(_) | Command::BurnIn => process::become_node(),
        Command::Completions(args) => process::completions(&output(global), args.shell),
        Command::Man(args) => process::man(&output(global), &args.dir),
    }
}

async fn server(global: &Global, args: process_args::Server) -> Result<Exit, Fault> {
    match (args.action, args.config) {
        (Some(process_args::ServerAction::Init(args)), _) => server_init::run(global, args).await,
        (None, Some(config)) => process::server(&config),
        // The command line was checked before.
        (None, None) => Err(Fault::usage("config", "no configuration is named").hint("--config")),
    }
}
