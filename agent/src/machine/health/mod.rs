//! The health of a node's GPUs as a pure machine: readings in, findings and orders out.
//!
//! Laws, each tested in `health/laws.rs`: it is total and deterministic; a GPU that is held back
//! serves again only after an acceptance job that began after its last symptom has passed; what
//! runs is ended only for symptoms whose action says so, and then once.

mod idle;
mod symptom;
mod table;

#[cfg(test)]
mod laws;

pub use idle::{RankReading, RankState, RankWatch};
pub use symptom::{Gauges, Reading};
pub use table::{Action, RULES, Rule, Symptom, as_markdown, rule_of};

use borsh::{BorshDeserialize, BorshSerialize};
use domain::Millis;
use std::{collections::BTreeMap, fmt};
use symptom::Seen;

/// Time within which milder symptoms are counted together.
pub const WINDOW: Millis = Millis(24 * 3_600_000);

/// Why a GPU is held back.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Cause {
    /// What was noticed, and what it means.
    pub symptom: String,
    /// What an operator is to do.
    pub advice: String,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.symptom, self.advice)
    }
}

/// Whether a GPU serves.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum GpuState {
    /// It takes work.
    #[default]
    Serving,
    /// It finishes what it runs, and is then in quarantine.
    Draining {
        /// Why.
        cause: Cause,
        /// When it last had a symptom that calls for it.
        sick: Millis,
    },
    /// It runs nothing but acceptance jobs.
    Quarantined {
        /// Why.
        cause: Cause,
        /// When it last had a symptom that calls for it.
        sick: Millis,
    },
}

impl GpuState {
    /// Whether it takes new work.
    #[must_use]
    pub fn serves(&self) -> bool {
        *self == Self::Serving
    }

    /// When it last had a symptom that calls for it, if it is held back.
    #[must_use]
    pub fn sick(&self) -> Option<Millis> {
        match self {
            Self::Serving => None,
            Self::Draining { sick, .. } | Self::Quarantined { sick, .. } => Some(*sick),
        }
    }

    /// The same after the machine was booted, when its clock began anew.
    #[must_use]
    pub fn after_boot(self) -> Self {
        match self {
            Self::Serving => Self::Serving,
            // What it ran has ended with the machine.
            Self::Draining { cause, .. } | Self::Quarantined { cause, .. } => {
                Self::Quarantined { cause, sick: Millis(0) }
            }
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthInput {
    /// A GPU was read, or did not let itself be.
    Read {
        /// Its unique name.
        uuid: String,
        /// What came of it.
        reading: Reading,
    },
    /// No job holds the GPU any more.
    Free {
        /// Its unique name.
        uuid: String,
    },
    /// The cluster found that the GPU gives wrong bits.
    Accused {
        /// Its unique name.
        uuid: String,
        /// What it did, and what to do.
        cause: Cause,
    },
    /// An acceptance job ended on the GPU.
    Accepted {
        /// Its unique name.
        uuid: String,
        /// When the job began.
        began: Millis,
        /// Whether its digest is that of the GPU's class.
        passed: bool,
    },
}

/// What is to be told or done. In order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthOutput {
    /// A symptom, with what it calls for by now.
    Found {
        /// The GPU's unique name.
        uuid: String,
        /// The symptom.
        symptom: Symptom,
        /// What it calls for, repeats counted.
        action: Action,
        /// How often it came within [`WINDOW`].
        times: u32,
    },
    /// Offer the GPU to nobody.
    Withdraw {
        /// Its unique name.
        uuid: String,
        /// Why.
        cause: Cause,
    },
    /// End what runs on the GPU. Follows [`HealthOutput::Withdraw`], so that nothing comes back.
    Kill {
        /// Its unique name.
        uuid: String,
        /// Why.
        cause: Cause,
    },
    /// Offer the GPU again.
    Restore {
        /// Its unique name.
        uuid: String,
    },
}

/// How often a symptom came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Count {
    since: Millis,
    times: u32,
}

#[derive(Clone, Debug, Default)]
struct GpuHealth {
    state: GpuState,
    seen: Seen,
    counts: BTreeMap<Symptom, Count>,
}

/// The health of a node's GPUs.
#[derive(Clone, Debug, Default)]
pub struct Health {
    gpus: BTreeMap<String, GpuHealth>,
    now: Millis,
}

impl Health {
    /// As an earlier life left it: a restart cures nothing.
    #[must_use]
    pub fn new(held_back: BTreeMap<String, GpuState>) -> Self {
        let gpu = |state| GpuHealth { state, ..GpuHealth::default() };
        let gpus = held_back.into_iter().map(|(uuid, state)| (uuid, gpu(state))).collect();
        Self { gpus, now: Millis(0) }
    }

