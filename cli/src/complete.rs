//! What a shell may complete beyond the command line's own words: ids that live in the cluster.

use crate::{args::Global, command::Context};
use clap_complete::{ArgValueCandidates, CompletionCandidate};
use domain::{
    queue::view::{QueueView, QueuesView},
    reservation::ReservationView,
    view::{ArtifactView, JobLine, NodeView},
};
use proto::v1::{
    ArtifactsQuery, JobsQuery, NodesQuery, QueuesQuery, ReservationsQuery, query_request::What,
};
use serde::de::DeserializeOwned;
use std::{collections::BTreeSet, time::Duration};

/// The variable under which a shell asks.
pub const VARIABLE: &str = "ASSAY_COMPLETE";
/// A shell that waits longer for ids feels broken: then there are none.
const PATIENCE: Duration = Duration::from_millis(500);
/// Ids that are offered.
const OFFERED: u32 = 50;

/// The newest jobs, and `last`.
#[must_use]
pub fn jobs() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let query = JobsQuery { limit: OFFERED, ..JobsQuery::default() };
        let line =
            |job: JobLine| CompletionCandidate::new(job.id.to_string()).help(Some(job.name.into()));
        let last = CompletionCandidate::new("last").help(Some("your newest job".into()));
        all(What::Jobs(query)).into_iter().map(line).chain([last]).collect()
    })
}

/// The nodes' names.
#[must_use]
pub fn nodes() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let name = |node: NodeView| CompletionCandidate::new(node.inventory.name);
        all(What::Nodes(NodesQuery::default())).into_iter().map(name).collect()
    })
}

/// The queues' names.
#[must_use]
pub fn queues() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let name = |queue: QueueView| CompletionCandidate::new(queue.name);
        let all: Option<QueuesView> = ask(What::Queues(QueuesQuery::default()));
        all.map(|all| all.queues.into_iter().map(name).collect()).unwrap_or_default()
    })
}

/// The classes of priority, each with its number.
#[must_use]
pub fn priorities() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let class = |(name, number): (&str, i32)| {
            CompletionCandidate::new(name).help(Some(number.to_string().into()))
        };
        let all: Option<QueuesView> = ask(What::Queues(QueuesQuery::default()));
        let classes = all.map(|all| all.priority_classes).unwrap_or_default();
        classes.descending().map(class).collect()
    })
}

/// The classes of hardware that there are.
#[must_use]
pub fn classes() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let all = all::<NodeView>(What::Nodes(NodesQuery::default())).into_iter();
        let classes: BTreeSet<String> = all.map(|node| node.hardware_class).collect();
        classes.into_iter().map(CompletionCandidate::new).collect()
    })
}

/// The reservations' names.
#[must_use]
pub fn reservations() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let name =
            |it: ReservationView| CompletionCandidate::new(it.name).help(Some(it.reason.into()));
        all(What::Reservations(ReservationsQuery::default())).into_iter().map(name).collect()
    })
}

/// The artifacts, and the jobs that may have made one.
#[must_use]
pub fn artifacts() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let query = ArtifactsQuery { after: 0, limit: OFFERED };
        let line = |view: ArtifactView| {
            let of = view.artifact.ticket.element.to_string();
            CompletionCandidate::new(view.artifact.id.to_string()).help(Some(of.into()))
        };
        all(What::Artifacts(query)).into_iter().map(line).collect()
    })
}

/// What the cluster of the usual profile has; nothing when it does not say so in time.
fn all<T: DeserializeOwned>(what: What) -> Vec<T> {
    ask(what).unwrap_or_default()
}

fn ask<T: DeserializeOwned>(what: What) -> Option<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(async {
        // What one server has applied is good enough to choose from, and needs no leader.
        let context = Context::new(&Global { stale: true, ..Global::default() }).ok()?;
        let answer = tokio::time::timeout(PATIENCE, context.client.query(what)).await;
        Some(answer.ok()?.ok()?.value)
    })
}
