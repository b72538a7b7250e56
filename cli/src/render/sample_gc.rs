//! A collection with every kind of reason, for golden tests.

use domain::{
    ArtifactId, Bytes, Digest, JobId, Millis, PromotionId,
    model::Stage,
    retain::{GcItem, Keep, Retain, Rule, RuleOf},
};

const DAY: u64 = 86_400_000;
const SEALED: u64 = 1_767_225_600_000;

/// One result that goes, and one for each reason that keeps another.
pub fn items() -> Vec<GcItem> {
    let rule = Rule { of: RuleOf::Job(JobId(1)), retain: Retain::For(Millis(90 * DAY)) };
    let queue = Rule { of: RuleOf::Queue("ml".into()), retain: Retain::For(Millis(DAY)) };
    let model = "digits@3".parse().expect("it is a version");
    let child = "digits@4".parse().expect("it is a version");
    let dataset = "reviews@3".parse().expect("it is a version");
    let named = || "digits@3".parse().expect("it is a version");
    let all = [
        None,
        Some(Keep::NoRule),
        Some(Keep::Time { until: Millis(SEALED + 90 * DAY), rule: rule.clone() }),
        Some(Keep::Hold { reason: "case 7".into() }),
        Some(Keep::Dataset { dataset }),
        Some(Keep::Stage { model, stage: Stage::Prod }),
        Some(Keep::Alias { model: named(), alias: "champion".into() }),
        Some(Keep::Promotion { model: named(), promotion: PromotionId(7) }),
        Some(Keep::Parent { child }),
        Some(Keep::Source { of: ArtifactId(12) }),
        Some(Keep::Input { job: JobId(40) }),
        Some(Keep::Unsure),
    ];
    let item = |(at, kept): (u64, Option<Keep>)| GcItem {
        artifact: ArtifactId(at),
        name: "digits".into(),
        sealed: Millis(SEALED),
        tree: Digest::of(&at.to_be_bytes()),
        files: 2,
        size: Bytes(1_500),
        rule: match &kept {
            None => Some(rule.clone()),
            Some(Keep::NoRule) => None,
            Some(_) => Some(queue.clone()),
        },
        kept,
        shared_with: (at == 1).then_some(ArtifactId(2)),
    };
    (1..).zip(all).map(item).collect()
}
