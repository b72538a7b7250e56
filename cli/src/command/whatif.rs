//! `assay whatif`.

use super::{Context, named, usage::now};
use crate::{
    args::whatif::{Gpus, Quota, Whatif as Args},
    capture::Capture,
    client::Answer,
    clusterfile,
    exit::Exit,
    fault::Fault,
    jobfile,
    render::whatif::{self, Whatif},
};
use domain::{
    foresee::{StartView, WhatifView},
    job::JobSpec,
};
use proto::v1::{self, QuotaChange, WhatifQuery, query_request::What, quota_change::Guaranteed};
use std::path::Path;

/// Runs the command.
///
/// # Errors
/// When a file or the change is impossible, or nobody answers.
pub async fn run(context: &Context, args: &Args) -> Result<Exit, Fault> {
    let drain = drained(args)?;
    if drain.is_empty() && args.quota.is_empty() && args.submit.is_none() && args.policy.is_none() {
        return Err(Fault::usage("change", "no change is named that could be tried out").hint(
            "name one or more: drain NODE, --quota QUEUE=+32, --submit FILE, --policy FILE",
        ));
    }
    let job = match args.submit.as_deref() {
        Some(file) => Some(spec(context, file).await?),
        None => None,
    };
    let config = args.policy.as_deref().map(clusterfile::load).transpose()?;
    let query = WhatifQuery {
        drain,
        drain_at_ms: args.at.map_or(0, |at| at.since_epoch(now()).0),
        quotas: args.quota.iter().map(change).collect(),
        job: job.as_ref().map(v1::Job::from),
        config: config.map(|loaded| (&loaded.config).into()),
        horizon_ms: args.horizon.0.max(1),
        only_start: false,
        migrate: args.migrate,
    };
    let answer: Answer<WhatifView> = context.client.query(What::Whatif(query)).await?;
    context.mark(answer.log_index);
    let document = Whatif { view: answer.value, log_index: answer.log_index };
    context.output.show("whatif", &document, |style| whatif::text(style, &document.view))?;
    Ok(Exit::Ok)
}

/// Nodes and racks that are taken out of service, as words or as flags.
fn drained(args: &Args) -> Result<Vec<String>, Fault> {
    let words = match args.words.split_first() {
        None => &[][..],
        Some((verb, names)) if verb == "drain" && !names.is_empty() => names,
        Some((verb, _)) if verb == "drain" => {
            let fault = Fault::usage("drain", "no node or rack is named");
            return Err(fault.hint("such as: assay whatif drain rack-3 --at 18:00"));
        }
        Some((verb, _)) => {
            let fault = Fault::usage("change", format!("`{verb}` is no change"));
            return Err(fault.hint("such as: assay whatif drain rack-3 --at 18:00"));
        }
    };
    let all: Vec<String> = args.drain.iter().chain(words).cloned().collect();
    if all.is_empty() && (args.at.is_some() || args.migrate) {
        let flag = if args.migrate { "migrate" } else { "at" };
        let fault = Fault::usage(flag, "says how nodes are taken out, and none is named");
        return Err(fault.hint("such as: assay whatif drain rack-3 --at 18:00"));
    }
    Ok(all)
}

/// When and where a job would start if it was submitted now.
///
/// # Errors
/// When it would be refused, or nobody answers.
pub async fn start(context: &Context, spec: &JobSpec) -> Result<Option<StartView>, Fault> {
    let query = WhatifQuery { job: Some(spec.into()), only_start: true, ..WhatifQuery::default() };
    let answer: Answer<Option<StartView>> = context.client.query(What::Whatif(query)).await?;
    Ok(answer.value)
}

async fn spec(context: &Context, file: &Path) -> Result<JobSpec, Fault> {
    let draft = jobfile::check(jobfile::load(file)?, Some(file))?;
    let known = named::known(&context.client, [&draft]).await?;
    Ok(Capture::with(&draft, None, &known)?.spec)
}

fn change(quota: &Quota) -> QuotaChange {
    let guaranteed = match quota.gpus {
        Gpus::By(by) => Guaranteed::ByGpus(by),
        Gpus::To(gpus) => Guaranteed::ToGpus(gpus),
    };
    QuotaChange { queue: quota.queue.clone(), guaranteed: Some(guaranteed) }
}
