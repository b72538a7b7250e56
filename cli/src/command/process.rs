//! The processes of a cluster: wiring, nothing else.

use crate::{
    args::Cli,
    config::{agent, server},
    exit::Exit,
    fault::{Fault, Kind},
};
use ::agent::{driver::supervisor, store::Tls as AgentTls};
use clap::CommandFactory;
use domain::Bytes;
use scheduler::api::{ServerConfig, Tls};
use std::{
    env, fs, io,
    path::{Path, PathBuf},
};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Bytes of verified blobs that a node keeps for later jobs.
const CACHE_MAX: Bytes = Bytes(64 << 30);

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

/// `assay server`.
///
/// # Errors
/// When the configuration is wrong, or the server cannot run or go on.
pub async fn server(path: &Path) -> Result<Exit, Fault> {
    let config = server::load(path)?;
    log_to_stderr();
    let wired = ServerConfig {
        id: config.id,
        cluster: config.cluster,
        dir: config.dir,
        listen: config.listen,
        advertise: config.advertise,
        members: config.members,
        join: config.join,
        tls: Tls { ca: config.ca, cert: config.cert, key: config.key },
        keys: config.keys,
    };
    scheduler::api::serve(wired, stop_signal()).await.map_err(|fault| stopped("server", &fault))?;
    Ok(Exit::Ok)
}

/// `assay agent`.
///
/// # Errors
/// When the configuration is wrong, or the agent cannot run or go on.
pub async fn agent(path: &Path) -> Result<Exit, Fault> {
    let config = agent::load(path)?;
    log_to_stderr();
    let read = |path: &PathBuf| fs::read_to_string(path).map_err(|fault| Fault::file(path, &fault));
    let dir = config.dir.display().to_string();
    let program = env::current_exe()
        .map_err(|fault| Fault::internal("exe", format!("this program has no path: {fault}")))?;
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
        cpu: config.cpu,
        memory: config.memory,
        cache_max: CACHE_MAX,
        supervisor: vec![program.display().to_string(), "supervisor".into(), "--dir".into(), dir],
    };
    ::agent::run(wired, stop_signal()).await.map_err(|fault| stopped("agent", &fault))?;
    Ok(Exit::Ok)
}

/// The fault that ended a process, with its causes.
fn stopped(what: &str, fault: &dyn std::error::Error) -> Fault {
    let mut text = fault.to_string();
    let mut cause = fault.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    Fault::new(Kind::Internal, what, format!("{what} stopped: {text}"))
}

/// `assay supervisor`.
///
/// # Errors
/// When the folder cannot be used or is served already.
pub fn supervisor(dir: &Path) -> Result<Exit, Fault> {
    supervisor::run(dir).map_err(|fault| stopped("supervisor", &fault))?;
    Ok(Exit::Ok)
}

/// `assay completions`.
///
/// # Errors
/// None; the signature is that of every command.
pub fn completions(shell: clap_complete::Shell) -> Result<Exit, Fault> {
    clap_complete::generate(shell, &mut Cli::command(), "assay", &mut io::stdout());
    Ok(Exit::Ok)
}
