//! The processes of a cluster: wiring, nothing else.

use crate::{
    args::{
        Cli, Command, Global,
        backup::Restore,
        process::{Agent, Configured},
    },
    complete,
    config::{agent, server},
    exit::Exit,
    fault::{Fault, Kind},
    output::Output,
    quantity::show_size,
};
use ::agent::{
    driver::{
        image::Containers,
        sandbox::Account,
        supervisor::{self, Owner, Rules},
        trusted,
    },
    store::Tls as AgentTls,
};
use clap::{CommandFactory, Parser};
use clap_complete::{Shell, env::Shells};
use domain::{Bytes, LogIndex, ReplicaId, topology::NodeTopology};
use serde::Serialize;
use std::{
    env, fs, io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    pin::Pin,
    process::{self, ExitCode},
    time::Duration,
};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Bytes of verified blobs that a node keeps for later jobs.
const CACHE_MAX: Bytes = Bytes(64 << 30);
/// Longest wait, at a server's end, for what a thread has begun.
const GOODBYE: Duration = Duration::from_secs(10);
/// The server's program.
const SERVER: &str = "assay-server";
/// The program of what runs on a node.
const NODE: &str = "assay-agent";

/// Completes on SIGTERM or Ctrl-C.
pub async fn stop_signal() {
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = interrupt => {}
        _ = terminate => {}
    }
}

/// `assay agent`, `assay supervisor`, `assay burn-in`: becomes the program of nodes, which stands
/// beside this one, with the words of this command line.
///
/// It is a program of its own because it loads the vendor's library of GPUs as it runs, which a
/// program without shared libraries cannot (ADR 73).
///
/// # Errors
/// When that program cannot be run.
pub fn become_node() -> Result<Exit, Fault> {
    let program = this_program()?.with_file_name(NODE);
    let fault = process::Command::new(&program).args(env::args_os().skip(1)).exec();
    Err(not_beside(&program, &fault))
}

/// What `assay-agent` does: one of the commands that run on nodes.
///
/// # Errors
/// When it is another command, or that command cannot go on.
pub fn node(command: Command) -> Result<Exit, Fault> {
    match command {
        Command::Agent(args) => agent(&args),
        // It makes its own event loop after it has left the agent's session.
        Command::Supervisor(args) => supervisor(&args.dir, args.config),
        Command::BurnIn => burn_in(),
        _ => Err(Fault::usage("command", "`assay-agent` runs what belongs to a node only")
            .hint("every other command is one of `assay`")),
    }
}

/// The fault of a program that does not stand beside this one.
fn not_beside(program: &Path, fault: &io::Error) -> Fault {
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Fault::file(program, fault)
        .hint(format!("`{name}` belongs beside `assay`: install both of one release"))
}

/// `assay burn-in`: as a task of a check, whose folder and GPUs its environment names.
///
/// # Errors
/// When it is no task, or the machine gives back other words than were written.
fn burn_in() -> Result<Exit, Fault> {
    let output = env::var_os("ASSAY_OUTPUT_DIR").ok_or_else(|| {
        Fault::usage("burn_in", "ASSAY_OUTPUT_DIR is not set")
            .hint("the cluster runs it: assay node accept NODE")
    })?;
    let gpus = env::var("CUDA_VISIBLE_DEVICES").unwrap_or_default();
    match ::agent::driver::burn_in::run(Path::new(&output), &gpus) {
        Ok(said) => {
            println!("{said}");
            Ok(Exit::Ok)
        }
        Err(why) => Err(Fault::mismatch("burn_in", why.to_string())),
    }
}

/// Sends log lines to standard error: `info` and above, or what `ASSAY_LOG` says.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("ASSAY_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // A second call would be ours as well, and change nothing.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(false)
        .try_init();
}

/// `assay server --config FILE`: becomes the server's own program, which stands beside this one.
///
/// It is a program of its own so that the commands that people type do not load a database.
///
/// # Errors
/// When that program cannot be run.
pub fn server(path: &Path) -> Result<Exit, Fault> {
    let program = this_program()?.with_file_name(SERVER);
    let fault = process::Command::new(&program).arg("--config").arg(path).exec();
    Err(not_beside(&program, &fault))
}

