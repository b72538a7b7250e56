//! What ran, as rows of a workload: each element once, page by page, and only what has ended.

use super::{
    command::Command,
    script::{Script, array, job, machine},
    view::TraceAsked,
};
use domain::{
    Bytes, Digest, ElementId, LeaseId, Millis, NodeId,
    checkpoint::Checkpoint,
    job::{EndCause, JobSpec},
    link::Report,
    trace::TraceView,
};

fn all(script: &Script, asked: &TraceAsked) -> TraceView {
    script.view().trace(&script.rows, asked)
}

/// Element, GPUs, and its times since the script began, in seconds.
fn told(view: &TraceView) -> Vec<(String, u64, [u64; 4])> {
    let since = |time: Millis| (time.0 - 1_000_000) / 1_000;
    let row = |row: &domain::trace::TraceRow| {
        let times = [since(row.submitted_ms), since(row.begun_ms), since(row.ended_ms)];
        let [submitted, begun, ended] = times;
        (row.element.to_string(), row.gpus, [submitted, begun, ended, row.service_ms.0 / 1_000])
    };
    view.rows.iter().map(row).collect()
}

fn asked(limit: usize) -> TraceAsked {
    TraceAsked { limit, ..TraceAsked::default() }
}

fn save(script: &mut Script, node: NodeId, lease: LeaseId) {
    let root = Digest::of(b"step 1");
    let checkpoint = Checkpoint { step: 1, root, tree: root, size: Bytes(1), lease };
    script.report(node, Report::Prepared { lease });
    script.report(node, Report::Checkpoint { checkpoint });
}

/// Its node is lost 40 s after the grant, another 100 s pass, and it ends after 30 s more.
fn lost_once(saves: bool) -> Script {
    let mut script = Script::new();
    let node = script.register(machine("a", 2, "H100"));
    script.submit(JobSpec { retries: 3, time_limit: Some(Millis(600_000)), ..job(1, 2) });
    script.now = script.now.plus(Millis(10_000));
    script.plan();
    let lease = script.lease_of("j1");
    if saves {
        save(&mut script, node, lease);
    }
    script.now = script.now.plus(Millis(40_000));
    script.lose(node);
    script.register(machine("b", 2, "H100"));
    script.now = script.now.plus(Millis(100_000));
    script.send(None, Command::Wake { until: Millis(0) });
    script.plan();
    script.now = script.now.plus(Millis(30_000));
    let lease = script.lease_of("j1");
    script.finish(lease, 1);
    assert!(all(&script, &asked(9)).rows.is_empty(), "it is being sealed");
    assert_eq!(all(&script, &asked(9)).unended, 1);
    script.seal(lease);
    script
}

#[test]
fn work_that_was_taken_from_it_before_a_checkpoint_is_no_part_of_what_it_needs() {
    let script = lost_once(false);
    let view = all(&script, &asked(9));
    assert_eq!(told(&view), [("j1".into(), 2, [0, 10, 180, 30])]);
    assert_eq!(view.rows[0].time_limit_ms, Some(Millis(600_000)));
    let script = lost_once(true);
    assert_eq!(told(&all(&script, &asked(9))), [("j1".into(), 2, [0, 10, 180, 70])]);
}

/// Arrays of which some elements ended, of jobs that came one after the other.
fn arrays() -> Script {
    let mut script = Script::new();
    let node = script.register(machine("a", 8, "H100"));
    for _ in 0..3 {
        script.submit(array(5, 5, 1));
        script.now = script.now.plus(Millis(10_000));
    }
    script.plan();
    for element in ["j1[0]", "j1[1]", "j1[4]", "j2[0]"] {
        script.now = script.now.plus(Millis(1_000));
        let lease = script.lease_of(element);
        let cause = EndCause::ExitCode { rank: 0, code: 3 };
        script.report(node, Report::Failed { lease, cause });
        script.report(node, Report::Stopped { lease });
    }
    script
}

#[test]
fn pages_of_any_length_tell_of_each_element_once_and_in_order() {
    let script = arrays();
    let whole = all(&script, &asked(100));
    let names: Vec<_> = whole.rows.iter().map(|row| row.element.to_string()).collect();
    assert_eq!(names, ["j1[0]", "j1[1]", "j1[4]", "j2[0]"]);
    assert_eq!(whole.next, None);
    // Those that never ran, too.
    assert_eq!(whole.unended, 11);
    for limit in 1..7 {
        let (mut rows, mut unended) = (Vec::new(), 0);
        let mut after = None;
        loop {
            let page = all(&script, &TraceAsked { after, ..asked(limit) });
            assert!(page.rows.len() <= limit);
            rows.extend(page.rows);
            unended += page.unended;
            let Some(next) = page.next else { break };
            assert!(Some(next) > after, "a page goes on: {next} after {after:?}");
            // As it goes over the wire.
            after = Some(next.to_string().parse::<ElementId>().unwrap());
        }
        assert_eq!((rows, unended), (whole.rows.clone(), whole.unended), "pages of {limit}");
    }
}

#[test]
fn days_and_queues_bound_it() {
    let script = arrays();
    let from = Millis(1_010_000);
    let of = |asked: TraceAsked| {
        let view = all(&script, &asked);
        view.rows.into_iter().map(|row| row.element.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(of(TraceAsked { from, ..asked(9) }), ["j2[0]"]);
    assert_eq!(of(TraceAsked { until: Some(from), ..asked(9) }).len(), 3);
    assert_eq!(of(TraceAsked { queue: Some("default".into()), ..asked(9) }).len(), 4);
    assert!(of(TraceAsked { queue: Some("other".into()), ..asked(9) }).is_empty());
}
