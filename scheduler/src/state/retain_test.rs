//! Files of results go when their time is over and nothing needs them, and never before.

use super::{
    command::{Command, NewJob, Reply},
    model_test::{head, kinds, number, refusal, register, sealed, send},
    promotion_test::{allow, by, decided, gate, sign},
    script::{Script, job, machine, output},
    view::Place,
};
use domain::{
    ArtifactId, Bytes, Digest, JobId, Millis, PromotionId,
    dataset::{DatasetFacts, PiiScan},
    job::{Captured, JobSpec},
    model::{ModelRef, Stage},
    promotion::Risk,
    queue::{ClusterConfig, QueueSpec},
    refusal::RegistryRefusal,
    retain::{Keep, Retain},
    view::ArtifactView,
};
use proptest::{collection::vec, prelude::*};
use registry::ledger::{RegistryCommand as C, dataset, retain};
use std::collections::BTreeSet;

const DAY: u64 = 86_400_000;

fn tree(of: u8) -> Digest {
    output(of).tree
}

fn spec(retain: Option<Retain>, data: Option<u8>) -> JobSpec {
    let captured =
        |of| Captured { tree: tree(of), files: 1, size: Bytes(1), origin: "data".into() };
    let datasets = data.map(|of| ("corpus".to_owned(), captured(of))).into_iter().collect();
    JobSpec { retain, datasets, ..job(1, 1) }
}

/// Runs a job to its sealed artifact, whose files are `of`.
fn train(script: &mut Script, spec: JobSpec, of: u8) {
    let id = script.submit(spec);
    script.plan();
    let lease = script.lease_of(&id.to_string());
    script.finish(lease, of);
    script.seal(lease);
}

fn begin() -> Script {
    let mut script = Script::new();
    script.register(machine("a", 16, "H100"));
    script
}

fn days(days: u64) -> Option<Retain> {
    Some(Retain::For(Millis(days * DAY)))
}

fn wait(script: &mut Script, ms: u64) {
    script.now = script.now.plus(Millis(ms));
    script.send(None, Command::SignEvents { first: 0, signatures: Vec::new() });
}

fn collect(script: &mut Script, artifacts: &[u64]) -> u64 {
    let artifacts = artifacts.iter().copied().map(ArtifactId).collect();
    number(send(script, C::Collect { artifacts }))
}

fn view(script: &Script, id: u64) -> ArtifactView {
    script.view().artifact(&script.rows, ArtifactId(id)).unwrap()
}

/// The first reason why the files of a result are kept.
fn kept(script: &Script, id: u64) -> Option<Keep> {
    let page = script.view().gc_page(&script.rows, ArtifactId(0), 1_000);
    page.items.into_iter().find(|item| item.artifact.0 == id).unwrap().kept
}