/// `assay restore DIR --config FILE`: the server's own program does it.
///
/// # Errors
/// When that program cannot be run.
pub fn restore(global: &Global, args: &Restore) -> Result<Exit, Fault> {
    let program = this_program()?.with_file_name(SERVER);
    let mut command = process::Command::new(&program);
    command.arg("--config").arg(&args.config).arg("--restore").arg(&args.dir);
    if let Some(at) = args.at {
        command.arg("--at").arg(at.to_string());
    }
    if global.json || global.jsonl {
        command.arg("--json");
    }
    let fault = command.exec();
    Err(not_beside(&program, &fault))
}

/// The arguments of `assay-server`.
#[derive(Debug, Parser)]
#[command(name = SERVER, version, about = "One server of an Assay cluster (`assay server`)")]
struct ServerArgs {
    #[command(flatten)]
    configured: Configured,
    /// Make its data from the backups in this folder, and end
    #[arg(long, value_name = "DIR")]
    restore: Option<PathBuf>,
    /// Log entry of the backup; by default that of the newest
    #[arg(long, value_name = "INDEX", requires = "restore")]
    at: Option<u64>,
    /// Answer with one JSON document
    #[arg(long, requires = "restore")]
    json: bool,
}

/// What a server was made of.
#[derive(Debug, Serialize)]
pub struct Restored {
    /// Which.
    pub server: ReplicaId,
    /// The newest log entry of the backup.
    pub log_index: LogIndex,
    /// Where the restored log begins.
    pub begins: LogIndex,
    /// How many blobs.
    pub blobs: u64,
    /// What they hold together.
    pub blobs_bytes: Bytes,
    /// How many checkpoints.
    pub checkpoints: u64,
}

/// `assay-server`, whole: reads its configuration, calls `serve` or `restore` and tells how it ended.
/// What is passed along ends when the process is asked to.
pub fn serve<F, R, E, G, B>(serve: F, restore: G) -> ExitCode
where
    F: FnOnce(server::Server, BoxedStop) -> R,
    R: Future<Output = Result<(), E>>,
    E: std::error::Error,
    G: FnOnce(server::Server, PathBuf, Option<LogIndex>) -> Result<Restored, B>,
    B: std::error::Error,
{
    let args = ServerArgs::parse();
    let global = Global { json: args.json, ..Global::default() };
    let output = super::output(&global);
    let run = || {
        let config = server::load(&args.configured.config)?;
        if let Some(dir) = args.restore {
            let restored = restore(config, dir, args.at.map(LogIndex));
            let restored =
                restored.map_err(|fault| Fault::new(Kind::Refused, "restore", told(&fault)))?;
            output.show("restored", &restored, |_| restored_text(&restored))?;
            return Ok(Exit::Ok);
        }
        log_to_stderr();
        let served = async { serve(config, Box::pin(stop_signal())).await };
        let runtime = runtime().map_err(no_runtime)?;
        let served = runtime.block_on(served);
        // What still talks to a store elsewhere is not waited for without end.
        runtime.shutdown_timeout(GOODBYE);
        served.map_err(|fault| stopped("server", &fault))?;
        Ok(Exit::Ok)
    };
    crate::report(output, run())
}

fn restored_text(restored: &Restored) -> String {
    format!(
        "{} is restored to log entry {}: {} blobs of {}, {} checkpoints; its log begins at {}\n\
         next: restore every other server of the cluster from the same backup, then start them\n",
        restored.server,
        restored.log_index.0,
        restored.blobs,
        show_size(restored.blobs_bytes),
        restored.checkpoints,
        restored.begins.0,
    )
}

/// Completes when the process is asked to end.
pub type BoxedStop = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The event loop of a server or an agent.
///
/// # Errors
/// When the system refuses threads or descriptors.
pub fn runtime() -> io::Result<Runtime> {
    // The other half is for the log, the disk and, on an agent, the tasks.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Builder::new_multi_thread().worker_threads((cores / 2).max(1)).enable_all().build()
}

/// The fault of an event loop that cannot be had.
pub fn no_runtime(fault: io::Error) -> Fault {
    Fault::internal("runtime", format!("the event loop does not start: {fault}"))
}

fn this_program() -> Result<PathBuf, Fault> {
    env::current_exe()
        .map_err(|fault| Fault::internal("exe", format!("this program has no path: {fault}")))
}

