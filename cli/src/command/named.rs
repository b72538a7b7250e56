//! Jobs that name registered data, or a class of priority: both are looked up before anything is
//! captured.

use super::Context;
use crate::{
    args::Global,
    capture::{Capture, Known},
    client::{Answer, Client},
    fault::Fault,
    jobfile::draft::Draft,
};
use domain::{
    dataset::DatasetView,
    queue::{PriorityClasses, view::QueuesView},
};
use proto::v1::{QueuesQuery, query_request, registry_query::What};

/// Looks up what drafts name. None is asked where none is named.
///
/// # Errors
/// When there is no such version or class, or nobody answers.
pub async fn known<'a>(
    client: &Client,
    drafts: impl IntoIterator<Item = &'a Draft>,
) -> Result<Known, Fault> {
    let mut known = Known::default();
    for draft in drafts {
        for word in draft.registered() {
            if !known.versions.contains_key(word) {
                let answer = client.registry_query(What::Dataset(word.to_owned())).await;
                let answer: Answer<DatasetView> = answer?;
                known.versions.insert(word.to_owned(), answer.value.version);
            }
        }
        if draft.priority_class().is_some() && known.classes.is_none() {
            known.classes = Some(classes(client).await?);
        }
    }
    Ok(known)
}

/// The cluster's classes of priority.
///
/// # Errors
/// When nobody answers.
pub async fn classes(client: &Client) -> Result<PriorityClasses, Fault> {
    let query = query_request::What::Queues(QueuesQuery { name: String::new() });
    let answer: Answer<QueuesView> = client.query(query).await?;
    Ok(answer.value.priority_classes)
}

/// Captures drafts, asking a cluster only where one of them names something by a word of its.
///
/// # Errors
/// As [`known`], and when something cannot be captured.
pub async fn capture(global: &Global, drafts: &[&Draft]) -> Result<Vec<Capture>, Fault> {
    let names =
        |draft: &&Draft| draft.registered().next().is_some() || draft.priority_class().is_some();
    let known = match drafts.iter().any(names) {
        true => known(&Context::new(global)?.client, drafts.iter().copied()).await?,
        false => Known::default(),
    };
    drafts.iter().map(|draft| Capture::with(draft, None, &known)).collect()
}
