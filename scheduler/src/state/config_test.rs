//! The configuration: changed whole, by one version at a time, never under live jobs.

use super::{
    command::{Command, Refusal, Reply},
    dataset_test::raise,
    script::{Script, job, machine},
};
use crate::state::Cluster;
use domain::{
    JobId, Millis,
    job::JobSpec,
    queue::{ClusterConfig, ConfigError, PriorityClasses, QueueSpec, view::HurtView},
};

fn config(queues: &[(&str, QueueSpec)]) -> ClusterConfig {
    let queues = queues.iter().map(|(name, queue)| ((*name).to_owned(), queue.clone())).collect();
    ClusterConfig { half_life: Millis(60_000), queues, ..ClusterConfig::default() }.whole()
}

fn apply(script: &mut Script, expected: u64, config: ClusterConfig) -> Reply {
    script.send(None, Command::apply_config(expected, config, "test".into()))
}

fn free() -> QueueSpec {
    QueueSpec::default()
}

fn limit(gpus: u64) -> QueueSpec {
    QueueSpec { borrow_gpus_max: Some(gpus), ..free() }
}

fn hurt(script: &Script, next: &ClusterConfig) -> Vec<String> {
    let plan = script.view().config_plan(next).unwrap();
    let text = |hurt: &HurtView| {
        let jobs: Vec<_> = hurt.jobs.iter().map(ToString::to_string).collect();
        let user = hurt.user.as_deref().unwrap_or("-");
        format!("{} {user} {} [{}+{}]", hurt.queue, hurt.kind, jobs.join(" "), hurt.more)
    };
    plan.hurt.iter().map(text).collect()
}

/// Submits to a queue; the refusal in words, if it is one.
fn submit(script: &mut Script, spec: JobSpec) -> Result<(), String> {
    let recipe = domain::Digest::of_value(&spec);
    let new = super::command::NewJob { spec, recipe };
    match script.send(None, Command::Submit { jobs: vec![new] }) {
        Reply::Submitted { .. } => Ok(()),
        Reply::Refused(refusal) => Err(refusal.to_string()),
        other => panic!("{other:?}"),
    }
}

fn in_queue(queue: &str, gpus: u32) -> JobSpec {
    JobSpec { queue: queue.into(), ..job(1, gpus) }
}

#[test]
fn a_version_is_replaced_once_with_its_event_and_a_second_change_of_it_is_refused() {
    let mut script = Script::new();
    let first = config(&[("ml", free())]);
    assert!(matches!(apply(&mut script, 0, first.clone()), Reply::Done { .. }));
    assert_eq!(script.view().cluster_config(), first);
    let moved = Reply::Refused(Refusal::Config(ConfigError::Moved { expected: 0, found: 1 }));
    assert_eq!(apply(&mut script, 0, config(&[("other", free())])), moved);
    assert!(matches!(apply(&mut script, 1, first), Reply::Done { .. }));
    assert_eq!(script.view().config().version, 1, "nothing was to be changed");
    let all = script.view().audit(&script.rows, 1, 100);
    let events: Vec<_> =
        all.events.iter().filter(|it| it.payload.contains("config.applied")).collect();
    assert_eq!(events.len(), 1);
    let payload: serde_json::Value = serde_json::from_str(&events[0].payload).unwrap();
    let told = &payload["members"][0];
    assert_eq!((&told["why"], &told["version"]), (&"test".into(), &"1".into()));
    assert_eq!(told["logIndex"], "1");
}

#[test]
fn a_queue_with_live_jobs_is_neither_removed_nor_given_parts() {
    let mut script = Script::new();
    apply(&mut script, 0, config(&[("ml", free())]));
    submit(&mut script, in_queue("ml", 1)).unwrap();
    let fault = |script: &mut Script, next| match apply(script, 1, next) {
        Reply::Refused(refusal) => refusal.to_string(),
        other => panic!("{other:?}"),
    };
    let gone = fault(&mut script, config(&[]));
    assert!(gone.contains("has 1 jobs") && gone.contains("cannot be removed"), "{gone}");
    assert!(gone.ends_with("or cancel them: `assay jobs --queue ml`"), "{gone}");
    let part = QueueSpec { parent: Some("ml".into()), ..free() };
    assert!(fault(&mut script, config(&[("ml", free()), ("a", part)])).contains("have parts"));
    script.cancel("j1");
    assert!(matches!(apply(&mut script, 1, config(&[])), Reply::Done { .. }));
}

#[test]
fn jobs_that_a_queue_would_never_start_are_refused_when_they_come() {
    let mut script = Script::new();
    let part = QueueSpec { parent: Some("ml".into()), priority_max: Some(3), ..free() };
    apply(&mut script, 0, config(&[("ml", limit(4)), ("ml-a", part)]));
    let fault = submit(&mut script, in_queue("ml", 1)).unwrap_err();
    assert!(
        fault.ends_with("jobs wait in the parts of `ml`; use one of: default, ml-a"),
        "{fault}"
    );
    let fault = submit(&mut script, JobSpec { priority: 4, ..in_queue("ml-a", 1) }).unwrap_err();
    assert!(fault.ends_with("queue `ml-a` allows 3; lower it to 3"), "{fault}");
    let fault = submit(&mut script, in_queue("ml-a", 5)).unwrap_err();
    assert!(fault.contains("queue `ml` may never hold more than 4; ask for 4"), "{fault}");
    submit(&mut script, JobSpec { priority: 3, ..in_queue("ml-a", 4) }).unwrap();
}

