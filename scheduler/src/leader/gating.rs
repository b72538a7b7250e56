//! Sees every open promotion through its gates, its signature and its time's end.

use super::duties::Duty;
use crate::state::{command::Command, view::View};
use domain::{JobId, Millis, PromotionId, limit};
use registry::ledger::{OpenPromotion, Phase, RegistryCommand};
use std::collections::BTreeMap;

/// Time between two looks at open promotions.
const LOOK_EVERY: Millis = Millis(200);
/// Pause after a try that failed.
const PAUSE: Millis = Millis(1_000);
/// Promotions that are worked on at once.
const AT_ONCE: usize = 32;

/// Open promotions that are worked on.
#[derive(Clone, Debug)]
pub(super) struct Gating {
    /// In which phase each was taken up, and until when nothing more is to be done about it.
    busy: BTreeMap<PromotionId, (Phase, Millis)>,
    look: Millis,
}

impl Gating {
    /// Looks at once: a leader before may have left some half-way.
    pub fn new(now: Millis) -> Self {
        Self { busy: BTreeMap::new(), look: now }
    }

    /// Something has come to a gate.
    pub fn wake(&mut self, now: Millis) {
        self.look = now;
    }

    /// Work on a promotion ended without a proposal: try again later.
    pub fn failed(&mut self, promotion: PromotionId, now: Millis) {
        if let Some((_, until)) = self.busy.get_mut(&promotion) {
            *until = now.plus(PAUSE);
        }
    }

    /// What to do about open promotions now. `wall` is the clock that proposals carry.
    pub fn next(&mut self, view: &View<'_>, now: Millis, wall: Millis) -> Vec<Duty> {
        if now < self.look {
            return Vec::new();
        }
        self.look = now.plus(LOOK_EVERY);
        let open: BTreeMap<_, _> = view.open_promotions().collect();
        self.busy.retain(|id, (phase, _)| open.get(id).is_some_and(|it| it.phase == *phase));
        let mut duties = Vec::new();
        for (id, open) in open {
            let waits = self.busy.get(&id).is_some_and(|(_, until)| now < *until);
            let Some(duty) = duty(id, open, wall).filter(|_| !waits) else { continue };
            if self.busy.len() >= AT_ONCE && !self.busy.contains_key(&id) {
                break;
            }
            self.busy.insert(id, (open.phase, now.plus(limit::GATE_PATIENCE)));
            duties.push(duty);
        }
        duties
    }
}

fn duty(id: PromotionId, open: OpenPromotion, wall: Millis) -> Option<Duty> {
    if wall >= open.due {
        let settle = RegistryCommand::SettlePromotion { promotion: id };
        return Some(Duty::Propose(Command::Registry(settle)));
    }
    match open.phase {
        Phase::Gates => Some(Duty::DecidePromotion { promotion: id }),
        Phase::Signature => Some(Duty::SignPromotion { promotion: id }),
        Phase::People => None,
    }
}

/// Jobs at the gate before training.
#[derive(Clone, Debug)]
pub(super) struct Training {
    /// Whether this server has anything that decides.
    asks: bool,
    /// Until when the batch that is decided on may take.
    busy: Option<Millis>,
    /// Jobs on which nothing was decided, with the number of tries and when the next is due.
    tries: BTreeMap<JobId, (u32, Millis)>,
    look: Millis,
}

impl Training {
    pub fn new(now: Millis) -> Self {
        Self { asks: false, busy: None, tries: BTreeMap::new(), look: now }
    }

    /// Says that this server has something that decides.
    pub fn asking(&mut self, asks: bool) {
        self.asks = asks;
    }

    /// Something has come to a gate.
    pub fn wake(&mut self, now: Millis) {
        self.look = now;
    }

    /// The batch was decided on, but for these jobs.
    pub fn answered(&mut self, undecided: &[JobId], now: Millis) {
        self.busy = None;
        self.look = now;
        for id in undecided {
            let (tries, due) = self.tries.entry(*id).or_insert((0, now));
            *tries += 1;
            // 1, 2, 4, 8 s: with the engine's own time, over a minute until it is given up.
            *due = now.plus(Millis(PAUSE.0 << (*tries - 1).min(8)));
        }
    }

    /// The next batch, if one waits and none is decided on.
    pub fn next(&mut self, view: &View<'_>, now: Millis) -> Option<Duty> {
        if !self.asks || now < self.look {
            return None;
        }
        self.look = now.plus(LOOK_EVERY);
        if !view.gates_training() {
            return Some(Duty::Propose(Command::GateTraining));
        }
        if self.busy.is_some_and(|until| now < until) {
            return None;
        }
        self.tries.retain(|id, _| view.is_gated(*id));
        let due = |id: &JobId| self.tries.get(id).is_none_or(|(_, due)| *due <= now);
        let last = |id: JobId| {
            let tries = self.tries.get(&id).map_or(0, |(tries, _)| *tries);
            (id, tries + 1 >= limit::GATE_TRIES)
        };
        let jobs: Vec<_> =
            view.gated_jobs().filter(due).take(limit::GATE_BATCH).map(last).collect();
        if jobs.is_empty() {
            return None;
        }
        self.busy = Some(now.plus(limit::GATE_PATIENCE));
        Some(Duty::DecideTraining { jobs })
    }
}
