//! The GPUs that are held back: left out of what the node offers, kept over restarts.

use crate::{
    driver::{clock, dirs::NodeDirs, patrol::News, state},
    machine::health::{Cause, GpuState, Health, HealthInput, HealthOutput},
};
use borsh::{BorshDeserialize, BorshSerialize};
use domain::{
    LogIndex, Millis,
    check::Accusation,
    hardware::Hardware,
    health::{Acceptance, HeldGpu, HeldState},
    limit::HELD_TEXT_MAX,
    node::Inventory,
    resource::Gpu,
};
use proto::frame;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::net::UnixStream,
    path::PathBuf,
};
use tokio::sync::mpsc;

/// Inputs that wait for the shell.
pub(super) const HEALTH_AHEAD: usize = 256;

/// What a record on disk holds: the boot that wrote it, and each GPU by its unique name.
type Record = (String, BTreeMap<String, Kept>);

/// A GPU that is held back.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Kept {
    state: GpuState,
    /// When it last had a symptom that calls for it, by the wall clock: the machine's own begins
    /// anew with each boot.
    since: Millis,
    place: Place,
}

/// A GPU's place in the inventory. Kept as well, for a lost GPU may be in none after a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Place {
    index: u32,
    offers: Vec<Gpu>,
}

/// The health of the node's GPUs, and what it does to the inventory.
pub(super) struct Ward {
    health: Health,
    boot_id: String,
    /// None where there is nothing to look after.
    record: Option<PathBuf>,
    /// Each GPU by its unique name.
    places: BTreeMap<String, Place>,
    held: BTreeMap<String, Kept>,
    /// The newest acceptance of each GPU that was refused.
    refused: BTreeMap<String, LogIndex>,
}

/// A node with what is known of its GPUs' health.
pub(super) struct Node {
    /// All that it has.
    pub(super) inventory: Inventory,
    /// The whole machine; none where nobody looks after it.
    pub(super) hardware: Option<Box<Hardware>>,
    /// What it offers of it.
    pub(super) ward: Ward,
    /// What happens to its GPUs.
    pub(super) heard: mpsc::Receiver<News>,
    /// The supervisor, where only an earlier part of this process could reach it.
    pub(super) supervisor: Option<UnixStream>,
}

impl Node {
    /// One whose GPUs nobody looks after.
    pub(super) fn unwatched(inventory: Inventory) -> Self {
        let (ward, heard) = (Ward::none(), mpsc::channel(1).1);
        Self { inventory, hardware: None, ward, heard, supervisor: None }
    }
}

impl Ward {
    /// For a node whose GPUs nobody looks after.
    fn none() -> Self {
        Self {
            health: Health::default(),
            boot_id: String::new(),
            record: None,
            places: BTreeMap::new(),
            held: BTreeMap::new(),
            refused: BTreeMap::new(),
        }
    }

