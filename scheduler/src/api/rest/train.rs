//! Training jobs with the platform's names (contract, 6.2): submitted, looked at, cancelled.

mod compute;

use super::{
    answer::{Answer, found, time},
    caller::{Caller, Key},
    calls,
    fault::{Fault, Faults},
    input::{self, Asked, Body, Scalar, Word},
    record,
    shapes::{self, NamedDataset, bare},
};
use crate::api::{context::Context, submit};
use axum::{extract::State, http::StatusCode};
use compute::{Compute, Retry};
use domain::{
    Digest, JobId,
    tree::Tree,
    view::{JobLine, JobView},
};
use proto::v1::{self, query_request::What};
use registry::ledger::dataset;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};
use utoipa::{IntoParams, ToSchema};

/// Words of a command.
const COMMAND_MAX: usize = 256;
/// The longest stored tree of code.
const TREE_MAX: usize = 64 << 20;

/// A job that trains a model.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Train {
    /// The model's family, which is the job's name.
    #[serde(rename = "modelFamily")]
    #[schema(pattern = "^[a-z0-9][a-z0-9._-]{0,63}$")]
    family: String,
    /// Program and arguments.
    #[schema(min_items = 1, max_items = 256)]
    command: Vec<String>,
    /// SHA-256 of the captured code, which the servers hold.
    #[serde(rename = "codeRef", default)]
    #[schema(pattern = "^(sha256:)?[0-9a-f]{64}$")]
    code: Option<String>,
    /// The image to run on: registry, repository and digest.
    #[serde(rename = "containerImage", default)]
    #[schema(max_length = 512)]
    image: Option<String>,
    /// Registered data. Each is laid out under its name.
    #[serde(rename = "datasetRefs", default)]
    #[schema(max_items = 64)]
    datasets: Vec<NamedDataset>,
    /// For the record, the recipe and the program.
    #[serde(default)]
    hyperparams: BTreeMap<String, Scalar>,
    /// Variables of the environment.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// The seed of all chance in it.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 9_007_199_254_740_991_u64)]
    seed: u64,
    #[serde(rename = "computeRequirements", default)]
    compute: Compute,
    #[serde(rename = "retryPolicy", default)]
    retry: Retry,
    /// Who submits it: the caller.
    #[serde(rename = "createdBy", default)]
    #[schema(max_length = 256)]
    by: Option<String>,
}

/// A job that was taken in.
#[derive(Debug, Serialize, ToSchema)]
pub struct Submitted {
    /// Always true.
    ok: bool,
    /// `j7`
    #[serde(rename = "jobId")]
    job: String,
    /// Where it stands.
    status: &'static str,
}

/// Takes in a job.
#[utoipa::path(
    post, path = "/train/jobs", tag = "training", params(Key), request_body = Train,
    responses((status = 201, description = "It is taken in, and durable.", body = Submitted), Faults)
)]
pub async fn submit(
    State(context): State<Arc<Context>>,
    caller: Caller,
    key: Key,
    Body(asked): Body<Train>,
) -> Result<Answer<Submitted>, Fault> {
    take_in(&context, &caller, &key, asked, None).await
}

/// Takes in a job, with files that it does not name itself under a name for it.
///
/// # Errors
/// As the same submit through the other port.
pub async fn take_in(
    context: &Context,
    caller: &Caller,
    key: &Key,
    asked: Train,
    more: Option<(&str, v1::Captured)>,
) -> Result<Answer<Submitted>, Fault> {
    let user = caller.is("createdBy", asked.by.as_deref())?;
    let mut job = job(context, asked).await?;
    if let Some((name, files)) = more
        && job.datasets.insert(name.to_owned(), files).is_some()
    {
        let why = format!("a data set would be laid out as `{name}` too");
        return Err(Fault::unfit(why, "give that data set another name"));
    }
    let key = key.of_user(&user).0.to_vec().into();
    let request = v1::SubmitRequest { key, jobs: vec![job], reuse: false, ties: Vec::new() };
    let reply = submit::submit(context, caller.asks(request)).await?;
    let job = reply.jobs.first().map(|job| JobId(*job).to_string()).unwrap_or_default();
    Ok(Answer(StatusCode::CREATED, Submitted { ok: true, job, status: "waiting" }))
}

/// Refuses what the document does not allow.
fn check(asked: &Train) -> Result<(), Fault> {
    shapes::name("modelFamily", &asked.family)?;
    shapes::length("command", asked.command.len(), 1, COMMAND_MAX)?;
    shapes::length("datasetRefs", asked.datasets.len(), 0, 64)?;
    asked.compute.check()?;
    asked.retry.check()
}

