//! Figures of the registry: gates, lineage, audit, drift scores, the scan for personal data.
//!
//! What is measured are the functions that servers and commands call, on data made from a seed.
//! Each figure checks what came out, so that none measures work that was not done.

use crate::{
    registry_audit, registry_lineage,
    report::{self, Figure, Quantity, Target},
};
use anyhow::{Context as _, Result, ensure};
use domain::{
    ArtifactId, Decimal, Digest, JobId, Millis,
    drift::Dispatch,
    evaluation::{Evaluation, EvaluationView, Metrics},
    model::Stage,
};
use registry::{
    drift::{Numeric, Window, default_rules, rules_of, score, verdicts},
    gate::{GateRequest, RuleSet},
    pii::scan_all,
};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// How much of each.
pub struct Sizes {
    pub artifacts: u64,
    pub events: u64,
    pub features: usize,
    pub mib: usize,
    pub appends: u64,
}

/// Numbers from a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.roll() % most
    }

    /// Between 0 and 1.
    fn share(&mut self) -> f64 {
        (self.roll() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Nearly normal: the sum of twelve shares.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.share()).sum::<f64>() - 6.0
    }
}

/// The time below which this share of all lies.
pub fn quantile(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    let last = times.len().saturating_sub(1);
    times.get((last as f64 * share).ceil() as usize).copied().unwrap_or_default()
}

/// Runs the benchmark.
///
/// # Errors
/// When something does not come out as it was laid out, or the cluster does not come up.
pub async fn run(seed: u64, sizes: Sizes) -> Result<()> {
    report::section(&format!(
        "The registry's own work, on data of seed {seed}: rows are in RocksDB, as on a server"
    ));
    gate(&mut Dice(seed))?;
    drift(&mut Dice(seed), sizes.features)?;
    pii(&mut Dice(seed), sizes.mib)?;
    let dir = tempfile::tempdir()?;
    registry_lineage::run(dir.path(), sizes.artifacts)?;
    registry_audit::chain_and_proofs(dir.path(), sizes.events)?;
    registry_audit::appends(dir.path(), sizes.appends).await
}

/// Policies of a cluster that has many.
const POLICIES: u64 = 50;
/// Decisions that are measured.
const DECISIONS: u64 = 20_000;

/// Rules with policies of which the last one denies a family, and four gates.
fn rules() -> Result<RuleSet> {
    let policy = |number: u64| {
        let rule = json!({"and": [
            {"==": [{"var": "action"}, "model.promote"]},
            {"in": [{"var": "resource.environment"}, ["staging", "prod"]]},
            {"or": [{"==": [{"var": "resource.family"}, format!("family-{number}")]},
                    {"<": [{"var": "context.samples"}, number]}]},
        ]});
        json!({
            "id": format!("pol-{number}"), "name": "no such family", "version": 1,
            "severity": "HIGH", "state": "active",
            "metadata": {"effect": "deny", "ruleId": "r1"}, "rule": rule,
        })
    };
    let policies: Vec<Value> = (0..POLICIES).map(policy).collect();
    let gates = ["accuracy", "recall", "f1", "precision"];
    let gates = gates.map(|metric| json!({"metric": metric, "min": "0.9"}));
    let text = json!({"policies": policies, "promotion": {"prod": {"gates": gates}}}).to_string();
    Ok(RuleSet::parse(&text)?)
}

