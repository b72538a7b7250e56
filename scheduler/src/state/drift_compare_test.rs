//! What a retrain made beside what it is to replace: sealed evaluations decide, claims do not.

use super::{
    command::Command,
    drift_test::{
        dispatched, episode, observe, policy, register, run, set, trained, watched, with_data,
    },
    evaluation_test::{evaluate, listing},
    model_test::{head, kinds, number},
    script::{Script, output},
};
use domain::{
    ArtifactId, Digest, JobId,
    artifact::OutputDigests,
    drift::{Comparison, Dispatch},
    evaluation::METRICS_FILE,
};
use registry::ledger::RegistryCommand as C;

const WAS: &str = r#"{"accuracy": 0.91, "val_loss": 0.4, "samples": 7}"#;

fn record(script: &mut Script, model: &str, artifact: u64, metrics: &str) {
    let command = C::RecordEvaluation {
        model: model.parse().unwrap(),
        artifact: ArtifactId(artifact),
        listing: listing(&[(METRICS_FILE, metrics)]),
        metrics: metrics.as_bytes().to_vec(),
    };
    number(script.send(None, Command::Registry(command)));
}

fn comparison(script: &Script) -> Comparison {
    episode(script, 1).comparison.unwrap()
}

/// Runs what measures to its sealed output.
fn measure(script: &mut Script, id: JobId, metrics: &str) {
    script.plan();
    let lease = script.lease_of(&id.to_string());
    let listing = listing(&[(METRICS_FILE, metrics)]);
    script.finish_with(lease, OutputDigests { tree: Digest::of(&listing), ..output(9) });
    script.seal(lease);
}

/// `llama@1`, measured as `a2`; `llama@2` is its retrain `a3`, with the best of claims.
fn retrained(was: &str) -> Script {
    let mut script = watched(Dispatch::Auto);
    evaluate(&mut script, &[output(1).tree, Digest::of(b"truth")], &[(METRICS_FILE, was)]);
    record(&mut script, "llama@1", 2, was);
    number(observe(&mut script, with_data(2, "")));
    let id = dispatched(&script, 1);
    run(&mut script, id, 2);
    number(register(&mut script, 3, &[("accuracy", "0.999")]));
    script
}

#[test]
fn what_was_made_is_measured_as_the_version_was_and_claims_suggest_nothing() {
    let mut script = retrained(WAS);
    let found = comparison(&script);
    assert_eq!((found.artifact, found.artifact_before), (ArtifactId(3), ArtifactId(1)));
    assert!(!found.same_bits && found.recipe != found.recipe_before);
    let text = |it: Option<domain::Decimal>| it.map(|it| it.to_string());
    assert_eq!(text(found.metrics["accuracy"].after).as_deref(), Some("0.999"), "a claim");
    assert_eq!((found.measured, found.suggested_seq), (None, None));
    let id = found.measured_by.unwrap();
    let spec = script.view().job_rows(&script.rows, id).unwrap().0.spec;
    assert_eq!(spec.datasets["d0"].tree, output(2).tree, "the new files");
    assert_eq!(spec.datasets["d1"].tree, Digest::of(b"truth"), "by the same truth");

    let first = head(&script) + 1;
    let is = r#"{"accuracy": 0.94, "val_loss": 0.4, "samples": 6}"#;
    measure(&mut script, id, is);
    record(&mut script, "llama@2", 4, is);
    let found = comparison(&script);
    let measured = found.measured.unwrap();
    assert_eq!((measured.before, measured.after), (ArtifactId(2), ArtifactId(4)));
    assert_eq!(measured.held, ["accuracy", "val_loss"], "what `samples` should be nobody says");
    assert!(found.suggested_seq.is_some());
    let told = kinds(&script, first);
    let of_drift: Vec<_> = told.iter().filter(|kind| kind.starts_with("drift.")).collect();
    assert_eq!(of_drift, ["drift.retrain.compared", "drift.promotion.suggested"]);
    assert!(!told.iter().any(|kind| kind.starts_with("registry.promotion")), "never applied");
    let again = super::Cluster::load(&script.rows);
    assert_eq!(again.digest(), script.cluster.digest());
}

#[test]
fn what_is_worse_by_one_metric_is_not_suggested_and_the_metric_is_named() {
    for (is, worse) in [
        (r#"{"accuracy": 0.95, "val_loss": 0.41, "samples": 7}"#, "val_loss"),
        (r#"{"accuracy": 0.9, "val_loss": 0.1, "samples": 7}"#, "accuracy"),
        (r#"{"accuracy": 0.95}"#, "val_loss"),
    ] {
        let mut script = retrained(WAS);
        let id = comparison(&script).measured_by.unwrap();
        measure(&mut script, id, is);
        record(&mut script, "llama@2", 4, is);
        let found = comparison(&script);
        assert_eq!(found.measured.unwrap().worse, [worse]);
        assert_eq!(found.suggested_seq, None);
    }
    // Metrics of which nobody knows which way is better suggest nothing either.
    let unknown = r#"{"samples": 7}"#;
    let mut script = retrained(unknown);
    let id = comparison(&script).measured_by.unwrap();
    measure(&mut script, id, unknown);
    record(&mut script, "llama@2", 4, unknown);
    assert_eq!(comparison(&script).suggested_seq, None);
}

#[test]
fn without_an_evaluation_of_both_in_one_way_nothing_is_suggested() {
    let mut script = watched(Dispatch::Auto);
    number(observe(&mut script, with_data(2, "")));
    let id = dispatched(&script, 1);
    run(&mut script, id, 2);
    number(register(&mut script, 2, &[("accuracy", "0.999")]));
    assert_eq!(comparison(&script).measured_by, None, "nobody has said how to measure it");
    let truth = Digest::of(b"truth");
    for (artifact, model, reads) in [
        (3, "llama@2", [output(2).tree, truth]),
        (4, "llama@1", [output(1).tree, Digest::of(b"another")]),
    ] {
        evaluate(&mut script, &reads, &[(METRICS_FILE, WAS)]);
        record(&mut script, model, artifact, WAS);
        assert_eq!(comparison(&script).measured, None, "{model}: another way to measure");
    }
    evaluate(&mut script, &[output(1).tree, truth], &[(METRICS_FILE, WAS)]);
    record(&mut script, "llama@1", 5, WAS);
    assert!(comparison(&script).suggested_seq.is_some(), "now both were measured in one way");
}

#[test]
fn the_same_bits_are_not_measured_again_and_suggest_nothing() {
    let mut script = trained(&[]);
    evaluate(&mut script, &[output(1).tree], &[(METRICS_FILE, WAS)]);
    record(&mut script, "llama@1", 2, WAS);
    number(set(&mut script, policy(Dispatch::Auto)));
    number(observe(&mut script, with_data(2, "")));
    let id = dispatched(&script, 1);
    run(&mut script, id, 1);
    let found = comparison(&script);
    assert!(found.same_bits);
    assert_eq!((found.measured_by, found.suggested_seq), (None, None));
}
