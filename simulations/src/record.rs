//! What the log did, entry by entry, as the first machine that applied each entry saw it: the
//! witness by which histories are judged.

use crate::law::{
    each_entry::EachEntry, near_kept, needed_kept::NeededKept, preemption_used::PreemptionUsed,
    quota_kept, retrain_once::RetrainOnce, seal_key::SealKey, window_kept,
};
use domain::{
    Digest, JobId, LogIndex, RequestKey,
    lease::Phase,
    port::{Row, RowChange, RowRead},
    scratch,
    view::{JobLine, JobView},
};
use scheduler::{
    planner,
    state::{
        Cluster,
        command::{Applied, Command, Effect, Entry, PlanRecord, Refusal, Reply},
        preemption::PreemptRecord,
        view::JobFilter,
    },
};
use std::collections::{BTreeMap, BTreeSet};

/// Jobs of one list.
pub const PAGE: usize = 8;

/// What was applied at which index, and what could be read after it.
#[derive(Default)]
pub struct Record {
    commands: BTreeMap<u64, Digest>,
    lines: BTreeMap<JobId, BTreeMap<u64, Digest>>,
    documents: BTreeMap<JobId, BTreeMap<u64, Digest>>,
    answers: BTreeMap<RequestKey, (u64, Reply)>,
    plans: BTreeMap<u64, PlanRecord>,
    preemptions: BTreeMap<u64, PreemptRecord>,
    used: PreemptionUsed,
    needed: NeededKept,
    each: EachEntry,
    /// Keys, and what was sealed with them.
    pub seals: SealKey,
    drift: RetrainOnce,
    /// The newest job, whoever submitted it.
    newest: u64,
    /// Plans that were made again.
    pub replans: u64,
    /// Gangs that started near each other, as their jobs required.
    pub near: u64,
    broken: Option<String>,
}

impl Record {
    /// A machine has applied an entry.
    pub fn applied<R: RowRead>(
        &mut self,
        machine: &Cluster,
        rows: &R,
        at: LogIndex,
        entry: &Entry,
        applied: &Applied,
    ) {
        self.replan(machine, at);
        let command = Digest::of_value(entry);
        let newest = self.commands.last_key_value().map_or(0, |(index, _)| *index);
        match self.commands.get(&at.0) {
            Some(first) if *first == command => return,
            Some(_) => return self.disagree(at, "one replica applies another command"),
            None if at.0 < newest => return self.disagree(at, "others had no command"),
            None => self.commands.insert(at.0, command),
        };
        for (request, reply) in entry.members.iter().zip(&applied.replies) {
            let answered = !matches!(reply, Reply::Refused(Refusal::NotYet { .. }));
            if let Some(key) = request.key.filter(|_| answered) {
                self.answers.entry(key).or_insert_with(|| (at.0, reply.clone()));
            }
        }
        let after = After { rows, changes: changes(&applied.rows) };
        self.hold(machine, &after, at, entry, applied);
        let mut changed = changed(applied);
        // Some jobs the cluster submits itself, and tells nobody.
        while machine.view().job(&after, JobId(self.newest + 1)).is_some() {
            self.newest += 1;
            changed.insert(JobId(self.newest));
        }
        for job in changed {
            let Some(document) = machine.view().job(&after, job) else { continue };
            self.lines.entry(job).or_default().insert(at.0, line_digest(&document.line));
            self.documents.entry(job).or_default().insert(at.0, job_digest(document));
        }
    }

    /// Holds the entry to the laws that look at each.
    fn hold<R: RowRead>(
        &mut self,
        machine: &Cluster,
        after: &After<'_, R>,
        at: LogIndex,
        entry: &Entry,
        applied: &Applied,
    ) {
        if let Some(what) = quota_kept::broken(&machine.view(), at, entry) {
            self.broken.get_or_insert(what);
        }
        if let Some(what) = window_kept::broken(&machine.view(), at, entry) {
            self.broken.get_or_insert(what);
        }
        match near_kept::look(&machine.view(), at) {
            Ok(seen) => self.near += seen,
            Err(what) => {
                self.broken.get_or_insert(what);
            }
        }
        if let Some(what) = self.used.look(&machine.view(), at) {
            self.broken.get_or_insert(what);
        }
        if let Some(what) = self.needed.look(&machine.view(), after, at, entry) {
            self.broken.get_or_insert(what);
        }
        if let Err(broken) = self.each.look(machine, after, &applied.rows) {
            self.broken.get_or_insert(format!("{} (entry {at})", broken.into_words()));
        }
        if let Some(what) = self.seals.look(&machine.view(), after, at, entry, applied) {
            self.broken.get_or_insert(what);
        }
        if let Some(what) = self.drift.look(after, entry, applied) {
            self.broken.get_or_insert(format!("{what} at entry {at}"));
        }
    }

    fn disagree(&mut self, at: LogIndex, what: &str) {
        self.broken.get_or_insert(format!("log_agreement: at entry {at} {what}"));
    }

