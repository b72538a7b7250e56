//! How far each job is.

use super::cluster::Place;
use crate::workload::job::Job;

/// One job's progress.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Seconds of work left.
    pub remaining_s: f64,
    /// Seconds for which it has held its GPUs.
    pub executed_s: f64,
    /// Seconds of start that are still to pay.
    pub debt_s: f64,
    /// Whether it runs.
    pub running: bool,
    /// Where it runs or last ran.
    pub place: Place,
    /// When it first ran.
    pub first_start_s: Option<f64>,
    /// When it ended.
    pub end_s: Option<f64>,
    /// How often it was stopped.
    pub preemptions: u32,
    /// Seconds without progress while it held its GPUs.
    pub lost_s: f64,
}

/// All jobs at one time.
pub struct State<'a> {
    /// The trace.
    pub jobs: &'a [Job],
    /// Progress of each.
    pub run: Vec<Run>,
    /// What each is said to take, in seconds: the truth, or a guess.
    pub estimate_s: Vec<f64>,
    /// Virtual time.
    pub now: f64,
}

impl State<'_> {
    /// Seconds since a job came in which it did not run.
    #[must_use]
    pub fn waited_s(&self, job: usize) -> f64 {
        (self.now - self.jobs[job].submit_s - self.run[job].executed_s).max(0.0)
    }
}