    /// GPUs that do not serve, with the reason: what the next life must know.
    #[must_use]
    pub fn held_back(&self) -> BTreeMap<String, GpuState> {
        let held = self.gpus.iter().filter(|(_, gpu)| !gpu.state.serves());
        held.map(|(uuid, gpu)| (uuid.clone(), gpu.state.clone())).collect()
    }

    /// Whether a GPU takes new work.
    #[must_use]
    pub fn serves(&self, uuid: &str) -> bool {
        self.gpus.get(uuid).is_none_or(|gpu| gpu.state.serves())
    }

    /// Takes in what happened at `now` and says what to do. Time never runs backwards.
    pub fn on(&mut self, input: HealthInput, now: Millis) -> Vec<HealthOutput> {
        self.now = self.now.max(now);
        let now = self.now;
        match input {
            HealthInput::Read { uuid, reading } => {
                let gpu = self.gpus.entry(uuid.clone()).or_default();
                let symptoms = gpu.seen.take(reading);
                let found = symptoms.into_iter().flat_map(|it| gpu.suffer(&uuid, it, now));
                found.collect()
            }
            HealthInput::Free { uuid } => {
                if let Some(GpuHealth { state, .. }) = self.gpus.get_mut(&uuid)
                    && let GpuState::Draining { cause, sick } = state
                {
                    *state = GpuState::Quarantined { cause: cause.clone(), sick: *sick };
                }
                Vec::new()
            }
            HealthInput::Accused { uuid, cause } => {
                self.gpus.entry(uuid.clone()).or_default().accused(uuid, cause, now)
            }
            HealthInput::Accepted { uuid, began, passed } => {
                let Some(gpu) = self.gpus.get_mut(&uuid) else { return Vec::new() };
                gpu.accepted(uuid, began, passed)
            }
        }
    }
}

impl GpuHealth {
    fn suffer(&mut self, uuid: &str, symptom: Symptom, now: Millis) -> Vec<HealthOutput> {
        let rule = rule_of(symptom);
        let count = self.counts.entry(symptom).or_insert(Count { since: now, times: 0 });
        if now.minus(count.since) > WINDOW {
            *count = Count { since: now, times: 0 };
        }
        count.times = count.times.saturating_add(1);
        let worse = rule.drain_after > 0 && count.times >= rule.drain_after;
        let action = if worse { rule.action.max(Action::Drain) } else { rule.action };
        let uuid = uuid.to_owned();
        let mut out =
            vec![HealthOutput::Found { uuid: uuid.clone(), symptom, action, times: count.times }];
        if action < Action::Drain {
            return out;
        }
        let symptom = format!("{symptom}: {}", rule.means);
        let cause = Cause { symptom, advice: rule.then.to_owned() };
        if self.state.serves() {
            out.push(HealthOutput::Withdraw { uuid: uuid.clone(), cause: cause.clone() });
        }
        match &mut self.state {
            GpuState::Quarantined { sick, .. } => *sick = now,
            _ if action == Action::Quarantine => {
                self.state = GpuState::Quarantined { cause: cause.clone(), sick: now };
                out.push(HealthOutput::Kill { uuid, cause });
            }
            GpuState::Draining { sick, .. } => *sick = now,
            GpuState::Serving => self.state = GpuState::Draining { cause, sick: now },
        }
        out
    }

    /// Wrong bits are worse than any symptom that lets a job go on. A GPU in quarantine stays there.
    fn accused(&mut self, uuid: String, cause: Cause, now: Millis) -> Vec<HealthOutput> {
        let mut out = Vec::new();
        if self.state.serves() {
            out.push(HealthOutput::Withdraw { uuid: uuid.clone(), cause: cause.clone() });
        }
        if !matches!(self.state, GpuState::Quarantined { .. }) {
            self.state = GpuState::Quarantined { cause: cause.clone(), sick: now };
            out.push(HealthOutput::Kill { uuid, cause });
        }
        out
    }

    fn accepted(&mut self, uuid: String, began: Millis, passed: bool) -> Vec<HealthOutput> {
        let GpuState::Quarantined { sick, .. } = &self.state else { return Vec::new() };
        if !passed || *sick >= began || self.seen.is_away() {
            return Vec::new();
        }
        self.state = GpuState::Serving;
        self.counts.clear();
        vec![HealthOutput::Restore { uuid }]
    }
}
