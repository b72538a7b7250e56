//! Drift through the log: alerts once, suggestions with slices, one retrain an episode.

use super::{
    command::{Command, NewJob, Refusal, Reply},
    model_test::{head, kinds, number, refusal},
    script::{Script, job, machine},
};
use domain::{
    ArtifactId, Bytes, Digest, EpisodeId, JobId, Millis,
    dataset::{DatasetFacts, DatasetRef, PiiScan},
    drift::{Dispatch, Episode, FeatureFinding, MonitorRules, MonitorView, Retrain, RetrainPolicy},
    job::{Captured, JobSpec},
    model::ModelRef,
    refusal::RegistryRefusal as R,
};
use proptest::prelude::*;
use registry::{
    drift::{Sketched, default_rules},
    ledger::{
        RegistryCommand as C,
        drift::{self, DriftCommand as D, Seen},
    },
};
use std::collections::BTreeMap;

pub(super) const HOUR: u64 = 3_600_000;

pub(super) fn model() -> ModelRef {
    "llama@1".parse().unwrap()
}

pub(super) fn ask(script: &mut Script, command: D) -> Reply {
    script.send(None, Command::Drift(command))
}

pub(super) fn dataset(script: &mut Script, tree: u8) {
    let facts = DatasetFacts {
        tree: Digest([tree; 32]),
        root: Digest([tree; 32]),
        files: 2,
        size: Bytes(10),
        source: "https://example.org".into(),
        transformations: Vec::new(),
        licence: "MIT".into(),
        owner: "ada".into(),
        slices: [("german".to_owned(), vec!["de".to_owned()])].into(),
        pii_declared: false,
        scan: PiiScan::default(),
    };
    let command = C::RegisterDataset { name: "corpus".into(), facts };
    number(script.send(None, Command::Registry(command)));
}

/// Runs what waits to its sealed artifact, whose files are `of`.
pub(super) fn run(script: &mut Script, id: JobId, of: u8) {
    script.plan();
    let lease = script.lease_of(&id.to_string());
    script.finish(lease, of);
    script.seal(lease);
}

pub(super) fn register(script: &mut Script, artifact: u64, metrics: &[(&str, &str)]) -> Reply {
    let metrics = metrics.iter().map(|(name, value)| ((*name).into(), value.parse().unwrap()));
    let command = C::RegisterModel {
        family: "llama".into(),
        artifact: ArtifactId(artifact),
        metrics: metrics.collect(),
        parents: Vec::new(),
        aliases: Vec::new(),
    };
    script.send(None, Command::Registry(command))
}

/// `llama@1`, made from `corpus@1`; `corpus@2` and `corpus@3` are there too.
pub(super) fn trained(metrics: &[(&str, &str)]) -> Script {
    let mut script = Script::new();
    script.register(machine("a", 1, "H100"));
    for tree in [1, 2, 3] {
        dataset(&mut script, tree);
    }
    let old =
        Captured { tree: Digest([1; 32]), files: 2, size: Bytes(10), origin: "corpus@1".into() };
    let id = script.submit(JobSpec { datasets: [("train".to_owned(), old)].into(), ..job(1, 1) });
    run(&mut script, id, 1);
    number(register(&mut script, 1, metrics));
    script
}

pub(super) fn policy(dispatch: Dispatch) -> RetrainPolicy {
    let (cool_down, period) = (Millis(24 * HOUR), Millis(100 * HOUR));
    RetrainPolicy { dispatch, cool_down, budget: 2, period }
}

pub(super) fn set(script: &mut Script, policy: RetrainPolicy) -> Reply {
    let numbers: Vec<f64> = (0..40).map(f64::from).collect();
    let reference = ["inputs/age", "outputs/score"]
        .map(|name| (name.to_owned(), Sketched::of_numbers(&numbers).unwrap()));
    let (model, rules) = (model(), default_rules(policy.dispatch));
    ask(script, D::SetMonitor { model, rules, policy, reference: reference.into() })
}

pub(super) fn watched(dispatch: Dispatch) -> Script {
    let mut script = trained(&[("accuracy", "0.91")]);
    number(set(&mut script, policy(dispatch)));
    script
}

