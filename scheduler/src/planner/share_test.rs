//! Laws of shares and bounds, on any tree of queues and any cluster.

use super::{plan, replay};
use crate::{
    planner::fit::fits,
    planner::free,
    state::{
        Cluster,
        command::{Command, Placement, Reply},
        script::{Script, array, job, machine},
        usage::{Held, dominant},
        view::View,
    },
};
use domain::{
    Bytes, CpuMillis, Millis,
    job::{EndCause, JobSpec},
    link::Report,
    queue::{ClusterConfig, QueueSpec},
};
use proptest::{collection::vec, prelude::*};
use std::collections::BTreeMap;

/// Parent among those before, weight, guarantee, borrowing, per user: GPUs and running.
type Asked = (usize, u32, u64, Option<u64>, Option<u64>, Option<u32>);

fn any_tree() -> impl Strategy<Value = ClusterConfig> {
    use prop::option::weighted;
    let queue = (
        0usize..6,
        1u32..4,
        0u64..5,
        weighted(0.4, 0u64..8),
        weighted(0.2, 1u64..6),
        weighted(0.2, 1u32..4),
    );
    vec(queue, 1..6).prop_map(|asked: Vec<Asked>| tree(&asked))
}

/// A tree that is possible: guarantees of parents are raised to those of their parts.
fn tree(asked: &[Asked]) -> ClusterConfig {
    let mut queues: BTreeMap<String, QueueSpec> = BTreeMap::new();
    for (at, (parent, weight, guaranteed, borrow, user_gpus, user_running)) in
        asked.iter().enumerate()
    {
        let spec = QueueSpec {
            parent: (*parent < at).then(|| format!("q{parent}")),
            weight: *weight,
            guaranteed_gpus: *guaranteed,
            borrow_gpus_max: *borrow,
            user_gpus_max: *user_gpus,
            user_running_max: *user_running,
            ..QueueSpec::default()
        };
        queues.insert(format!("q{at}"), spec);
    }
    for at in (0..asked.len()).rev() {
        let name = format!("q{at}");
        let parts = queues.values().filter(|queue| queue.parent.as_deref() == Some(&*name));
        let sum: u64 = parts.map(|queue| queue.guaranteed_gpus).sum();
        if let Some(queue) = queues.get_mut(&name) {
            queue.guaranteed_gpus = queue.guaranteed_gpus.max(sum);
        }
    }
    ClusterConfig { half_life: Millis(600_000), queues, ..ClusterConfig::default() }.whole()
}

/// Queue, user, tasks, GPUs, cores, priority, whether it is an array.
type Work = (usize, u8, u32, u32, u64, i32, bool);

fn any_work() -> impl Strategy<Value = Work> {
    (0usize..8, 0u8..3, 1u32..3, 0u32..4, 0u64..6, -1i32..2, any::<bool>())
}

fn spec(
    config: &ClusterConfig,
    (queue, user, tasks, gpus, cores, priority, many): Work,
) -> JobSpec {
    let leaves: Vec<&String> =
        config.queues.keys().filter(|name| !config.is_parent(name)).collect();
    let mut spec = if many { array(3, 0, gpus) } else { job(tasks, gpus) };
    spec.queue = leaves[queue % leaves.len()].clone();
    spec.user = format!("u{user}");
    spec.priority = priority;
    spec.resources.cpu = CpuMillis(cores * 1_000);
    spec.resources.memory = Bytes(1 << 30);
    spec
}

fn submit(script: &mut Script, spec: JobSpec) {
    let recipe = domain::Digest::of_value(&spec);
    let jobs = vec![crate::state::command::NewJob { spec, recipe }];
    // Some ask for more than their queue may ever hold, and are refused.
    script.send(None, Command::Submit { jobs });
}

fn set(script: &mut Script, config: &ClusterConfig) {
    let expected = script.view().config().version;
    let config = config.clone();
    let reply = script.send(None, Command::ApplyConfig { expected, config, why: "t".into() });
    assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
}

fn end_some(script: &mut Script, which: u8) {
    let leases: Vec<_> = script.view().all_leases().cloned().collect();
    for (at, lease) in leases.iter().enumerate() {
        if which >> (at % 8) & 1 == 1 {
            let cause = EndCause::DiskFull { detail: "/".into() };
            script.report(lease.lead(), Report::Failed { lease: lease.id, cause });
            for member in &lease.members {
                script.report(member.node, Report::Stopped { lease: lease.id });
            }
        }
    }
}

