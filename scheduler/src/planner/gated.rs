//! Jobs at the gate before training, and data that may not be trained with.

use crate::state::{row::Submitted, view::View};
use domain::{JobId, port::RowRead, view::ReasonView};
use registry::ledger::dataset;

fn reason(detail: String, remedy: String, never: bool) -> ReasonView {
    ReasonView { kind: "policy".to_owned(), detail, remedy, never }
}

/// What a policy has to do with a job that does not run: it has not decided, or it said no.
pub(super) fn reason_of(view: &View<'_>, rows: &impl RowRead, id: JobId) -> Option<ReasonView> {
    if view.is_gated(id) {
        let detail = "the policy has not decided on it yet".to_owned();
        let remedy = "wait a moment; if it stays, see that the policy engine of each server's \
                      `policy_engine` or `gate_rules` answers"
            .to_owned();
        return Some(reason(detail, remedy, false));
    }
    let policy = view.training_decision(rows, id).filter(|policy| !policy.allows())?;
    let which = policy.policy_id.map_or_else(String::new, |id| format!(" {id}"));
    let detail = format!(
        "policy{which} of {} said {}: {}",
        policy.engine, policy.decision, policy.rationale
    );
    Some(reason(detail, "change what the policy objects to, and submit it again".into(), true))
}

/// A data set of a job that was blocked after the job was submitted.
pub(super) fn blocked_data(
    rows: &impl RowRead,
    id: JobId,
    submitted: &Submitted,
) -> Option<ReasonView> {
    let spec = &submitted.spec;
    let mut given = spec.datasets.values().chain(&spec.code);
    let (dataset, blocks) = given.find_map(|captured| dataset::blocked(rows, captured.tree))?;
    let blocks: Vec<_> = blocks.iter().map(ToString::to_string).collect();
    let detail = format!("data set {dataset} is blocked: {}", blocks.join(", and "));
    let remedy = format!(
        "have an approver clear it: `assay dataset clear {dataset}`; if the job is held then, \
         `assay release {id}`"
    );
    Some(ReasonView { kind: "dataset".to_owned(), detail, remedy, never: false })
}