/// What a window of a slice gave.
pub(super) fn seen(drifted: bool, slice: &str) -> Seen {
    let finding = |name: &str, drifted| FeatureFinding {
        feature: name.into(),
        drifted,
        samples: 40,
        effects: if drifted { vec!["psi".into()] } else { Vec::new() },
        scores: [("psi".to_owned(), "0.3".parse().unwrap())].into(),
    };
    Seen {
        slices: Some(slice.to_owned()).filter(|it| !it.is_empty()).into_iter().collect(),
        trigger: None,
        data: BTreeMap::new(),
        windows: Some(Digest::of(slice.as_bytes())),
        features: vec![finding("inputs/age", drifted), finding("outputs/score", false)],
    }
}

pub(super) fn with_data(version: u64, slice: &str) -> Seen {
    let corpus = DatasetRef { name: "corpus".into(), version };
    Seen { data: [(String::new(), corpus)].into(), ..seen(true, slice) }
}

pub(super) fn observe(script: &mut Script, seen: Seen) -> Reply {
    ask(script, D::Observe { model: model(), revision: 1, seen })
}

pub(super) fn monitor(script: &Script) -> MonitorView {
    drift::monitor(&script.rows, &model()).unwrap()
}

pub(super) fn episode(script: &Script, id: u64) -> Episode {
    drift::episode(&script.rows, EpisodeId(id)).unwrap()
}

pub(super) fn dispatched(script: &Script, id: u64) -> JobId {
    match episode(script, id).retrain {
        Retrain::Dispatched { job, .. } => job,
        other => panic!("not dispatched: {other:?}"),
    }
}

pub(super) fn close(script: &mut Script, id: u64) {
    number(ask(script, D::Close { episode: EpisodeId(id), reason: "looked at".into() }));
}

#[test]
fn drift_is_one_alert_and_a_suggestion_with_the_slices_until_it_has_come_back() {
    let mut script = watched(Dispatch::Suggest);
    let first = head(&script) + 1;
    number(observe(&mut script, seen(false, "")));
    assert_eq!(kinds(&script, first), Vec::<String>::new(), "nothing drifts, nothing is told");
    number(observe(&mut script, seen(true, "german")));
    number(observe(&mut script, seen(true, "german")));
    number(observe(&mut script, with_data(2, "french")));
    let open = episode(&script, 1);
    assert_eq!(open.retrain, Retrain::Suggested);
    assert_eq!(open.observations, 3);
    assert_eq!(open.features.keys().collect::<Vec<_>>(), ["inputs/age"]);
    let german = open.suggested.iter().find(|it| it.slice == "german").unwrap();
    assert_eq!(german.paths, ["de"]);
    assert_eq!(german.dataset.as_ref().unwrap().to_string(), "corpus@2");
    number(observe(&mut script, seen(false, "german")));
    assert!(episode(&script, 1).closed.is_none(), "the other slice still drifts");
    number(observe(&mut script, seen(false, "french")));
    assert!(episode(&script, 1).closed.is_some());
    let told = ["drift.alert", "drift.suggestion", "drift.suggestion", "drift.episode.closed"];
    assert_eq!(kinds(&script, first), told);
    assert_eq!(monitor(&script).open, None);
    number(observe(&mut script, seen(true, "")));
    assert_eq!(monitor(&script).open, Some(EpisodeId(2)), "what drifts again is told again");
}

#[test]
fn a_policy_that_is_off_alerts_and_suggests_nothing() {
    let mut script = watched(Dispatch::Off);
    let first = head(&script) + 1;
    number(observe(&mut script, with_data(2, "")));
    assert_eq!(kinds(&script, first), ["drift.alert"]);
    assert_eq!(episode(&script, 1).retrain, Retrain::Off);
}

