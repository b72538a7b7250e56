//! `assay submit` of a file with several jobs.

use super::{Context, follow, named};
use crate::{
    args::{Global, selector::Selector, user},
    capture::Capture,
    exit::Exit,
    fault::Fault,
    jobfile::{draft::Draft, graph::Part},
    output::{Form, Output, table::table},
};
use domain::{Digest, JobId, LogIndex, after::When, job::JobSpec};
use proto::{convert::when_word, v1};
use registry::seal::recipe::recipe;
use serde::Serialize;
use std::{collections::BTreeMap, path::Path};

/// A job of the file, as it was submitted or would be.
#[derive(Debug, Serialize)]
struct Line<'a> {
    /// Its name in the file.
    name: &'a str,
    /// Its id, once it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<JobId>,
    /// What it waits for.
    after: Vec<Before>,
    recipe: Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    spec: Option<&'a JobSpec>,
}

/// A job that another waits for.
#[derive(Debug, Serialize)]
struct Before {
    /// Its name in the file, or its id where it is none of the file.
    name: String,
    /// How it must have ended.
    when: When,
}

/// The document of `assay submit FILE --json`, and with `--dry-run`.
#[derive(Debug, Serialize)]
struct Submitted<'a> {
    /// The jobs: each after those that it waits for.
    jobs: Vec<Line<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_index: Option<LogIndex>,
}

/// Submits the jobs of a file, all or none, in one log entry.
///
/// # Errors
/// When one of them is malformed or refused, or nobody answers.
pub async fn run(
    global: &Global,
    args: &user::Submit,
    file: &Path,
    parts: &[Part],
) -> Result<Exit, Fault> {
    let output = super::output(global);
    refuse_flags(args, file)?;
    let drafts: Vec<&Draft> = parts.iter().map(|part| &part.draft).collect();
    let captures = named::capture(global, &drafts).await?;
    let lines = |ids: &[JobId], dry: bool| -> Vec<Line<'_>> {
        let all = parts.iter().zip(&captures).enumerate();
        all.map(|(at, (part, capture))| Line {
            name: &part.key,
            job: ids.get(at).copied(),
            after: before(parts, part),
            recipe: recipe(&capture.spec),
            spec: dry.then_some(&capture.spec),
        })
        .collect()
    };
    if args.dry_run {
        let document = Submitted { jobs: lines(&[], true), log_index: None };
        output.show("dry_run_jobs", &document, |style| {
            let count = document.jobs.len();
            let told = show(style, &document);
            format!("{told}{count} jobs in this order, nothing was submitted\n")
        })?;
        return Ok(Exit::Ok);
    }
    let context = Context::new(global)?;
    context
        .client
        .upload(|| {
            let all = captures.iter().flat_map(Capture::sources);
            let each: BTreeMap<_, _> = all.map(|source| (source.digest, source)).collect();
            each.into_values().collect()
        })
        .await?;
    let specs: Vec<JobSpec> = captures.iter().map(|capture| capture.spec.clone()).collect();
    let taken = context.client.submit_tied(&specs, ties(parts)).await?;
    let document = Submitted { jobs: lines(&taken.jobs, false), log_index: Some(taken.at) };
    if !args.wait || output.form != Form::Json {
        output.show("submitted_jobs", &document, |style| {
            let count = document.jobs.len();
            let told = show(style, &document);
            format!("{told}{count} jobs submitted, durable at log {}\n", taken.at)
        })?;
    }
    wait(&context, args, &output, &taken.jobs).await
}

async fn wait(
    context: &Context,
    args: &user::Submit,
    output: &Output,
    jobs: &[JobId],
) -> Result<Exit, Fault> {
    if args.wait {
        let all: Vec<Selector> = jobs.iter().map(|job| Selector::Element((*job).into())).collect();
        return follow::wait(context, &all).await;
    }
    let all: Vec<String> = jobs.iter().map(ToString::to_string).collect();
    output.note(&format!("next: assay wait {}", all.join(" ")));
    Ok(Exit::Ok)
}

/// What is said of one job cannot be said of several.
fn refuse_flags(args: &user::Submit, file: &Path) -> Result<(), Fault> {
    let flags = args.flags.draft(Path::new(".")) != Draft::default();
    let what = if !args.command.is_empty() {
        "a program"
    } else if flags {
        "flags that describe one job"
    } else if args.follow {
        "`--follow`, which shows one job"
    } else {
        return Ok(());
    };
    let detail = format!("{} has several jobs, and {what} came with it", file.display());
    Err(Fault::usage("flags", detail)
        .hint("write it into the jobs of the file; `--wait` waits for all"))
}

fn before(parts: &[Part], part: &Part) -> Vec<Before> {
    let inside = part.after.iter().map(|(on, when)| Before {
        name: parts.get(*on).map(|other| other.key.clone()).unwrap_or_default(),
        when: *when,
    });
    let outside = part.draft.after.iter();
    inside.chain(outside.map(|it| Before { name: it.job.to_string(), when: it.when })).collect()
}

fn ties(parts: &[Part]) -> Vec<v1::Tie> {
    // Places are below the number of jobs of one request.
    let tie = |job: usize, (on, when): &(usize, When)| v1::Tie {
        job: job as u32,
        on: *on as u32,
        when: when_word(*when),
    };
    let of = |(at, part): (usize, &'_ Part)| -> Vec<v1::Tie> {
        part.after.iter().map(|on| tie(at, on)).collect()
    };
    parts.iter().enumerate().flat_map(of).collect()
}

const HEADING: [&str; 4] = ["NAME", "JOB", "AFTER", "RECIPE"];

fn show(style: crate::output::Style, document: &Submitted<'_>) -> String {
    let word = |it: &Before| match it.when {
        When::Completed => it.name.clone(),
        When::Ended => format!("{} (any end)", it.name),
        When::Failed => format!("{} (failed)", it.name),
    };
    let row = |line: &Line<'_>| {
        let after: Vec<String> = line.after.iter().map(word).collect();
        vec![
            line.name.to_owned(),
            line.job.map_or("-".into(), |job| job.to_string()),
            if after.is_empty() { "-".into() } else { after.join(", ") },
            line.recipe.to_string().chars().take(12).collect(),
        ]
    };
    let rows: Vec<_> = document.jobs.iter().map(row).collect();
    table(style, &HEADING, &rows)
}