/// A version's evaluations, the newest of which has all metrics.
fn evaluations(dice: &mut Dice) -> Result<Vec<EvaluationView>> {
    let one = |number: u64, dice: &mut Dice| -> Result<EvaluationView> {
        let metric = |name: &str, dice: &mut Dice| -> Result<(String, Decimal)> {
            Ok((name.to_owned(), format!("0.9{:04}", dice.below(10_000)).parse()?))
        };
        let names = ["accuracy", "recall", "f1", "precision"];
        let metrics = names.iter().map(|name| metric(name, dice)).collect::<Result<_>>()?;
        let nothing = Digest::of(b"");
        let evaluation = Evaluation {
            artifact: ArtifactId(number),
            job: JobId(number).into(),
            metrics,
            file: nothing,
            manifest: nothing,
            signature: nothing,
            inputs: vec!["model".into()],
            datasets: BTreeMap::new(),
            method: nothing,
            since: Millis(number),
            by: "ada".into(),
            audit_seq: number,
        };
        Ok(EvaluationView { evaluation, void: None })
    };
    (0..8).rev().map(|number| one(number + 1, dice)).collect()
}

/// One promotion's question, of a family that a policy denies in one of two cases.
fn question(turn: u64, dice: &mut Dice) -> Result<(GateRequest, bool)> {
    let family = dice.below(2 * POLICIES);
    let denied = family < POLICIES;
    let context = json!({"samples": 1_000, "emergency": false, "risk": "high"});
    let context = match context {
        Value::Object(context) => context,
        _ => Map::new(),
    };
    let resource = json!({
        "environment": "prod", "family": format!("family-{family}"), "id": format!("m@{turn}"),
    });
    let actor = json!({"id": "ada", "type": "user"});
    let request = GateRequest::new("model.promote", &format!("p{turn}"), actor, resource, context)?;
    Ok((request, denied))
}

/// A decision with embedded rules: four evaluation gates, and all policies.
fn gate(dice: &mut Dice) -> Result<()> {
    let rules = rules()?;
    let (claimed, evaluations) = (BTreeMap::new(), evaluations(dice)?);
    let metrics = Metrics { claimed: &claimed, evaluations: &evaluations };
    let (mut times, mut denials, mut wanted) = (Vec::new(), 0, 0);
    for turn in 0..DECISIONS {
        let (request, denied) = question(turn, dice)?;
        wanted += u64::from(denied);
        let start = Instant::now();
        let gates = rules.stage(Stage::Prod).gates.into_iter().map(|gate| metrics.meet(gate));
        let passed = gates.filter(|gate| gate.passed).count();
        let decision = rules.policies().decide(&request);
        let recorded = decision.recorded("embedded", request.request_id());
        times.push(start.elapsed());
        denials += u64::from(!recorded.allows());
        ensure!(passed == 4, "{passed} of four gates passed");
    }
    ensure!(denials == wanted, "{denials} of {wanted} requests were denied");
    let p99 = quantile(&mut times, 0.99);
    let most = Quantity::ms(1.0);
    Figure::new("gate decision with embedded rules, p99", Quantity::Time(p99))
        .target(Target::AtMost(most, most))
        .note(format!(
            "{DECISIONS} decisions over {POLICIES} policies and 4 gates, {denials} denials; \
             median {:.2?}",
            quantile(&mut times, 0.5)
        ))
        .print();
    Ok(())
}

/// Samples of each window.
const SAMPLES: usize = 10_000;

