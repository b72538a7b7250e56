//! Documents: what the system shows, as JSON.

use super::{context::Context, error, foreseeing, identity::Identity, proof, seal_waits};
use crate::{
    consensus::shell::{ReadError, Rows},
    state::{
        Cluster,
        view::{JobFilter, View},
    },
};
use domain::{
    JobId, LogIndex, limit,
    signing::KeysView,
    view::{ClusterView, JobView, ReplicaView},
};
use proto::v1::{self, query_request::What};
use serde::Serialize;
use tonic::{Request, Status};

/// A read that could not be made.
#[must_use]
pub fn unreadable(fault: &ReadError) -> Status {
    error::status(
        "unavailable",
        fault.to_string(),
        "`assay cluster status` shows the servers; `--stale` reads without a leader",
        true,
    )
}

/// Either bytes of JSON or why there are none.
pub(super) type Answer = Result<Vec<u8>, Status>;

pub(super) fn json(value: &impl Serialize) -> Answer {
    serde_json::to_vec(value)
        .map_err(|fault| error::status("internal", fault.to_string(), "report this", false))
}

pub(super) fn absent(what: &str, list: &str) -> Status {
    let why = format!("there is no {what}");
    error::status("not_found", why, &format!("`assay {list}` shows what there is"), false)
}

pub(super) fn page(limit: u32) -> usize {
    if limit == 0 { limit::PAGE_MAX } else { (limit as usize).min(limit::PAGE_MAX) }
}

/// Answers one query.
///
/// # Errors
/// When what is asked for is not there, or this server cannot answer now.
pub async fn query(
    context: &Context,
    request: Request<v1::QueryRequest>,
) -> Result<v1::Document, Status> {
    let who = Identity::of(&request)?;
    let request = request.into_inner();
    match asked(who.clone(), request.what)? {
        What::AuditProof(asked) => proof::of(context, asked.event, request.stale).await,
        What::Why(id) => foreseeing::why(context, id, request.stale).await,
        What::Whatif(asked) => foreseeing::whatif(context, who, asked, request.stale).await,
        what => current(context, what, request.stale).await,
    }
}

/// A document that is made from what is replicated, and from what this server knows itself.
///
/// # Errors
/// When what is asked for is not there, or this server cannot answer now.
pub(super) async fn current(
    context: &Context,
    what: What,
    stale: bool,
) -> Result<v1::Document, Status> {
    match what {
        What::Cluster(_) => cluster(context).await,
        What::Keys(_) => keys(context, stale).await,
        what => read(context, what, stale).await,
    }
}

/// What is asked for, with the name of who asks filled in.
pub(super) fn asked(who: Identity, what: Option<What>) -> Result<What, Status> {
    let Some(mut what) = what else {
        return Err(error::status("invalid", "the query asks for nothing", "set `what`", false));
    };
    if let What::Jobs(asked) = &mut what
        && asked.mine
    {
        asked.user = who.user()?;
    }
    Ok(what)
}

/// A document from what is replicated: at once if `stale`, else as new as any that was acknowledged.
pub(super) async fn read(
    context: &Context,
    what: What,
    stale: bool,
) -> Result<v1::Document, Status> {
    if let What::Why(id) = what {
        let (why, LogIndex(log_index)) = seal_waits::why(context, &id, stale).await?;
        return Ok(v1::Document { json: json(&why)?.into(), log_index });
    }
    let hub = context.hub.clone();
    let answer = move |cluster: &Cluster, rows: &Rows| {
        let view = cluster.view();
        (document(&view, rows, &hub, what), view.applied())
    };
    let read =
        if stale { context.node.read_local(answer).await } else { context.node.read(answer).await };
    let (document, LogIndex(log_index)) = read.map_err(|fault| unreadable(&fault))?;
    Ok(v1::Document { json: document?.into(), log_index })
}

/// One job with its newest metrics, and with its ranks that do nothing.
#[must_use]
pub fn job_view(
    view: &View<'_>,
    rows: &Rows,
    hub: &super::log_hub::LogHub,
    job: JobId,
) -> Option<JobView> {
    let mut document = view.job(rows, job)?;
    let class = view.priority_classes().named(document.line.priority);
    document.priority_class = class.map(str::to_owned);
    let leases = document.parts.iter().filter_map(|part| part.attempts.last());
    if let Some(newest) = leases.map(|attempt| attempt.lease).max() {
        let newest_of = document.parts.iter().filter_map(|part| part.attempts.last());
        let live: std::collections::BTreeSet<_> =
            newest_of.filter(|attempt| attempt.ended.is_none()).map(|it| it.lease).collect();
        document.idle = hub.idle(|lease| live.contains(&lease));
        document.metrics = hub.metrics(newest);
    }
    Some(document)
}