    /// A leader has made a plan: whoever comes to the same entry must make the same.
    pub fn planned(&mut self, command: &Command) {
        if let Command::Place { plan } = command {
            self.plans.insert(plan.base.0, plan.clone());
            while self.plans.len() > 64 {
                self.plans.pop_first();
            }
        }
        if let Command::Preempt { plan } = command {
            self.preemptions.insert(plan.base.0, plan.clone());
            while self.preemptions.len() > 64 {
                self.preemptions.pop_first();
            }
        }
    }

    fn replan(&mut self, machine: &Cluster, at: LogIndex) {
        if let Some(recorded) = self.preemptions.get(&at.0) {
            self.replans += 1;
            if let Err(fault) = planner::replay_preemption(&machine.view(), recorded) {
                self.broken.get_or_insert(format!("planner_replays: {fault}"));
            }
        }
        let Some(recorded) = self.plans.get(&at.0) else { return };
        self.replans += 1;
        if let Err(fault) = planner::replay(&machine.view(), recorded) {
            self.broken.get_or_insert(format!("planner_replays: {fault}"));
        }
    }

    /// Preemptions that began, and those whose gang got its place.
    #[must_use]
    pub fn preempted(&self) -> (u64, u64) {
        self.used.counts()
    }

    /// Results whose files went.
    #[must_use]
    pub fn collected(&self) -> u64 {
        self.needed.count()
    }

    /// What became of models in use.
    #[must_use]
    pub fn drift(&self) -> &RetrainOnce {
        &self.drift
    }

    /// Takes the first law that was broken.
    pub fn broken(&mut self) -> Option<String> {
        self.broken.take()
    }

    /// Where a request was answered first, and how.
    #[must_use]
    pub fn answer(&self, key: RequestKey) -> Option<&(u64, Reply)> {
        self.answers.get(&key)
    }

    /// The newest job as of an index.
    #[must_use]
    pub fn newest_job(&self, at: u64) -> Option<JobId> {
        let known = |times: &BTreeMap<u64, Digest>| {
            times.first_key_value().is_some_and(|(first, _)| *first <= at)
        };
        self.lines.iter().rev().find(|(_, times)| known(times)).map(|(job, _)| *job)
    }

    /// A job's document as of an index.
    #[must_use]
    pub fn document(&self, job: JobId, at: u64) -> Option<Digest> {
        latest(self.documents.get(&job)?, at)
    }

    /// A job's line as of an index.
    #[must_use]
    pub fn line(&self, job: JobId, at: u64) -> Option<Digest> {
        latest(self.lines.get(&job)?, at)
    }
}

fn latest(times: &BTreeMap<u64, Digest>, at: u64) -> Option<Digest> {
    times.range(..=at).next_back().map(|(_, digest)| *digest)
}

/// A line as it is compared.
#[must_use]
pub fn line_digest(line: &JobLine) -> Digest {
    Digest::of(format!("{line:?}").as_bytes())
}

/// A document as it is compared: who of a gang is ready or done is told to the gang alone.
#[must_use]
pub fn job_digest(mut document: JobView) -> Digest {
    for attempt in document.parts.iter_mut().flat_map(|part| &mut part.attempts) {
        match &mut attempt.phase {
            Some(Phase::Preparing { ready }) => ready.clear(),
            Some(Phase::Started { done }) => done.clear(),
            Some(Phase::Stopping { remaining, .. }) => remaining.clear(),
            None => {}
        }
    }
    Digest::of(format!("{document:?}").as_bytes())
}

/// The newest jobs of a machine, as a list shows them.
#[must_use]
pub fn list(machine: &Cluster, rows: &impl RowRead) -> Vec<(JobId, Digest)> {
    let lines = machine.view().job_lines(rows, &JobFilter::default(), None, PAGE);
    lines.iter().map(|line| (line.id, line_digest(line))).collect()
}

/// Jobs that are new, or whose watchers are told of a change.
fn changed(applied: &Applied) -> BTreeSet<JobId> {
    let told = applied.effects.iter().filter_map(|effect| match effect {
        Effect::Changed { job } => Some(*job),
        Effect::Wanted { .. }
        | Effect::Plan
        | Effect::Seal { .. }
        | Effect::Sign
        | Effect::Gate => None,
    });
    let new = applied.replies.iter().filter_map(|reply| match reply {
        Reply::Submitted { jobs, .. } => Some(jobs.iter().copied()),
        _ => None,
    });
    new.flatten().chain(told).collect()
}

type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

fn changes(rows: &[RowChange]) -> Changes {
    rows.iter().map(|change| (change.key.clone(), change.value.clone())).collect()
}

/// Rows as they stand after an entry whose changes are not laid over them yet.
struct After<'a, R> {
    rows: &'a R,
    changes: Changes,
}

impl<R: RowRead> RowRead for After<'_, R> {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.changes.get(key).map_or_else(|| self.rows.get(key), Clone::clone)
    }

    fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Vec<Row> {
        scratch::merged_range(self.rows, &self.changes, Option::as_ref, from, to, limit)
    }
}
