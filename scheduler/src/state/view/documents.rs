//! Documents: what lists and `--json` show.

use super::{View, wanted::checkpoints};
use crate::state::{
    key,
    row::{AttemptRow, ElementRow, Progress, Submitted},
    sched::Node,
};
use domain::{
    ArtifactId, AttemptNo, ElementId, JobId, NodeId,
    hardware::Hardware,
    job::ElementState,
    port::RowRead,
    scratch,
    view::{ArtifactView, AttemptView, AuditPage, ElementView, JobLine, JobView, NodeView},
};
use registry::ledger::view as ledger;
use std::collections::BTreeMap;

/// Jobs looked at for one page of a filtered list.
const LOOKED_AT_MAX: usize = 100_000;
/// Elements of one job in one document.
const PARTS_MAX: usize = 1_000;
/// Attempts of one element in one document.
const ATTEMPTS_MAX: usize = 200;

/// Which jobs a list shows; none of a field means any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// The one-word state.
    pub state: Option<String>,
    /// Who submitted.
    pub user: Option<String>,
    /// The name.
    pub name: Option<String>,
    /// The queue.
    pub queue: Option<String>,
    /// Whether runs of checks are left out.
    pub hides_checks: bool,
}

impl JobFilter {
    fn shows(&self, line: &JobLine) -> bool {
        let is = |wanted: &Option<String>, value: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == value)
        };
        (!self.hides_checks || line.queue != domain::check::QUEUE)
            && is(&self.state, &line.state)
            && is(&self.user, &line.user)
            && is(&self.name, &line.name)
            && is(&self.queue, &line.queue)
    }
}

fn hardware_of(rows: &impl RowRead, id: NodeId) -> Option<Hardware> {
    let key = key::hardware(id);
    rows.get(&key).map(|bytes| scratch::decode(&key, &bytes))
}

fn line(id: JobId, submitted: &Submitted, progress: &Progress) -> JobLine {
    let spec = &submitted.spec;
    let count = spec.elements();
    JobLine {
        id,
        name: spec.name.clone(),
        user: spec.user.clone(),
        queue: spec.queue.clone(),
        priority: progress.priority.unwrap_or(spec.priority),
        state: progress.word(count).to_owned(),
        gpus: u64::from(spec.tasks) * u64::from(spec.resources.gpus),
        elements: progress.counts(count),
        submitted: submitted.time,
        ended: progress.ended,
    }
}

