//! Files of results go when their time is over and nothing needs them, and never before.

use super::{
    command::{Command, Reply},
    model_test::{head, kinds, number, refusal, register, sealed, send},
    script::{Script, job, machine, output},
    view::Place,
};
use domain::{
    ArtifactId, Bytes, Digest, Millis,
    check::AcceptanceConfig,
    dataset::{DatasetFacts, PiiScan},
    job::{Captured, JobSpec},
    model::{ModelRef, Stage},
    promotion::Risk,
    queue::{ClusterConfig, QueueSpec},
    refusal::RegistryRefusal,
    retain::{Keep, Retain},
    view::ArtifactView,
};
use registry::ledger::RegistryCommand as C;
use std::collections::BTreeSet;

pub const DAY: u64 = 86_400_000;

pub fn tree(of: u8) -> Digest {
    output(of).tree
}

pub fn spec(retain: Option<Retain>, data: Option<u8>) -> JobSpec {
    let captured =
        |of| Captured { tree: tree(of), files: 1, size: Bytes(1), origin: "data".into() };
    let datasets = data.map(|of| ("corpus".to_owned(), captured(of))).into_iter().collect();
    JobSpec { retain, datasets, ..job(1, 1) }
}

/// Runs a job to its sealed artifact, whose files are `of`.
pub fn train(script: &mut Script, spec: JobSpec, of: u8) {
    let id = script.submit(spec);
    script.plan();
    let lease = script.lease_of(&id.to_string());
    script.finish(lease, of);
    script.seal(lease);
}

pub fn begin() -> Script {
    let mut script = Script::new();
    for name in ["a", "b", "c"] {
        script.register(machine(name, 16, "H100"));
    }
    script
}

pub fn days(days: u64) -> Option<Retain> {
    Some(Retain::For(Millis(days * DAY)))
}

pub fn wait(script: &mut Script, ms: u64) {
    script.now = script.now.plus(Millis(ms));
    script.send(None, Command::SignEvents { first: 0, signatures: Vec::new() });
}

pub fn collect(script: &mut Script, artifacts: &[u64]) -> u64 {
    let artifacts = artifacts.iter().copied().map(ArtifactId).collect();
    number(send(script, C::Collect { artifacts }))
}

fn view(script: &Script, id: u64) -> ArtifactView {
    script.view().artifact(&script.rows, ArtifactId(id)).unwrap()
}

/// The first reason why the files of a result are kept.
fn kept(script: &Script, id: u64) -> Option<Keep> {
    let page = script.view().gc_page(&script.rows, (ArtifactId(0), 1_000), Millis(0));
    page.items.into_iter().find(|item| item.artifact.0 == id).unwrap().kept
}

pub fn queue_rule(script: &mut Script, retain: Option<Retain>) {
    let expected = script.view().config().version;
    let queues = [("default".to_owned(), QueueSpec { retain, ..QueueSpec::default() })].into();
    let config = ClusterConfig { queues, ..ClusterConfig::default() };
    script.send(None, Command::ApplyConfig { expected, config, why: "rule".into() });
}

#[test]
fn files_go_when_the_jobs_time_is_over_with_one_event_and_all_else_stays() {
    let mut script = begin();
    train(&mut script, spec(days(90), None), 1);
    let before = view(&script, 1);
    assert_eq!(collect(&mut script, &[1]), 0, "not before its time");
    wait(&mut script, 90 * DAY);
    let first = head(&script) + 1;
    assert_eq!(collect(&mut script, &[1, 1, 7]), 1);
    assert_eq!(kinds(&script, first), ["registry.artifact.collected"]);
    let after = view(&script, 1);
    let gone = after.collected.clone().unwrap();
    assert_eq!(gone.rule.to_string(), "`retain = 90d` of job j1");
    assert_eq!((gone.by.as_str(), gone.files, gone.audit_seq), ("ada", 1, first));
    assert_eq!(ArtifactView { collected: None, ..after }, before, "the record is what it was");
    assert!(script.view().is_gone(&script.rows, tree(1)));
}

#[test]
fn without_a_rule_files_are_kept_for_ever_and_a_job_overrides_its_queue() {
    let mut script = begin();
    train(&mut script, spec(None, None), 1);
    train(&mut script, spec(Some(Retain::Forever), None), 2);
    wait(&mut script, 10_000 * DAY);
    assert_eq!(kept(&script, 1), Some(Keep::NoRule));
    assert_eq!(collect(&mut script, &[1, 2]), 0);
    queue_rule(&mut script, days(30));
    assert_eq!(collect(&mut script, &[1, 2]), 1);
    let rule = view(&script, 1).collected.unwrap().rule.to_string();
    assert_eq!(rule, "`retain = 30d` of queue `default`");
    assert!(matches!(kept(&script, 2), Some(Keep::Time { until: Millis(u64::MAX), .. })));
}

#[test]
fn nothing_is_made_named_or_answered_of_what_went() {
    let mut script = begin();
    train(&mut script, spec(days(1), None), 1);
    number(register(&mut script, "llama", 1, &[]));
    let recipe = view(&script, 1).artifact.ticket.recipe;
    let known = |script: &Script| registry::ledger::view::of_recipe(&script.rows, recipe, None);
    assert_eq!(known(&script), Some(ArtifactId(1)));
    wait(&mut script, DAY);
    assert_eq!(collect(&mut script, &[1]), 1);
    assert_eq!(known(&script), None, "the recipe is run again");
    let alias = C::SetAlias { family: "llama".into(), alias: "best".into(), version: Some(1) };
    let refused = [
        register(&mut script, "other", 1, &[]),
        send(&mut script, alias),
        send(&mut script, ask("llama", 1)),
        send(&mut script, hold(1, true)),
    ];
    for reply in refused {
        let refusal = refusal(reply);
        assert!(matches!(refusal, RegistryRefusal::Collected { .. }), "{refusal}");
    }
    // That it is not to be used may still be said.
    number(send(&mut script, C::RevokeArtifact { artifact: ArtifactId(1), reason: "x".into() }));
}