pub(super) fn job_id(text: &str) -> Result<JobId, Status> {
    let element: domain::ElementId = text.parse().map_err(|fault: domain::id::IdError| {
        error::status("invalid", fault.to_string(), "`assay jobs` shows what there is", false)
    })?;
    Ok(element.job)
}

fn document(view: &View<'_>, rows: &Rows, hub: &super::log_hub::LogHub, what: What) -> Answer {
    match what {
        What::Jobs(asked) => {
            let limit = page(asked.limit);
            let before = (asked.before > 0).then_some(JobId(asked.before));
            let some = |text: String| (!text.is_empty()).then_some(text);
            // They are many; who asks for them by name or by what stands for their queue has them.
            let hides_checks = asked.name.is_empty() && asked.queue.is_empty();
            let filter = JobFilter {
                hides_checks,
                state: some(asked.state),
                user: some(asked.user),
                name: some(asked.name),
                queue: some(asked.queue),
            };
            json(&view.job_lines(rows, &filter, before, limit))
        }
        What::Job(id) => match job_view(view, rows, hub, job_id(&id)?) {
            Some(document) => json(&document),
            None => Err(absent(&format!("job {id}"), "jobs")),
        },
        What::Nodes(asked) if asked.node.is_empty() => json(&view.nodes(rows)),
        What::Nodes(asked) => json(&view.nodes_named_in_full(rows, &asked.node)),
        What::Artifacts(asked) => {
            json(&view.artifacts(rows, domain::ArtifactId(asked.after), page(asked.limit)))
        }
        What::Artifact(id) => {
            let found = if id.starts_with('a') {
                let id = id.parse().map_err(|fault: domain::id::IdError| {
                    error::status("invalid", fault.to_string(), "`assay artifacts`", false)
                })?;
                view.artifact(rows, id)
            } else {
                let element = id.parse().map_err(|fault: domain::id::IdError| {
                    error::status("invalid", fault.to_string(), "`assay artifacts`", false)
                })?;
                view.artifact_of(rows, element)
            };
            match found {
                Some(artifact) => json(&artifact),
                None => Err(absent(&format!("artifact of {id}"), "artifacts")),
            }
        }
        What::Audit(asked) => json(&view.audit(rows, asked.from.max(1), page(asked.limit))),
        What::Queues(asked) => super::config::queues(view, &asked.name),
        What::ConfigPlan(asked) => super::config::plan(view, asked),
        What::Usage(asked) => super::usage::document(view, rows, asked),
        What::Trace(asked) => super::usage::trace(view, rows, asked),
        What::Reservations(asked) => super::reserving::document(view, &asked.name),
        What::Registry(asked) => super::registry_calls::document(view, rows, asked),
        What::Cluster(_) | What::Keys(_) | What::AuditProof(_) | What::Whatif(_) | What::Why(_) => {
            Err(error::status("internal", "answered elsewhere", "report this", false))
        }
    }
}

async fn cluster(context: &Context) -> Result<v1::Document, Status> {
    let read = context
        .node
        .read_local(|cluster, _| (cluster.digest(), cluster.view().applied(), cluster.version()));
    let (state_digest, applied, version) = read.await.map_err(|fault| unreadable(&fault))?;
    let status = context.node.status();
    let replicas = status
        .members
        .iter()
        .map(|(id, member)| ReplicaView {
            id: *id,
            address: member.address.clone(),
            role: member.role.clone(),
            matched: member.matched,
            active: member.active,
            understands: member.understands,
        })
        .collect();
    let document = ClusterView {
        cluster: context.cluster.clone(),
        version,
        answered_by: context.me,
        leader: status.leader,
        term: status.term,
        commit: status.commit,
        applied,
        state_digest,
        replicas,
    };
    Ok(v1::Document { json: json(&document)?.into(), log_index: applied.0 })
}

async fn keys(context: &Context, stale: bool) -> Result<v1::Document, Status> {
    let answer = |cluster: &Cluster, rows: &Rows| {
        let view = cluster.view();
        (view.keys(rows), view.applied())
    };
    let read =
        if stale { context.node.read_local(answer).await } else { context.node.read(answer).await };
    let (keys, LogIndex(log_index)) = read.map_err(|fault| unreadable(&fault))?;
    let document = KeysView { authority: context.authority.clone(), ..keys };
    Ok(v1::Document { json: json(&document)?.into(), log_index })
}
