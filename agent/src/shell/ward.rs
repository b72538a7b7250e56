//! The GPUs that are held back: told to the server by what the node offers, kept over restarts.

use crate::{
    driver::dirs::NodeDirs,
    machine::health::{GpuState, Health, HealthInput, HealthOutput},
};
use domain::{Millis, hardware::Hardware, node::Inventory};
use proto::frame;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Write},
    path::PathBuf,
};
use tokio::sync::mpsc;

/// Inputs that wait for the shell.
pub(super) const HEALTH_AHEAD: usize = 256;

/// What a record on disk holds.
type Record = (String, BTreeMap<String, GpuState>);

/// The health of the node's GPUs, and what it does to the inventory.
pub(super) struct Ward {
    health: Health,
    boot_id: String,
    /// None where there is nothing to look after.
    record: Option<PathBuf>,
    /// Each GPU by its unique name, with the indices that it is offered under.
    offered: BTreeMap<String, Vec<u32>>,
}

/// A node with what is known of its GPUs' health.
pub(super) struct Node {
    /// All that it has.
    pub(super) inventory: Inventory,
    /// What it offers of it.
    pub(super) ward: Ward,
    /// What happens to its GPUs.
    pub(super) heard: mpsc::Receiver<HealthInput>,
}

impl Node {
    /// One whose GPUs nobody looks after.
    pub(super) fn unwatched(inventory: Inventory) -> Self {
        Self { inventory, ward: Ward::none(), heard: mpsc::channel(1).1 }
    }
}

impl Ward {
    /// For a node whose GPUs nobody looks after.
    fn none() -> Self {
        Self {
            health: Health::default(),
            boot_id: String::new(),
            record: None,
            offered: BTreeMap::new(),
        }
    }

    /// As an earlier life of the agent left it.
    ///
    /// # Errors
    /// When the record cannot be read: without it, sick GPUs would serve again.
    pub(super) fn open(dirs: &NodeDirs, hardware: &Hardware) -> io::Result<Self> {
        let record = dirs.root.join("health");
        let boot_id = hardware.host.boot_id.clone();
        let held = match fs::read(&record) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(why) => return Err(why),
            Ok(bytes) => {
                let (boot, held) = frame::decode::<Record>(&bytes).map_err(io::Error::other)?;
                let state = |state: GpuState| match boot == boot_id {
                    true => state,
                    false => state.after_boot(),
                };
                held.into_iter().map(|(uuid, held)| (uuid, state(held))).collect()
            }
        };
        let offered = hardware.gpus.all.iter().map(|gpu| {
            let uuids: Vec<_> = match &gpu.slices {
                None => vec![gpu.gpu.uuid.as_str()],
                Some(slices) => slices.iter().map(|slice| slice.uuid.as_str()).collect(),
            };
            let all = hardware.gpus.offered().into_iter();
            let mine = all.filter(|it| uuids.contains(&it.uuid.as_str())).map(|it| it.index);
            (gpu.gpu.uuid.clone(), mine.collect())
        });
        let offered = offered.collect();
        Ok(Self { health: Health::new(held), boot_id, record: Some(record), offered })
    }

    /// Takes in what happened; the record is on disk before anybody acts on it.
    pub(super) fn on(&mut self, input: HealthInput, now: Millis) -> Vec<HealthOutput> {
        let before = self.health.held_back();
        let outputs = self.health.on(input, now);
        let after = self.health.held_back();
        if before != after
            && let Err(why) = self.write(after)
        {
            tracing::error!(%why, "held back GPUs are not recorded; a restart would offer them");
        }
        outputs
    }

    fn write(&self, held: BTreeMap<String, GpuState>) -> io::Result<()> {
        let Some(path) = &self.record else { return Ok(()) };
        let record: Record = (self.boot_id.clone(), held);
        let temporary = path.with_extension("new");
        let mut file = File::create(&temporary)?;
        file.write_all(&frame::encode(&record))?;
        file.sync_all()?;
        fs::rename(temporary, path)
    }

    /// The indices that a GPU is offered under.
    pub(super) fn indices(&self, uuid: &str) -> Vec<u32> {
        self.offered.get(uuid).cloned().unwrap_or_default()
    }

    /// GPUs that drain, with their indices.
    pub(super) fn draining(&self) -> Vec<(String, Vec<u32>)> {
        let held = self.health.held_back().into_iter();
        held.filter(|(_, state)| matches!(state, GpuState::Draining { .. }))
            .map(|(uuid, _)| (uuid.clone(), self.indices(&uuid)))
            .collect()
    }

    /// What the node offers of `all`.
    pub(super) fn offers(&self, all: &Inventory) -> Inventory {
        let held = self.health.held_back();
        let held: BTreeSet<u32> = held.keys().flat_map(|uuid| self.indices(uuid)).collect();
        let mut inventory = all.clone();
        inventory.gpus.retain(|gpu| !held.contains(&gpu.index));
        inventory
    }
}