#[test]
fn the_entry_that_records_drift_submits_one_job_with_the_recipe_and_the_new_data() {
    let mut script = watched(Dispatch::Auto);
    let before = script.view().job_rows(&script.rows, JobId(1)).unwrap().0.spec;
    number(observe(&mut script, with_data(2, "german")));
    let id = dispatched(&script, 1);
    let spec = script.view().job_rows(&script.rows, id).unwrap().0.spec;
    assert_eq!(spec.datasets["train"].tree, Digest([2; 32]));
    assert_eq!(spec.datasets["train"].origin, "corpus@2");
    assert_eq!(spec.registered["train"].to_string(), "corpus@2");
    let alike = JobSpec {
        datasets: before.datasets.clone(),
        registered: before.registered.clone(),
        name: before.name.clone(),
        ..spec.clone()
    };
    assert_eq!(alike, before, "everything else is inherited");
    assert_eq!((spec.name.as_str(), spec.user.as_str()), ("train-retrain", "ada"));
    number(observe(&mut script, with_data(3, "german")));
    assert_eq!(dispatched(&script, 1), id, "one for each episode");
    assert_eq!(monitor(&script).retrains.len(), 1);
    assert!(script.view().live_job(JobId(id.0 + 1)).is_none());
}

#[test]
fn no_new_data_cool_down_and_budget_hold_a_retrain_and_say_so() {
    let mut script = watched(Dispatch::Auto);
    let held = |script: &Script, id| match episode(script, id).retrain {
        Retrain::Held { why, due } => (why, due),
        other => panic!("not held: {other:?}"),
    };
    number(observe(&mut script, seen(true, "")));
    assert!(held(&script, 1).0.starts_with("no new data is named"));
    number(observe(&mut script, with_data(1, "")));
    let (why, _) = held(&script, 1);
    assert!(why.contains("the data is what it was made with"), "{why}");
    number(observe(&mut script, with_data(2, "")));
    dispatched(&script, 1);
    let first = script.now;
    close(&mut script, 1);

    script.now = first.plus(Millis(HOUR));
    number(observe(&mut script, with_data(3, "")));
    let (why, due) = held(&script, 2);
    assert!(why.contains("cool-down"), "{why}");
    assert_eq!(due, Some(first.plus(Millis(24 * HOUR))));
    script.now = first.plus(Millis(24 * HOUR));
    number(observe(&mut script, seen(true, "")));
    dispatched(&script, 2);
    close(&mut script, 2);

    script.now = first.plus(Millis(50 * HOUR));
    number(observe(&mut script, with_data(2, "")));
    let (why, due) = held(&script, 3);
    assert_eq!(why, "2 retrains a period are used up");
    assert_eq!(due, Some(first.plus(Millis(100 * HOUR))));
    // A person is held by neither.
    number(ask(&mut script, D::Retrain { episode: EpisodeId(3), data: BTreeMap::new() }));
    dispatched(&script, 3);
    let again = ask(&mut script, D::Retrain { episode: EpisodeId(3), data: BTreeMap::new() });
    let again = refusal(again).to_string();
    assert!(again.starts_with("episode e3 has its retrain, job j4"), "{again}");
}

#[test]
fn a_retrain_that_ended_without_a_result_may_be_started_again() {
    let mut script = watched(Dispatch::Auto);
    number(observe(&mut script, with_data(2, "")));
    let first = dispatched(&script, 1);
    script.cancel(&first.to_string());
    number(ask(&mut script, D::Retrain { episode: EpisodeId(1), data: BTreeMap::new() }));
    assert_ne!(dispatched(&script, 1), first);
}

#[test]
fn a_trigger_has_one_effect_however_often_it_is_sent() {
    let mut script = watched(Dispatch::Auto);
    let trigger = |seen| Seen { trigger: Some("nightly 7".into()), ..seen };
    let one = number(observe(&mut script, trigger(with_data(2, "german"))));
    let before = (head(&script), script.view().live_jobs(), monitor(&script));
    // Also after the monitor was set anew: what was sent is the same.
    number(set(&mut script, policy(Dispatch::Auto)));
    let before = (before.0 + 1, before.1, monitor(&script));
    assert_eq!(number(observe(&mut script, trigger(with_data(2, "german")))), one);
    let again = refusal(observe(&mut script, trigger(with_data(2, "french"))));
    assert!(matches!(again, R::TriggerReused { .. }));
    let alert = |script: &mut Script, reason: &str| {
        let seen = Seen {
            trigger: Some("pager-1".into()),
            features: vec![],
            windows: None,
            ..seen(true, "german")
        };
        ask(script, D::Alert { model: model(), reason: reason.into(), seen })
    };
    assert_eq!((head(&script), script.view().live_jobs(), monitor(&script)), before);
    let made = number(alert(&mut script, "users complain"));
    assert_eq!(number(alert(&mut script, "users complain")), made);
    assert!(matches!(refusal(alert(&mut script, "other")), R::TriggerReused { .. }));
    assert_eq!(monitor(&script).observations, 2);
}

