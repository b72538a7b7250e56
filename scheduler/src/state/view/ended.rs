//! How long attempts ran that have ended, as rows remember it.

use crate::state::{
    key,
    row::{AttemptRow, Submitted},
};
use domain::{JobId, Millis, job::EndCause, port::RowRead, scratch};

/// Attempts of one job that are looked at.
const ATTEMPTS_MAX: usize = 64;

/// An attempt that has ended by itself, or at its time limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedRun {
    /// Where its job waited.
    pub queue: String,
    /// Whose it was.
    pub user: String,
    /// The job's name.
    pub name: String,
    /// When it began.
    pub granted: Millis,
    /// How long it held its place.
    pub ran: Millis,
}

/// Attempts of the newest jobs up to `newest`, of at most `jobs_max`, that had ended by `until`.
///
/// What failed, was cancelled or had to make room says nothing of how long its like takes.
#[must_use]
pub fn ended_runs(
    rows: &impl RowRead,
    newest: JobId,
    until: Millis,
    jobs_max: usize,
) -> Vec<EndedRun> {
    let mut runs = Vec::new();
    for id in (1..=newest.0).rev().take(jobs_max).map(JobId) {
        let (from, to) = key::attempts_of_job(id);
        let attempts = rows.range(&from, &to, ATTEMPTS_MAX);
        let times: Vec<(Millis, Millis)> = attempts
            .iter()
            .map(|(key, value)| scratch::decode::<AttemptRow>(key, value))
            .filter_map(|attempt| ran(&attempt, until))
            .collect();
        if times.is_empty() {
            continue;
        }
        let key = key::job_spec(id);
        let Some(bytes) = rows.get(&key) else { continue };
        let spec = scratch::decode::<Submitted>(&key, &bytes).spec;
        if spec.check.is_some() {
            continue;
        }
        let (queue, user, name) = (spec.queue, spec.user, spec.name);
        runs.extend(times.into_iter().map(|(granted, ran)| EndedRun {
            queue: queue.clone(),
            user: user.clone(),
            name: name.clone(),
            granted,
            ran,
        }));
    }
    runs
}

/// When an attempt began, and how long it ran.
fn ran(attempt: &AttemptRow, until: Millis) -> Option<(Millis, Millis)> {
    let ended = attempt.ended.filter(|ended| *ended <= until)?;
    let whole = matches!(attempt.cause, None | Some(EndCause::TimeLimit));
    whole.then(|| (attempt.granted, ended.minus(attempt.granted)))
}
