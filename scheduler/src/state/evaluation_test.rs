//! What a sealed job measured of a version, and what only claims to be that.

use super::{
    command::Reply,
    model_test::{head, kinds, number, refusal, register, sealed, send},
    promotion_test::{allow, by, decided, model, promotion, sign},
    script::{Script, job, output},
};
use domain::{
    ArtifactId, Bytes, Digest, PromotionId,
    artifact::OutputDigests,
    evaluation::METRICS_FILE,
    job::{Captured, JobSpec},
    limit,
    model::{ModelView, Stage},
    promotion::{Bound, EvaluationGate, GateResult, Risk},
    refusal::RegistryRefusal as R,
    tree::{Tree, TreeFile},
};
use registry::ledger::RegistryCommand as C;

const GOOD: &str = r#"{"accuracy": 0.93, "loss": "0.1"}"#;

/// The stored list of an output with these files.
pub(super) fn listing(files: &[(&str, &str)]) -> Vec<u8> {
    let file = |(path, text): &(&str, &str)| TreeFile {
        digest: Digest::of(text.as_bytes()),
        executable: false,
        path: (*path).to_owned(),
        size: Bytes(text.len() as u64),
    };
    Tree { files: files.iter().map(file).collect() }.encode()
}

/// Runs a job that reads these trees to its sealed output with these files.
pub(super) fn evaluate(script: &mut Script, reads: &[Digest], files: &[(&str, &str)]) -> Vec<u8> {
    let captured = |tree| Captured { tree, files: 1, size: Bytes(1), origin: "data".into() };
    let named = reads.iter().enumerate().map(|(at, tree)| (format!("d{at}"), captured(*tree)));
    let id = script.submit(JobSpec { datasets: named.collect(), ..job(1, 1) });
    script.plan();
    let lease = script.lease_of(&id.to_string());
    let listing = listing(files);
    script.finish_with(lease, OutputDigests { tree: Digest::of(&listing), ..output(9) });
    script.seal(lease);
    listing
}

/// The files of `a1`, as the script's outputs have them.
fn files() -> Digest {
    output(1).tree
}

fn record(script: &mut Script, artifact: u64, listing: &[u8], metrics: &str) -> Reply {
    let command = C::RecordEvaluation {
        model: model("llama@1"),
        artifact: ArtifactId(artifact),
        listing: listing.to_vec(),
        metrics: metrics.as_bytes().to_vec(),
    };
    send(script, command)
}

/// `llama@1`, of which 0.91 is claimed, made of `a1`.
fn stage() -> Script {
    let mut script = sealed(1);
    number(register(&mut script, "llama", 1, &[]));
    script
}

fn found(script: &Script) -> ModelView {
    script.view().model(&script.rows, "llama@1").unwrap()
}

fn gate(needed: &str) -> EvaluationGate {
    let (metric, needed) = ("accuracy".to_owned(), needed.parse().unwrap());
    EvaluationGate { metric, bound: Bound::Min, needed, claimed: false, method: None }
}

#[test]
fn a_sealed_measurement_is_recorded_with_all_that_it_rests_on() {
    let mut script = stage();
    let corpus = Digest::of(b"corpus");
    let listing = evaluate(&mut script, &[files(), corpus], &[(METRICS_FILE, GOOD)]);
    assert_eq!(number(record(&mut script, 2, &listing, GOOD)), 1);
    let view = found(&script);
    let evaluation = &view.evaluations[0].evaluation;
    assert_eq!(evaluation.artifact, ArtifactId(2));
    assert_eq!(evaluation.file, Digest::of(GOOD.as_bytes()));
    assert_eq!(evaluation.inputs, ["d0"]);
    assert_eq!(evaluation.datasets, [("d1".to_owned(), corpus)].into());
    assert_eq!(evaluation.manifest, output(9).statement);
    let accuracy = &view.measured["accuracy"];
    assert_eq!(accuracy.value.to_string(), "0.93");
    assert_eq!(accuracy.evaluation, Some(ArtifactId(2)));
    assert_eq!(view.version.metrics["accuracy"].to_string(), "0.91", "the claim stays a claim");
    let last = head(&script);
    assert_eq!(kinds(&script, last), ["registry.model.evaluated"]);
    // Once more changes nothing.
    number(record(&mut script, 2, &listing, GOOD));
    assert_eq!((head(&script), found(&script).evaluations.len()), (last, 1));
}

#[test]
fn the_same_way_to_measure_has_one_method_whatever_it_measures() {
    let mut script = stage();
    let [corpus, other] = [b"corpus", b"others"].map(|text| Digest::of(text));
    for data in [corpus, corpus, other] {
        evaluate(&mut script, &[files(), data], &[(METRICS_FILE, GOOD)]);
    }
    let listing = listing(&[(METRICS_FILE, GOOD)]);
    for artifact in 2..=4 {
        number(record(&mut script, artifact, &listing, GOOD));
    }
    let all = found(&script).evaluations;
    let methods: Vec<_> = all.iter().map(|it| it.evaluation.method).collect();
    assert!(methods[1] == methods[2] && methods[0] != methods[1], "the data is a part of it");
}

