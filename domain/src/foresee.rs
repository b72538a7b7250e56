//! What is shown of the time ahead: when waiting jobs start, and what a change would do to it.

use crate::{
    digest::Digest,
    id::{ElementId, JobId},
    unit::Millis,
};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// What an estimate rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// How long jobs may run: each that has a time limit is taken to use it up.
    TimeLimits,
    /// How long like jobs ran, where there were any.
    History,
}

/// How often the newest attempts ran no longer than those of their like that had ended before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CalibrationView {
    /// Attempts that had likes when they began.
    pub attempts: u64,
    /// Those of them that ran no longer than the p50 of their likes.
    pub within_p50: u64,
    /// Those that ran no longer than the p90.
    pub within_p90: u64,
}

/// What was foreseen of a waiting job's start, kept until it is known how it came.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Foretold {
    /// When it was foreseen.
    pub made: Millis,
    /// In half of the scenarios it had started by then.
    pub p50: Millis,
    /// In nine of ten.
    pub p90: Millis,
}

/// How often jobs started by when it had been foreseen.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
pub struct StartsHeld {
    /// Jobs of which it is known: they have started, or their p90 has gone by.
    pub jobs: u64,
    /// Those that had started by their p50.
    pub within_p50: u64,
    /// Those that had started by their p90.
    pub within_p90: u64,
}

impl StartsHeld {
    /// Counts a start, or none up to now.
    pub fn count(&mut self, of: Foretold, started: Option<Millis>) {
        let by = |time: Millis| u64::from(started.is_some_and(|at| at <= time));
        self.jobs += 1;
        self.within_p50 += by(of.p50);
        self.within_p90 += by(of.p90);
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            jobs: self.jobs + other.jobs,
            within_p50: self.within_p50 + other.within_p50,
            within_p90: self.within_p90 + other.within_p90,
        }
    }
}

/// When a job starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartView {
    /// When it was looked ahead.
    pub from_time: Millis,
    /// In half of the scenarios it has started by then; none where that is not known.
    pub p50: Option<Millis>,
    /// In nine of ten; none where that is not known.
    pub p90: Option<Millis>,
    /// Where, in the scenario of the p50: names of nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
    /// What it rests on.
    pub basis: Basis,
    /// Scenarios that were gone through.
    pub scenarios: u32,
    /// How often run times fell within what their likes had led one to expect, if any had likes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<CalibrationView>,
    /// How often what was foreseen of starts held over the last week, if any of it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_held: Option<StartsHeld>,
    /// Why a time is not known, if one is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_known: Option<String>,
}

/// A waiting job whose start moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShiftView {
    /// The job.
    pub job: JobId,
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub user: String,
    /// Where it waits.
    pub queue: String,
    /// GPUs of one gang of it.
    pub gpus: u64,
    /// As things are; none for a job that was not submitted.
    pub before: Option<StartView>,
    /// With the change.
    pub after: StartView,
    /// How much later its p50 is; negative for earlier; none where one of both is not known.
    pub shift_ms: Option<i64>,
}

/// An attempt that has to make room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvictionView {
    /// What is ended, to go on later.
    pub element: ElementId,
    /// Whose it is.
    pub user: String,
    /// Its queue.
    pub queue: String,
    /// GPUs that it leaves.
    pub gpus: u64,
    /// Why, in words.
    pub cause: String,
    /// When, in the first scenario in which it is.
    pub first_at: Millis,
    /// In how many scenarios, as things are.
    pub before: u32,
    /// In how many with the change.
    pub after: u32,
}

/// How much of the GPUs is used, on average over some time and all scenarios.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UtilisationView {
    /// The time. It ends with the horizon, or where the first scenario was cut.
    pub window_ms: u64,
    /// As things are. Unit: thousandths.
    pub before_per_mille: u64,
    /// With the change. Unit: thousandths.
    pub after_per_mille: u64,
    /// GPU-milliseconds used, as things are.
    pub before_gpu_ms: u64,
    /// The same with the change.
    pub after_gpu_ms: u64,
}

/// What a change would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhatifView {
    /// From when on.
    pub from_time: Millis,
    /// How far it was looked ahead.
    pub horizon_ms: u64,
    /// Scenarios that were gone through, each as things are and with the change.
    pub scenarios: u32,
    /// The rules by which it was planned.
    pub policy_version: u32,
    /// Digest of the state that was forked.
    pub view: Digest,
    /// The change, in words.
    pub changes: Vec<String>,
    /// When nodes are taken out of service; none for at once, or for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained_at: Option<Millis>,
    /// Jobs whose start moves, those that move most first.
    pub shifts: Vec<ShiftView>,
    /// Further ones that are not listed.
    pub more_shifts: u64,
    /// Waiting jobs whose start stays.
    pub unmoved: u64,
    /// The job that would be submitted, if one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submitted: Option<ShiftView>,
    /// Attempts that make room, with the change or as things are.
    pub evictions: Vec<EvictionView>,
    /// Further ones that are not listed.
    pub more_evictions: u64,
    /// How much of the GPUs is used.
    pub utilisation: UtilisationView,
    /// What was taken for granted, and what was cut.
    pub notes: Vec<String>,
}
