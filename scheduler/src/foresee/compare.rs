//! What a change does: the time ahead as things are, beside that with the change.

use super::{
    Changes, Course, Foresight, HISTORY_JOBS_MAX, JOBS_MAX, RunTimes, Unforeseen, Used, foresee,
};
use crate::{planner::POLICY_VERSION, state::fork::Fork};
use domain::{
    ElementId, JobId, Millis,
    foresee::{Basis, EvictionView, ShiftView, StartView, UtilisationView, WhatifView},
};
use std::collections::BTreeMap;

/// Shifts, and evictions, that one answer lists.
const LISTED_MAX: usize = 200;

/// Compares.
///
/// # Errors
/// When the change cannot be, or `goes_on` says that nobody wants it any more.
pub fn whatif(
    fork: &Fork,
    changes: &Changes,
    words: Vec<String>,
    known: &RunTimes,
    course: Course,
    goes_on: &dyn Fn() -> bool,
) -> Result<WhatifView, Unforeseen> {
    // A change that cannot be is refused before anything is gone through.
    let after = foresee(fork, changes, known, course, goes_on)?;
    let before = foresee(fork, &Changes::default(), known, course, goes_on)?;
    let (mut shifts, unmoved) = shifts(fork, &before, &after);
    let more_shifts = shifts.len().saturating_sub(LISTED_MAX) as u64;
    shifts.truncate(LISTED_MAX);
    let mut evictions = evictions(&before, &after);
    let more_evictions = evictions.len().saturating_sub(LISTED_MAX) as u64;
    evictions.truncate(LISTED_MAX);
    Ok(WhatifView {
        from_time: course.now,
        horizon_ms: after.until.minus(after.now).0,
        scenarios: after.walks.len() as u32,
        policy_version: POLICY_VERSION,
        view: fork.origin(),
        changes: words,
        drained_at: changes.drained_at,
        shifts,
        more_shifts,
        unmoved,
        submitted: after.submitted.and_then(|id| submitted(changes, &after, id)),
        evictions,
        more_evictions,
        utilisation: utilisation(&before, &after),
        notes: notes(&before, &after, course),
    })
}

/// Waiting jobs whose p50 or p90 moves, those that move most first, and the number of others.
fn shifts(fork: &Fork, before: &Foresight, after: &Foresight) -> (Vec<ShiftView>, u64) {
    let (mut moved, mut unmoved) = (Vec::new(), 0);
    let view = fork.view();
    for (id, job) in view.all_live_jobs() {
        if job.progress.waiting(job.brief.elements()) == 0 || job.brief.check.is_some() {
            continue;
        }
        let (then, now) = (before.start_of(id), after.start_of(id));
        if (then.p50, then.p90) == (now.p50, now.p90) {
            unmoved += 1;
            continue;
        }
        moved.push(ShiftView {
            job: id,
            name: job.brief.name.to_string(),
            user: job.brief.user.to_string(),
            queue: job.brief.queue.to_string(),
            gpus: job.brief.gang().gpus(),
            shift_ms: then.p50.zip(now.p50).map(|(then, now)| distance(then, now)),
            before: Some(then),
            after: now,
        });
    }
    // What starts no more, or only now, has moved most.
    moved.sort_by_key(|shift| {
        (shift.shift_ms.is_some(), std::cmp::Reverse(shift.shift_ms.map(i64::abs)), shift.job)
    });
    (moved, unmoved)
}

fn distance(from: Millis, to: Millis) -> i64 {
    let whole = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    if to >= from { whole(to.minus(from).0) } else { -whole(from.minus(to).0) }
}

fn submitted(changes: &Changes, after: &Foresight, id: JobId) -> Option<ShiftView> {
    let spec = changes.job.as_deref()?;
    Some(ShiftView {
        job: id,
        name: spec.name.clone(),
        user: spec.user.clone(),
        queue: spec.queue.clone(),
        gpus: u64::from(spec.tasks) * u64::from(spec.resources.gpus),
        before: None,
        after: after.start_of(id),
        shift_ms: None,
    })
}