/// `assay agent`.
///
/// # Errors
/// When the configuration is wrong, or the agent cannot run or go on.
fn agent(args: &Agent) -> Result<Exit, Fault> {
    let config = agent::load(&args.config)?;
    log_to_stderr();
    let path = args.config.canonicalize().map_err(|fault| Fault::file(&args.config, &fault))?;
    let read = |path: &PathBuf| fs::read_to_string(path).map_err(|fault| Fault::file(path, &fault));
    let dir = config.dir.display().to_string();
    let program = this_program()?;
    let wired = ::agent::Config {
        name: config.name,
        dir: config.dir,
        servers: config.servers,
        tls: Some(AgentTls {
            ca: read(&config.ca)?,
            cert: read(&config.cert)?,
            key: read(&config.key)?,
            server_name: None,
        }),
        nvml: config.nvml,
        gpu_shares: config.gpu_shares,
        cpu: config.cpu,
        memory: config.memory,
        isolation: args.isolation.unwrap_or(config.isolation),
        readable: config.readable,
        containers: config.containers,
        place: NodeTopology {
            rack: args.rack.clone().unwrap_or(config.place.rack),
            block: args.block.clone().unwrap_or(config.place.block),
            ..NodeTopology::default()
        },
        cache_max: CACHE_MAX,
        supervisor: [&program.display().to_string(), "supervisor", "--dir", &dir, "--config"]
            .map(str::to_owned)
            .into_iter()
            .chain([path.display().to_string()])
            .collect(),
        user: config.user,
    };
    // Before there are threads: each has rights of its own.
    let ready = ::agent::ready(wired).map_err(|fault| stopped("agent", &fault))?;
    let ran = runtime().map_err(no_runtime)?.block_on(::agent::run(ready, stop_signal()));
    ran.map_err(|fault| stopped("agent", &fault))?;
    Ok(Exit::Ok)
}

/// The fault that ended a process, with its causes.
fn stopped(what: &str, fault: &dyn std::error::Error) -> Fault {
    Fault::new(Kind::Internal, what, format!("{what} stopped: {}", told(fault)))
}

/// A fault with its causes.
fn told(fault: &dyn std::error::Error) -> String {
    let mut text = fault.to_string();
    let mut cause = fault.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}

/// `assay supervisor`.
///
/// # Errors
/// When the folder cannot be used or is served already.
fn supervisor(dir: &Path, config: Option<PathBuf>) -> Result<Exit, Fault> {
    let read = move || config.as_deref().map_or_else(|| Ok(Rules::default()), rules);
    supervisor::run(dir, Box::new(read)).map_err(|fault| stopped("supervisor", &fault))?;
    Ok(Exit::Ok)
}

/// What a supervisor goes by, from its agent's configuration.
fn rules(path: &Path) -> Result<Rules, String> {
    let config = agent::load(path).map_err(|fault| fault.detail)?;
    if config.user.is_some() {
        // What is asked for there is done as root.
        let Containers { podman, images, archives, cdi } = &config.containers;
        let podman = podman.as_ref().filter(|path| path.components().count() > 1);
        let all = [podman, images.as_ref(), archives.as_ref()].into_iter().flatten();
        let all = all.chain(cdi.iter().flatten());
        all.map(PathBuf::as_path).chain([path]).try_for_each(trusted::check)?;
    }
    let account = config.user.as_deref().map(Account::named).transpose();
    let account = account.map_err(|fault| fault.to_string())?;
    Ok(Rules {
        owner: account.map(|it| Owner { uid: it.uid, gid: it.gid }),
        readable: config.readable.iter().map(|it| it.display().to_string()).collect(),
        containers: config.containers,
    })
}

/// `assay completions`: what a shell reads to ask this program for completions.
///
/// # Errors
/// When standard output is gone.
pub fn completions(output: &Output, shell: Shell) -> Result<Exit, Fault> {
    let shells = Shells::builtins();
    let name = shell.to_string();
    let completer = shells.completer(&name).expect("each shell that clap names has a completer");
    let mut script = Vec::new();
    completer
        .write_registration(complete::VARIABLE, "assay", "assay", "assay", &mut script)
        .expect("memory takes what is written");
    output.bytes(&script)?;
    Ok(Exit::Ok)
}

/// `assay man`: one page for each command, from the command line itself.
///
/// # Errors
/// When the folder cannot be written.
pub fn man(output: &Output, dir: &Path) -> Result<Exit, Fault> {
    let named = dir.display();
    let failed = |why: io::Error| {
        Fault::internal("man", format!("`{named}`: {why}")).hint("name a folder that you may write")
    };
    std::fs::create_dir_all(dir).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), dir).map_err(failed)?;
    output.note(&format!("man pages are in {named}; read one: man {named}/assay.1"));
    Ok(Exit::Ok)
}
