//! The class of hardware that a job asks for, as a reason to wait.

use super::{fit::fits, free::FreeNode};
use crate::state::sched::{Job, Shape};
use domain::view::ReasonView;
use std::collections::BTreeSet;

/// Classes in one sentence.
const NAMED_MAX: usize = 8;

/// The reason, where a gang fits on `nodes` once it asks for no class, or no node has the class.
///
/// A run that repeats another is bound to that one's class, whatever it asks for.
#[must_use]
pub fn asked(nodes: &[FreeNode<'_>], shape: &Shape, job: &Job, never: bool) -> Option<ReasonView> {
    let class = shape.class.as_deref().filter(|_| job.brief.pin.is_none())?;
    if job.brief.hardware_class.as_deref() != Some(class) {
        return None;
    }
    let of = |class: Option<&str>| Shape { class: class.map(str::to_owned), ..shape.clone() };
    let there = nodes.iter().any(|node| node.class == class);
    let fits_elsewhere = fits(nodes, &of(None));
    if there && !fits_elsewhere {
        return None;
    }
    let known: BTreeSet<&str> = nodes.iter().map(|node| node.class).collect();
    let (what, others): (_, Vec<&str>) = match fits_elsewhere {
        true => {
            let fitting = known.into_iter().filter(|class| fits(nodes, &of(Some(class))));
            ("it would fit on", fitting.collect())
        }
        false => ("there are", known.into_iter().collect()),
    };
    let lacks = match (there, never) {
        (false, _) => "which no node has",
        (true, true) => "whose nodes cannot hold it",
        (true, false) => "whose nodes have no room for it now",
    };
    let mut names: Vec<String> =
        others.iter().take(NAMED_MAX).map(|class| format!("`{class}`")).collect();
    if let Some(more) = others.len().checked_sub(NAMED_MAX).filter(|more| *more > 0) {
        names.push(format!("and {more} more"));
    }
    let wait = if never { "" } else { ", or wait until others end" };
    Some(ReasonView {
        kind: "class".into(),
        detail: format!(
            "it asks for hardware class `{class}`, {lacks}; {what}: {}",
            names.join(", ")
        ),
        remedy: format!("leave `hardware_class` out, or name one of those{wait}"),
        never,
    })
}
