//! Whose checkpoints' bytes are kept.
//!
//! Servers delete what no row here names and no live lease may still commit. Source: ADR-0028.

use super::{
    key,
    row::{KeptRow, Submitted},
    sched::Sched,
    step::Step,
};
use domain::{
    Digest, JobId,
    check::Subject,
    checkpoint::{Checkpoint, CheckpointRule},
    chunks::Pin,
    limit,
    port::RowRead,
    scratch,
};
use std::collections::BTreeSet;

impl Sched {
    /// A checkpoint was committed: its bytes are kept, and those beyond the job's number go.
    pub(super) fn keep_bytes<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        job: JobId,
        position: u32,
        checkpoint: &Checkpoint,
    ) {
        let rule = rule_of(step, job);
        let until = step.now.plus(rule.age());
        let kept = KeptRow { list: checkpoint.tree, lease: checkpoint.lease, until };
        add(step, (job, position, checkpoint.step), &kept);
        let (from, to) = key::kept_of(job, position);
        let all = step.rows.range(&from, &to, limit::CHECKPOINTS_KEPT_MAX as usize + 1);
        let over = all.len().saturating_sub(rule.count() as usize);
        for (key, value) in &all[..over] {
            drop_row(step, (job, position, step_in(key)), &scratch::decode(key, value));
        }
        self.look_at_kept(&step.rows);
    }

    /// Lets go what has been kept long enough, a bounded number in one entry. The newest of what
    /// may still be resumed stays, and is looked at again later.
    pub(super) fn release_due<R: RowRead>(&mut self, step: &mut Step<'_, R>) {
        if self.kept_until.is_none_or(|until| until > step.now) {
            return;
        }
        let (from, to) = key::all_kept_until();
        for (due, _) in step.rows.range(&from, &to, limit::CHECKPOINTS_DUE) {
            let (until, job, position, of) = key::until_in(&due);
            if until > step.now {
                break;
            }
            let key = key::kept(job, position, of);
            let Some(kept) = step.rows.read::<KeptRow>(&key) else {
                step.rows.remove(due);
                continue;
            };
            drop_row(step, (job, position, of), &kept);
            if self.may_resume_from(job, position, of) {
                let until = step.now.plus(rule_of(step, job).age());
                add(step, (job, position, of), &KeptRow { until, ..kept });
            }
        }
        self.look_at_kept(&step.rows);
    }

    /// A check begins from a checkpoint: its bytes are kept until the check is closed, whatever its
    /// job keeps.
    pub(super) fn keep_for_check<R: RowRead>(&mut self, step: &mut Step<'_, R>, of: &Subject) {
        let Some((place, from)) = start_of(of) else { return };
        let until = step.now.plus(rule_of(step, place.0).age());
        add(step, place, &KeptRow { list: from.tree, lease: from.lease, until });
        self.look_at_kept(&step.rows);
    }

    /// The check is closed.
    pub(super) fn release_check<R: RowRead>(&mut self, step: &mut Step<'_, R>, of: &Subject) {
        let Some((place, _)) = start_of(of) else { return };
        let (job, position, at) = place;
        if let Some(kept) = step.rows.read::<KeptRow>(&key::kept(job, position, at)) {
            drop_row(step, place, &kept);
            self.look_at_kept(&step.rows);
        }
    }

    fn may_resume_from(&self, job: JobId, position: u32, step: u64) -> bool {
        if position & OF_CHECK != 0 {
            let begins =
                |of: &Subject| start_of(of).is_some_and(|it| it.0 == (job, position, step));
            return self.checks.open.values().any(|check| begins(&check.subject));
        }
        // Elements that have ended are not in memory.
        let row = self.jobs.get(&job).and_then(|job| job.elements.get(&position));
        row.and_then(|row| row.newest.as_ref()).is_some_and(|newest| newest.step == step)
    }

    /// When the first time is over, as the rows have it.
    pub(super) fn look_at_kept(&mut self, rows: &impl RowRead) {
        let (from, to) = key::all_kept_until();
        let first = rows.range(&from, &to, 1);
        self.kept_until = first.first().map(|(key, _)| key::until_in(key).0);
    }

    /// Whether an attempt may still commit the checkpoint of a step.
    fn may_commit(&self, pin: &Pin) -> bool {
        let Some(lease) = self.leases.get(&pin.lease) else {
            // A lease of a later entry than was applied here is not known here yet.
            return pin.lease.index > self.meta.applied.0;
        };
        let job = self.jobs.get(&lease.element.job);
        let row = job.and_then(|job| job.elements.get(&job.position(lease.element)?));
        // Steps only rise: one up to the newest is committed, or never will be.
        row.and_then(|row| row.newest.as_ref()).is_none_or(|newest| pin.step > newest.step)
    }

    /// Whether a list of chunks is needed that these attempts have put on a server: a checkpoint
    /// whose bytes are kept is stored as it, or one of the attempts may still commit it.
    #[must_use]
    pub fn needs_list(&self, rows: &impl RowRead, list: Digest, pins: &BTreeSet<Pin>) -> bool {
        let (from, to) = key::kept_as(list);
        let open = |pin: &Pin| self.may_commit(pin);
        pins.iter().any(open) || !rows.range(&from, &to, 1).is_empty()
    }
}

