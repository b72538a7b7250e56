//! What runs on a node: the agent, its supervisor, and the burn-in that it brings along.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    assay::node_main()
}