fn evictions(before: &Foresight, after: &Foresight) -> Vec<EvictionView> {
    let mut all: BTreeMap<ElementId, EvictionView> = BTreeMap::new();
    for (foresight, changed) in [(after, true), (before, false)] {
        for walk in &foresight.walks {
            // One that is asked again and again is counted once.
            let mut met = std::collections::BTreeSet::new();
            for evicted in walk.evicted.iter().filter(|it| met.insert(it.element)) {
                let view = all.entry(evicted.element).or_insert_with(|| EvictionView {
                    element: evicted.element,
                    user: evicted.user.clone(),
                    queue: evicted.queue.clone(),
                    gpus: evicted.gpus,
                    cause: evicted.cause.to_string(),
                    first_at: evicted.at,
                    before: 0,
                    after: 0,
                });
                *if changed { &mut view.after } else { &mut view.before } += 1;
            }
        }
    }
    let mut all: Vec<EvictionView> = all.into_values().collect();
    // What the change brings about comes first.
    let more = |it: &EvictionView| i64::from(it.before) - i64::from(it.after);
    all.sort_by_key(|it| (more(it), it.first_at, it.element));
    all
}

fn utilisation(before: &Foresight, after: &Foresight) -> UtilisationView {
    let cuts = before.cut().into_iter().chain(after.cut());
    let end = cuts.chain([after.until]).min().unwrap_or(after.until);
    let (before_held, before_there) = sum(before, end);
    let (after_held, after_there) = sum(after, end);
    UtilisationView {
        window_ms: end.minus(after.now).0,
        before_per_mille: per_mille(before_held, before_there),
        after_per_mille: per_mille(after_held, after_there),
        before_gpu_ms: before_held,
        after_gpu_ms: after_held,
    }
}

/// GPU-milliseconds held and there until `end`, on average over the scenarios.
fn sum(foresight: &Foresight, end: Millis) -> (u64, u64) {
    let (mut held, mut there) = (0_u128, 0_u128);
    for walk in &foresight.walks {
        let ends = walk.used.iter().skip(1).map(|used| used.at).chain([end]);
        for (Used { at, held: now, there: all }, to) in walk.used.iter().zip(ends) {
            let ms = u128::from(to.min(end).minus(*at).0);
            held += ms * u128::from(*now);
            there += ms * u128::from(*all);
        }
    }
    let count = foresight.walks.len().max(1) as u128;
    let mean = |sum: u128| u64::try_from(sum / count).unwrap_or(u64::MAX);
    (mean(held), mean(there))
}

fn per_mille(part: u64, of: u64) -> u64 {
    let share = u128::from(part) * 1_000 / u128::from(of.max(1));
    u64::try_from(share).unwrap_or(u64::MAX)
}

/// What was taken for granted, and what was cut.
fn notes(before: &Foresight, after: &Foresight, course: Course) -> Vec<String> {
    let mut notes = vec![match after.basis {
        Basis::TimeLimits => {
            "each job is taken to use its time limit up: no like job has ended".to_owned()
        }
        Basis::History => format!(
            "run times are those of like jobs among the {HISTORY_JOBS_MAX} newest, or time limits"
        ),
    }];
    notes
        .push("nothing fails, no node is lost, and nothing else is submitted meanwhile".to_owned());
    let endless = after.endless();
    if !endless.is_empty() {
        let names: Vec<_> = endless.iter().take(8).map(ToString::to_string).collect();
        notes.push(format!(
            "{} without a time limit and without history run on to the end of it all: {}",
            endless.len(),
            names.join(" ")
        ));
    }
    if let Some(at) = before.cut().into_iter().chain(after.cut()).min() {
        let minutes = at.minus(course.now).0 / 60_000;
        notes.push(format!("cut after {minutes} minutes: more happens than is gone through"));
    }
    if after.left_out > 0 {
        notes.push(format!(
            "{} waiting jobs beyond the first {JOBS_MAX} are not looked at",
            after.left_out
        ));
    }
    notes
}

/// When a job that is tried out starts.
///
/// # Errors
/// As [`foresee`].
pub fn start_if_submitted(
    fork: &Fork,
    changes: &Changes,
    known: &RunTimes,
    course: Course,
    goes_on: &dyn Fn() -> bool,
) -> Result<Option<StartView>, Unforeseen> {
    let after = foresee(fork, changes, known, course, goes_on)?;
    Ok(after.submitted.map(|id| after.start_of(id)))
}
