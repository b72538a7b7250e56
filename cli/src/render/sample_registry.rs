//! Fixed documents of the registry for the golden tests.

use super::{model::Comparison, sample};
use domain::{
    ArtifactId, Bytes, Digest, Millis, PromotionId,
    dataset::{
        Block, Clearance, DatasetFacts, DatasetRef, DatasetVersion, DatasetView, LegalHold, PiiScan,
    },
    evaluation::{Evaluation, EvaluationView},
    model::{
        FamilyView, LineageEdge, LineageKind, LineageNode, LineageView, ModelRef, ModelVersion,
        ModelView, Stage,
    },
    promotion::{
        Approval, Approver, ApproversView, Bound, EvaluationGate, GateResult, ManifestSignature,
        PolicyDecision, Promotion, PromotionState, Quorum, Risk, Ruling, Transition,
    },
};

const START: Millis = Millis(1_764_000_000_000);

fn digest(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

fn reference(version: u64) -> ModelRef {
    ModelRef { family: "digits".into(), version }
}

/// The artifact that says what was measured of the first version.
const EVALUATED: Option<ArtifactId> = Some(ArtifactId(9));

pub fn evaluation() -> Evaluation {
    let metric = |name: &str, value: &str| (name.to_owned(), value.parse().expect("a number"));
    Evaluation {
        artifact: ArtifactId(9),
        job: "j9".parse().expect("an id"),
        metrics: [metric("accuracy", "0.93"), metric("loss", "0.1")].into(),
        file: digest("metrics"),
        manifest: digest("statement"),
        signature: digest("signature9"),
        inputs: vec!["model".into()],
        datasets: [("held_out".to_owned(), digest("held out"))].into(),
        method: digest("method"),
        since: START,
        by: "ada".into(),
        audit_seq: 15,
    }
}

pub fn model(version: u64) -> ModelView {
    let evaluation = EvaluationView { evaluation: evaluation(), void: None };
    let evaluations = if version == 1 { vec![evaluation] } else { Vec::new() };
    let mut view = registered(version);
    view.evaluations = evaluations;
    view.measured = view.metrics().all();
    view
}

fn registered(version: u64) -> ModelView {
    let accuracy = if version == 1 { "0.91" } else { "0.85" };
    ModelView {
        version: ModelVersion {
            model: reference(version),
            artifact: ArtifactId(version),
            stage: if version == 1 { Stage::Prod } else { Stage::Draft },
            metrics: [("accuracy".to_owned(), accuracy.parse().expect("a number"))].into(),
            parents: (1..version).map(reference).collect(),
            registered: START,
            registered_by: "ada".into(),
            audit_seq: 11,
        },
        aliases: if version == 1 { vec!["champion".into(), "prod".into()] } else { Vec::new() },
        children: if version == 1 { vec![reference(2)] } else { Vec::new() },
        job: "j7".parse().expect("an id"),
        root: digest(&format!("root{version}")),
        recipe: digest("recipe"),
        signature: digest("signature"),
        signer: digest("signer"),
        provenance: digest("provenance"),
        revoked: None,
        evaluations: Vec::new(),
        measured: [].into(),
    }
}

pub fn dataset() -> DatasetView {
    let clearance = Clearance {
        approver: "bob".into(),
        blocks: vec![Block::Licence],
        reason: "contract of 2026-03-01".into(),
        signature: "00".repeat(64),
        since: START,
        audit_seq: 13,
    };
    let hold = LegalHold { reason: "case 7".into(), by: "ada".into(), since: START, audit_seq: 14 };
    DatasetView {
        version: DatasetVersion {
            dataset: DatasetRef { name: "reviews".into(), version: 2 },
            facts: DatasetFacts {
                tree: digest("tree"),
                root: digest("root"),
                files: 3,
                size: Bytes(4_096),
                source: "https://example.org/reviews".into(),
                transformations: vec!["HTML removed".into()],
                licence: "CC-BY-NC-4.0".into(),
                owner: "ada".into(),
                slices: [("german".to_owned(), vec!["de".to_owned()])].into(),
                pii_declared: false,
                scan: PiiScan {
                    detector: "assay-pii".into(),
                    detector_version: 1,
                    scanned: Bytes(4_096),
                    counts: [("email".to_owned(), 2)].into(),
                    files: [("de/mails.csv".to_owned(), 2)].into(),
                },
            },
            registered: START,
            registered_by: "ada".into(),
            audit_seq: 12,
            clearances: vec![clearance],
            hold: Some(hold),
        },
        blocked: vec![Block::Pii],
        used_by: vec![ArtifactId(3)],
    }
}

pub fn family() -> FamilyView {
    FamilyView {
        family: "digits".into(),
        versions: 2,
        aliases: [("champion".to_owned(), 1), ("prod".to_owned(), 1)].into(),
        newest: model(2).version,
    }
}

pub fn lineage() -> LineageView {
    let node = |kind, id: &str, name: &str, depth| LineageNode {
        kind,
        id: id.into(),
        name: name.into(),
        depth,
    };
    let edge = |from, to| LineageEdge { from, to };
    let corpus = digest("corpus").to_string();
    LineageView {
        model: reference(2),
        nodes: vec![
            node(LineageKind::Model, "digits@2", "", 0),
            node(LineageKind::Artifact, "a2", "", 0),
            node(LineageKind::Model, "digits@1", "", 1),
            node(LineageKind::Job, "j7", "train <b>", 0),
            node(LineageKind::Artifact, "a1", "", 1),
            node(LineageKind::Dataset, &corpus, "corpus", 0),
            node(LineageKind::Model, "small@1", "", 1),
        ],
        edges: vec![edge(1, 0), edge(2, 0), edge(3, 1), edge(4, 2), edge(5, 3), edge(0, 6)],
        truncated: true,
    }
}

pub fn comparison() -> Comparison {
    let (left, right) = (sample::job(), sample::array());
    Comparison::of((&model(1), &left), (&model(2), &right))
}

fn gate() -> EvaluationGate {
    EvaluationGate {
        metric: "accuracy".into(),
        bound: Bound::Min,
        needed: "0.9".parse().expect("a number"),
        claimed: false,
        method: None,
    }
}

pub fn promotion() -> Promotion {
    Promotion {
        id: PromotionId(3),
        model: reference(1),
        artifact: ArtifactId(1),
        root: digest("root1"),
        artifact_signature: digest("signature"),
        provenance: digest("provenance"),
        from: Stage::Staging,
        to: Stage::Prod,
        risk: Risk::High,
        emergency: false,
        reason: "better on every slice".into(),
        requested_by: "ada".into(),
        requested: START,
        expires: START.plus(Millis(14 * 24 * 3_600_000)),
        request_event: digest("event"),
        state: PromotionState::Pending,
        required: 3,
        gates: vec![GateResult::of(gate(), Some(("0.93".parse().expect("a number"), EVALUATED)))],
        policy: Some(PolicyDecision {
            engine: "embedded".into(),
            request_id: "p3:00".into(),
            decision: Ruling::Allow,
            policy_id: None,
            policy_version: None,
            rule_id: None,
            rationale: "none of 2 policies matched".into(),
            evidence_refs: Vec::new(),
            ts: None,
        }),
        manifest: Some(ManifestSignature {
            manifest: digest("manifest"),
            signature: "0".repeat(128),
            signer: "local-ed25519:00000000".into(),
            since: START,
        }),
        approvals: vec![Approval {
            approver: "bob".into(),
            key: digest("key"),
            signature: "1".repeat(128),
            since: START,
            audit_seq: 29,
        }],
        displaced: None,
        history: vec![Transition {
            state: "gated".into(),
            since: START,
            by: "user:ada".into(),
            what: "requested: better on every slice".into(),
            audit_seq: 24,
        }],
    }
}

pub fn refused() -> Promotion {
    let why = "gate `accuracy`: 0.85, needed at least 0.9".to_owned();
    Promotion { state: PromotionState::Refused { why }, approvals: Vec::new(), ..promotion() }
}

pub fn approvers() -> ApproversView {
    let bob = Approver { name: "bob".into(), key: "2".repeat(64), since: START, by: "ada".into() };
    ApproversView { quorum: Quorum::default(), approvers: vec![bob] }
}
