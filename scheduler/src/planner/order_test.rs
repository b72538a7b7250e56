//! Who goes first in a queue that serves the shortest first, and how it learns who that is.

use super::{
    HOLD_AFTER,
    order::{Standing, arrange},
    share::{PATIENCE_MAX, Turns},
};
use crate::state::{
    Cluster,
    command::{Command, Reply},
    dataset_test::raise,
    order::{Learned, level_end},
    script::{Script, job, machine},
};
use domain::{
    JobId, Millis, NodeId,
    job::{Array, EndCause, JobSpec},
    link::Report,
    queue::{DEFAULT, Order},
};
use proptest::{collection::vec, prelude::*};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;

fn serve(script: &mut Script, order: Order) {
    let mut config = script.view().cluster_config();
    config.orders.set(DEFAULT, order);
    let expected = script.view().config().version;
    let reply = script.send(None, Command::apply_config(expected, config, "order".into()));
    assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
}

/// A node of eight GPUs, and the shortest first.
fn begin() -> Script {
    let mut script = Script::new();
    raise(&mut script);
    script.register(machine("a", 8, "H100"));
    serve(&mut script, Order::Shortest);
    script
}

fn said(gpus: u32, estimate_ms: Option<u64>) -> JobSpec {
    JobSpec { estimate: estimate_ms.map(Millis), ..job(1, gpus) }
}

/// The jobs of the queue in the order of their turns.
fn turns(script: &Script) -> Vec<JobId> {
    let view = script.view();
    let mut turns = Turns::new(&view, script.now);
    let mut order = Vec::new();
    while let Some((leaf, key, _)) = turns.next() {
        // One that goes before its turn is met there once more.
        if !order.contains(&key.job) {
            order.push(key.job);
        }
        turns.pass(leaf);
    }
    order
}

fn learned(script: &Script) -> Learned {
    let queue = &script.view().queues()[DEFAULT];
    (**queue.learned.as_ref().expect("it learns")).clone()
}

/// Runs for some time, and ends with a result or without.
fn run(script: &mut Script, id: JobId, time_ms: u64, completes: bool) {
    script.now = script.now.plus(Millis(time_ms));
    let lease = script.lease_of(&id.to_string());
    if completes {
        script.finish(lease, id.0 as u8);
    } else {
        let cause = EndCause::NodeLost;
        script.report(NodeId(1), Report::Failed { lease, cause });
        script.report(NodeId(1), Report::Stopped { lease });
    }
}

#[test]
fn the_least_gpu_time_goes_first_and_by_age_again_when_that_is_said() {
    let mut script = begin();
    let full = script.submit(said(8, None));
    script.plan();
    let hour = script.submit(said(1, Some(60 * MINUTE)));
    let wide = script.submit(said(8, Some(9 * MINUTE)));
    let short = script.submit(said(2, Some(10 * MINUTE)));
    let urgent = script.submit(JobSpec { priority: 1, ..said(8, Some(600 * MINUTE)) });
    assert_eq!(turns(&script), [urgent, short, hour, wide]);
    let why = script.why(wide).remove(0);
    assert!(!why.detail.contains("shortest"), "it waits for room: {why:?}");
    serve(&mut script, Order::Age);
    assert_eq!(turns(&script), [urgent, hour, wide, short]);
    assert_eq!(script.view().queue_views().queues[0].order, Order::Age);
    serve(&mut script, Order::Shortest);
    run(&mut script, full, 1, true);
    let placed: Vec<JobId> = script.plan().into_iter().map(|it| it.element.job).collect();
    assert_eq!(placed, [urgent]);
    run(&mut script, urgent, 1, true);
    let why = script.why(wide).remove(0);
    assert_eq!(why.kind, "ahead");
    assert_eq!(
        why.detail,
        "what is free goes to 2 gangs before it in the order: `default` serves the shortest \
         first, and this is said to take 8 GPUs for 9m"
    );
    let placed: Vec<JobId> = script.plan().into_iter().map(|it| it.element.job).collect();
    assert_eq!(placed, [short, hour]);
}

#[test]
fn a_queue_learns_how_long_its_jobs_run_and_knows_it_after_a_restart() {
    let mut script = begin();
    for _ in 0..20 {
        let id = script.submit(said(8, None));
        script.plan();
        let lease = script.lease_of(&id.to_string());
        run(&mut script, id, 10 * MINUTE, true);
        script.seal(lease);
    }
    let history = learned(&script).history;
    // Nearly all end in the level from 8 to 16 minutes, so one that is there is nearly done.
    assert!(history.cost(9 * MINUTE) < history.cost(0));
    assert!(history.cost(0) < 16 * MINUTE && history.cost(0) > 8 * MINUTE);
    assert!(learned(&script).patience.ms() >= 40 * MINUTE);
    let full = script.submit(said(8, None));
    script.plan();
    let unknown = script.submit(said(1, None));
    let less = script.submit(said(1, Some(5 * MINUTE)));
    let more = script.submit(said(1, Some(20 * MINUTE)));
    assert_eq!(turns(&script), [less, unknown, more]);
    // It was there for nine minutes when its node was lost: it is nearly done, whole as it is.
    run(&mut script, full, 9 * MINUTE, false);
    let row = &script.view().live_job(full).unwrap().elements[&0];
    assert_eq!(row.later.ran, Millis(9 * MINUTE));
    assert_eq!(learned(&script).history, {
        let mut next = history.clone();
        next.ran(0, 9 * MINUTE, false);
        next
    });
    let again = Cluster::load(&script.rows);
    assert!(again == script.cluster, "what was learned is in the rows");
    serve(&mut script, Order::Age);
    serve(&mut script, Order::Shortest);
    assert_eq!(learned(&script), Learned::default(), "it begins anew");
}

