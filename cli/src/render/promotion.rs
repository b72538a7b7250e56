//! Promotions and approvers.

use crate::{
    output::{Style, table::table},
    quantity::show_time,
};
use domain::promotion::{ApproversView, Promotion, PromotionState};
use registry::seal::manifest;
use serde::Serialize;

/// The document of `assay promotion list --json`.
#[derive(Debug, Serialize)]
pub struct Promotions {
    /// The promotions, newest first.
    pub promotions: Vec<Promotion>,
    /// The log index that the list shows.
    pub log_index: u64,
}

/// A promotion's state in its colour.
fn state(style: Style, promotion: &Promotion) -> String {
    let word = promotion.state.word();
    match &promotion.state {
        PromotionState::Applied => style.good(word),
        PromotionState::Refused { .. }
        | PromotionState::Rejected { .. }
        | PromotionState::Reversed { .. } => style.bad(word),
        PromotionState::Gated | PromotionState::Signing | PromotionState::Pending => {
            style.busy(word)
        }
        PromotionState::Unratified { .. } => style.busy(word),
        PromotionState::Expired => style.faint(word),
    }
}

fn approvals(promotion: &Promotion) -> String {
    match promotion.required {
        0 => "none asked".to_owned(),
        required => format!("{} of {required}", promotion.approvals.len()),
    }
}

/// The list as text.
#[must_use]
pub fn list(style: Style, all: &Promotions) -> String {
    if all.promotions.is_empty() && style.table {
        return "no promotions yet: assay promotion request MODEL --to staging\n".into();
    }
    let row = |promotion: &Promotion| {
        vec![
            promotion.id.to_string(),
            promotion.model.to_string(),
            promotion.to.to_string(),
            promotion.risk.to_string(),
            state(style, promotion),
            approvals(promotion),
            promotion.requested_by.clone(),
            show_time(promotion.requested),
        ]
    };
    let heading = ["PROMOTION", "MODEL", "TO", "RISK", "STATE", "APPROVALS", "BY", "REQUESTED"];
    table(style, &heading, &all.promotions.iter().map(row).collect::<Vec<_>>())
}

/// What an approver is asked, with the digest of what is signed.
#[must_use]
pub fn asked(promotion: &Promotion) -> String {
    format!(
        "signing: {} from {} to {}, {} risk, wanted by {}: {} (manifest {})",
        promotion.model,
        promotion.from,
        promotion.to,
        promotion.risk,
        promotion.requested_by,
        promotion.reason,
        manifest::digest(promotion)
    )
}

/// One promotion as text.
#[must_use]
pub fn detail(style: Style, promotion: &Promotion) -> String {
    let id = promotion.id;
    let emergency = if promotion.emergency { " in an emergency" } else { "" };
    let mut out = format!(
        "{} {} from {} to {}{emergency}: {}\n",
        style.strong(&id.to_string()),
        promotion.model,
        promotion.from,
        promotion.to,
        state(style, promotion)
    );
    let mut fields = vec![
        ("reason", format!("{} (by {})", promotion.reason, promotion.requested_by)),
        ("risk", promotion.risk.to_string()),
        ("artifact", format!("{} root {}", promotion.artifact, promotion.root)),
    ];
    for gate in &promotion.gates {
        let word = if gate.passed { "passed" } else { "FAILED" };
        fields.push(("evaluation", format!("{word}: {gate}")));
    }
    if let Some(policy) = &promotion.policy {
        let which = policy.policy_id.as_deref().map(|id| format!(" {id}")).unwrap_or_default();
        let version = policy.policy_version.as_deref().map(|it| format!(" version {it}"));
        let version = version.unwrap_or_default();
        let (decision, engine) = (policy.decision, &policy.engine);
        fields.push((
            "policy",
            format!("{decision} by {engine}{which}{version}: {}", policy.rationale),
        ));
    }
    if let Some(signed) = &promotion.manifest {
        fields.push(("manifest", format!("{} signed by {}", signed.manifest, signed.signer)));
    }
    fields.push(("approvals", approvals(promotion)));
    for word in &promotion.approvals {
        fields.push(("approved", format!("{} by {}", show_time(word.since), word.approver)));
    }
    fields.extend(ending(promotion));
    for (name, value) in fields {
        out.push_str(&format!("  {} {value}\n", style.faint(&format!("{name:<12}"))));
    }
    if let Some(next) = next(promotion) {
        out.push_str(&style.faint(&format!("next: {next}\n")));
    }
    out
}

fn ending(promotion: &Promotion) -> Option<(&'static str, String)> {
    Some(match &promotion.state {
        PromotionState::Gated | PromotionState::Signing | PromotionState::Pending => {
            ("expires", show_time(promotion.expires))
        }
        PromotionState::Unratified { due } => ("ratify by", show_time(*due)),
        PromotionState::Refused { why } => ("refused", why.clone()),
        PromotionState::Rejected { by, why } => ("rejected", format!("by {by}: {why}")),
        PromotionState::Reversed { why } => ("reversed", why.clone()),
        PromotionState::Applied | PromotionState::Expired => return None,
    })
}

fn next(promotion: &Promotion) -> Option<String> {
    let (id, model) = (promotion.id, &promotion.model);
    Some(match &promotion.state {
        PromotionState::Gated | PromotionState::Signing => format!("assay promotion show {id}"),
        PromotionState::Pending | PromotionState::Unratified { .. } => {
            format!("approvers: assay promotion approve {id} --key FILE")
        }
        PromotionState::Applied => format!("assay model show {model}"),
        PromotionState::Refused { .. } | PromotionState::Expired => {
            format!("assay promotion request {model} --to {} --reason TEXT", promotion.to)
        }
        PromotionState::Rejected { .. } | PromotionState::Reversed { .. } => {
            format!("assay promotion history {id}")
        }
    })
}

/// Every step of a promotion as text.
#[must_use]
pub fn history(style: Style, promotion: &Promotion) -> String {
    let rows: Vec<_> = promotion
        .history
        .iter()
        .map(|step| {
            vec![
                show_time(step.since),
                step.state.clone(),
                step.by.clone(),
                step.audit_seq.to_string(),
                step.what.clone(),
            ]
        })
        .collect();
    table(style, &["TIME", "STATE", "BY", "EVENT", "WHAT"], &rows)
}

/// Approvers as text.
#[must_use]
pub fn approvers(style: Style, all: &ApproversView) -> String {
    let quorum = all.quorum;
    let mut out = format!("{} of {} have to agree\n", quorum.required, quorum.of);
    if all.approvers.is_empty() && style.table {
        return out + "no approvers yet: assay approver add NAME --key FILE\n";
    }
    let rows: Vec<_> = all
        .approvers
        .iter()
        .map(|it| vec![it.name.clone(), it.key.clone(), show_time(it.since), it.by.clone()])
        .collect();
    out.push_str(&table(style, &["APPROVER", "KEY", "ADDED", "BY"], &rows));
    out
}