#[test]
fn a_plan_names_whom_a_change_meets_and_lets_others_be() {
    let mut script = Script::new();
    script.register(machine("a", 8, "H100"));
    let guaranteed = QueueSpec { guaranteed_gpus: 8, ..free() };
    apply(&mut script, 0, config(&[("ml", guaranteed)]));
    for gpus in [3, 3, 2] {
        submit(&mut script, in_queue("ml", gpus)).unwrap();
    }
    submit(&mut script, JobSpec { priority: 9, ..in_queue("ml", 5) }).unwrap();
    submit(&mut script, in_queue("ml", 6)).unwrap();
    script.plan();
    assert_eq!(script.view().queues()["ml"].held.gpus(), 8);
    let same = script.view().cluster_config();
    assert_eq!(hurt(&script, &same), [""; 0]);
    assert_eq!(
        hurt(&script, &config(&[("ml", QueueSpec { weight: 5, ..same.queues["ml"].clone() })])),
        [""; 0]
    );
    let next = QueueSpec { user_running_max: Some(1), priority_max: Some(0), ..limit(4) };
    assert_eq!(
        hurt(&script, &config(&[("ml", next)])),
        [
            "ml - guarantee [+0]",
            "ml - limit [j4 j1+0]",
            "ml ada user_limit [j4 j1+0]",
            "ml - never [j5+0]",
            "ml - priority [j4+0]",
        ]
        .map(|line| line.to_owned())
    );
}

#[test]
fn a_budget_is_told_once_at_four_fifths_and_once_when_it_is_spent() {
    let mut script = Script::new();
    script.register(machine("a", 8, "H100"));
    apply(&mut script, 0, config(&[("ml", QueueSpec { budget_gpu_hours: Some(10), ..free() })]));
    submit(&mut script, in_queue("ml", 1)).unwrap();
    script.plan();
    let hour = Millis(3_600_000);
    let kinds = |script: &Script| {
        let all = script.view().audit(&script.rows, 1, 100).events;
        all.iter().filter(|event| event.payload.contains("queue.budget_")).count()
    };
    for (hours, due, told) in [(7, false, 0), (1, true, 1), (1, false, 1), (1, true, 2)] {
        script.now = script.now.plus(Millis(hours * hour.0));
        assert_eq!(script.view().has_news(script.now), due);
        script.send(None, Command::Wake { until: Millis(0) });
        assert_eq!(kinds(&script), told, "after {hours} more");
    }
    submit(&mut script, in_queue("ml", 1)).unwrap();
    assert_eq!(script.plan(), [], "nothing new starts");
    submit(&mut script, in_queue("ml", 0)).unwrap();
    assert_eq!(script.plan().len(), 1, "what uses no GPU does");
    let next = config(&[("ml", QueueSpec { budget_gpu_hours: Some(20), ..free() })]);
    apply(&mut script, 1, next);
    assert_eq!(script.plan().len(), 1);
}

#[test]
fn classes_of_priority_come_and_go_with_the_rest_and_move_no_job() {
    let mut script = Script::new();
    let with = |classes: &[(&str, i32)]| {
        let classes = classes.iter().map(|(name, of)| ((*name).to_owned(), *of)).collect();
        ClusterConfig { priority_classes: PriorityClasses(classes), ..config(&[]) }
    };
    let early = apply(&mut script, 0, with(&[("urgent", 80)]));
    assert!(matches!(early, Reply::Refused(Refusal::NotYet { .. })), "{early:?}");
    raise(&mut script);
    submit(&mut script, JobSpec { priority: 80, ..in_queue("default", 1) }).unwrap();
    let class = |script: &Script| {
        let priority = script.view().job(&script.rows, JobId(1)).unwrap().line.priority;
        let class = script.view().priority_classes().named(priority);
        (priority, class.map(str::to_owned))
    };
    for (expected, classes, named) in [
        (0, &[("urgent", 80), ("batch", -1)][..], Some("urgent")),
        (1, &[("urgent", 90)][..], None),
        (2, &[("top", 80)][..], Some("top")),
        (3, &[][..], None),
    ] {
        let next = with(classes);
        let plan = script.view().config_plan(&next).unwrap();
        assert!(plan.changes.iter().any(|it| it.field.starts_with("priority_classes.")));
        assert_eq!(plan.hurt, []);
        let reply = apply(&mut script, expected, next.clone());
        assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
        assert_eq!(script.view().cluster_config(), next);
        assert_eq!(script.view().queue_views().priority_classes, next.priority_classes);
        assert_eq!(class(&script), (80, named.map(str::to_owned)));
        // What a server finds when it starts anew.
        let again = Cluster::load(&script.rows);
        assert_eq!(again.view().priority_classes(), &next.priority_classes);
    }
    let twice = apply(&mut script, 4, with(&[("a", 1), ("b", 1)]));
    let Reply::Refused(refusal) = twice else { panic!("{twice:?}") };
    assert!(refusal.to_string().starts_with("priority_classes.b is 1, as `a` is"), "{refusal}");
}