#[test]
fn who_has_waited_beyond_patience_goes_first() {
    let mut script = begin();
    let long = script.submit(said(8, Some(100 * MINUTE)));
    script.plan();
    let wide = script.submit(said(8, Some(50 * MINUTE)));
    let ms = learned(&script).patience.ms();
    assert_eq!(ms, 4 * 100 * MINUTE, "four times what the second waits if they run as they come");
    let (mut short, mut last) = (Vec::new(), script.now);
    for _ in 0..3 {
        script.now = script.now.plus(Millis(ms / 3));
        last = script.now;
        short.push(script.submit(said(1, Some(MINUTE))));
    }
    assert_eq!(turns(&script)[..3], short[..]);
    script.now = last.plus(Millis(SECOND));
    assert_eq!(turns(&script)[0], wide);
    // What is free is kept for it then, and small ones do not pass it.
    let _ = long;
    let why = script.why(short[2]);
    assert!(why.iter().all(|reason| !reason.never), "{why:?}");
}

#[test]
fn the_elements_of_an_array_are_taken_as_new_each() {
    let mut script = begin();
    let array = Array { count: 10, at_once_max: 0 };
    let many = script.submit(JobSpec { array: Some(array), ..said(1, Some(10 * MINUTE)) });
    let one = script.submit(said(1, Some(9 * MINUTE)));
    assert_eq!(turns(&script), [one, many]);
    let placed = script.plan();
    assert_eq!(placed.len(), 8);
    script.now = script.now.plus(Millis(9 * MINUTE));
    script.lose(NodeId(1));
    assert!(Cluster::load(&script.rows) == script.cluster);
}

/// GPUs, seconds of an estimate, seconds of running before it waits again, seconds to the next.
type Drawn = (u32, Option<u64>, Option<u64>, u64);

fn any_job() -> impl Strategy<Value = Drawn> {
    let seconds = 1u64..4_000;
    (1u32..=8, prop::option::of(seconds.clone()), prop::option::of(seconds), 0u64..600)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The production's heaps and the order that the simulator of workloads asks for are one.
    #[test]
    fn turns_are_those_of_the_order(jobs in vec(any_job(), 1..24), later in 0u64..20_000) {
        let mut script = begin();
        let mut all = Vec::new();
        for (gpus, estimate, ran, pause) in jobs {
            let spec = said(gpus, estimate.map(|it| it * SECOND));
            let id = script.submit(JobSpec { priority: 1, ..spec });
            if let Some(ran) = ran {
                // It alone is let run.
                let placed = script.plan();
                for other in placed.iter().filter(|it| it.element.job != id) {
                    run(&mut script, other.element.job, 0, false);
                }
                if placed.iter().any(|it| it.element.job == id) {
                    run(&mut script, id, ran * SECOND, false);
                }
            }
            all.push(id);
            script.now = script.now.plus(Millis(pause * SECOND));
        }
        script.now = script.now.plus(Millis(later * SECOND));
        script.send(None, Command::Wake { until: script.now });
        let view = script.view();
        let waiting: Vec<JobId> = {
            let mut waiting: Vec<JobId> = view.waiting_jobs().collect();
            waiting.sort_unstable();
            waiting
        };
        let standing = |id: &JobId| {
            let job = view.live_job(*id).unwrap();
            let gpus = job.brief.gang().gpus();
            Standing {
                gpus: gpus as u32,
                attained: job.ran().0 * gpus,
                estimate: job.brief.estimate().map(|it| it.0 * gpus),
                waited_ms: script.now.minus(job.brief.time).minus(job.ran()).0,
                running: false,
                // Their numbers go by when they came.
                submitted_ms: id.0,
            }
        };
        let standings: Vec<Standing> = waiting.iter().map(standing).collect();
        let Learned { history, patience } = learned(&script);
        let order = arrange(&standings, &history, patience.ms().clamp(HOLD_AFTER.0, PATIENCE_MAX.0));
        let expected: Vec<JobId> = order.into_iter().map(|at| waiting[at]).collect();
        prop_assert_eq!(turns(&script), expected);
    }
}

#[test]
fn what_runs_tells_how_long_jobs_run_before_it_ends() {
    let mut script = begin();
    for _ in 0..8 {
        script.submit(said(1, None));
    }
    script.plan();
    let unknown = script.submit(said(1, None));
    let said = script.submit(said(1, Some(3 * MINUTE)));
    assert_eq!(turns(&script), [unknown, said], "of two in a minute one ends");
    script.now = script.now.plus(Millis(level_end(12)));
    assert_eq!(turns(&script)[..], [unknown, said], "it has waited beyond what anyone did");
}