/// All scores of many features, from samples to verdicts; every tenth feature has shifted.
fn drift(dice: &mut Dice, features: usize) -> Result<()> {
    let window = |dice: &mut Dice, shift: f64| -> Vec<f64> {
        (0..SAMPLES).map(|_| dice.normal() + shift).collect()
    };
    let shift = |feature: usize| if feature.is_multiple_of(10) { 0.5 } else { 0.0 };
    let pairs: Vec<_> =
        (0..features).map(|it| (window(dice, 0.0), window(dice, shift(it)))).collect();
    let rules = rules_of(&default_rules(Dispatch::Off))?;
    let start = Instant::now();
    let mut scores = Vec::with_capacity(features);
    for (reference, current) in &pairs {
        let reference = Window::Numeric(Numeric::of(reference)?);
        let current = Window::Numeric(Numeric::of(current)?);
        scores.push(score(&reference, &current, &rules)?);
    }
    let verdicts = verdicts(&scores, &rules);
    let time = start.elapsed();
    let drifted = verdicts.iter().filter(|it| it.drifted).count();
    let wanted = features.div_ceil(10);
    ensure!(drifted == wanted, "{drifted} of {wanted} shifted features were found");
    // What no scoring from samples can do without: ordering them.
    let start = Instant::now();
    for (reference, current) in &pairs {
        for samples in [reference, current] {
            let mut sorted = samples.clone();
            sorted.sort_unstable_by(f64::total_cmp);
            std::hint::black_box(sorted);
        }
    }
    let most = Quantity::Time(Duration::from_secs(1));
    Figure::new(format!("drift scores, {features} features"), Quantity::Time(time))
        .beside("sorting alone", Quantity::Time(start.elapsed()))
        .target(Target::AtMost(most, most))
        .note(format!(
            "{SAMPLES} samples in each of two windows: PSI, Kolmogorov-Smirnov, Wasserstein, \
             Jensen-Shannon, corrected; on one core; {drifted} drifted"
        ))
        .print();
    Ok(())
}

/// Bytes a second of the scan at least.
const SCAN: f64 = 200e6;
/// Mails in each MiB of the text.
const MAILS: u64 = 4;

/// Text of words and numbers, as in reviews or tables, with a few mails.
fn text(dice: &mut Dice, size: usize) -> (Vec<u8>, u64) {
    const WORDS: [&str; 12] = [
        "the", "model", "weather", "bought", "again", "never", "würde", "quality", "and", "price:",
        "3rd", "2nd",
    ];
    let mut text = Vec::with_capacity(size + 64);
    let mut mails = 0;
    while text.len() < size {
        if (text.len() as u64) * MAILS >= (mails + 1) << 20 {
            mails += 1;
            text.extend_from_slice(format!("ada.{}@example.org ", dice.below(1 << 20)).as_bytes());
        }
        text.extend_from_slice(WORDS[dice.below(12) as usize].as_bytes());
        text.push(if dice.below(12) == 0 { b'\n' } else { b' ' });
    }
    (text, mails)
}

/// The scan for personal data over text in memory.
fn pii(dice: &mut Dice, mib: usize) -> Result<()> {
    // One MiB of text again and again would lie in the cache; 32 do not.
    let (text, mails) = text(dice, 32.min(mib.max(1)) << 20);
    let turns = mib.div_ceil(32).max(1);
    let (mut time, mut bytes) = (Duration::ZERO, 0);
    for _ in 0..turns {
        let start = Instant::now();
        let report = scan_all(&text[..], |_| ()).context("memory can be read")?;
        time += start.elapsed();
        bytes += report.scanned_bytes;
        ensure!(report.total() == mails, "{} of {mails} mails were found", report.total());
    }
    ensure!(bytes == (text.len() * turns) as u64, "{bytes} bytes were scanned");
    Figure::new("scan for personal data", Quantity::Bandwidth(bytes as f64 / time.as_secs_f64()))
        .beside("floor", Quantity::Bandwidth(SCAN))
        .target(Target::Times(1.0, 1.0))
        .note(format!("{} MiB of text with {mails} mails in each 32; on one core", bytes >> 20))
        .print();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_a_time_that_was_measured() {
        let mut times: Vec<_> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(quantile(&mut times, 0.5), Duration::from_millis(51));
        assert_eq!(quantile(&mut times, 0.99), Duration::from_millis(100));
        assert_eq!(quantile(&mut times, 1.0), Duration::from_millis(100));
        assert_eq!(quantile(&mut [], 0.5), Duration::ZERO);
    }

    #[test]
    fn small_figures_hold_what_they_check() {
        let dice = &mut Dice(7);
        gate(dice).unwrap();
        drift(dice, 10).unwrap();
        pii(dice, 1).unwrap();
        let dir = tempfile::tempdir().unwrap();
        registry_lineage::run(dir.path(), 2_500).unwrap();
    }
}
