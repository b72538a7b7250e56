//! The leader's word on when waiting jobs start, so that it can be told how often such words held.
//!
//! What users are shown is made anew whenever they ask, by whichever server they ask. A sample of
//! it goes into the log: of jobs that wait when it is looked, once for each.

use super::{
    context::{Context, wall_clock},
    foreseeing,
};
use crate::{foresee::Foresight, state::command::Command};
use domain::{
    JobId, Millis,
    foresee::{Basis, Foretold},
    limit,
};
use std::{sync::Arc, time::Duration};

/// Pause between two looks. Source: a look takes up to three seconds of one core, where all that
/// waits is gone through; one in forty of its time is little.
const PAUSE: Duration = Duration::from_secs(120);

/// Jobs of which one look may find something to say.
const LOOKED_AT_MAX: usize = 10_000;

/// Looks until the replica ends.
pub async fn run(context: Arc<Context>) {
    loop {
        tokio::time::sleep(PAUSE).await;
        if context.node.leads() {
            look(&context).await;
        }
    }
}

async fn look(context: &Context) {
    let read = context.node.read_local(|cluster, _| {
        let view = cluster.view();
        let speaks = cluster.version() >= Command::Foretell { starts: Vec::new() }.since();
        let most = if speaks { LOOKED_AT_MAX } else { 0 };
        view.to_foretell(wall_clock().max(view.now()), most)
    });
    let Ok(jobs) = read.await else { return };
    let Some(newest) = jobs.iter().max() else { return };
    let Some(foresight) = foreseeing::as_things_are(context, *newest).await else { return };
    let starts = foretold(&foresight, &jobs, wall_clock());
    if starts.is_empty() {
        return;
    }
    let request = context.own(Command::Foretell { starts });
    if let Err(fault) = context.propose(request).await {
        tracing::debug!(why = fault.message(), "starts are not foretold; it is tried again");
    }
}

/// What history says of these jobs' starts, of the first of those of which it says something. Where
/// all scenarios agree it is time limits that decide: they say when a job starts at the latest, which
/// nearly always holds.
fn foretold(foresight: &Foresight, jobs: &[JobId], made: Millis) -> Vec<(JobId, Foretold)> {
    if foresight.basis != Basis::History {
        return Vec::new();
    }
    let of = |id: &JobId| {
        let (p50, p90) = foresight.span_of(*id).filter(|(p50, p90)| p50 < p90)?;
        Some((*id, Foretold { made: made.min(p50), p50, p90 }))
    };
    jobs.iter().filter_map(of).take(limit::FORETOLD_BATCH).collect()
}
