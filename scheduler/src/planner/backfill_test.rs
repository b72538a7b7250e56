//! What runs on nodes that are kept for another never holds it up.

use super::{HOLD_AFTER, plan};
use crate::state::script::{Script, job, machine};
use domain::{
    JobId, Millis,
    job::{EndCause, JobSpec},
    link::Report,
};
use proptest::{collection::vec, prelude::*};

fn lasting(tasks: u32, gpus: u32, limit: Option<u64>) -> JobSpec {
    JobSpec { time_limit: limit.map(|s| Millis(s * 1_000)), ..job(tasks, gpus) }
}

/// Ends what has run for its limit, or for `most` where it has none.
fn end_due(script: &mut Script, most: Millis) {
    let leases: Vec<_> = script.view().all_leases().cloned().collect();
    for lease in leases {
        let limit = script.view().live_job(lease.element.job).unwrap().brief.time_limit;
        if lease.granted.plus(limit.unwrap_or(most)) <= script.now {
            let cause = EndCause::TimeLimit;
            script.report(lease.lead(), Report::Failed { lease: lease.id, cause });
            for member in &lease.members {
                script.report(member.node, Report::Stopped { lease: lease.id });
            }
        }
    }
}

fn to(script: &mut Script, seconds: u64) {
    script.now = Millis(1_000_000 + seconds * 1_000);
    end_due(script, Millis(u64::MAX));
    script.plan();
}

#[test]
fn what_ends_in_time_runs_on_nodes_that_are_kept() {
    let mut script = Script::new();
    script.register(machine("a", 4, "NVIDIA H100"));
    script.register(machine("b", 4, "NVIDIA H100"));
    script.submit(lasting(1, 4, Some(100)));
    script.submit(lasting(1, 4, Some(200)));
    script.plan();
    let head = script.submit(lasting(2, 4, None));
    to(&mut script, 99);
    let kept = plan(&script.view(), script.now, 1_000);
    assert_eq!(kept.held_for, Some(head));
    assert_eq!(kept.starts_by, Some(Millis(1_200_000)));
    let long = script.submit(lasting(1, 2, Some(101)));
    let endless = script.submit(lasting(1, 2, None));
    let short = script.submit(lasting(1, 2, Some(100)));
    to(&mut script, 100);
    let words = [head, long, endless, short].map(|id| script.word(id));
    assert_eq!(words, ["waiting", "waiting", "waiting", "running"]);
    to(&mut script, 200);
    assert_eq!(script.word(head), "running");
}

#[test]
fn where_it_waits_for_one_without_a_limit_nobody_uses_its_nodes() {
    let mut script = Script::new();
    script.register(machine("a", 4, "NVIDIA H100"));
    script.submit(lasting(1, 1, None));
    script.plan();
    let head = script.submit(lasting(1, 4, None));
    script.now = script.now.plus(HOLD_AFTER);
    let short = script.submit(lasting(1, 1, Some(1)));
    let kept = plan(&script.view(), script.now, 1_000);
    assert_eq!((kept.held_for, kept.starts_by), (Some(head), None));
    assert!(script.plan().is_empty());
    assert_eq!(script.word(short), "waiting");
}

/// Tasks, GPUs, limit in seconds.
fn any_small() -> impl Strategy<Value = (u32, u32, Option<u64>)> {
    (1u32..3, 1u32..4, prop::option::weighted(0.8, 5u64..300))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn a_gang_of_all_nodes_starts_when_it_was_told_however_many_small_ones_come(
        nodes in 2u32..4, first in vec(any_small(), 1..8), stream in vec(any_small(), 1..30)
    ) {
        let mut script = Script::new();
        for at in 0..nodes {
            script.register(machine(&format!("m{at}"), 4, "NVIDIA H100"));
        }
        for (tasks, gpus, limit) in first {
            script.submit(lasting(tasks, gpus, limit));
        }
        script.plan();
        let head: JobId = script.submit(lasting(nodes, 4, Some(10_000)));
        let mut stream = stream.into_iter().cycle();
        let mut told: Option<Millis> = None;
        // Each that came before it may run for 300 s by itself, and the last small ones with it.
        for _ in 0..700 {
            script.now = script.now.plus(Millis(5_000));
            end_due(&mut script, Millis(300_000));
            let (tasks, gpus, limit) = stream.next().unwrap();
            script.submit(lasting(tasks, gpus, limit));
            while !script.plan().is_empty() {}
            if script.word(head) == "running" {
                return Ok(());
            }
            let late = told.is_some_and(|told| told < script.now);
            prop_assert!(!late, "it was told {:?}, and waits at {}", told, script.now);
            let kept = plan(&script.view(), script.now, 1_000);
            if kept.held_for == Some(head) {
                told = told.into_iter().chain(kept.starts_by).min();
            }
        }
        prop_assert!(false, "it starves");
    }
}