async fn job(context: &Context, asked: Train) -> Result<v1::Job, Fault> {
    check(&asked)?;
    let code = match asked.code.as_deref() {
        Some(code) => Some(code_of(context, code).await?),
        None => None,
    };
    let (mut datasets, mut registered) = (BTreeMap::new(), BTreeMap::new());
    for named in &asked.datasets {
        let (name, captured) = data_of(context, named).await?;
        registered.insert(name.clone(), captured.origin.clone());
        if datasets.insert(name.clone(), captured).is_some() {
            let why = format!("two data sets would be laid out as `{name}`");
            return Err(Fault::unfit(why, "name each data set once"));
        }
    }
    let hyperparameters = asked.hyperparams.iter();
    let job = v1::Job {
        name: asked.family,
        command: asked.command,
        env: asked.env.into_iter().collect(),
        code,
        datasets: datasets.into_iter().collect(),
        registered_datasets: registered.into_iter().collect(),
        hyperparameters: hyperparameters.map(|(name, it)| (name.clone(), it.to_string())).collect(),
        seed: asked.seed,
        image: asked.image.unwrap_or_default(),
        ..v1::Job::default()
    };
    Ok(asked.retry.fill(asked.compute.fill(job)))
}

/// Code that this server holds.
async fn code_of(context: &Context, code: &str) -> Result<v1::Captured, Fault> {
    let hint = "`assay submit --code DIR` uploads a folder and shows its digest";
    let digest: Digest =
        bare(code).parse().map_err(|_| Fault::unfit("`codeRef` is no digest", hint))?;
    let store = context.blobs.store().clone();
    let read = tokio::task::spawn_blocking(move || {
        if !store.has(&digest) {
            return Err(Fault::absent(&format!("code `{digest}` at this server")));
        }
        let bytes = store.read_bytes(&digest, TREE_MAX);
        let bytes = bytes.map_err(|fault| Fault::unfit(fault.to_string(), hint))?;
        Tree::decode(&bytes).map_err(|fault| Fault::unfit(fault.to_string(), hint))
    });
    let broken = |_| Fault::passing("unavailable", "the code could not be read", "repeat it");
    let tree = read.await.map_err(broken)??;
    Ok(v1::Captured {
        tree: digest.0.to_vec().into(),
        files: tree.files.len() as u64,
        size_bytes: tree.size().0,
        origin: "codeRef".into(),
    })
}

/// Registered data, under the name by which its job finds it.
async fn data_of(context: &Context, named: &NamedDataset) -> Result<(String, v1::Captured), Fault> {
    let word = named.word()?;
    let asked = word.clone();
    let look = calls::read(context, move |_, rows| {
        dataset::resolve(rows, &asked).and_then(|it| dataset::version(rows, &it))
    });
    let absent = || Fault::absent(&format!("data set `{word}`"));
    let version = look.await?.ok_or_else(absent)?;
    named.check(&version.facts.tree)?;
    let name = version.dataset.name.replace(['.', '-'], "_");
    Ok((
        name,
        v1::Captured {
            tree: version.facts.tree.0.to_vec().into(),
            files: version.facts.files,
            size_bytes: version.facts.size.0,
            origin: version.dataset.to_string(),
        },
    ))
}

/// A job.
#[derive(Debug, Serialize, ToSchema)]
pub struct TrainingJob {
    /// Always true.
    ok: bool,
    /// `j7`
    #[serde(rename = "jobId")]
    job: String,
    /// Its name.
    #[serde(rename = "modelFamily")]
    family: String,
    /// waiting, held, running, sealing, completed, failed or cancelled.
    status: String,
    /// When its first attempt was placed; none before.
    #[serde(rename = "startTs")]
    start: Option<String>,
    /// When it ended; none before.
    #[serde(rename = "endTs")]
    end: Option<String>,
    /// When it was submitted.
    #[serde(rename = "createdAt")]
    at: String,
    /// By whom.
    #[serde(rename = "createdBy")]
    by: String,
    /// The data that it reads.
    #[serde(rename = "datasetRefs")]
    datasets: Vec<NamedDataset>,
    /// Its hyperparameters.
    hyperparams: BTreeMap<String, String>,
    /// What it made: `a7`.
    #[serde(rename = "artifactRefs")]
    artifacts: Vec<String>,
    /// The newest metrics by rank, as the job wrote them.
    metrics: BTreeMap<String, String>,
    /// How its log is read.
    #[serde(rename = "logsRef")]
    logs: String,
    /// SHA-256 of its recipe.
    recipe: String,
    /// All that is recorded of it, with Assay's own names.
    #[schema(value_type = Object)]
    record: JobView,
}

