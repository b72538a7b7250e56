//! `assay gc`: which results' files go, and letting them go.

use super::Context;
use crate::{
    args::gc::Gc,
    client::Answer,
    exit::Exit,
    fault::Fault,
    quantity::show_time,
    render::{
        self,
        gc::{Plan, Ran},
    },
};
use domain::{
    ArtifactId, limit,
    retain::{GcItem, GcPage},
    view::ArtifactView,
};
use proto::v1::{self, registry_query::What, registry_request::Change};

/// Times that the results are looked through: letting go of one may let go of what it was made of.
const ROUNDS: usize = 50;

/// `assay gc`.
///
/// # Errors
/// When nobody answers, or the user is no admin.
pub async fn run(context: &Context, what: Gc) -> Result<Exit, Fault> {
    match what {
        Gc::Plan => {
            let plan = Plan::of(all(context).await?);
            context.mark(plan.log_index);
            context.output.show("gc_plan", &plan, |style| render::gc::plan(style, &plan))?;
        }
        Gc::Run => {
            let ran = collect(context).await?;
            context.output.show("gc_run", &ran, |style| render::gc::ran(style, &ran))?;
        }
    }
    Ok(Exit::Ok)
}

/// Every result that has its files, and the log index that all are at least of.
async fn all(context: &Context) -> Result<(Vec<GcItem>, u64), Fault> {
    let (mut items, mut after, mut at) = (Vec::new(), 0, u64::MAX);
    loop {
        let asked = v1::GcQuery { after, limit: limit::PAGE_MAX as u32 };
        let answer: Answer<GcPage> = context.client.registry_query(What::Gc(asked)).await?;
        at = at.min(answer.log_index);
        items.extend(answer.value.items);
        match answer.value.next {
            Some(ArtifactId(next)) => after = next,
            None => return Ok((items, at)),
        }
    }
}

/// Rounds, until one lets nothing go. The newest results go first, since they may keep older ones.
async fn collect(context: &Context) -> Result<Ran, Fault> {
    let mut ran = Ran::default();
    for _ in 0..ROUNDS {
        let (items, _) = all(context).await?;
        let (going, kept): (Vec<_>, Vec<_>) = items.into_iter().partition(GcItem::goes);
        ran.kept = kept.len() as u64;
        let mut went = 0;
        for batch in going.rchunks(limit::COLLECT_MAX) {
            let artifacts = batch.iter().rev().map(|item| item.artifact.to_string()).collect();
            let asked = v1::CollectArtifacts { artifacts };
            let done = context.client.registry(Change::Collect(asked)).await?;
            (went, ran.log_index) = (went + done.number, done.at.0);
        }
        if went == 0 {
            break;
        }
        // What was let go is what is missing from the list afterwards.
        ran.candidates.extend(going);
    }
    if !ran.candidates.is_empty() {
        let (left, _) = all(context).await?;
        ran.settle(&left);
    }
    Ok(ran)
}

/// Refuses to look for files that went.
///
/// # Errors
/// When they did: with when, by which rule, and what is left.
pub fn check_has_files(view: &ArtifactView) -> Result<(), Fault> {
    let Some(gone) = &view.collected else { return Ok(()) };
    let (id, job) = (view.artifact.id, view.artifact.ticket.element.job);
    let detail = format!(
        "the files of {id} were collected on {} by {}, as `{}` asked; its record, manifest and \
         signatures are kept: assay artifact show {id}",
        show_time(gone.since),
        gone.rule,
        gone.by
    );
    Err(Fault::not_found(detail).hint(format!("make them again: assay reproduce {job}")))
}
