//! The leader's work on jobs at the gate before training.

use super::context::Context;
use crate::state::command::Command;
use domain::{JobId, job::JobSpec, promotion::PolicyDecision};
use registry::gate::GateRequest;
use serde_json::{Map, Value, json};

/// Asks the policy about each job. Gives the command that records what was decided, and the jobs
/// on which nothing was: those of which this is the last try are denied.
pub async fn decide(context: &Context, jobs: Vec<(JobId, bool)>) -> (Option<Command>, Vec<JobId>) {
    let ids: Vec<JobId> = jobs.iter().map(|(id, _)| *id).collect();
    let read = context.node.read_local(move |cluster, rows| {
        let view = cluster.view();
        let spec = |id: JobId| Some((id, view.job_rows(rows, id)?.0));
        ids.into_iter().filter_map(spec).collect::<Vec<_>>()
    });
    let Ok(specs) = read.await else {
        return (None, jobs.into_iter().map(|(id, _)| id).collect());
    };
    let last = |id: JobId| jobs.iter().any(|(job, last)| *job == id && *last);
    let asked = specs.into_iter().map(|(id, submitted)| async move {
        let question = question(context, id, &submitted.spec, submitted.recipe);
        let verdict = context.gates.ask(&question).await;
        let policy = verdict.decision.recorded(context.gates.name(), question.request_id());
        (id, policy, verdict.answered)
    });
    let mut decisions: Vec<(JobId, PolicyDecision)> = Vec::new();
    let mut undecided = Vec::new();
    for (id, policy, answered) in futures::future::join_all(asked).await {
        match answered || last(id) {
            true => decisions.push((id, policy)),
            false => undecided.push(id),
        }
    }
    if let Some(id) = undecided.first() {
        let count = undecided.len();
        tracing::warn!(job = %id, count, "the policy engine does not answer; jobs wait");
    }
    let command = (!decisions.is_empty()).then_some(Command::DecideTraining { decisions });
    (command, undecided)
}

/// What the policy is asked (platform contract, 5.1). Numbers go as texts, as in events.
fn question(context: &Context, id: JobId, spec: &JobSpec, recipe: domain::Digest) -> GateRequest {
    let datasets: Map<String, Value> = spec
        .datasets
        .iter()
        .map(|(name, set)| (name.clone(), set.tree.to_string().into()))
        .collect();
    let gpus = u64::from(spec.tasks) * u64::from(spec.resources.gpus);
    let resource = json!({
        "code": spec.code.as_ref().map(|code| code.tree.to_string()),
        "datasets": datasets,
        "gpus": gpus,
        "hyperparameters": spec.hyperparameters,
        "id": id.to_string(),
        "name": spec.name,
        "queue": spec.queue,
        "recipe": recipe.to_string(),
        "type": "job",
    });
    let mut about = Map::new();
    about.insert("cluster".into(), context.cluster.clone().into());
    about.insert("elements".into(), spec.elements().into());
    let actor = json!({ "id": spec.user, "type": "user" });
    let request_id = format!("{id}:{}", recipe.short());
    GateRequest::new("training.start", &request_id, actor, resource, about)
        .expect("action and request id are not empty")
}