#[test]
fn a_legal_hold_keeps_files_until_it_is_ended() {
    let mut script = begin();
    train(&mut script, spec(days(1), None), 1);
    wait(&mut script, DAY);
    number(send(&mut script, hold(1, true)));
    assert_eq!(kept(&script, 1), Some(Keep::Hold { reason: "case 7".into() }));
    assert_eq!(collect(&mut script, &[1]), 0);
    assert!(matches!(refusal(send(&mut script, hold(1, true))), RegistryRefusal::Invalid(_)));
    number(send(&mut script, hold(1, false)));
    assert_eq!(collect(&mut script, &[1]), 1);
}

#[test]
fn files_that_went_are_named_by_nothing_unless_another_has_them_too() {
    let mut script = begin();
    train(&mut script, spec(days(1), None), 1);
    train(&mut script, spec(Some(Retain::Forever), None), 1);
    train(&mut script, spec(days(1), None), 2);
    wait(&mut script, DAY);
    assert_eq!(collect(&mut script, &[1, 3]), 2);
    let named = named_trees(&script);
    assert!(named.contains(&tree(1)), "a2 has these files");
    assert!(!named.contains(&tree(2)));
    // Somebody sends the same files again, as data.
    let waits = script.submit(spec(None, Some(2)));
    assert!(named_trees(&script).contains(&tree(2)));
    script.cancel(&waits.to_string());
    assert!(!named_trees(&script).contains(&tree(2)));
    number(send(&mut script, dataset_of(2)));
    assert!(named_trees(&script).contains(&tree(2)));
}

pub fn named_trees(script: &Script) -> BTreeSet<Digest> {
    let (mut all, mut at) = (BTreeSet::new(), Some(Place::Artifacts(ArtifactId(0))));
    while let Some(place) = at {
        let (trees, next) = script.view().named_trees(&script.rows, place);
        all.extend(trees);
        at = next;
    }
    all
}

#[test]
fn what_a_burn_in_is_given_is_named_before_it_has_run() {
    let mut script = begin();
    train(&mut script, spec(days(1), None), 1);
    let expected = script.view().config().version;
    let burn_in = JobSpec { time_limit: Some(Millis(60_000)), ..spec(None, Some(1)) };
    let acceptance = AcceptanceConfig { job: Some(Box::new(burn_in)), ..Default::default() };
    let config = ClusterConfig { acceptance, ..ClusterConfig::default() }.whole();
    script.send(None, Command::ApplyConfig { expected, config, why: "burn-in".into() });
    assert!(script.view().cluster_config().acceptance.job.is_some());
    wait(&mut script, DAY);
    assert_eq!(collect(&mut script, &[1]), 1);
    assert!(named_trees(&script).contains(&tree(1)));
}

#[test]
fn a_rule_of_the_queue_above_counts_where_the_queue_says_nothing() {
    let mut script = begin();
    let expected = script.view().config().version;
    let above = QueueSpec { retain: days(2), ..QueueSpec::default() };
    let part = QueueSpec { parent: Some("all".into()), ..QueueSpec::default() };
    let queues = [("all".to_owned(), above), ("part".to_owned(), part)].into();
    let config = ClusterConfig { queues, ..ClusterConfig::default() }.whole();
    script.send(None, Command::ApplyConfig { expected, config, why: "rule".into() });
    train(&mut script, JobSpec { queue: "part".into(), ..spec(None, None) }, 1);
    wait(&mut script, 2 * DAY);
    assert_eq!(collect(&mut script, &[1]), 1);
    let rule = view(&script, 1).collected.unwrap().rule.to_string();
    assert_eq!(rule, "`retain = 2d` of queue `all`");
}

#[test]
fn one_request_is_bounded() {
    let mut script = sealed(1);
    let artifacts = (0..=256).map(ArtifactId).collect();
    let reply = send(&mut script, C::Collect { artifacts });
    assert!(matches!(reply, Reply::Refused(_)), "{reply:?}");
}

pub fn hold(id: u64, held: bool) -> C {
    C::HoldArtifact { artifact: ArtifactId(id), held, reason: "case 7".into() }
}

pub fn ask(family: &str, version: u64) -> C {
    let model = ModelRef { family: family.into(), version };
    C::RequestPromotion {
        model,
        to: Stage::Staging,
        risk: Risk::Low,
        emergency: false,
        reason: "better".into(),
        within: None,
    }
}

/// A hold, or a collection of a few results.
pub fn drawn(first: u64, held: Option<bool>) -> C {
    match held {
        Some(held) => hold(first, held),
        None => C::Collect { artifacts: (first..first + 4).map(ArtifactId).collect() },
    }
}

pub fn dataset_of(of: u8) -> C {
    let facts = DatasetFacts {
        tree: tree(of),
        root: tree(of),
        files: 1,
        size: Bytes(1),
        source: "https://example.org".into(),
        transformations: Vec::new(),
        licence: "MIT".into(),
        owner: "ada".into(),
        slices: Default::default(),
        pii_declared: false,
        scan: PiiScan::default(),
    };
    C::RegisterDataset { name: format!("d{of}"), facts }
}
