//! What users and operators type.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    assay::main()
}