fn queue_rule(script: &mut Script, retain: Option<Retain>) {
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
    let known = |script: &Script| registry::ledger::view::of_recipe(&script.rows, recipe);
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

fn named_trees(script: &Script) -> BTreeSet<Digest> {
    let (mut all, mut at) = (BTreeSet::new(), Some(Place::Artifacts(ArtifactId(0))));
    while let Some(place) = at {
        let (trees, next) = script.view().named_trees(&script.rows, place);
        all.extend(trees);
        at = next;
    }
    all
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

fn hold(id: u64, held: bool) -> C {
    C::HoldArtifact { artifact: ArtifactId(id), held, reason: "case 7".into() }
}

fn ask(family: &str, version: u64) -> C {
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

fn dataset_of(of: u8) -> C {
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

/// What people and time do around a collection. Small numbers pick among what there is.
#[derive(Clone, Debug)]
enum Act {
    Train {
        of: u8,
        retain: u8,
        data: Option<u8>,
    },
    Submit {
        data: u8,
    },
    Cancel {
        job: u64,
    },
    Register {
        family: u8,
        artifact: u64,
        parent: Option<(u8, u64)>,
    },
    Alias {
        family: u8,
        version: u64,
        set: bool,
    },
    Request {
        family: u8,
        version: u64,
    },
    /// Lets the first so many open promotions be applied.
    Promote,
    Deprecate {
        family: u8,
        version: u64,
    },
    Hold {
        artifact: u64,
        held: bool,
    },
    Dataset {
        of: u8,
    },
    Rule {
        days: u8,
    },
    Wait {
        days: u64,
    },
    Collect {
        artifact: u64,
    },
}

fn any_act() -> impl Strategy<Value = Act> {
    let parent = || prop::option::of((0u8..2, 1u64..4));
    prop_oneof![
        6 => (0u8..4, 0u8..4, prop::option::weighted(0.3, 0u8..4))
            .prop_map(|(of, retain, data)| Act::Train { of, retain, data }),
        1 => (0u8..4).prop_map(|data| Act::Submit { data }),
        1 => (1u64..8).prop_map(|job| Act::Cancel { job }),
        5 => (0u8..2, 1u64..6, parent()).prop_map(
            |(family, artifact, parent)| Act::Register { family, artifact, parent }
        ),
        2 => (0u8..2, 1u64..4, any::<bool>())
            .prop_map(|(family, version, set)| Act::Alias { family, version, set }),
        2 => (0u8..2, 1u64..4).prop_map(|(family, version)| Act::Request { family, version }),
        1 => Just(Act::Promote),
        1 => (0u8..2, 1u64..4).prop_map(|(family, version)| Act::Deprecate { family, version }),
        1 => (1u64..6, any::<bool>()).prop_map(|(artifact, held)| Act::Hold { artifact, held }),
        1 => (0u8..4).prop_map(|of| Act::Dataset { of }),
        1 => (0u8..4).prop_map(|days| Act::Rule { days }),
        2 => (0u64..3).prop_map(|days| Act::Wait { days }),
        6 => (1u64..8).prop_map(|artifact| Act::Collect { artifact }),
    ]
}

fn family(of: u8) -> String {
    format!("m{of}")
}

/// One act. What is refused changes nothing, which is as good here as what is not.
fn act(script: &mut Script, act: Act) {
    let retain = |of: u8| match of {
        0 => None,
        1 => Some(Retain::Forever),
        of => days(u64::from(of) - 2),
    };
    let command = match act {
        Act::Train { of, retain: rule, data } => {
            return train(script, spec(retain(rule), data), of);
        }
        Act::Submit { data } => {
            let spec = spec(None, Some(data));
            let recipe = Digest::of_value(&spec);
            script.send(None, Command::Submit { jobs: vec![NewJob { spec, recipe }] });
            return;
        }
        Act::Cancel { job } => {
            script.cancel(&JobId(job).to_string());
            return;
        }
        Act::Rule { days: of } => return queue_rule(script, retain(of)),
        Act::Wait { days } => return wait(script, days * DAY),
        Act::Promote => return promote(script),
        Act::Register { family: of, artifact, parent } => C::RegisterModel {
            family: family(of),
            artifact: ArtifactId(artifact),
            metrics: [("accuracy".to_owned(), "0.91".parse().unwrap())].into(),
            parents: parent
                .map(|(of, version)| ModelRef { family: family(of), version })
                .into_iter()
                .collect(),
            aliases: Vec::new(),
        },
        Act::Alias { family: of, version, set } => C::SetAlias {
            family: family(of),
            alias: "best".into(),
            version: set.then_some(version),
        },
        Act::Request { family: of, version } => ask(&family(of), version),
        Act::Deprecate { family: of, version } => {
            let model = ModelRef { family: family(of), version };
            C::DeprecateModel { model, reason: "old".into() }
        }
        Act::Hold { artifact, held } => hold(artifact, held),
        Act::Dataset { of } => dataset_of(of),
        Act::Collect { artifact } => C::Collect { artifacts: vec![ArtifactId(artifact)] },
    };
    send(script, command);
}

fn promote(script: &mut Script) {
    let open: Vec<u64> = script.view().open_promotions().map(|(id, _)| id.0).collect();
    for id in open {
        by(script, "server:1", decided(id, vec![gate("0.9")], allow()));
        let signed = sign(script, id);
        by(script, "server:1", signed);
    }
}

/// All versions there are.
fn versions(script: &Script) -> Vec<domain::model::ModelVersion> {
    let view = script.view();
    let of = |of: u8| view.versions(&script.rows, &family(of), 1, 100);
    (0..2).flat_map(of).map(|found| found.version).collect()
}

/// Whether a version is in a stage, named, or on its way, told from what is shown alone.
fn in_use(script: &Script, version: &domain::model::ModelVersion) -> bool {
    let view = script.view();
    let families = view.families(&script.rows, "", 100);
    let named = families.iter().any(|it| {
        it.family == version.model.family
            && it.aliases.values().any(|number| *number == version.model.version)
    });
    let staged = matches!(version.stage, Stage::Staging | Stage::Prod);
    let open = view.open_promotions().any(|(PromotionId(id), _)| {
        let found = view.promotion(&script.rows, PromotionId(id));
        found.is_some_and(|it| it.model == version.model)
    });
    named || staged || open
}

/// Whether the files of a result may go, told from what is shown alone, in the plainest way.
fn may_go(script: &Script, found: &ArtifactView) -> bool {
    let (view, rows, artifact) = (script.view(), &script.rows, &found.artifact);
    let tree = artifact.ticket.output.tree;
    let uses = |spec: &JobSpec| spec.datasets.values().any(|set| set.tree == tree);
    let spec = view.job_rows(rows, artifact.ticket.element.job).unwrap().0.spec;
    let queue = view.cluster_config().queues["default"].retain;
    let over = match spec.retain.or(queue) {
        Some(Retain::For(time)) => artifact.sealed.plus(time) <= view.now(),
        Some(Retain::Forever) | None => false,
    };
    let registered = (0..4).any(|of| {
        let all = dataset::versions(rows, &format!("d{of}"), 1, 100);
        all.iter().any(|it| it.version.facts.tree == tree)
    });
    // A version needs what it was made of, and that what it was made of: until nothing is added.
    let all = versions(script);
    let mut needed: BTreeSet<ModelRef> =
        all.iter().filter(|it| in_use(script, it)).map(|it| it.model.clone()).collect();
    loop {
        let more: BTreeSet<ModelRef> = all
            .iter()
            .filter(|it| needed.contains(&it.model))
            .flat_map(|it| it.parents.clone())
            .collect();
        let before = needed.len();
        needed.extend(more);
        if needed.len() == before {
            break;
        }
    }
    let model = all.iter().any(|it| it.artifact == artifact.id && needed.contains(&it.model));
    let others = view.artifacts(rows, ArtifactId(0), 1_000);
    let source = others.iter().any(|other| {
        let spec = || view.job_rows(rows, other.artifact.ticket.element.job).unwrap().0.spec;
        other.artifact.id != artifact.id && other.collected.is_none() && uses(&spec())
    });
    let given = view
        .all_live_jobs()
        .any(|(id, _)| view.job_rows(rows, id).is_some_and(|(job, _)| uses(&job.spec)));
    over && found.hold.is_none() && !registered && !model && !source && !given
}

/// A law that does not hold, in words.
fn broken(script: &Script) -> Option<String> {
    let gone = |id| retain::collected(&script.rows, id).is_some();
    let used = versions(script).into_iter().find(|it| gone(it.artifact) && in_use(script, it));
    if let Some(version) = used {
        return Some(format!("{} is in use and its files went", version.model));
    }
    // The files of whatever has files are named, so no server deletes them.
    let named = named_trees(script);
    let all = script.view().artifacts(&script.rows, ArtifactId(0), 1_000);
    let mut has = all.iter().filter(|it| it.collected.is_none());
    let lost = has.find(|it| !named.contains(&it.artifact.ticket.output.tree))?;
    Some(format!("{} has files that nothing names", lost.artifact.id))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400, failure_persistence: None, ..ProptestConfig::default()
    })]

    /// Exactly what may go goes, and what went is in nobody's use.
    ///
    /// It can fail: with any one of the reasons left out of `registry::ledger::retain::kept` or
    /// `needed` (rule, time, hold, data set, stage, alias, promotion, parent over one step and over
    /// more, source, input) it has failed, as it has with `outside` asked for the queue alone.
    #[test]
    fn a_collection_takes_what_may_go_and_never_what_is_needed(acts in vec(any_act(), 1..60)) {
        let mut script = begin();
        for step in acts {
            if let Act::Collect { artifact } = step {
                let found = script.view().artifact(&script.rows, ArtifactId(artifact));
                let may = found.is_some_and(|it| it.collected.is_none() && may_go(&script, &it));
                prop_assert_eq!(collect(&mut script, &[artifact]), u64::from(may), "{}", artifact);
            } else {
                act(&mut script, step);
            }
            prop_assert_eq!(broken(&script), None);
        }
    }
}