/// A checkpoint whose bytes are kept, and where its list comes in the order of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptList {
    /// Its place, for the next page.
    pub key: Vec<u8>,
    /// The list of its chunks.
    pub list: Digest,
    /// The attempt that committed it.
    pub by: Pin,
}

/// Up to `max` checkpoints whose bytes are kept, after this place.
#[must_use]
pub fn page(rows: &impl RowRead, after: Option<Vec<u8>>, max: usize) -> Vec<KeptList> {
    let (first, to) = key::all_kept();
    let from = after.map_or(first, |mut key| {
        key.push(0);
        key
    });
    let found = rows.range(&from, &to, max).into_iter();
    let read = |(key, value): (Vec<u8>, Vec<u8>)| {
        let kept: KeptRow = scratch::decode(&key, &value);
        let by = Pin { lease: kept.lease, step: step_in(&key) };
        KeptList { key, list: kept.list, by }
    };
    found.map(read).collect()
}

type Place = (JobId, u32, u64);

/// Tells the checkpoint that a check of an element begins from apart from the element's own: no
/// array has so many elements.
const OF_CHECK: u32 = 1 << 31;
const _: () = assert!(limit::ARRAY_MAX < OF_CHECK);

/// Where the checkpoint is kept that a check begins from, if it begins from one.
fn start_of(subject: &Subject) -> Option<(Place, &Checkpoint)> {
    let Subject::Segment { of, from: Some(from), .. } = subject else { return None };
    Some(((of.job, OF_CHECK | of.index.unwrap_or(0), from.step), from))
}

fn rule_of<R: RowRead>(step: &Step<'_, R>, job: JobId) -> CheckpointRule {
    step.submitted(job).map(|job: Submitted| job.spec.checkpoint).unwrap_or_default()
}

fn add<R: RowRead>(step: &mut Step<'_, R>, (job, position, of): Place, kept: &KeptRow) {
    step.rows.put(key::kept(job, position, of), kept);
    step.rows.put(key::kept_list(kept.list, job, position, of), &());
    step.rows.put(key::kept_until(kept.until, job, position, of), &());
}

fn drop_row<R: RowRead>(step: &mut Step<'_, R>, (job, position, of): Place, kept: &KeptRow) {
    step.rows.remove(key::kept(job, position, of));
    step.rows.remove(key::kept_list(kept.list, job, position, of));
    step.rows.remove(key::kept_until(kept.until, job, position, of));
}

/// The step in a key of the table by element.
fn step_in(key: &[u8]) -> u64 {
    let bytes = key.get(13..21).and_then(|part| part.try_into().ok());
    u64::from_be_bytes(bytes.expect("keys by element end in eight bytes of the step"))
}

/// The first fault of the tables of kept checkpoints, in words.
#[cfg(test)]
pub fn broken(sched: &Sched, rows: &impl RowRead) -> Option<String> {
    let all = page(rows, None, usize::MAX);
    let starts = sched.checks.open.values().filter_map(|check| start_of(&check.subject));
    let starts: BTreeSet<Place> = starts.map(|(place, _)| place).collect();
    let of_checks = all.iter().filter(|kept| kept.key[9] & 0x80 != 0).count();
    if of_checks != starts.len() {
        return Some(format!("checkpoint_kept: {of_checks} for {} checks", starts.len()));
    }
    for (job, position, step) in starts {
        if rows.get(&key::kept(job, position, step)).is_none() {
            return Some(format!("checkpoint_kept: a check of {job} begins from {step}"));
        }
    }
    // What a run of a check resumes from is kept for the check.
    for (id, job) in sched.jobs.iter().filter(|(_, job)| job.brief.check.is_none()) {
        for (position, row) in &job.elements {
            let Some(newest) = &row.newest else { continue };
            if rows.get(&key::kept(*id, *position, newest.step)).is_none() {
                return Some(format!("checkpoint_kept: {id} may resume from {}", newest.step));
            }
        }
    }
    let (from, to) = key::all_kept_until();
    let until = rows.range(&from, &to, usize::MAX).len();
    let lists: usize = all
        .iter()
        .map(|kept| kept.list)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .map(key::kept_as)
        .map(|(from, to)| rows.range(&from, &to, usize::MAX).len())
        .sum();
    let first = rows.range(&from, &to, 1).first().map(|it| key::until_in(&it.0).0);
    if until != all.len() || lists != all.len() || first != sched.kept_until {
        return Some(format!("checkpoint_kept: {} rows, {lists} and {until}", all.len()));
    }
    None
}

#[cfg(test)]
mod tests;