/// Whether some queue or user has more than its bounds allow.
fn is_over(view: &View<'_>) -> Option<String> {
    view.queues().iter().find_map(|(name, queue)| {
        let spec = &queue.spec;
        let held = queue.held.gpus();
        let over = spec.gpus_max().is_some_and(|max| held > max);
        let user = queue.users.values().any(|user| {
            spec.user_gpus_max.is_some_and(|max| user.gpus > max)
                || spec.user_running_max.is_some_and(|max| user.running > max)
        });
        (over || user).then(|| format!("{name}: {queue:?}"))
    })
}

/// Whether a queue, or one that it is a part of, is beyond its guarantee where it stands beside
/// one with less than its guarantee: it then goes after that one.
fn goes_after(view: &View<'_>, one: &str, other: &str) -> bool {
    let line = |name: &str| -> Vec<String> {
        let above = view.queues()[name].above.iter().rev().map(ToString::to_string);
        above.chain([name.to_owned()]).collect()
    };
    let (one, other) = (line(one), line(other));
    let Some((one, other)) = one.iter().zip(&other).find(|(one, other)| one != other) else {
        return false;
    };
    let total = view.capacity();
    let below = |name: &str| {
        let queue = &view.queues()[name];
        let guaranteed = queue.spec.guaranteed_gpus.min(total.gpus());
        let share = |held| dominant(held, [0; 3], total, 1);
        share(queue.held) < share(Held([guaranteed, 0, 0]))
    };
    !below(one) && below(other)
}

/// A job that could be placed at once, though it has not been: it fits, and nothing bars it.
fn startable(view: &View<'_>, now: Millis, but: impl Fn(&str) -> bool) -> Option<String> {
    let nodes = free::ready(view);
    view.all_live_jobs().find_map(|(id, job)| {
        let open = job.room() > 0 && but(&job.brief.queue) && view.bars(job, now).is_empty();
        let fits = open && job.shapes().iter().any(|shape| fits(&nodes, shape));
        fits.then(|| format!("{id} in {}", job.brief.queue))
    })
}

fn build(nodes: &[u32]) -> Script {
    let mut script = Script::new();
    for (at, gpus) in nodes.iter().enumerate() {
        script.register(machine(&format!("m{at}"), *gpus, "H100"));
    }
    script
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn no_bound_is_passed_nothing_that_may_start_is_left_and_plans_are_made_again_from_rows(
        nodes in vec(0u32..7, 1..4), configs in vec(any_tree(), 1..3),
        rounds in vec((vec(any_work(), 0..8), any::<u8>(), 1u64..400_000), 1..6)
    ) {
        let mut script = build(&nodes);
        set(&mut script, &configs[0]);
        for (submits, ended, ms) in rounds {
            for work in submits {
                submit(&mut script, spec(&configs[0], work));
            }
            let first = plan(&script.view(), script.now, 1_000);
            let record = first.record;
            let loaded = Cluster::load(&script.rows);
            let again = replay(&loaded.view(), &record).map(|made| made.record);
            prop_assert_eq!(again, Ok(record.clone()));
            let before = script.view().all_leases().count();
            let planned = record.placements.len();
            script.place(record);
            prop_assert_eq!(script.view().all_leases().count(), before + planned, "all granted");
            prop_assert_eq!(is_over(&script.view()), None);
            let second = plan(&script.view(), script.now, 1_000);
            // Where others are to make room, the rest of the pass places nothing.
            let makes_room = first.preempt.is_some() || second.preempt.is_some();
            if second.held_for.or(first.held_for).is_none() && !makes_room {
                prop_assert_eq!(startable(&script.view(), script.now, |_| true), None);
            }
            end_some(&mut script, ended);
            script.now = script.now.plus(Millis(ms));
        }
        // A change in the midst of it: nothing is lost or counted twice.
        let next = configs.last().unwrap().clone();
        let expected = script.view().config().version;
        let change = Command::ApplyConfig { expected, config: next, why: "t".into() };
        script.send(None, change);
        prop_assert_eq!(&Cluster::load(&script.rows), &script.cluster);
    }

    /// Every change that bounds name, made together, leaves none that bars the job.
    #[test]
    fn the_changes_that_bounds_name_remove_them(
        nodes in vec(0u32..7, 1..4), config in any_tree(), work in vec(any_work(), 1..14)
    ) {
        let mut script = build(&nodes);
        set(&mut script, &config);
        for work in work {
            submit(&mut script, spec(&config, work));
        }
        script.plan();
        let live: Vec<_> = script.view().all_live_jobs().map(|(id, _)| id).collect();
        for id in live {
            let why = crate::planner::why(&script.view(), &script.rows, id, script.now).unwrap();
            let mut next = script.view().cluster_config();
            let named = why.reasons.iter().filter(|it| raise(&mut next, &it.remedy)).count();
            if named == 0 {
                continue;
            }
            next.check().unwrap();
            set(&mut script, &next);
            let bars = script.view().bars(script.view().live_job(id).unwrap(), script.now);
            prop_assert_eq!(bars, vec![], "{:?}", why);
            set(&mut script, &config);
        }
    }

    /// Gang by gang: whoever has its guarantee goes after all who lack theirs and could start.
    #[test]
    fn nobody_goes_beyond_a_guarantee_while_one_with_less_than_its_own_could_start(
        nodes in vec(0u32..7, 1..4), config in any_tree(), work in vec(any_work(), 1..14)
    ) {
        let mut script = build(&nodes);
        set(&mut script, &config);
        for work in work {
            submit(&mut script, spec(&config, work));
        }
        let record = plan(&script.view(), script.now, 1_000).record;
        for placement in record.placements {
            let view = script.view();
            let queue = view.live_job(placement.element.job).unwrap().brief.queue.clone();
            let after = |other: &str| goes_after(&view, &queue, other);
            prop_assert_eq!(startable(&view, script.now, after), None, "before {:?}", placement);
            place_alone(&mut script, placement);
        }
    }
}

