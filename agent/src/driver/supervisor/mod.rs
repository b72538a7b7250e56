//! The parent of every task of a node: one process, apart from the agent, that outlives it.
//!
//! It starts tasks, keeps their exit codes until the agent has used them, and kills them on the
//! boot-time clock when their lease runs out, whether an agent is there or not.
//! Source: rulings, 9.

mod client;
mod entry;
mod errands;
mod family;
mod guard;
pub(in crate::driver) mod hand;
mod hand_back;
mod look_after;
mod observe;
mod rooms;
mod serve;
mod spawn;
mod stray;
mod table;
mod timer;
mod wire;

#[cfg(test)]
mod guarded_tests;
#[cfg(test)]
mod tests;

pub use client::{Client, ClientError, Reader, Writer};
pub use guard::Rules;
pub use hand::Owner;
pub use serve::{HOUSEKEEPING, IDLE_END, ReadRules, serve};
pub use wire::{Ask, LeaseView, Said, TaskCommand, TaskView};

use family::Family;
use rustix::{fs::Mode, io::Errno};
use std::{io, path::Path};

/// A supervisor that cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// Its folder or socket cannot be used.
    #[error("supervisor cannot use `{path}`: {why}; give it a folder that only it writes to")]
    Folder {
        /// The folder or file.
        path: String,
        /// Why not.
        why: io::Error,
    },
    /// Another one serves the same folder.
    #[error("another supervisor serves `{0}`; the agent will find it there")]
    Taken(String),
    /// What it goes by cannot be read.
    #[error("supervisor of `{dir}`: {why}")]
    Rules {
        /// Its folder.
        dir: String,
        /// Why not.
        why: String,
    },
    /// The system refused something that every Linux since 5.4 grants.
    #[error("supervisor cannot {what}: {why}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why not.
        why: io::Error,
    },
}

/// Serves `dir` as a process of its own, by the rules that `read` gives: leaves the agent's session, so that nothing that ends
/// the agent ends it, and sets the umask that every task inherits.
///
/// Returns when told to end, or when it had neither tasks nor an agent for [`IDLE_END`].
///
/// # Errors
/// When the folder cannot be used or is served already.
pub fn run(dir: &Path, read: ReadRules) -> Result<(), SupervisorError> {
    match rustix::process::setsid() {
        // A process that leads its group already has what we want of a session.
        Ok(_) | Err(Errno::PERM) => {}
        Err(why) => {
            return Err(SupervisorError::System { what: "leave its session", why: why.into() });
        }
    }
    rustix::process::umask(Mode::from_raw_mode(domain::contract::UMASK));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|why| SupervisorError::System { what: "start its event loop", why })?;
    let family = Family::adopt()
        .map_err(|why| SupervisorError::System { what: "adopt what tasks leave behind", why })?;
    runtime.block_on(serve::with(dir, family, read))
}
