//! Starts one task exactly as asked and reads back what is in force.

use super::{hand, wire::TaskCommand};
use crate::driver::sandbox::{Program, Room};
use domain::contract;
use rustix::{
    io::retry_on_intr,
    process::{Pid, WaitOptions, waitpid},
};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::Path,
    process::{Command, ExitStatus, Stdio},
};

/// Starts `task` as the leader of a process group of its own.
///
/// The program's path is absolute, so that the system's cheapest way (`posix_spawn`) is used.
pub(super) fn spawn(task: &TaskCommand) -> io::Result<Pid> {
    let log = log(task)?;
    let started = command(task, log)?.current_dir(&task.cwd).spawn();
    // It is waited for by its number.
    let started = started.map(|child| Pid::from_child(&child));
    started.map_err(|why| named("program", &task.program, &why))
}

/// Starts `task` in a room.
pub(super) fn spawn_in(room: &Room, task: &TaskCommand) -> io::Result<Pid> {
    let log = log(task)?;
    // A program may open its own standard output anew, by name.
    room.own(&log).map_err(|why| named("log", &task.log, &why))?;
    let TaskCommand { program, args, env, cwd, .. } = task;
    let started = room.spawn(Program { program, args, env, out: log }, cwd);
    started.map_err(|why| named("program", program, &why))
}

/// How a task that has ended did so. Waits for the end, if need be.
pub(super) fn wait(pid: Pid) -> io::Result<ExitStatus> {
    match retry_on_intr(|| waitpid(Some(pid), WaitOptions::empty()))? {
        Some((_, status)) => Ok(ExitStatus::from_raw(status.as_raw())),
        None => Err(io::ErrorKind::WouldBlock.into()),
    }
}

fn named(what: &str, path: &str, why: &io::Error) -> io::Error {
    io::Error::new(why.kind(), format!("{what} `{path}`: {why}"))
}

fn log(task: &TaskCommand) -> io::Result<File> {
    hand::log(Path::new(&task.log)).map_err(|why| named("log", &task.log, &why))
}

fn command(task: &TaskCommand, log: File) -> io::Result<Command> {
    let errors = log.try_clone()?;
    let mut command = Command::new(&task.program);
    command
        .args(&task.args)
        .env_clear()
        .envs(task.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .process_group(0);
    Ok(command)
}

/// What a process runs under, compared with what was asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum InForce {
    /// Exactly that.
    AsAsked,
    /// Nothing can be read: it has not quite begun, or has ended.
    Unknown,
    /// Something else: the first variable that differs, with both values.
    Differs(String),
}

/// Reads back the contract's variables of a task. Others are its own affair: a shell that becomes
/// another program adds some.
pub(super) fn in_force(pid: i32, task: &TaskCommand) -> InForce {
    match fs::read(format!("/proc/{pid}/environ")) {
        Ok(environ) if !environ.is_empty() => {
            compare(&environ, task).map_or(InForce::AsAsked, InForce::Differs)
        }
        _ => InForce::Unknown,
    }
}

fn compare(environ: &[u8], task: &TaskCommand) -> Option<String> {
    let pair = |line: &'_ [u8]| {
        let at = line.iter().position(|byte| *byte == b'=').unwrap_or(line.len());
        (line[..at].to_vec(), line.get(at + 1..).unwrap_or_default().to_vec())
    };
    let found: BTreeMap<_, _> = environ.split(|byte| *byte == 0).map(pair).collect();
    let mut asked = task.env.iter().filter(|(name, _)| contract::decides_bits(name));
    asked.find_map(|(name, wanted)| match found.get(name.as_bytes()) {
        Some(value) if value == wanted.as_bytes() => None,
        Some(value) => {
            let value = String::from_utf8_lossy(value);
            Some(format!("`{name}` is `{value}` in the process, asked was `{wanted}`"))
        }
        None => Some(format!("`{name}` is not set in the process, asked was `{wanted}`")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_is_not_in_force_as_asked_is_named_with_both_values() {
        let task = TaskCommand {
            rank: 0,
            program: "/bin/true".into(),
            args: vec![],
            env: vec![("TZ".into(), "UTC".into()), ("XLA_FLAGS".into(), "--a=b".into())],
            cwd: "/".into(),
            log: "/dev/null".into(),
        };
        let check = |environ: &[u8]| compare(environ, &task);
        assert_eq!(check(b"TZ=UTC\0XLA_FLAGS=--a=b\0"), None);
        assert_eq!(check(b"TZ=UTC\0XLA_FLAGS=--a=b\0PWD=/code\0"), None, "a shell's own");
        assert_eq!(
            check(b"TZ=CET\0XLA_FLAGS=--a=b\0").as_deref(),
            Some("`TZ` is `CET` in the process, asked was `UTC`")
        );
        assert!(check(b"TZ=UTC\0").is_some_and(|why| why.contains("`XLA_FLAGS` is not set")));
    }
}