impl TrainingJob {
    fn new(job: JobView, artifact: Option<String>) -> Self {
        let first = job.parts.iter().filter_map(|part| part.attempts.first());
        let metrics = job.metrics.iter();
        Self {
            ok: true,
            job: job.line.id.to_string(),
            family: job.line.name.clone(),
            status: job.line.state.clone(),
            start: first.map(|attempt| attempt.granted).min().map(time),
            end: job.line.ended.map(time),
            at: time(job.line.submitted),
            by: job.line.user.clone(),
            datasets: record::datasets(&job.spec),
            hyperparams: job.spec.hyperparameters.clone(),
            artifacts: artifact.into_iter().collect(),
            metrics: metrics.map(|(rank, text)| (rank.to_string(), text.clone())).collect(),
            logs: format!("assay logs {}", job.line.id),
            recipe: job.recipe.to_string(),
            record: job,
        }
    }
}

/// One job.
#[utoipa::path(
    get, path = "/train/jobs/{id}", tag = "training",
    params(("id" = String, Path, description = "`j7`", pattern = "^j[1-9][0-9]{0,14}$")),
    responses((status = 200, description = "The job.", body = TrainingJob), Faults)
)]
pub async fn job_record(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Word(id): Word,
) -> Result<Answer<TrainingJob>, Fault> {
    input::id("job", 'j', &id)?;
    let job: JobView = calls::query(&context, &caller, What::Job(id)).await?;
    let element = domain::ElementId::from(job.line.id);
    let made = calls::read(&context, move |cluster, rows| {
        let artifact = cluster.view().artifact_of(rows, element);
        artifact.map(|artifact| artifact.artifact.id.to_string())
    });
    let made = made.await?;
    Ok(found(TrainingJob::new(job, made)))
}

/// Which jobs.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// Only those below this number.
    #[serde(default, deserialize_with = "input::count")]
    #[param(minimum = 1, maximum = 999_999_999_999_999_u64)]
    before: Option<u64>,
    /// How many at most.
    #[serde(default, deserialize_with = "input::count")]
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u64>,
}

/// Jobs, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct Jobs {
    /// Always true.
    ok: bool,
    jobs: Vec<JobInList>,
}

/// A job in a list.
#[derive(Debug, Serialize, ToSchema)]
struct JobInList {
    /// `j7`
    #[serde(rename = "jobId")]
    job: String,
    /// Its name.
    #[serde(rename = "modelFamily")]
    family: String,
    /// Where it stands.
    status: String,
    /// When it was submitted.
    #[serde(rename = "createdAt")]
    at: String,
    /// By whom.
    #[serde(rename = "createdBy")]
    by: String,
}

/// Jobs, newest first.
#[utoipa::path(
    get, path = "/train/jobs", tag = "training", params(Page),
    responses((status = 200, description = "A page of them.", body = Jobs), Faults)
)]
pub async fn jobs(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Asked(page): Asked<Page>,
) -> Result<Answer<Jobs>, Fault> {
    let (before, limit) =
        (input::within("before", page.before, input::NUMBER_MAX)?, input::page(page.limit)?);
    let asked = v1::JobsQuery { before, limit, ..v1::JobsQuery::default() };
    let lines: Vec<JobLine> = calls::query(&context, &caller, What::Jobs(asked)).await?;
    let line = |line: JobLine| JobInList {
        job: line.id.to_string(),
        family: line.name,
        status: line.state,
        at: time(line.submitted),
        by: line.user,
    };
    Ok(found(Jobs { ok: true, jobs: lines.into_iter().map(line).collect() }))
}

/// A job that is to end.
#[derive(Debug, Serialize, ToSchema)]
pub struct Cancelled {
    /// Always true.
    ok: bool,
    /// `j7`
    #[serde(rename = "jobId")]
    job: String,
}

/// Ends a job.
#[utoipa::path(
    post, path = "/train/jobs/{id}/cancel", tag = "training",
    params(Key, ("id" = String, Path, description = "`j7`", pattern = "^j[1-9][0-9]{0,14}$")),
    responses((status = 200, description = "It is to end.", body = Cancelled), Faults)
)]
pub async fn cancel(
    State(context): State<Arc<Context>>,
    caller: Caller,
    key: Key,
    Word(id): Word,
) -> Result<Answer<Cancelled>, Fault> {
    input::id("job", 'j', &id)?;
    let key = key.of_user(&caller.user()?).0.to_vec().into();
    let request = v1::CancelRequest { key, element: id.clone() };
    submit::cancel(&context, caller.asks(request)).await?;
    Ok(found(Cancelled { ok: true, job: id }))
}
