//! `assay model evaluate`: a job that measures a version, and its word in the record.

use super::{Context, artifact, find, follow, model, named, progress, submit};
use crate::{
    args::{registry::Evaluate, selector::Selector},
    capture::Capture,
    client::change::Taken,
    exit::Exit,
    fault::{Fault, Kind},
    jobfile,
    render::evaluation::{self, Recorded},
};
use domain::{
    ArtifactId,
    job::Captured,
    model::{ModelRef, ModelView},
};
use proto::v1::{self, registry_request::Change};
use std::path::Path;

/// Runs the command.
///
/// # Errors
/// When there is no such version, the job is refused or makes no result, the result holds no
/// metrics, or nobody answers.
pub async fn run(context: &Context, args: Evaluate) -> Result<Exit, Fault> {
    let version = model::one(context, &args.model).await?.value;
    let sealed = match (&args.artifact, &args.job) {
        (Some(which), _) => find::artifact(context, which).await?.artifact.id,
        (None, Some(file)) => match measure(context, &version, file, &args).await? {
            Some(sealed) => sealed,
            None => return Ok(Exit::Detached),
        },
        (None, None) => {
            let fault = Fault::usage("evaluation", "neither a job nor a result is named");
            return Err(fault.hint("assay model evaluate MODEL --job FILE"));
        }
    };
    record(context, &version.version.model, sealed).await
}

/// Has what an artifact says recorded, and shows it.
async fn record(context: &Context, of: &ModelRef, sealed: ArtifactId) -> Result<Exit, Fault> {
    let asked = v1::RecordEvaluation { model: of.to_string(), artifact: sealed.to_string() };
    let done = context.client.registry(Change::Evaluate(asked)).await?;
    let answer = model::one(context, &of.to_string()).await?;
    let all = answer.value.evaluations.into_iter();
    let evaluation = all.map(|it| it.evaluation).find(|it| it.artifact == sealed);
    let evaluation = evaluation.ok_or_else(|| {
        Fault::internal("evaluation", format!("{sealed} was recorded and is not shown"))
    })?;
    let recorded = Recorded { model: of.clone(), evaluation, log_index: done.at };
    context.output.show("evaluation", &recorded, |style| evaluation::recorded(style, &recorded))?;
    Ok(Exit::Ok)
}

/// Runs the job to its sealed result, or finds the one that its recipe has already; none where the
/// user does not wait for it.
async fn measure(
    context: &Context,
    of: &ModelView,
    file: &Path,
    args: &Evaluate,
) -> Result<Option<ArtifactId>, Fault> {
    let capture = capture(context, of, file, &args.input).await?;
    context.client.upload(|| capture.sources()).await?;
    let job = match context.client.submit_one(&capture.spec, !args.rerun).await? {
        Taken::Artifact(known, _) => {
            context.output.note(&format!("nothing to run: {known} has this recipe, sealed"));
            return Ok(Some(known));
        }
        Taken::Job(job, _) => job,
    };
    let model = &of.version.model;
    context.output.note(&format!("{}{model} is evaluated by {job}", submit::describe(&capture)));
    let ended = tokio::select! {
        // Cancel-safe: a watch is asked for anew by whoever comes back to it.
        ended = follow::until_end(context, job) => ended?.job,
        () = follow::interrupt() => {
            context.output.note(&format!(
                "detached; {job} keeps running. Then: assay model evaluate {model} --artifact {job}"
            ));
            return Ok(None);
        }
    };
    if ended.line.state != "completed" {
        let fault = Fault::new(Kind::Refused, "no_result", progress::epilogue(&ended));
        return Err(fault.hint(format!("assay logs {job}")));
    }
    let which = Selector::Element(job.into());
    Ok(Some(find::artifact(context, &which).await?.artifact.id))
}

/// The job of the file, with the version's files as one data set more.
async fn capture(
    context: &Context,
    of: &ModelView,
    file: &Path,
    input: &str,
) -> Result<Capture, Fault> {
    if jobfile::load_graph(file)?.is_some() {
        let detail = format!("{} holds several jobs; an evaluation is one", file.display());
        return Err(Fault::usage("job_file", detail).hint("keep the one job in a file of its own"));
    }
    let draft = jobfile::check(jobfile::load(file)?, Some(file))?;
    let known = named::known(&context.client, [&draft]).await?;
    let mut capture = Capture::with(&draft, None, &known)?;
    if capture.spec.array.is_some() {
        let detail = format!("{} is an array; its elements measure apart", file.display());
        return Err(Fault::usage("array", detail).hint("leave `array` out of the job file"));
    }
    let which = Selector::Artifact(of.version.artifact);
    let tree = artifact::tree(&context.client, &find::artifact(context, &which).await?).await?;
    let files = Captured {
        tree: tree.digest(),
        files: tree.files.len() as u64,
        size: tree.size(),
        origin: of.version.model.to_string(),
    };
    if capture.spec.datasets.insert(input.to_owned(), files).is_some() {
        let detail = format!("{} names a data set `{input}` of its own", file.display());
        let fault = Fault::usage("job_file", detail);
        return Err(fault.hint("say under which name the job looks for the model: --input NAME"));
    }
    match capture.spec.check() {
        Ok(()) => Ok(capture),
        Err(faults) => {
            let all: Vec<_> = faults.iter().map(ToString::to_string).collect();
            Err(Fault::usage("job_file", all.join("\n")))
        }
    }
}
