//! `assay submit`.

use super::{Context, follow, graph, named, progress, whatif};
use crate::{
    args::{Global, user},
    capture::Capture,
    client::change::{Submitted, Taken},
    exit::Exit,
    fault::{Fault, Kind},
    jobfile::{self, Read, draft::Draft},
    output::{Form, Output},
    quantity::{show_gpus, show_size},
    render::{self, count},
};
use domain::{ArtifactId, Digest, JobId, LogIndex, foresee::StartView, job::JobSpec};
use registry::seal::recipe::recipe;
use serde::Serialize;
use std::{path::Path, time::Duration};

/// Longest that a dry run waits for a server.
const LOOK: Duration = Duration::from_secs(8);

/// The document of `assay submit --json`.
#[derive(Debug, Serialize)]
struct Accepted {
    job: JobId,
    log_index: LogIndex,
    name: String,
    recipe: Digest,
}

/// The document of `assay submit --json` where a result is there already.
#[derive(Debug, Serialize)]
struct Known {
    artifact: ArtifactId,
    log_index: LogIndex,
    name: String,
    recipe: Digest,
}

impl Known {
    fn show(&self, context: &Context, capture: &Capture) -> Result<Exit, Fault> {
        let artifact = self.artifact;
        context.output.show("known_result", self, |style| {
            let plan = describe(capture);
            let next = format!("assay verify {artifact}; to run it anyway: --rerun");
            let next = style.faint(&format!("next: {next}\n"));
            format!("{plan}nothing to run: {artifact} has this recipe, sealed\n{next}")
        })?;
        Ok(Exit::Ok)
    }
}

/// The document of `assay submit --dry-run --json`.
#[derive(Debug, Serialize)]
struct DryRun<'a> {
    spec: &'a JobSpec,
    recipe: Digest,
    /// When and where it would start, if a server could tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<StartView>,
}

/// Says what would be submitted, and when and where it would start.
///
/// A cluster that does not answer is no fault here: the job file is what is tried out. One that
/// would refuse the job is.
async fn try_out(global: &Global, output: &Output, capture: &Capture) -> Result<Exit, Fault> {
    let spec = &capture.spec;
    // What one server has applied is good enough to look ahead from, and needs no leader.
    let (start, why_not) = match Context::new(&Global { stale: true, ..global.clone() }) {
        Err(fault) => (None, fault.detail),
        Ok(context) => {
            let asked = tokio::time::timeout(LOOK, whatif::start(&context, spec)).await;
            match asked {
                Err(_) => (None, "no server has answered in time".to_owned()),
                Ok(Ok(start)) => (start, "no server had the time to look".to_owned()),
                Ok(Err(fault)) if fault.code == Kind::Unavailable => (None, fault.detail),
                Ok(Err(fault)) => return Err(fault),
            }
        }
    };
    let dry = DryRun { spec, recipe: recipe(spec), start };
    output.show("dry_run", &dry, |_| {
        let start = match &dry.start {
            Some(start) => render::start::line(start),
            None => format!("start not known: {why_not}"),
        };
        format!("{}{}\n", describe(capture), start.replacen(' ', "   ", 1))
    })?;
    Ok(Exit::Ok)
}

/// Runs the command.
///
/// # Errors
/// When the job is malformed or refused, or nobody answers.
pub async fn run(global: &Global, args: user::Submit) -> Result<Exit, Fault> {
    if let Some(file) = &args.file
        && let Some(parts) = jobfile::load_graph(file)?
    {
        return graph::run(global, &args, file, &parts).await;
    }
    let output = super::output(global);
    let draft = draft(&args, &output)?;
    // What a dry run names is looked up where it looks ahead from.
    let asked = Global { stale: global.stale || args.dry_run, ..global.clone() };
    let capture = named::capture(&asked, &[&draft]).await?.remove(0);
    if args.dry_run {
        return try_out(global, &output, &capture).await;
    }
    let context = Context::new(global)?;
    let (name, recipe) = (capture.spec.name.clone(), recipe(&capture.spec));
    context.client.upload(|| capture.sources()).await?;
    let (job, log_index) = match context.client.submit_one(&capture.spec, !args.rerun).await? {
        Taken::Job(job, at) => (job, at),
        Taken::Artifact(artifact, log_index) => {
            let known = Known { artifact, log_index, name, recipe };
            return known.show(&context, &capture);
        }
    };
    let accepted = Accepted { job, log_index, name, recipe };
    if !(args.wait || args.follow) || output.form != Form::Json {
        output.show("submitted", &accepted, |_| {
            format!(
                "{}job {} submitted, durable at log {}\n",
                describe(&capture),
                accepted.job,
                accepted.log_index
            )
        })?;
    }
    after(&context, &args, accepted.job).await
}

async fn after(context: &Context, args: &user::Submit, job: JobId) -> Result<Exit, Fault> {
    let form = context.output.form;
    if args.follow && form == Form::Text {
        return match follow::along(context, job).await? {
            Some(end) => {
                context.output.text(&progress::epilogue(&end))?;
                Ok(progress::exit(&end))
            }
            None => {
                context
                    .output
                    .note(&format!("detached; the job keeps running. Reattach: assay watch {job}"));
                Ok(Exit::Detached)
            }
        };
    }
    if args.wait || args.follow {
        let Some(end) = follow::attached(context, job).await? else { return Ok(Exit::Detached) };
        match form {
            Form::Text => context.output.text(&progress::epilogue(&end.job))?,
            Form::Json | Form::JsonLines => context.output.document("job", &end)?,
        }
        return Ok(progress::exit(&end.job));
    }
    context.output.note(&format!("next: assay watch {job}"));
    Ok(Exit::Ok)
}

/// Reads the job that the arguments name.
fn draft(args: &user::Submit, output: &crate::output::Output) -> Result<Draft, Fault> {
    let here = Path::new(".");
    let mut read = match &args.file {
        Some(file) => jobfile::load(file)?,
        None => Read { base: here.to_owned(), ..Read::default() },
    };
    let mut flags = args.flags.draft(here);
    if !args.command.is_empty() {
        flags.command = Some(args.command.clone());
        if args.file.is_none() {
            read.base = here.to_owned();
        }
    }
    read.draft = flags.over(read.draft);
    for note in std::mem::take(&mut read.notes) {
        output.note(&format!("note: {note}"));
    }
    jobfile::check(read, args.file.as_deref())
}

/// Uploads what a job needs and submits it.
///
/// # Errors
/// When it is refused, or too few servers answer.
pub async fn submit(context: &Context, capture: &Capture) -> Result<Submitted, Fault> {
    context.client.upload(|| capture.sources()).await?;
    let submitted = context.client.submit(std::slice::from_ref(&capture.spec)).await?;
    if submitted.jobs.is_empty() {
        return Err(Fault::internal("submit", "the server took the job in without an id"));
    }
    Ok(submitted)
}

/// What is about to be submitted, in two lines.
#[must_use]
pub fn describe(capture: &Capture) -> String {
    let (files, size) = capture.size();
    let spec = &capture.spec;
    let model = spec.resources.gpu_model.as_deref().map(|m| format!(" {m}")).unwrap_or_default();
    format!(
        "plan     {} of {}{model} | queue {} | {} captured, {}\nrecipe   {}\n",
        count(spec.tasks.into(), "task"),
        show_gpus(spec.resources.gpus, spec.resources.gpu_share),
        spec.queue,
        count(files, "file"),
        show_size(size),
        recipe(spec)
    )
}
