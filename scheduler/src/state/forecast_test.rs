//! What was foreseen of starts is held against how they came.

use super::{
    Cluster,
    command::{Command, Refusal, Reply},
    dataset_test::raise,
    script::{Script, array, job, machine},
};
use domain::{
    JobId, Millis,
    foresee::{Foretold, StartsHeld},
    gpu_time::DAY_MS,
    limit,
};

fn begin() -> Script {
    let mut script = Script::new();
    raise(&mut script);
    script.register(machine("a", 1, "H100"));
    script
}

/// Foretold from now on: its p50 and its p90 in seconds.
fn foretell(script: &mut Script, ids: &[JobId], (p50, p90): (u64, u64)) {
    let at = |seconds: u64| script.now.plus(Millis(seconds * 1_000));
    let foretold = Foretold { made: script.now, p50: at(p50), p90: at(p90) };
    let starts = ids.iter().map(|id| (*id, foretold)).collect();
    let reply = script.send(None, Command::Foretell { starts });
    assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
}

fn pass(script: &mut Script, seconds: u64) {
    script.now = script.now.plus(Millis(seconds * 1_000));
}

fn held(script: &Script) -> Option<(u64, u64, u64)> {
    let held = script.view().starts_held(script.now);
    held.map(|StartsHeld { jobs, within_p50, within_p90 }| (jobs, within_p50, within_p90))
}

#[test]
fn a_start_counts_once_by_when_it_came() {
    let mut script = begin();
    let ids: Vec<JobId> = (0..3).map(|_| script.submit(job(1, 1))).collect();
    foretell(&mut script, &ids, (10, 20));
    // The first word holds.
    foretell(&mut script, &ids, (1_000, 2_000));
    assert_eq!(held(&script), None);
    for (at, expected) in [(10, (1, 1, 1)), (20, (2, 1, 2)), (21, (3, 1, 2))] {
        let begun = Millis(1_000_000);
        script.now = begun.plus(Millis(at * 1_000));
        let placed = script.plan();
        assert_eq!(placed.len(), 1);
        assert_eq!(held(&script), Some(expected), "at {at} s");
        let lease = script.lease_of(&placed[0].element.to_string());
        script.finish(lease, 1);
        script.seal(lease);
        assert!(Cluster::load(&script.rows) == script.cluster, "as its rows have it");
    }
}

#[test]
fn what_has_not_started_by_its_p90_has_missed_it_also_where_its_user_ends_it() {
    let mut script = begin();
    script.submit(job(1, 1));
    script.plan();
    let ids: Vec<JobId> = (0..4).map(|_| script.submit(job(1, 1))).collect();
    foretell(&mut script, &ids, (10, 20));
    pass(&mut script, 5);
    // Not foreseen, and not too late.
    script.cancel(&ids[0].to_string());
    script.send(None, Command::Hold { job: ids[1], held: true });
    pass(&mut script, 15);
    assert_eq!(held(&script), None, "its time is not over");
    pass(&mut script, 1);
    assert_eq!(held(&script), Some((2, 0, 0)));
    script.cancel(&ids[2].to_string());
    script.send(None, Command::SetPriority { job: ids[3], priority: 3 });
    assert_eq!(held(&script), Some((2, 0, 0)), "counted once");
    assert!(Cluster::load(&script.rows) == script.cluster, "as its rows have it");
}

#[test]
fn only_what_waits_for_its_first_start_is_foretold() {
    let mut script = begin();
    let runs = script.submit(array(2, 1, 1));
    script.plan();
    let held_back = script.submit(job(1, 1));
    script.send(None, Command::Hold { job: held_back, held: true });
    let waits = script.submit(job(1, 1));
    assert_eq!(script.view().to_foretell(script.now, 9), [waits]);
    foretell(&mut script, &[runs, held_back, waits, JobId(99)], (1, 2));
    assert_eq!(script.cluster.sched.forecasts.open.keys().copied().collect::<Vec<_>>(), [waits]);
    assert!(script.view().to_foretell(script.now, 9).is_empty());
    // One that is late already is none, nor is a p90 before its p50.
    let late = Foretold { made: Millis(1), p50: Millis(1), p90: Millis(2) };
    let other = script.submit(job(1, 1));
    script.send(None, Command::Foretell { starts: vec![(other, late)] });
    assert_eq!(script.view().to_foretell(script.now, 9), [other]);
    foretell(&mut script, &[other], (2, 1));
    assert_eq!(script.view().to_foretell(script.now, 9), [other]);
}