impl View<'_> {
    /// Jobs below `before`, newest first.
    #[must_use]
    pub fn job_lines(
        &self,
        rows: &impl RowRead,
        filter: &JobFilter,
        before: Option<JobId>,
        limit: usize,
    ) -> Vec<JobLine> {
        let newest = JobId(self.sched.meta.jobs);
        let first = before.map_or(newest, |before| JobId(before.0.min(newest.0 + 1) - 1));
        let mut lines = Vec::new();
        for id in (1..=first.0).rev().take(LOOKED_AT_MAX).map(JobId) {
            let Some((submitted, progress)) = self.job_rows(rows, id) else { continue };
            let line = line(id, &submitted, &progress);
            if filter.shows(&line) {
                lines.push(line);
                if lines.len() == limit {
                    break;
                }
            }
        }
        lines
    }

    /// One job in full, without its newest metrics.
    #[must_use]
    pub fn job(&self, rows: &impl RowRead, id: JobId) -> Option<JobView> {
        let (submitted, progress) = self.job_rows(rows, id)?;
        let mut parts = self.parts(rows, id, &submitted);
        if parts.is_empty() && submitted.spec.array.is_none() {
            let state = match progress.cancelled {
                0 => ElementState::Waiting,
                _ => ElementState::Cancelled,
            };
            let id = ElementId::from(id);
            parts.push(ElementView { id, state, attempts: Vec::new(), checkpoints: Vec::new() });
        }
        let line = line(id, &submitted, &progress);
        Some(JobView {
            // Of the classes as they are, not of the job: whoever shows it looks it up.
            priority_class: None,
            line,
            recipe: submitted.recipe,
            submitted_at: submitted.at,
            spec: submitted.spec,
            parts,
            metrics: BTreeMap::new(),
            idle: Vec::new(),
            policy: self.training_decision(rows, id),
            replays: self.replays(rows, id),
            dumps: self.dumps(rows, id),
        })
    }

    fn parts(&self, rows: &impl RowRead, id: JobId, submitted: &Submitted) -> Vec<ElementView> {
        let (from, to) = key::elements(id);
        let found = rows.range(&from, &to, PARTS_MAX);
        let part = |(key, value): &(Vec<u8>, Vec<u8>)| {
            let row: ElementRow = scratch::decode(key, value);
            let tail = key.last_chunk().expect("element keys end with the position");
            let position = u32::from_be_bytes(*tail);
            ElementView {
                id: submitted.spec.element(id, position),
                state: row.state,
                attempts: self.attempts(rows, id, position),
                checkpoints: checkpoints(rows, id, position),
            }
        };
        found.iter().map(part).collect()
    }

    fn attempts(&self, rows: &impl RowRead, id: JobId, position: u32) -> Vec<AttemptView> {
        let (from, to) = key::attempts(id, position);
        let attempt = |(key, value): &(Vec<u8>, Vec<u8>)| {
            let row: AttemptRow = scratch::decode(key, value);
            let tail = key.last_chunk().expect("attempt keys end with the number");
            AttemptView {
                attempt: AttemptNo(u32::from_be_bytes(*tail)),
                phase: self.lease(row.lease).map(|lease| lease.phase.clone()),
                notice: self.lease(row.lease).and_then(|lease| lease.notice.clone()),
                lease: row.lease,
                members: row.members,
                granted: row.granted,
                ended: row.ended,
                cause: row.cause,
            }
        };
        rows.range(&from, &to, ATTEMPTS_MAX).iter().map(attempt).collect()
    }

    /// All nodes.
    #[must_use]
    pub fn nodes(&self, rows: &impl RowRead) -> Vec<NodeView> {
        self.all_nodes().map(|(id, node)| self.node_document(rows, id, node)).collect()
    }

    /// The node of this name or number, with its whole machine; empty where there is none.
    #[must_use]
    pub fn nodes_named_in_full(&self, rows: &impl RowRead, word: &str) -> Vec<NodeView> {
        let named = |(id, node): &(NodeId, &Node)| {
            node.row.inventory.name == word || id.to_string() == word
        };
        let full = |(id, node)| {
            let hardware = hardware_of(rows, id);
            NodeView { hardware, ..self.node_document(rows, id, node) }
        };
        self.all_nodes().filter(named).map(full).collect()
    }

    /// Whether this is other than what is kept of a node's machine.
    #[must_use]
    pub fn is_news_of_hardware(
        &self,
        rows: &impl RowRead,
        id: NodeId,
        hardware: &Hardware,
    ) -> bool {
        hardware_of(rows, id).as_ref() != Some(hardware)
    }

    fn node_document(&self, rows: &impl RowRead, id: NodeId, node: &Node) -> NodeView {
        NodeView {
            id,
            inventory: node.row.inventory.clone(),
            hardware_class: node.class.clone(),
            status: self.node_state(id, &node.row),
            gpus_used: node.gpus_used.iter().copied().collect(),
            cpu_used: node.cpu_used,
            memory_used: node.memory_used,
            leases: node.leases.iter().copied().collect(),
            held_back: self.held_back(rows, &node.health),
            accused: node.health.accused.values().cloned().collect(),
            windows: self.windows_of(id),
            acceptance: self.drain_terms(id).check.and_then(|id| self.check(rows, id)),
            hardware: None,
        }
    }

    /// Artifacts above `after`.
    #[must_use]
    pub fn artifacts(
        &self,
        rows: &impl RowRead,
        after: ArtifactId,
        limit: usize,
    ) -> Vec<ArtifactView> {
        ledger::artifacts(rows, after, limit)
    }

    /// One artifact.
    #[must_use]
    pub fn artifact(&self, rows: &impl RowRead, id: ArtifactId) -> Option<ArtifactView> {
        ledger::artifact(rows, id).map(|found| self.with_replays(rows, found))
    }

    /// The artifact of a job or of an array's element.
    #[must_use]
    pub fn artifact_of(&self, rows: &impl RowRead, element: ElementId) -> Option<ArtifactView> {
        ledger::artifact_of(rows, element).map(|found| self.with_replays(rows, found))
    }

    /// A page of the audit chain.
    #[must_use]
    pub fn audit(&self, rows: &impl RowRead, first: u64, limit: usize) -> AuditPage {
        ledger::audit(self.ledger, rows, first, limit)
    }
}
