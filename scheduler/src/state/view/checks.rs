//! Checks: what they found, and what they wait for.

use super::View;
use crate::state::{
    key,
    row::{DumpRow, HealthRow},
};
use domain::{
    CheckId, Digest, ElementId, JobId,
    check::{Accusation, Check, CheckView, Finding, Subject},
    health::HeldGpu,
    limit,
    port::RowRead,
    scratch,
    view::{ArtifactView, DumpView, HeldGpuView},
};

impl<'a> View<'a> {
    /// Checks that are open.
    pub fn open_checks(&self) -> impl Iterator<Item = (CheckId, &'a Check)> + use<'a> {
        self.sched.checks.open.iter().map(|(id, check)| (*id, check))
    }

    /// What a class of hardware gives, if that is known.
    #[must_use]
    pub fn reference(&self, class: &str, build_key: Digest) -> Option<Digest> {
        self.sched.reference(class, build_key)
    }

    /// Charges that a node has not acted on.
    #[must_use]
    pub fn accusations(&self, id: domain::NodeId) -> Vec<Accusation> {
        let health = self.health(id);
        health.into_iter().flat_map(|health| health.accused.values().cloned()).collect()
    }

    /// A check, open or closed.
    #[must_use]
    pub fn check(&self, rows: &impl RowRead, id: CheckId) -> Option<CheckView> {
        let check = match self.sched.checks.open.get(&id) {
            Some(check) => check.clone(),
            None => {
                let key = key::closed_check(id);
                scratch::decode(&key, &rows.get(&key)?)
            }
        };
        Some(CheckView { id, says: self.says(&check), check })
    }

    pub(super) fn held_back(&self, rows: &impl RowRead, health: &HealthRow) -> Vec<HeldGpuView> {
        let gpu = |gpu: &HeldGpu| HeldGpuView {
            accepted: health.accepted.get(&gpu.uuid).copied(),
            check: health.checks.get(&gpu.uuid).and_then(|id| self.check(rows, *id)),
            gpu: gpu.clone(),
        };
        health.gpus.iter().map(gpu).collect()
    }

    /// The checked segments of a job, a page of them.
    pub(super) fn replays(&self, rows: &impl RowRead, job: JobId) -> Vec<CheckView> {
        let (from, to) = key::segments(job);
        let found = rows.range(&from, &to, limit::PAGE_MAX);
        let ids = found.iter().map(|(key, value)| scratch::decode::<CheckId>(key, value));
        ids.filter_map(|id| self.check(rows, id)).collect()
    }

    /// The dumps of a job's hung ranks.
    pub(super) fn dumps(&self, rows: &impl RowRead, job: JobId) -> Vec<DumpView> {
        let (from, to) = key::dumps(job);
        let found = rows.range(&from, &to, limit::PAGE_MAX);
        let dump = |(key, value): &(Vec<u8>, Vec<u8>)| {
            let DumpRow { element, lease, rank, dump, size, time } = scratch::decode(key, value);
            DumpView { element, lease, rank, dump, size, time }
        };
        found.iter().map(dump).collect()
    }

    /// An artifact with what was run again of the work behind it.
    pub(super) fn with_replays(
        &self,
        rows: &impl RowRead,
        mut artifact: ArtifactView,
    ) -> ArtifactView {
        let element = artifact.artifact.ticket.element;
        artifact.replays = self.replays(rows, element.job);
        let of = |check: &Check| match &check.subject {
            Subject::Segment { of, .. } => *of == element,
            Subject::Gpu { .. } | Subject::Node { .. } | Subject::Class => false,
        };
        artifact.replays.retain(|view| of(&view.check));
        artifact
    }

    /// One sentence: what a check found, or what it waits for.
    fn says(&self, check: &Check) -> String {
        let about = about(check);
        match check.finding() {
            Some(finding) => format!("{about}: {}", found(check, finding)),
            None if check.underway.as_ref().is_some_and(|run| !run.told) => {
                format!("{about}: runs on {}", check.places())
            }
            None => format!("{about}: {}", self.waits(check)),
        }
    }

    fn waits(&self, check: &Check) -> String {
        let class = &check.class;
        let waits = match &check.subject {
            Subject::Gpu { .. } if self.reference(class, check.build_key).is_none() => {
                format!("waits until two other GPUs of class {class} have agreed on what is right")
            }
            Subject::Node { .. } if self.reference(class, check.build_key).is_none() => {
                format!("waits until two others of class {class} have agreed on what is right")
            }
            Subject::Node { .. } => "waits for room on it".to_owned(),
            Subject::Gpu { .. } => "waits for a processor and memory of its node".to_owned(),
            Subject::Class if check.needs.resources.gpus == 0 => {
                format!("waits for an idle node of class {class}")
            }
            Subject::Class => format!("waits for an idle GPU of class {class}"),
            Subject::Segment { .. } if check.ballots.len() > 1 => {
                format!("{} differs: waits for idle GPUs of a third node", check.places())
            }
            Subject::Segment { .. } => format!("waits for idle GPUs of class {class} elsewhere"),
        };
        match &check.last {
            Some(last) => format!("{waits} (the last run {last})"),
            None => waits,
        }
    }
}

fn about(check: &Check) -> String {
    match &check.subject {
        Subject::Gpu { index, .. } => format!("acceptance of GPU {index}"),
        Subject::Node { .. } => "acceptance of the node".to_owned(),
        Subject::Class => format!("what class {} gives", check.class),
        Subject::Segment { of, from, to } => {
            let element = |of: &ElementId| of.index.map_or(String::new(), |_| format!("{of} "));
            let from = from.as_ref().map_or(0, |from| from.step);
            format!("{}segment {from}..{}", element(of), to.step)
        }
    }
}

fn found(check: &Check, finding: &Finding) -> String {
    let replayed = format!("replayed on {}", check.places());
    match (&check.subject, finding) {
        (_, Finding::GivenUp { why }) => format!("given up: {why}"),
        (Subject::Segment { .. }, Finding::Equal) => format!("{replayed}: equal"),
        (_, Finding::Equal) => format!("passed on {}", check.places()),
        (Subject::Segment { .. }, Finding::Undecided) => {
            format!(
                "{replayed}: all runs differ, so nobody is named; is the program deterministic?"
            )
        }
        (_, Finding::Undecided) => "all runs differ".to_owned(),
        (Subject::Gpu { .. } | Subject::Node { .. }, Finding::Outvoted { .. }) => {
            let given = check.ballots.last().map(|it| it.digest.short()).unwrap_or_default();
            format!("FAILED: gave {given}, which is not what its class gives")
        }
        (_, Finding::Outvoted { .. }) => match check.outvoted() {
            None => replayed,
            Some(wrong) => {
                let gpus: Vec<_> = wrong.gpus.iter().map(|seat| seat.uuid.as_str()).collect();
                let (nodes, gpus) = (wrong.nodes.join("+"), gpus.join(" "));
                let own = check.ballots.first() == Some(wrong);
                let whose = if own { "the job itself" } else { "the replay" };
                format!("{replayed}: DIFFERS, {whose} on {nodes} {gpus} is outvoted")
            }
        },
    }
}