#[test]
fn an_array_whose_first_element_is_cancelled_still_waits_for_its_first_start() {
    let mut script = begin();
    let id = script.submit(array(3, 1, 1));
    foretell(&mut script, &[id], (10, 20));
    script.cancel("j1[0]");
    assert!(script.cluster.sched.forecasts.open.contains_key(&id));
    script.plan();
    assert_eq!(held(&script), Some((1, 1, 1)));
}

#[test]
fn what_is_late_makes_room_for_others_and_counts_once() {
    let mut script = begin();
    script.submit(job(1, 1));
    script.plan();
    let late = script.submit(job(1, 1));
    foretell(&mut script, &[late], (10, 20));
    pass(&mut script, 21);
    let other = script.submit(job(1, 1));
    foretell(&mut script, &[other], (10, 20));
    assert_eq!(script.cluster.sched.forecasts.open.keys().copied().collect::<Vec<_>>(), [other]);
    assert_eq!(held(&script), Some((1, 0, 0)));
    // Once for each job, however long it waits.
    foretell(&mut script, &[late], (10, 20));
    pass(&mut script, 22);
    assert_eq!(held(&script), Some((2, 0, 0)));
    assert!(Cluster::load(&script.rows) == script.cluster, "as its rows have it");
}

#[test]
fn when_all_that_there_is_room_for_is_late_there_is_room_again() {
    let mut script = begin();
    script.submit(job(1, 1));
    script.plan();
    let ids: Vec<JobId> = (0..limit::FORETOLD_MAX + 1).map(|_| script.submit(job(1, 1))).collect();
    for some in ids.chunks(limit::FORETOLD_BATCH) {
        foretell(&mut script, some, (10, 20));
    }
    assert_eq!(script.cluster.sched.forecasts.open.len(), limit::FORETOLD_MAX);
    assert!(script.view().to_foretell(script.now, 9).is_empty(), "there is no room");
    pass(&mut script, 21);
    let last = ids[limit::FORETOLD_MAX];
    assert_eq!(script.view().to_foretell(script.now, 9), [last]);
    foretell(&mut script, &[last], (10, 20));
    assert_eq!(script.cluster.sched.forecasts.open.len(), 1);
    assert_eq!(held(&script), Some((limit::FORETOLD_MAX as u64, 0, 0)));
}

#[test]
fn a_week_is_told_of_and_no_more_is_kept() {
    let mut script = begin();
    let start = script.now;
    for day in 0..12 {
        script.now = start.plus(Millis(day * DAY_MS));
        let id = script.submit(job(1, 1));
        foretell(&mut script, &[id], (1, 2));
        script.plan();
        let lease = script.lease_of(&id.to_string());
        script.finish(lease, 1);
        script.seal(lease);
    }
    let days = limit::FORETOLD_DAYS;
    assert_eq!(held(&script), Some((days, days, days)));
    assert_eq!(script.cluster.sched.forecasts.days.len() as u64, days);
    script.now = script.now.plus(Millis(days * DAY_MS));
    assert_eq!(held(&script), None);
}

#[test]
fn it_is_bounded_and_of_the_second_version() {
    let mut script = begin();
    let foretold = Foretold { made: Millis(1), p50: Millis(1), p90: Millis(1) };
    let starts = vec![(JobId(1), foretold); limit::FORETOLD_BATCH + 1];
    let reply = script.send(None, Command::Foretell { starts });
    assert!(matches!(reply, Reply::Refused(Refusal::Limit { .. })), "{reply:?}");
    let mut first = Script::new();
    let reply = first.send(None, Command::Foretell { starts: Vec::new() });
    assert!(matches!(reply, Reply::Refused(Refusal::NotYet { .. })), "{reply:?}");
}
