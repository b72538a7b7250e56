//! Programs of a device's maker that finish a container's root before anything runs on it.
//!
//! Source: OCI runtime specification, POSIX-platform hooks: the state on standard input, and a bundle
//! whose `config.json` names the root.

use rustix::process::Pid;
use serde_json::json;
use std::{
    fs,
    io::{self, Write},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Longest time of one of them.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time between two looks whether it has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// The version of the specification that is kept to.
const VERSION: &str = "1.0.2";

/// Runs all of them, one after the other, on the root of the process `init`.
///
/// # Errors
/// Names the first that fails.
pub fn run(
    hooks: &[(String, Vec<String>)],
    init: Pid,
    bundle: &Path,
    id: &str,
) -> Result<(), (String, io::Error)> {
    let pid = init.as_raw_nonzero().get();
    let root = format!("/proc/{pid}/root");
    let config = json!({ "ociVersion": VERSION, "root": { "path": root } }).to_string();
    fs::create_dir_all(bundle)
        .and_then(|()| fs::write(bundle.join("config.json"), config))
        .map_err(|why| ("tell its devices' programs of the root".to_owned(), why))?;
    let state = json!({
        "ociVersion": VERSION,
        "id": id,
        "status": "created",
        "pid": pid,
        "bundle": bundle.display().to_string(),
    });
    let run = |(program, args): &(String, Vec<String>)| {
        one(program, args, state.to_string().as_bytes())
            .map_err(|why| (format!("run `{program}`, which its devices ask for"), why))
    };
    let ran = hooks.iter().try_for_each(run);
    // One that stays harms nobody.
    let _ = fs::remove_dir_all(bundle);
    ran
}

fn one(program: &str, args: &[String], state: &[u8]) -> io::Result<()> {
    let mut child = Command::new(program)
        .args(args.iter().skip(1))
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not want to know is no fault.
        let _ = stdin.write_all(state);
    }
    let end = Instant::now() + PATIENCE;
    loop {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(io::Error::other(format!("it ended with {status}"))),
            None if Instant::now() < end => std::thread::sleep(LOOK_AGAIN),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }
}