#[test]
fn what_is_wrong_is_refused_by_name_and_leaves_no_row() {
    let mut script = watched(Dispatch::Auto);
    let stranger =
        D::Observe { model: "bert@1".parse().unwrap(), revision: 1, seen: seen(true, "") };
    let unknown = Seen {
        features: vec![FeatureFinding {
            feature: "inputs/x".into(),
            ..seen(true, "").features[0].clone()
        }],
        ..seen(true, "")
    };
    let of = |seen| D::Observe { model: model(), revision: 1, seen };
    let rules = |samples_min| MonitorRules { samples_min, ..default_rules(Dispatch::Auto) };
    let with =
        |rules, policy| D::SetMonitor { model: model(), rules, policy, reference: [].into() };
    let good = policy(Dispatch::Auto);
    let cases = [
        (stranger, "there is no monitor of bert@1"),
        (of(unknown), "llama@1 has no feature `inputs/x`"),
        (of(seen(true, "Bad Slice")), "`Bad Slice` cannot be a name here"),
        (of(with_data(9, "")), "there is no data set corpus@9"),
        (of(Seen { trigger: Some("x".repeat(200)), ..seen(true, "") }), "a trigger's key has 1 to"),
        (with(rules(3), good), "`samples_min` is 3"),
        (with(rules(30), RetrainPolicy { budget: 0, ..good }), "`budget` is 0"),
        (with(rules(30), RetrainPolicy { period: Millis(0), ..good }), "`cool_down` and `period`"),
        (D::Close { episode: EpisodeId(7), reason: "x".into() }, "there is no episode e7"),
        (D::Retrain { episode: EpisodeId(7), data: BTreeMap::new() }, "there is no episode e7"),
        (D::RemoveMonitor { model: model(), reason: " ".into() }, "the reason is empty"),
    ];
    let before = script.rows.clone();
    for (command, wanted) in cases {
        let why = refusal(ask(&mut script, command)).to_string();
        assert!(why.starts_with(wanted), "{why}");
    }
    let stale = ask(&mut script, D::Observe { model: model(), revision: 7, seen: seen(true, "") });
    assert!(matches!(stale, Reply::Refused(Refusal::NotYet { .. })), "to be scored anew");
    let differs = |(key, value): &(&Vec<u8>, &Vec<u8>)| before.get(*key) != Some(value);
    let changed: Vec<_> = script.rows.iter().filter(differs).map(|(key, _)| key[0]).collect();
    assert_eq!(changed, [0x01], "nothing but the clock has changed");
}

#[test]
fn only_so_much_is_kept_and_a_monitor_that_goes_leaves_its_episodes() {
    let mut script = watched(Dispatch::Suggest);
    for n in 0..40 {
        let seen = Seen { trigger: Some(format!("t{n}")), ..seen(n % 2 == 0, "") };
        number(observe(&mut script, seen));
    }
    let view = monitor(&script);
    assert_eq!((view.observations, view.recent.len()), (40, 32));
    assert_eq!(view.recent[0].number, 40);
    number(ask(&mut script, D::RemoveMonitor { model: model(), reason: "retired".into() }));
    assert_eq!(drift::monitor(&script.rows, &model()), None);
    let left = script.rows.keys().filter(|key| (0x9d..=0x9f).contains(&key[0]));
    // 20 episodes, the number of them, and the number of monitors.
    assert_eq!(left.count(), 22);
}

