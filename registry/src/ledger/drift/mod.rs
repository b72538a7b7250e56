//! Monitors of drift, the episodes in which models drift, and the retrains that follow.

mod command;
mod compare;
mod episode;
mod key;
mod monitor;
mod observe;
mod resume;
mod retrain;
mod trigger;
mod view;

pub use command::{DriftCommand, Seen};
pub use compare::MeasureWanted;
pub(super) use resume::load_held;
pub use retrain::{DataInput, RetrainWanted};
pub use view::{episode, episodes, monitor, monitors, reference};

use super::{Ledger, command::Act};
use borsh::{BorshDeserialize, BorshSerialize};
use domain::{
    EpisodeId, JobId, Millis, drift::Monitor, model::ModelRef, port::RowRead,
    refusal::RegistryRefusal, scratch::Scratch,
};

/// A monitor as its row has it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct MonitorRow {
    monitor: Monitor,
    /// The episode that is open.
    open: Option<EpisodeId>,
    /// Observations so far.
    observations: u64,
    /// When retrains were started, oldest first, the newest of them.
    retrains: Vec<Millis>,
    /// Triggers so far.
    triggers: u64,
}

/// What a command about drift gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drifted {
    /// Number of the observation, the episode or the revision that it is about.
    pub number: u64,
    /// A job that is to be submitted in the same step.
    pub wanted: Option<RetrainWanted>,
}

impl From<u64> for Drifted {
    fn from(number: u64) -> Self {
        Self { number, wanted: None }
    }
}

fn invalid(fault: impl std::fmt::Display) -> RegistryRefusal {
    RegistryRefusal::Invalid(fault.to_string())
}

/// The monitor of a version, or why there is none.
fn monitored<R: RowRead>(
    act: &Act<'_, '_, R>,
    model: &ModelRef,
) -> Result<MonitorRow, RegistryRefusal> {
    act.rows.read(&key::monitor(model)).ok_or_else(|| RegistryRefusal::NotFound {
        what: format!("monitor of {model}"),
        list: "drift list".into(),
    })
}

impl Ledger {
    /// Does what is asked about drift. `over` says of a job whether it has ended.
    ///
    /// Scores come as fixed point: they were computed by whoever proposed the command.
    ///
    /// # Errors
    /// The rule that forbids it. No row has changed then.
    pub fn drift<R: RowRead>(
        &mut self,
        rows: &mut Scratch<'_, R>,
        now: Millis,
        actor: &str,
        command: DriftCommand,
        over: impl Fn(JobId) -> bool,
    ) -> Result<Drifted, RegistryRefusal> {
        let mut act = Act { rows, now, actor };
        match command {
            DriftCommand::SetMonitor { model, rules, policy, reference } => {
                let new = monitor::NewMonitor { model, rules, policy, reference };
                self.set_monitor(&mut act, new).map(Drifted::from)
            }
            DriftCommand::RemoveMonitor { model, reason } => {
                self.remove_monitor(&mut act, &model, reason).map(Drifted::from)
            }
            DriftCommand::Observe { model, revision, seen } => {
                self.observe(&mut act, &model, Some(revision), None, seen)
            }
            DriftCommand::Alert { model, reason, seen } => {
                self.observe(&mut act, &model, None, Some(reason), seen)
            }
            DriftCommand::Retrain { episode, data } => {
                Self::want_retrain(&act, episode, data, over)
            }
            DriftCommand::Close { episode, reason } => {
                self.close_by_hand(&mut act, episode, reason).map(Drifted::from)
            }
            DriftCommand::Resume { episode } => self.resume(&mut act, episode),
        }
    }
}