/// Makes the change that a remedy names.
fn raise(config: &mut ClusterConfig, remedy: &str) -> bool {
    let Some((_, rest)) = remedy.split_once("; or raise `") else { return false };
    let words: Vec<&str> = rest.split(['`', ' ']).filter(|word| !word.is_empty()).collect();
    let [field, "of", queue, "to", value] = words[..] else { return false };
    let queue = config.queues.get_mut(queue).unwrap();
    let value: u64 = value.parse().unwrap();
    match field {
        "borrow_gpus_max" => queue.borrow_gpus_max = Some(value),
        "user_gpus_max" => queue.user_gpus_max = Some(value),
        "user_running_max" => queue.user_running_max = Some(value as u32),
        other => panic!("{other}"),
    }
    true
}

/// Grants one gang.
fn place_alone(script: &mut Script, placement: Placement) {
    let mut record = plan(&script.view(), script.now, 0).record;
    record.placements = vec![placement];
    record.plan = crate::state::command::PlanRecord::digest_of(&record.placements);
    script.place(record);
}

fn queue(weight: u32, guaranteed_gpus: u64) -> QueueSpec {
    QueueSpec { weight, guaranteed_gpus, ..QueueSpec::default() }
}

fn config(queues: &[(&str, QueueSpec)]) -> ClusterConfig {
    let queues = queues.iter().map(|(name, queue)| ((*name).to_owned(), queue.clone())).collect();
    ClusterConfig { half_life: Millis(3_600_000), queues, ..ClusterConfig::default() }.whole()
}

fn held(script: &Script) -> Vec<(String, u64)> {
    let queues = script.view().queues().iter();
    queues.map(|(name, queue)| (name.to_string(), queue.held.gpus())).collect()
}

fn many(script: &mut Script, queue: &str, count: u32) {
    submit(script, JobSpec { queue: queue.into(), ..array(count, 0, 1) });
}

fn named(pairs: &[(&str, u64)]) -> Vec<(String, u64)> {
    pairs.iter().map(|(name, held)| ((*name).to_owned(), *held)).collect()
}

#[test]
fn guarantees_come_first_and_the_rest_goes_by_weight() {
    let mut script = build(&[8, 8]);
    set(&mut script, &config(&[("a", queue(1, 6)), ("b", queue(3, 0)), ("c", queue(1, 0))]));
    for queue in ["b", "c", "a"] {
        many(&mut script, queue, 50);
    }
    script.plan();
    // Ten are left beyond the guarantee: three to one between b and c, and a has had its part.
    assert_eq!(held(&script), named(&[("a", 6), ("b", 7), ("c", 3), ("default", 0)]));
}

