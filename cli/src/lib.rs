//! What users and operators type, and the wiring of a cluster's processes.
//!
//! Three programs are built from it. `assay` is the one that people call. `assay-server` holds the
//! replica with its database, `assay-agent` what runs on a node; they stand beside it, and
//! `assay server` and `assay agent` become them (ADR 13, 73).
#![forbid(unsafe_code)]

mod args;
mod authority;
mod capture;
mod client;
mod clusterfile;
mod command;
mod complete;
mod config;
mod dev;
mod document;
mod exit;
mod fault;
mod fold;
mod jobfile;
mod moment;
mod output;
mod quantity;
mod render;
mod s3;

pub use command::process::{BoxedStop, Restored, serve};
pub use config::server::Server as ServerConfig;

use args::Cli;
use clap::{CommandFactory, Parser};
use clap_complete::CompleteEnv;
use exit::Exit;
use fault::Fault;
use std::process::ExitCode;

/// `assay`, whole: reads the command line, does what it says, and tells how it ended.
#[must_use]
pub fn main() -> ExitCode {
    // A shell that asks for completions is answered here, and the process ends.
    CompleteEnv::with_factory(Cli::command).var(complete::VARIABLE).bin("assay").complete();
    let cli = args::sole::parse();
    let output = command::output(&cli.global);
    report(output, start(cli))
}

/// `assay-agent`, whole: what runs on a node, which are the agent, its supervisor and its burn-in.
#[must_use]
pub fn node_main() -> ExitCode {
    let cli = Cli::parse();
    report(command::output(&cli.global), command::process::node(cli.command))
}

/// Tells how a process ended, to a person and to its parent.
fn report(output: output::Output, outcome: Result<Exit, Fault>) -> ExitCode {
    match outcome {
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(command::process::no_runtime)?.block_on(command::run(cli))
}