#[test]
fn forged_and_unreadable_metrics_are_refused_and_leave_nothing() {
    let mut script = stage();
    let listing = evaluate(&mut script, &[files()], &[(METRICS_FILE, GOOD)]);
    let better = r#"{"accuracy": 0.99}"#;
    let why = refusal(record(&mut script, 2, &listing, better));
    assert!(matches!(&why, R::NotSealed { what, .. } if what == METRICS_FILE), "{why}");
    assert_eq!(kinds(&script, head(&script)), ["registry.attempt.refused"]);
    let forged = self::listing(&[(METRICS_FILE, better)]);
    let why = refusal(record(&mut script, 2, &forged, better));
    assert!(matches!(why, R::NotSealed { .. }), "{why}");
    let long = vec![b' '; limit::EVALUATION_TREE_MAX.0 as usize + 1];
    let why = refusal(record(&mut script, 2, &long, GOOD));
    assert!(matches!(why, R::NoMetrics { .. }), "{why}");

    let twice = r#"{"accuracy": 0.5, "accuracy": 0.99}"#;
    let bad = [twice, "{\"accuracy\": NaN}", "{}", "{\"n\": 9007199254740993}"];
    for (artifact, text) in (3..).zip(bad) {
        let listing = evaluate(&mut script, &[files()], &[(METRICS_FILE, text)]);
        let why = refusal(record(&mut script, artifact, &listing, text));
        assert!(matches!(why, R::NoMetrics { .. }), "{text}: {why}");
    }
    let listing = evaluate(&mut script, &[files()], &[("other.json", GOOD)]);
    let why = refusal(record(&mut script, 7, &listing, GOOD));
    assert!(why.to_string().contains("there is no such file"), "{why}");
    assert_eq!(found(&script).evaluations, []);
}

#[test]
fn what_is_unsealed_revoked_or_of_another_model_says_nothing() {
    let mut script = stage();
    let other = evaluate(&mut script, &[Digest::of(b"another model")], &[(METRICS_FILE, GOOD)]);
    let why = refusal(record(&mut script, 2, &other, GOOD));
    assert!(matches!(why, R::NotOfModel { .. }), "{why}");
    let why = refusal(record(&mut script, 9, &other, GOOD));
    assert!(matches!(why, R::NotFound { .. }), "{why}");
    let listing = evaluate(&mut script, &[files()], &[(METRICS_FILE, GOOD)]);
    let revoke = |id| C::RevokeArtifact { artifact: ArtifactId(id), reason: "bad".into() };
    number(record(&mut script, 3, &listing, GOOD));
    number(send(&mut script, revoke(3)));
    let why = refusal(record(&mut script, 3, &listing, GOOD));
    assert!(matches!(why, R::Revoked { .. }), "{why}");
    let view = found(&script);
    assert!(view.evaluations[0].void.as_ref().is_some_and(|why| why.contains("revoked: bad")));
    assert_eq!(view.measured["accuracy"].evaluation, None, "only the claim is left");
    // Nothing is said of a version that must not be used either.
    number(send(&mut script, revoke(1)));
    evaluate(&mut script, &[files()], &[(METRICS_FILE, GOOD)]);
    let why = refusal(record(&mut script, 4, &listing, GOOD));
    assert!(matches!(why, R::Revoked { .. }), "{why}");
}

#[test]
fn a_gate_passes_on_what_was_sealed_and_a_leader_cannot_wave_a_claim_through() {
    let mut script = stage();
    let ask = C::RequestPromotion {
        model: model("llama@1"),
        to: Stage::Staging,
        risk: Risk::Low,
        emergency: false,
        reason: "better".into(),
        within: None,
    };
    let decide = |script: &mut Script, id, result: GateResult| {
        by(script, "server:1", decided(id, vec![result], allow()))
    };
    let id = number(send(&mut script, ask.clone()));
    let claim = found(&script).metrics().meet(gate("0.9"));
    let waved = GateResult { passed: true, ..claim.clone() };
    let invented = GateResult { evaluation: Some(ArtifactId(2)), ..waved.clone() };
    for forged in [waved, invented] {
        let why = refusal(decide(&mut script, id, forged));
        assert!(matches!(why, R::Evidence { .. }), "{why}");
    }
    number(decide(&mut script, id, claim));
    let refused = promotion(&script, id);
    let said = refused.history.last().unwrap().what.clone();
    for part in ["gate `accuracy`: 0.91 is only claimed", "needed at least 0.9", "model evaluate"] {
        assert!(said.contains(part), "{part}: {said}");
    }

    let listing = evaluate(&mut script, &[files()], &[(METRICS_FILE, GOOD)]);
    number(record(&mut script, 2, &listing, GOOD));
    let id = number(send(&mut script, ask));
    let measured = found(&script).metrics().meet(gate("0.9"));
    number(decide(&mut script, id, measured));
    let cleared = script.view().promotion(&script.rows, PromotionId(id)).unwrap();
    assert_eq!(cleared.state.word(), "signing");
    assert_eq!(cleared.gates[0].evaluation, Some(ArtifactId(2)));

    // What it rests on is taken back while it is under way.
    let artifact = ArtifactId(2);
    number(send(&mut script, C::RevokeArtifact { artifact, reason: "leaked truth".into() }));
    let signed = sign(&script, id);
    let why = refusal(by(&mut script, "server:1", signed));
    assert!(matches!(why, R::Revoked { .. }), "{why}");
    assert_eq!(promotion(&script, id).state.word(), "refused");
}