#[test]
fn who_used_more_before_goes_after_until_it_is_forgotten() {
    let mut script = build(&[4]);
    set(&mut script, &config(&[("a", queue(1, 0)), ("b", queue(1, 0))]));
    many(&mut script, "a", 4);
    script.plan();
    script.now = script.now.plus(Millis(3_600_000));
    end_all(&mut script);
    script.cancel("j1");
    let later = script.now.plus(Millis(100 * 3_600_000));
    for now in [script.now, later] {
        script.now = now;
        many(&mut script, "a", 4);
        many(&mut script, "b", 4);
        script.plan();
        let expected = if now == later { [("a", 2), ("b", 2)] } else { [("a", 1), ("b", 3)] };
        assert_eq!(held(&script)[..2], named(&expected));
        end_all(&mut script);
        let ids: Vec<_> = script.view().all_live_jobs().map(|(id, _)| id).collect();
        ids.iter().for_each(|id| drop(script.cancel(&id.to_string())));
    }
}

fn end_all(script: &mut Script) {
    end_some(script, u8::MAX);
}

#[test]
fn the_dominant_resource_decides() {
    let mut script = build(&[8]);
    set(&mut script, &config(&[("cores", queue(1, 0)), ("gpus", queue(1, 0))]));
    let mut hungry = JobSpec { queue: "cores".into(), ..array(9, 0, 0) };
    hungry.resources.cpu = CpuMillis(4_000);
    submit(&mut script, hungry);
    let mut light = JobSpec { queue: "gpus".into(), ..array(9, 0, 1) };
    light.resources.cpu = CpuMillis(500);
    submit(&mut script, light);
    script.plan();
    // A quarter of the cores each against an eighth of the GPUs: 3 × 4 of 16 cores, and all GPUs.
    let running = |id| script.view().live_job(domain::JobId(id)).unwrap().progress.running;
    assert_eq!((running(1), running(2)), (3, 8));
}

#[test]
fn bounds_hold_a_queue_or_a_user_back_and_nobody_else() {
    let mut script = build(&[8]);
    let bounded = QueueSpec { borrow_gpus_max: Some(4), user_gpus_max: Some(3), ..queue(9, 0) };
    set(&mut script, &config(&[("a", bounded), ("b", queue(1, 0))]));
    many(&mut script, "a", 9);
    submit(&mut script, JobSpec { queue: "a".into(), user: "bob".into(), ..array(9, 0, 1) });
    many(&mut script, "b", 9);
    script.plan();
    assert_eq!(held(&script)[..2], named(&[("a", 4), ("b", 4)]));
    let users = &script.view().queues()["a"].users;
    assert_eq!((users["ada"].gpus, users["bob"].gpus), (3, 1));
}

#[test]
fn each_bound_is_a_reason_with_the_smallest_change_and_shares_are_told() {
    let mut script = build(&[8]);
    let bounded = QueueSpec { borrow_gpus_max: Some(4), user_gpus_max: Some(3), ..queue(1, 0) };
    set(&mut script, &config(&[("a", bounded), ("b", queue(9, 0))]));
    submit(&mut script, JobSpec { queue: "a".into(), ..job(1, 2) });
    submit(&mut script, JobSpec { queue: "a".into(), user: "bob".into(), ..job(1, 1) });
    script.plan();
    submit(&mut script, JobSpec { queue: "a".into(), ..job(1, 3) });
    let why = |script: &Script, id| {
        let id = domain::JobId(id);
        let why = crate::planner::why(&script.view(), &script.rows, id, script.now).unwrap();
        let line =
            |it: domain::view::ReasonView| format!("{}: {} -> {}", it.kind, it.detail, it.remedy);
        why.reasons.into_iter().map(line).collect::<Vec<_>>()
    };
    assert_eq!(
        why(&script, 3),
        [
            "user: ada is at 2/3 GPUs that a user may hold in queue a, and this needs 3 -> \
             frees 2 when j1 ends; or raise `user_gpus_max` of `a` to 5",
            "queue: queue a is at 3/4 GPUs, and this needs 3 -> \
             frees 2 when j1 ends; or raise `borrow_gpus_max` of `a` to 6",
        ]
    );
    many(&mut script, "b", 9);
    submit(&mut script, JobSpec { queue: "a".into(), user: "eve".into(), ..job(1, 1) });
    assert_eq!(
        why(&script, 5),
        ["share: what is free goes first to 5 gangs of queues that have less of their share than \
          a: b -> wait until they have ended, or raise `weight` or `guaranteed_gpus` of `a`"]
    );
}
