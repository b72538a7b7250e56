//! The rooms of leases whose tasks run within walls.

use super::{
    hand::{self, Owner},
    wire::TaskCommand,
};
use crate::{
    driver::{
        dirs::NodeDirs,
        sandbox::{Breach, Host, ImageRoot, Room, SandboxError, Walls},
    },
    machine::Exit,
};
use domain::LeaseId;
use std::{
    fs,
    io::{self, Write},
    path::Path,
};

/// Builds them. A node that has none pays nothing for it.
pub(super) struct Rooms {
    dirs: NodeDirs,
    owner: Option<Owner>,
    host: Option<Host>,
}

impl Rooms {
    /// Those of the supervisor of `dir`; what an earlier one left is ended and removed.
    pub(super) fn of(dir: &Path, owner: Option<Owner>) -> Self {
        Host::sweep(dir);
        Self { dirs: NodeDirs { root: dir.to_owned() }, owner, host: None }
    }

    /// The account of the agent, where that is not this process's own.
    pub(super) fn owner(&self) -> Option<Owner> {
        self.owner
    }

    /// Builds one, and writes down what holds in it.
    pub(super) fn build(
        &mut self,
        lease: LeaseId,
        walls: &Walls,
        image: Option<&ImageRoot>,
        tasks: &[TaskCommand],
    ) -> Result<Room, SandboxError> {
        let host = match self.host.take() {
            Some(host) => host,
            None => Host::open(&self.dirs.root)?,
        };
        let host = self.host.insert(host);
        let dirs = self.dirs.lease(lease);
        let ranks: Vec<_> = tasks.iter().map(|task| task.rank).collect();
        let owner = self.owner;
        let give = |uid| hand::over(&dirs, &ranks, uid, owner);
        host.build(lease, walls, image, &dirs, &give).and_then(|room| {
            let facts = serde_json::to_vec(&room.facts()).expect("facts are JSON");
            match write_new(&dirs.facts(), &facts) {
                Ok(()) => Ok(room),
                Err(why) => {
                    host.abandon(&room);
                    Err(SandboxError::told("write down what holds", &why))
                }
            }
        })
    }

    /// Takes back what a room held.
    pub(super) fn clear(&mut self, room: &Room) {
        if let Some(host) = &mut self.host {
            host.clear(room);
        }
    }
}

/// Writes a file that was not there: what the agent may have put in its place is removed first.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
        _ => {}
    }
    fs::File::create_new(path)?.write_all(bytes)
}

/// The limit that a room's tasks have reached, as their end.
pub(super) fn breach(room: &Room) -> Option<Exit> {
    let (memory, processes) = room.limits();
    Some(match room.breach()? {
        Breach::Memory { used } => Exit::OutOfMemory { used: used.min(memory), limit: memory },
        Breach::Processes => Exit::TooManyProcesses { limit: processes },
    })
}
