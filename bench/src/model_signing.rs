//! The reference tool of model signing, beside our seal.

use crate::cpu;
use anyhow::{Context as _, Result, bail};
use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

/// Wall clock and processor time of the tool.
pub struct Reference {
    /// Of `sign`.
    pub sign: (Duration, Duration),
    /// Of `verify`.
    pub verify: (Duration, Duration),
}

fn run(command: &mut Command) -> Result<(Duration, Duration)> {
    let (before, start) = (cpu::of_ended_children(), Instant::now());
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok((start.elapsed(), cpu::of_ended_children().saturating_sub(before)))
}

/// Signs and verifies `model` with a key of its own in `dir`.
///
/// # Errors
/// When the tool or `openssl` is not there, or refuses.
pub fn measure(program: &Path, dir: &Path, model: &Path) -> Result<Reference> {
    let (private, public) = (dir.join("theirs.key"), dir.join("theirs.pem"));
    let signature = dir.join("theirs.sig");
    let curve = ["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out"];
    run(Command::new("openssl").args(curve).arg(&private))?;
    let export = ["ec", "-pubout", "-in"];
    run(Command::new("openssl").args(export).arg(&private).arg("-out").arg(&public))?;
    let sign = run(Command::new(program)
        .args(["sign", "key", "--private_key"])
        .arg(&private)
        .arg("--signature")
        .arg(&signature)
        .arg(model))?;
    let verify = run(Command::new(program)
        .args(["verify", "key", "--public_key"])
        .arg(&public)
        .arg("--signature")
        .arg(&signature)
        .arg(model))?;
    Ok(Reference { sign, verify })
}