#[test]
fn a_blocked_data_set_or_a_queue_that_is_gone_holds_the_retrain() {
    let mut script = trained(&[]);
    number(set(&mut script, policy(Dispatch::Auto)));
    let licence = C::SetLicence { licence: "MIT".into(), allowed: false };
    number(script.send(None, Command::Registry(licence)));
    number(observe(&mut script, with_data(2, "")));
    let Retrain::Held { why, .. } = episode(&script, 1).retrain else { panic!("held") };
    assert!(why.contains("data set corpus@2 is blocked"), "{why}");
    let by_hand = ask(&mut script, D::Retrain { episode: EpisodeId(1), data: BTreeMap::new() });
    assert!(matches!(refusal(by_hand), R::DatasetBlocked { .. }));
    let new = NewJob { spec: job(1, 1), recipe: Digest::of(b"x") };
    let taken = script.send(None, Command::Submit { jobs: vec![new] });
    assert!(matches!(taken, Reply::Submitted { .. }), "the cluster goes on");
}

/// Asks for what the leader would ask for now.
pub(super) fn resume_due(script: &mut Script) {
    let due: Vec<_> = script.view().held_retrains().filter(|(_, due)| *due <= script.now).collect();
    for (episode, _) in due {
        number(ask(script, D::Resume { episode }));
    }
}

/// What may happen to a monitor.
#[derive(Clone, Debug)]
enum Happens {
    Window { drifted: bool, slice: &'static str, data: Option<u64> },
    Hours(u64),
    Close,
    Ends { of: u8 },
}

fn happens() -> impl Strategy<Value = Happens> {
    let slice = prop::sample::select(vec!["", "german", "french"]);
    let window = (any::<bool>(), slice, prop::option::of(2..4_u64))
        .prop_map(|(drifted, slice, data)| Happens::Window { drifted, slice, data });
    prop_oneof![
        6 => window,
        2 => (1..60_u64).prop_map(Happens::Hours),
        1 => Just(Happens::Close),
        1 => (2..9_u8).prop_map(|of| Happens::Ends { of }),
    ]
}

/// Lets one thing happen; gives the time of a retrain that the policy started.
fn let_happen(script: &mut Script, what: Happens) -> Option<Millis> {
    let before = monitor(script).retrains;
    match what {
        Happens::Hours(hours) => script.now = script.now.plus(Millis(hours * HOUR)),
        Happens::Close => {
            if let Some(open) = monitor(script).open {
                close(script, open.0);
            }
        }
        Happens::Ends { of } => {
            let live = script.view().all_live_jobs().next().map(|(id, _)| id);
            if let Some(id) = live {
                run(script, id, of);
            }
        }
        Happens::Window { drifted, slice, data } => {
            let corpus = |version| DatasetRef { name: "corpus".into(), version };
            let data = data.map(|version| (String::new(), corpus(version))).into_iter().collect();
            number(observe(script, Seen { data, ..seen(drifted, slice) }));
        }
    }
    resume_due(script);
    let after = monitor(script).retrains;
    (after.len() > before.len()).then_some(script.now)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_policy_keeps_its_cool_down_its_budget_and_one_retrain_an_episode(
        story in prop::collection::vec(happens(), 1..60)
    ) {
        let mut script = watched(Dispatch::Auto);
        let policy = policy(Dispatch::Auto);
        let mut started: Vec<Millis> = Vec::new();
        for what in story {
            started.extend(let_happen(&mut script, what));
            let late = script.view().held_retrains().find(|(_, due)| *due <= script.now);
            prop_assert_eq!(late, None, "what is due has started, or is held for longer");
            let all = drift::episodes(&script.rows, EpisodeId(0), 1_000);
            let open = all.iter().filter(|it| it.closed.is_none()).map(|it| it.id);
            prop_assert_eq!(open.collect::<Vec<_>>(), monitor(&script).open.into_iter().collect::<Vec<_>>());
        }
        for pair in started.windows(2) {
            prop_assert!(pair[1].minus(pair[0]) >= policy.cool_down);
        }
        for (at, first) in started.iter().enumerate() {
            let within = started[at..].iter().filter(|it| it.minus(*first) < policy.period);
            prop_assert!(within.count() <= policy.budget as usize);
        }
        let episodes = drift::episodes(&script.rows, EpisodeId(0), 1_000);
        let has = |it: &&Episode| matches!(it.retrain, Retrain::Dispatched { .. });
        prop_assert_eq!(episodes.iter().filter(has).count(), started.len());
        let again = super::Cluster::load(&script.rows);
        prop_assert_eq!(again.digest(), script.cluster.digest());
    }
}