    /// As an earlier life of the agent left it.
    ///
    /// # Errors
    /// When the record cannot be read: without it, sick GPUs would serve again.
    pub(super) fn open(dirs: &NodeDirs, hardware: &Hardware) -> io::Result<Self> {
        fs::create_dir_all(dirs.records())?;
        let record = dirs.records().join("health");
        let boot_id = hardware.host.boot_id.clone();
        let mut held = match fs::read(&record) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(why) => return Err(why),
            Ok(bytes) => {
                let (boot, mut held) = frame::decode::<Record>(&bytes).map_err(io::Error::other)?;
                if boot != boot_id {
                    for kept in held.values_mut() {
                        kept.state = std::mem::take(&mut kept.state).after_boot();
                    }
                }
                held
            }
        };
        let places = places(hardware);
        for (uuid, kept) in &mut held {
            if let Some(place) = places.get(uuid) {
                kept.place = place.clone();
            }
        }
        let states = held.iter().map(|(uuid, kept)| (uuid.clone(), kept.state.clone()));
        Ok(Self {
            health: Health::new(states.collect()),
            boot_id,
            record: Some(record),
            places,
            held,
            refused: BTreeMap::new(),
        })
    }

    /// Takes in what happened; the record is on disk before anybody acts on it.
    pub(super) fn on(&mut self, input: HealthInput, now: Millis) -> Vec<HealthOutput> {
        let outputs = self.health.on(input, now);
        let mut held = BTreeMap::new();
        for (uuid, state) in self.health.held_back() {
            let kept = self.kept(&uuid, state);
            held.insert(uuid, kept);
        }
        if held != self.held {
            self.held = held;
            if let Err(why) = self.write() {
                tracing::error!(%why, "held back GPUs are not recorded; a restart would offer them");
            }
        }
        outputs
    }

    fn kept(&self, uuid: &str, state: GpuState) -> Kept {
        match self.held.get(uuid) {
            Some(kept) if kept.state.sick() == state.sick() => Kept { state, ..kept.clone() },
            Some(kept) => Kept { state, since: clock::wall_now(), place: kept.place.clone() },
            None => {
                let place = self.places.get(uuid).cloned().unwrap_or_default();
                Kept { state, since: clock::wall_now(), place }
            }
        }
    }

    fn write(&self) -> io::Result<()> {
        let Some(path) = &self.record else { return Ok(()) };
        let record: Record = (self.boot_id.clone(), self.held.clone());
        state::replace(path, &record)
    }

    /// An operator vouches for a GPU: it serves again if it is still as the operator saw it.
    pub(super) fn accept(&mut self, word: &Acceptance, now: Millis) -> Vec<HealthOutput> {
        let known = self.held.get(&word.uuid).is_some_and(|kept| kept.since == word.since);
        let outputs = match known {
            true => {
                let uuid = word.uuid.clone();
                self.on(HealthInput::Accepted { uuid, began: now, passed: true }, now)
            }
            false => Vec::new(),
        };
        if outputs.is_empty() {
            self.refused.insert(word.uuid.clone(), word.at);
        }
        outputs
    }

    /// A GPU, or a slice of one, gave wrong bits: it is held back from now on.
    pub(super) fn accuse(&mut self, charge: &Accusation, now: Millis) -> Vec<HealthOutput> {
        let is = |place: &Place| place.offers.iter().any(|it| it.uuid == charge.uuid);
        let held = self.held.iter().map(|(uuid, kept)| (uuid, &kept.place));
        let found = self.places.iter().chain(held).find(|(_, place)| is(place));
        let Some(uuid) = found.map(|(uuid, _)| uuid.clone()) else { return Vec::new() };
        let cause = Cause { symptom: charge.symptom.clone(), advice: charge.advice.clone() };
        self.on(HealthInput::Accused { uuid, cause }, now)
    }

    /// What the servers are to know of the GPUs that are held back; none where nobody looks.
    pub(super) fn words(&self) -> Option<Vec<HeldGpu>> {
        self.record.as_ref()?;
        let word = |(uuid, kept): (&String, &Kept)| {
            let (state, cause) = match &kept.state {
                GpuState::Serving => return None,
                GpuState::Draining { cause, .. } => (HeldState::Draining, cause),
                GpuState::Quarantined { cause, .. } => (HeldState::Quarantined, cause),
            };
            Some(HeldGpu {
                index: kept.place.index,
                uuid: uuid.clone(),
                offers: kept.place.offers.clone(),
                state,
                symptom: bounded(&cause.symptom),
                advice: bounded(&cause.advice),
                since: kept.since,
                refused: self.refused.get(uuid).copied().unwrap_or_default(),
            })
        };
        Some(self.held.iter().filter_map(word).collect())
    }

    /// The machine is other than it was. GPUs that are gone keep their place: they may come back.
    pub(super) fn renew(&mut self, hardware: &Hardware) {
        self.places.extend(places(hardware));
    }

    /// Whether a GPU is held back.
    pub(super) fn holds(&self, uuid: &str) -> bool {
        self.held.contains_key(uuid)
    }

    /// The indices that a GPU is offered under.
    pub(super) fn indices(&self, uuid: &str) -> Vec<u32> {
        let place = self.held.get(uuid).map(|kept| &kept.place).or_else(|| self.places.get(uuid));
        place.map(|it| it.offers.iter().map(|gpu| gpu.index).collect()).unwrap_or_default()
    }

    /// GPUs that drain, with their indices.
    pub(super) fn draining(&self) -> Vec<(String, Vec<u32>)> {
        let held = self.held.iter();
        held.filter(|(_, kept)| matches!(kept.state, GpuState::Draining { .. }))
            .map(|(uuid, _)| (uuid.clone(), self.indices(uuid)))
            .collect()
    }

    /// What the node offers of `all`.
    pub(super) fn offers(&self, all: &Inventory) -> Inventory {
        let held = self.held.values().flat_map(|kept| &kept.place.offers);
        let held: BTreeSet<&str> = held.map(|gpu| gpu.uuid.as_str()).collect();
        let mut inventory = all.clone();
        inventory.gpus.retain(|gpu| !held.contains(gpu.uuid.as_str()));
        inventory
    }
}

fn places(hardware: &Hardware) -> BTreeMap<String, Place> {
    let offered = hardware.gpus.offered();
    let place = |gpu: &domain::hardware::GpuHardware| {
        let uuids: Vec<_> = match &gpu.slices {
            None => vec![gpu.gpu.uuid.as_str()],
            Some(slices) => slices.iter().map(|slice| slice.uuid.as_str()).collect(),
        };
        let mine = offered.iter().filter(|it| uuids.contains(&it.uuid.as_str()));
        let place = Place { index: gpu.gpu.index, offers: mine.cloned().collect() };
        (gpu.gpu.uuid.clone(), place)
    };
    hardware.gpus.all.iter().map(place).collect()
}

/// A text as servers take it.
fn bounded(text: &str) -> String {
    let mut end = text.len().min(HELD_TEXT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
