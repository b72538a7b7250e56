//! Ranks that do nothing, as an answer to why a job does not get on.

use super::{log_hub::LogHub, query::job_view};
use crate::{consensus::shell::Rows, planner, state::view::View};
use domain::{
    JobId, Millis,
    health::{IdleRank, Idleness},
    view::{JobView, ReasonView, WhyView},
};

/// Ranks in one sentence.
const NAMED_MAX: usize = 8;

/// Why a job waits, or does nothing with what it holds.
pub(super) fn why(view: &View<'_>, rows: &Rows, hub: &LogHub, id: JobId) -> Option<WhyView> {
    let mut why = planner::why(view, rows, id, view.now())?;
    if why.state == "running"
        && let Some(job) = job_view(view, rows, hub, id)
    {
        why.reasons.extend(reasons(&job));
    }
    Some(why)
}

/// One reason for the ranks that hang, and one for those whose GPUs are idle.
fn reasons(job: &JobView) -> Vec<ReasonView> {
    let of = |state: Idleness| {
        let ranks: Vec<&IdleRank> = job.idle.iter().filter(|it| it.state == state).collect();
        let since = ranks.iter().map(|rank| rank.since).min()?;
        Some((words(&ranks), minutes(since, job)))
    };
    let id = job.line.id;
    let mut all = Vec::new();
    if let Some((ranks, since)) = of(Idleness::Hung) {
        let first = job.idle.iter().find(|it| it.state == Idleness::Hung).map_or(0, |it| it.rank);
        all.push(ReasonView {
            kind: "hung".into(),
            detail: format!(
                "{ranks}: no step, no printed line, no processor time and no use of its GPUs{since}"
            ),
            remedy: format!(
                "see what its threads wait for: `assay logs {id} --rank {first} --dump`; end it: \
                 `assay cancel {id}`"
            ),
            never: false,
        });
    }
    if let Some((ranks, since)) = of(Idleness::HeldIdle) {
        all.push(ReasonView {
            kind: "idle".into(),
            detail: format!("{ranks}: holds GPUs and does not use them{since}"),
            remedy: format!(
                "see what it does: `assay logs {id}`; ask for fewer GPUs, or end it: \
                 `assay cancel {id}`"
            ),
            never: false,
        });
    }
    all
}

fn words(ranks: &[&IdleRank]) -> String {
    let named: Vec<String> = ranks.iter().take(NAMED_MAX).map(|it| it.rank.to_string()).collect();
    let more = match ranks.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let rank = if ranks.len() == 1 { "rank" } else { "ranks" };
    format!("{rank} {}{more}", named.join(" "))
}

/// Since when, as far as clocks of different machines tell it.
fn minutes(since: Millis, job: &JobView) -> String {
    let begun = job.line.submitted;
    let after = since.minus(begun).0 / 60_000;
    format!(", since {after} minutes after it was submitted")
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::LeaseId;

    #[test]
    fn many_ranks_are_named_in_one_sentence() {
        let lease = LeaseId { index: 5, ordinal: 0 };
        let rank = |rank| IdleRank { lease, rank, state: Idleness::Hung, since: Millis(0) };
        let all: Vec<IdleRank> = (0..10).map(rank).collect();
        let all: Vec<&IdleRank> = all.iter().collect();
        assert_eq!(words(&all[..1]), "rank 0");
        assert_eq!(words(&all), "ranks 0 1 2 3 4 5 6 7 and 2 more");
    }
}
