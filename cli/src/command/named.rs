//! Jobs that name registered data: the versions are looked up before anything is captured.

use super::Context;
use crate::{
    args::Global,
    capture::{Capture, Registered},
    client::{Answer, Client},
    fault::Fault,
    jobfile::draft::Draft,
};
use domain::dataset::DatasetView;
use proto::v1::registry_query::What;

/// Looks up what drafts name. None is asked where none is named.
///
/// # Errors
/// When there is no such version, or nobody answers.
pub async fn known<'a>(
    client: &Client,
    drafts: impl IntoIterator<Item = &'a Draft>,
) -> Result<Registered, Fault> {
    let mut known = Registered::new();
    for word in drafts.into_iter().flat_map(Draft::registered) {
        if !known.contains_key(word) {
            let answer = client.registry_query(What::Dataset(word.to_owned())).await;
            let answer: Answer<DatasetView> = answer?;
            known.insert(word.to_owned(), answer.value.version);
        }
    }
    Ok(known)
}

/// Captures drafts, asking a cluster only where one of them names registered data.
///
/// # Errors
/// As [`known`], and when something cannot be captured.
pub async fn capture(global: &Global, drafts: &[&Draft]) -> Result<Vec<Capture>, Fault> {
    let named = drafts.iter().any(|draft| draft.registered().next().is_some());
    let registered = match named {
        true => known(&Context::new(global)?.client, drafts.iter().copied()).await?,
        false => Registered::new(),
    };
    drafts.iter().map(|draft| Capture::with(draft, None, &registered)).collect()
}
