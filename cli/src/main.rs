//! The one binary: what users and operators type, and the processes of a cluster.
#![forbid(unsafe_code)]

mod args;
mod authority;
mod capture;
mod client;
mod command;
mod config;
mod dev;
mod document;
mod exit;
mod fault;
mod jobfile;
mod output;
mod quantity;
mod render;

use args::{Cli, Command};
use clap::Parser;
use exit::Exit;
use fault::Fault;
use std::process::ExitCode;

/// Servers make many small allocations on many threads: the system's allocator took a sixth of
/// their time. RocksDB keeps to the system's, which serves its few large blocks better.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = command::output(&cli.global);
    match start(cli) {
        Ok(exit) => exit.into(),
        // Who read our output has gone: say nothing, as other tools do.
        Err(fault) if fault.reason == output::BROKEN_PIPE => Exit::of_signal(13).into(),
        Err(fault) => {
            output.fault(&fault);
            fault.exit().into()
        }
    }
}

fn start(cli: Cli) -> Result<Exit, Fault> {
    // The supervisor makes its own runtime after it has left the agent's session.
    if let Command::Supervisor(args) = &cli.command {
        return command::process::supervisor(&args.dir);
    }
    let runtime = match &cli.command {
        Command::Server(_) | Command::Agent(_) => {
            // The other half is for the log, the disk and, on an agent, the tasks.
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads((cores / 2).max(1))
                .enable_all()
                .build()
        }
        _ => tokio::runtime::Builder::new_current_thread().enable_all().build(),
    };
    let runtime = runtime.map_err(|fault| {
        Fault::internal("runtime", format!("the event loop does not start: {fault}"))
    })?;
    runtime.block_on(command::run(cli))
}
