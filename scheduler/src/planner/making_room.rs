//! Preemption as a reason: to wait for the room that others make, or to give one's own up.

use crate::state::{preemption::PreemptionRow, sched::Job, view::View};
use domain::{
    Millis,
    job::{ElementState, EndCause},
    lease::Phase,
    limit,
    view::ReasonView,
};
use std::collections::BTreeSet;

/// Names in one sentence.
const NAMED_MAX: usize = 6;

/// Others make room for a gang.
pub(super) fn promised(view: &View<'_>, row: &PreemptionRow, now: Millis) -> ReasonView {
    let victims = row.preemption.victims.iter();
    let left: Vec<_> = victims.filter_map(|victim| view.lease(victim.lease)).collect();
    let mut names: Vec<String> =
        left.iter().take(NAMED_MAX).map(|lease| lease.element.to_string()).collect();
    if let Some(more) = left.len().checked_sub(NAMED_MAX).filter(|more| *more > 0) {
        names.push(format!("{more} more"));
    }
    let stops = left.iter().filter(|it| matches!(it.phase, Phase::Stopping { .. })).count();
    let nodes: BTreeSet<&str> = row
        .preemption
        .placement
        .members
        .iter()
        .filter_map(|member| Some(view.node(member.node)?.inventory.name.as_str()))
        .collect();
    let nodes: Vec<&str> = nodes.into_iter().take(NAMED_MAX).collect();
    let detail = format!(
        "{} make room for it on {}: {} save their work, {stops} are being ended",
        names.join(", "),
        nodes.join(" "),
        left.len() - stops
    );
    let until = row.since.plus(limit::NOTICE_MAX).minus(now).0.div_ceil(1_000);
    let remedy = format!("wait, at most {until} s");
    ReasonView { kind: "preemption".into(), detail, remedy, never: false }
}

/// An attempt of a job has notice.
pub(super) fn noticed(view: &View<'_>, job: &Job, now: Millis) -> Option<ReasonView> {
    job.elements.values().find_map(|row| {
        let ElementState::Running { lease } = &row.state else { return None };
        let lease = view.lease(*lease)?;
        let notice = lease.notice.as_ref()?;
        if let Phase::Stopping { .. } = lease.phase {
            return None;
        }
        let seconds = notice.until().minus(now).0.div_ceil(1_000);
        let detail = format!(
            "{} is to save its work and to give its place up ({}), within {seconds} s",
            lease.element, notice.cause
        );
        let remedy = match notice.cause {
            EndCause::Reserved { .. } => {
                "it goes on from its last checkpoint, on other nodes or \
                                          when that window is over"
            }
            EndCause::Drained { .. } => "it goes on from its last checkpoint, on another node",
            _ => {
                "it goes on later from its last checkpoint; to keep a job from this: \
                  `preemptible = false`"
            }
        };
        let remedy = remedy.to_owned();
        Some(ReasonView { kind: "notice".into(), detail, remedy, never: false })
    })
}
