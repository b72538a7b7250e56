//! What a job waits for, on the wire.

use super::WireError;
use crate::v1;
use domain::{
    JobId, Millis,
    after::{After, RetryMax, RetryOn, RetryRule, When},
};
use std::collections::BTreeMap;

const WHEN: [(&str, When); 3] =
    [("completed", When::Completed), ("ended", When::Ended), ("failed", When::Failed)];
/// The name of a value.
fn name<T: PartialEq>(words: &[(&str, T)], value: &T) -> String {
    let found = words.iter().find(|(_, known)| known == value);
    found.map(|(name, _)| (*name).to_owned()).unwrap_or_default()
}

pub(super) fn to_wire(after: &[After]) -> Vec<v1::After> {
    after.iter().map(|one| v1::After { job: one.job.0, when: name(&WHEN, &one.when) }).collect()
}

pub(super) fn from_wire(wire: Vec<v1::After>) -> Result<Vec<After>, WireError> {
    let one = |wire: v1::After| Ok(After { job: JobId(wire.job), when: when(&wire.when)? });
    wire.into_iter().map(one).collect()
}

/// How a job must have ended; empty means that it completed.
///
/// # Errors
/// When it is no such word.
pub fn when(word: &str) -> Result<When, WireError> {
    let word = if word.is_empty() { "completed" } else { word };
    let found = WHEN.iter().find(|(name, _)| *name == word).map(|(_, when)| *when);
    found.ok_or_else(|| WireError {
        field: "after",
        fault: format!("is `{word}`"),
        remedy: "use `completed`, `ended` or `failed`",
    })
}

/// The word for how a job must have ended.
#[must_use]
pub fn when_word(when: When) -> String {
    name(&WHEN, &when)
}

pub(super) fn words(on: &[RetryOn]) -> Vec<String> {
    on.iter().map(|kind| kind.word().to_owned()).collect()
}

pub(super) fn bounds(max: &RetryMax) -> BTreeMap<String, u32> {
    max.words().map(|(word, most)| (word.to_owned(), most)).collect()
}

pub(super) fn rule(
    backoff_ms: u64,
    on: &[String],
    bounds: &BTreeMap<String, u32>,
) -> Result<RetryRule, WireError> {
    let kind = |word: &String| {
        let found = RetryOn::WORDS.iter().find(|(name, _)| name == word).map(|(_, kind)| *kind);
        found.ok_or_else(|| WireError {
            field: "retry_on",
            fault: format!("is `{word}`"),
            remedy: "use exit_code, signal, output, time_limit, prepare, seal or limit",
        })
    };
    let on = on.iter().map(kind).collect::<Result<_, _>>()?;
    let mut max = RetryMax::default();
    for (word, most) in bounds {
        if !max.set(word, *most) {
            return Err(WireError {
                field: "retry_max",
                fault: format!("bounds `{word}`"),
                remedy: "use exit_code, signal, output, time_limit, prepare, seal, limit or node",
            });
        }
    }
    Ok(RetryRule { backoff: (backoff_ms > 0).then_some(Millis(backoff_ms)), on, max })
}
