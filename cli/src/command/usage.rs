//! What became of GPU time.

use super::{Context, usage_export, usage_trace};
use crate::{
    args::usage::{By, Usage, Verb},
    exit::Exit,
    fault::{Fault, Kind},
    render,
};
use domain::{
    JobId, Millis,
    gpu_time::{DAY_MS, GpuTime, UsageLine, UsageView},
};
use proto::v1::{UsageQuery, query_request::What};
use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

/// Times that the pages of jobs are read anew because the log went on meanwhile.
const TRIES: u32 = 5;

/// `assay usage`.
///
/// # Errors
/// When nobody answers, or there is too much for one answer.
pub async fn run(context: &Context, args: Usage) -> Result<Exit, Fault> {
    match args.verb {
        Some(Verb::Export(args)) => return usage_export::run(context, args).await,
        Some(Verb::Trace(args)) => return usage_trace::run(context, args).await,
        None => {}
    }
    let last_day = now().0 / DAY_MS;
    let first_day = args.since.unwrap_or_else(|| now().minus(args.last).0 / DAY_MS);
    if first_day > last_day {
        return Err(Fault::usage("since", "that day has not begun").hint("--since 2026-01-31"));
    }
    let queue = args.queue.unwrap_or_default();
    let asked = UsageQuery { first_day, last_day, queue, ..UsageQuery::default() };
    let mut view = match args.by {
        By::Job => jobs(context, asked).await?,
        by => {
            let by = match by {
                By::Team => "team",
                By::Queue => "queue",
                By::User => "user",
                By::Job | By::Cause => "",
            };
            let asked = UsageQuery { by: by.to_owned(), ..asked };
            context.client.query::<UsageView>(What::Usage(asked)).await?.value
        }
    };
    context.mark(view.log_index.0);
    view.lines.sort_by_key(|line| std::cmp::Reverse(line.time.held()));
    let found = view.lines.len();
    if args.by == By::Job {
        view.lines.truncate(args.limit);
    }
    let document = render::usage::Usage::new(args.by, view);
    context.output.show("usage", &document, |style| render::usage::text(style, &document))?;
    if document.lines.len() < found && args.by == By::Job {
        let (shown, of) = (document.lines.len(), found);
        context.output.note(&format!("{shown} of {of} jobs; --limit {of} shows all"));
    }
    Ok(Exit::Ok)
}

/// The time, as this machine has it.
pub(super) fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// What jobs used, page by page. What ends while the pages are read may be on none of them, and
/// so the sum of all has to be what the last page says.
///
/// # Errors
/// When nobody answers, or the log never stands still for long enough.
pub(super) async fn jobs(context: &Context, asked: UsageQuery) -> Result<UsageView, Fault> {
    // Of days that are no longer told apart, jobs are not told.
    let whole = asked.queue.is_empty() && asked.first_day > 0;
    for _ in 0..TRIES {
        let view = pages(context, asked.clone()).await?;
        let sum = view.lines.iter().fold(GpuTime::default(), |sum, line| sum.plus(&line.time));
        if !whole || sum == view.total {
            return Ok(view);
        }
    }
    Err(Fault::new(Kind::Unavailable, "moving", "jobs ended while their time was read")
        .hint("repeat it, over fewer days"))
}

async fn pages(context: &Context, asked: UsageQuery) -> Result<UsageView, Fault> {
    type Whose = (JobId, String, String, String);
    let mut sums: BTreeMap<Whose, GpuTime> = BTreeMap::new();
    let mut asked = UsageQuery { by: "job".to_owned(), ..asked };
    loop {
        let what = What::Usage(asked.clone());
        let page = context.client.query::<UsageView>(what).await?.value;
        for line in &page.lines {
            let Some(job) = line.job else { continue };
            let whose = (job, line.team.clone(), line.queue.clone(), line.user.clone());
            let sum = sums.entry(whose).or_default();
            *sum = sum.plus(&line.time);
        }
        let Some(next) = page.next else {
            let line = |((job, team, queue, user), time)| UsageLine {
                team,
                queue,
                user,
                job: Some(job),
                time,
            };
            return Ok(UsageView { lines: sums.into_iter().map(line).collect(), ..page });
        };
        (asked.after_day, asked.after_job) = (next.day, next.job.0);
    }
}
