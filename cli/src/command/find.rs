//! From what a user wrote to the jobs that they mean.

use super::Context;
use crate::{args::selector::Selector, fault::Fault, render::jobs::Jobs};
use domain::{
    ElementId, JobId,
    view::{ArtifactView, JobLine, JobView},
};
use proto::v1::{JobsQuery, query_request::What};

/// The jobs that one word names: at least one.
///
/// # Errors
/// When there is none, or nobody answers.
pub async fn all(context: &Context, which: &Selector) -> Result<Vec<ElementId>, Fault> {
    let query = match which {
        Selector::Element(element) => return Ok(vec![*element]),
        Selector::Artifact(id) => {
            let what = What::Artifact(id.to_string());
            let view = context.client.query::<ArtifactView>(what).await?.value;
            return Ok(vec![view.artifact.ticket.element]);
        }
        Selector::Last => JobsQuery { limit: 1, mine: true, ..JobsQuery::default() },
        Selector::Name(name) => JobsQuery { name: name.clone(), ..JobsQuery::default() },
        Selector::Range(_, last) => {
            JobsQuery { before: last.0.saturating_add(1), ..JobsQuery::default() }
        }
    };
    let first = match which {
        Selector::Range(first, _) => *first,
        _ => JobId(0),
    };
    let jobs = pages(context, query, first).await?.jobs;
    if jobs.is_empty() {
        let detail = match which {
            Selector::Last => "you have no jobs yet".to_owned(),
            other => format!("no job matches `{other}`"),
        };
        return Err(Fault::not_found(detail).hint("assay jobs"));
    }
    Ok(jobs.into_iter().map(|job| ElementId::from(job.id)).collect())
}

/// Every page of a list, from the newest job down to `first`.
///
/// # Errors
/// When nobody answers.
pub async fn pages(context: &Context, mut query: JobsQuery, first: JobId) -> Result<Jobs, Fault> {
    let wanted = match query.limit {
        0 => usize::MAX,
        limit => limit as usize,
    };
    let mut found: Vec<JobLine> = Vec::new();
    let mut log_index = u64::MAX;
    loop {
        let page = context.client.query::<Vec<JobLine>>(What::Jobs(query.clone())).await?;
        log_index = log_index.min(page.log_index);
        let last = page.value.last().map(|job| job.id);
        found.extend(page.value.into_iter().filter(|job| job.id >= first));
        match last {
            Some(last) if last > first && found.len() < wanted && last.0 > 1 => {
                query.before = last.0;
            }
            _ => break,
        }
    }
    found.truncate(wanted);
    Ok(Jobs { jobs: found, log_index })
}

/// The jobs that several words name, in order.
///
/// # Errors
/// When one of them names none.
pub async fn every(context: &Context, which: &[Selector]) -> Result<Vec<ElementId>, Fault> {
    let mut found = Vec::new();
    for one in which {
        found.extend(all(context, one).await?);
    }
    Ok(found)
}

/// The one job that a word names.
///
/// # Errors
/// When it names none, or several.
pub async fn one(context: &Context, which: &Selector) -> Result<ElementId, Fault> {
    let found = all(context, which).await?;
    match found.as_slice() {
        [one] => Ok(*one),
        several => {
            let ids: Vec<_> = several.iter().take(10).map(ToString::to_string).collect();
            let detail = format!("`{which}` names {} jobs: {}", several.len(), ids.join(" "));
            Err(Fault::usage("several", detail).hint("name one of them"))
        }
    }
}

/// A job in full.
///
/// # Errors
/// When there is no such job.
pub async fn job(context: &Context, id: JobId) -> Result<JobView, Fault> {
    Ok(context.client.query(What::Job(id.to_string())).await?.value)
}

/// The artifact that a word names: itself, or the one that its job made.
///
/// # Errors
/// When there is none.
pub async fn artifact(context: &Context, which: &Selector) -> Result<ArtifactView, Fault> {
    let id = match which {
        Selector::Artifact(id) => id.to_string(),
        other => one(context, other).await?.to_string(),
    };
    let answer = context.client.query(What::Artifact(id)).await;
    Ok(answer.map_err(|fault| fault.hint_if_none("assay artifacts"))?.value)
}
