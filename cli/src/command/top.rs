//! Queues, nodes and jobs as they are, on one screen.

use super::{Context, live::CLEAR};
use crate::{
    args::top::Top as Args,
    client::Answer,
    exit::Exit,
    fault::Fault,
    output::Form,
    render::top::{self, Top},
};
use domain::{
    queue::view::QueuesView,
    view::{JobLine, NodeView},
};
use proto::v1::{JobsQuery, NodesQuery, QueuesQuery, query_request::What};
use std::time::Duration;

/// Shortest time between two looks.
const EVERY_MIN: u64 = 200;

/// `assay top`.
///
/// # Errors
/// When nobody answers the first time.
pub async fn run(context: &Context, args: &Args) -> Result<Exit, Fault> {
    let screen = context.output.form == Form::Text && context.output.style.table;
    let stream = context.output.form == Form::JsonLines;
    let first = look(context, args.limit).await?;
    if args.once || !(screen || stream) {
        context.mark(first.log_index);
        context.output.show("top", &first, |style| top::text(style, &first))?;
        return Ok(Exit::Ok);
    }
    let every = Duration::from_millis(args.every.0.max(EVERY_MIN));
    let mut shown = Ok(first);
    loop {
        if screen {
            context.output.bytes(CLEAR)?;
        }
        match &shown {
            Ok(all) => context.output.show("top", all, |style| top::text(style, all))?,
            // Who leads may change: what cannot be seen now may be seen with the next look.
            Err(fault) => context.output.fault(fault),
        }
        // Cancel-safe: on Ctrl-C nothing of it is used again.
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = super::follow::interrupt() => return Ok(Exit::Ok),
        }
        shown = tokio::select! {
            next = look(context, args.limit) => next,
            () = super::follow::interrupt() => return Ok(Exit::Ok),
        };
        if let Err(fault) = &shown
            && !fault.retry_safe
        {
            return shown.map(|_| Exit::Ok);
        }
    }
}

/// What runs first, then what waits.
async fn look(context: &Context, limit: u32) -> Result<Top, Fault> {
    let client = &context.client;
    let queues: Answer<QueuesView> = client.query(What::Queues(QueuesQuery::default())).await?;
    let nodes: Answer<Vec<NodeView>> = client.query(What::Nodes(NodesQuery::default())).await?;
    let mut jobs: Vec<JobLine> = Vec::new();
    for state in ["running", "sealing", "waiting"] {
        let left = limit.saturating_sub(u32::try_from(jobs.len()).unwrap_or(limit));
        if left > 0 {
            let asked = JobsQuery { state: state.to_owned(), limit: left, ..JobsQuery::default() };
            let found: Answer<Vec<JobLine>> = client.query(What::Jobs(asked)).await?;
            jobs.extend(found.value);
        }
    }
    // Between two of these answers a job may have got on.
    let mut seen = std::collections::BTreeSet::new();
    jobs.retain(|job| seen.insert(job.id));
    Ok(Top::new(queues.value, nodes.value, jobs, limit as usize, queues.log_index))
}
