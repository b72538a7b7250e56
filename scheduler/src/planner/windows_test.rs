//! Laws of windows: no attempt of one who is no member overlaps a window by its time limit, those
//! who are in one when it opens leave it, and what `why` advises starts the job.

use super::{plan, replay, why};
use crate::state::{
    Cluster,
    command::{Command, Refusal, Reply, WindowCommand},
    script::{Script, job, machine},
};
use domain::{
    JobId, Millis,
    interrupt::{Interrupt, Preemptible},
    job::{EndCause, JobSpec},
    link::Report,
    reservation::{Reservation, WantedNodes, WindowKind},
};
use proptest::{collection::vec, prelude::*};
use std::collections::BTreeSet;

/// The script's clock at its begin.
const BEGIN: u64 = 1_000_000;

/// A window on some of the nodes, in seconds from the script's begin.
fn window(name: &str, nodes: &[&str], from: u64, seconds: u64) -> Reservation {
    Reservation {
        name: name.into(),
        nodes: WantedNodes::Named(nodes.iter().map(|name| (*name).to_owned()).collect()),
        start: Millis(BEGIN + from * 1_000),
        duration: Millis(seconds * 1_000),
        users: BTreeSet::new(),
        queues: BTreeSet::new(),
        kind: WindowKind::Reservation,
        reason: "a demonstration".into(),
    }
}

fn maintenance(nodes: &[&str], from: u64, seconds: u64) -> Reservation {
    Reservation { kind: WindowKind::Maintenance, ..window("kernel", nodes, from, seconds) }
}

fn create(script: &mut Script, window: Reservation) -> Reply {
    script.send(None, Command::Reserve(WindowCommand::Create(window)))
}

fn created(script: &mut Script, window: Reservation) {
    let reply = create(script, window);
    assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
}

fn delete(script: &mut Script, name: &str) -> Reply {
    script.send(None, Command::Reserve(WindowCommand::Delete { name: name.into() }))
}

fn lasting(gpus: u32, seconds: Option<u64>) -> JobSpec {
    JobSpec { time_limit: seconds.map(|s| Millis(s * 1_000)), ..job(1, gpus) }
}

fn wake(script: &mut Script, seconds: u64) {
    script.now = Millis(BEGIN + seconds * 1_000);
    script.send(None, Command::Wake { until: Millis(0) });
}

/// The detail and the remedy of a job's first reason.
fn first(script: &Script, id: JobId) -> (String, String) {
    let why = why(&script.view(), &script.rows, id, script.now).unwrap();
    let reason = why.reasons.into_iter().next().unwrap();
    (format!("{}: {}", reason.kind, reason.detail), reason.remedy)
}

fn two_nodes() -> Script {
    let mut script = Script::new();
    script.register(machine("a", 4, "NVIDIA H100"));
    script.register(machine("b", 4, "NVIDIA A100"));
    script
}

#[test]
fn what_does_not_end_before_a_window_stays_off_its_nodes_and_is_told_why() {
    let mut script = two_nodes();
    created(&mut script, maintenance(&["a", "b"], 7_800, 3_600));
    let endless = script.submit(lasting(1, None));
    let long = script.submit(lasting(1, Some(7_801)));
    let short = script.submit(lasting(1, Some(7_800)));
    script.plan();
    assert_eq!([endless, long, short].map(|id| script.word(id)), ["waiting", "waiting", "running"]);
    let (detail, remedy) = first(&script, endless);
    let says = "reservation: maintenance `kernel` begins on a b in 2h10m; it has no `time_limit`";
    assert_eq!(detail, says);
    let says = "a `time_limit` of at most 2h10m starts now; or wait: `kernel` ends in 3h10m";
    assert_eq!(remedy, says);
    assert!(first(&script, long).0.ends_with("it may run for 2h10m"));
    wake(&mut script, 7_800);
    let (detail, remedy) = first(&script, long);
    assert!(detail.starts_with("reservation: maintenance `kernel` is open on a b"), "{detail}");
    assert_eq!(remedy, "wait: `kernel` ends in 1h0m");
    assert_eq!(script.plan(), []);
    wake(&mut script, 7_800 + 3_600);
    assert_eq!(script.view().windows().count(), 0, "it is over");
    assert_eq!(script.plan().len(), 2);
}

#[test]
fn one_of_a_group_that_windows_bar_does_not_hold_back_the_others() {
    let mut script = two_nodes();
    created(&mut script, maintenance(&["a", "b"], 100, 100));
    for _ in 0..3 {
        script.submit(lasting(1, None));
    }
    let short = script.submit(lasting(1, Some(50)));
    script.plan();
    assert_eq!(script.word(short), "running");
}

#[test]
fn members_run_inside_and_those_who_name_a_window_nowhere_else() {
    let mut script = two_nodes();
    let users = BTreeSet::from(["eve".to_owned()]);
    created(&mut script, Reservation { users, ..window("eves", &["a"], 0, 1_000) });
    created(&mut script, window("open", &["b"], 500, 1_000));
    let by = |user: &str| JobSpec { user: user.into(), ..lasting(4, Some(60)) };
    let other = script.submit(by("ada"));
    let member = script.submit(by("eve"));
    let named = JobSpec { reservation: Some("open".into()), ..lasting(1, Some(60)) };
    let named = script.submit(named);
    script.plan();
    assert_eq!([other, member, named].map(|id| script.word(id)), ["running", "running", "waiting"]);
    let node = |script: &Script, id: JobId| {
        script.view().all_leases().find(|lease| lease.element.job == id).unwrap().lead()
    };
    assert_eq!(script.view().node_name(node(&script, other)), Some("b".into()));
    let (detail, _) = first(&script, named);
    assert_eq!(detail, "reservation: it runs in reservation `open` alone, which begins in 8m20s");
    let refused = |script: &mut Script, name: &str| {
        let spec = JobSpec { reservation: Some(name.into()), ..by("ada") };
        let recipe = domain::Digest::of_value(&spec);
        let jobs = vec![crate::state::command::NewJob { spec, recipe }];
        let reply = script.send(None, Command::Submit { jobs });
        let Reply::Refused(Refusal::Spec(why)) = reply else { panic!("{reply:?}") };
        why
    };
    assert!(refused(&mut script, "eves").contains("`eves` is for user eve"));
    assert!(refused(&mut script, "none").contains("there is no `none`"));
    let lease = script.lease_of(&other.to_string());
    script.finish(lease, 1);
    wake(&mut script, 500);
    script.plan();
    assert_eq!(script.word(named), "running");
    let late = JobSpec { reservation: Some("open".into()), ..lasting(4, Some(60)) };
    let late = script.submit(late);
    delete(&mut script, "open");
    let (detail, remedy) = first(&script, late);
    assert!(detail.contains("is over or was deleted"), "{detail}");
    assert!(remedy.contains("submit it without `reservation`"), "{remedy}");
}

#[test]
fn whoever_still_runs_when_a_window_opens_has_notice_and_goes_on_elsewhere() {
    let mut script = Script::new();
    script.register(machine("a", 4, "NVIDIA H100"));
    script.register(machine("b", 4, "NVIDIA H100"));
    let stays = Interrupt { preemptible: Preemptible::No, ..Interrupt::default() };
    let first = script.submit(lasting(2, None));
    let never = script.submit(JobSpec { interrupt: stays, ..lasting(2, None) });
    script.plan();
    let [one, two] = [first, never].map(|id| script.lease_of(&id.to_string()));
    let on = script.view().lease(one).unwrap().lead();
    assert_eq!(script.view().lease(two).unwrap().lead(), on, "both are on one node");
    for lease in [one, two] {
        script.report(on, Report::Prepared { lease });
    }
    let name = script.view().node_name(on).unwrap();
    created(&mut script, maintenance(&[&name], 60, 3_600));
    assert_eq!(script.view().next_pause(), Some(Millis(BEGIN + 60_000)));
    wake(&mut script, 60);
    let notice = script.view().lease(one).unwrap().notice.clone().unwrap();
    let cause = EndCause::Reserved { window: "kernel".into() };
    assert_eq!(notice.cause, cause);
    assert_eq!(script.view().lease(two).unwrap().notice, None, "it never is");
    assert_eq!(script.view().next_pause(), Some(notice.until()));
    let told = &script.view().reservations()[0];
    assert_eq!((told.inside.len(), told.others.len()), (0, 2));

    // Whoever does not leave is stopped.
    script.now = notice.until();
    script.send(None, Command::Wake { until: Millis(0) });
    let row = script.view().lease(one).unwrap();
    assert!(matches!(&row.phase, domain::lease::Phase::Stopping { cause: it, .. } if *it == cause));
    script.report(on, Report::Stopped { lease: one });
    script.plan();
    assert_eq!(script.word(first), "running");
    let again = script.lease_of(&first.to_string());
    assert_ne!(script.view().lease(again).unwrap().lead(), on, "on the other node");
    assert_eq!(script.word(never), "running");
}

#[test]
fn a_window_that_is_taken_back_takes_its_notices_back() {
    let mut script = two_nodes();
    script.submit(lasting(2, None));
    script.plan();
    let lease = script.lease_of("j1");
    let on = script.view().lease(lease).unwrap().lead();
    script.report(on, Report::Prepared { lease });
    created(&mut script, maintenance(&["a", "b"], 0, 100));
    assert!(script.view().lease(lease).unwrap().notice.is_some());
    assert!(matches!(delete(&mut script, "kernel"), Reply::Done { .. }));
    assert_eq!(script.view().lease(lease).unwrap().notice, None);
    assert!(matches!(delete(&mut script, "kernel"), Reply::Refused(Refusal::NotFound { .. })));
}

#[test]
fn two_reservations_never_have_one_node_at_one_time() {
    let mut script = two_nodes();
    created(&mut script, window("one", &["a"], 100, 100));
    created(&mut script, window("later", &["a"], 200, 100));
    let reply = create(&mut script, window("two", &["a", "b"], 199, 10));
    let Reply::Refused(refusal) = reply else { panic!("{reply:?}") };
    assert!(refusal.to_string().starts_with("node `a` is in the reservation `one` then"));
    let some = |count, gpu_model: Option<&str>| {
        let gpu_model = gpu_model.map(str::to_owned);
        let nodes = WantedNodes::Count { count, gpu_model };
        Reservation { nodes, ..window("some", &[], 150, 100) }
    };
    for asked in [some(2, None), some(1, Some("h100"))] {
        let reply = create(&mut script, asked);
        let Reply::Refused(refusal) = reply else { panic!("{reply:?}") };
        assert!(refusal.to_string().contains("in no other window then"), "{refusal}");
    }
    created(&mut script, some(1, None));
    assert_eq!(script.view().reservations()[1].nodes, ["b"]);
    created(&mut script, maintenance(&["a"], 150, 10));
    let reply = create(&mut script, window("one", &["b"], 900, 10));
    assert!(matches!(reply, Reply::Refused(Refusal::WrongState { .. })), "{reply:?}");
}

#[test]
fn a_window_that_is_sent_again_under_its_key_is_made_once() {
    let mut script = two_nodes();
    let command = Command::Reserve(WindowCommand::Create(window("one", &["a"], 100, 100)));
    let first = script.send(Some(7), command.clone());
    assert_eq!(script.send(Some(7), command), first);
    assert_eq!(script.view().windows().count(), 1);
}

/// Nodes that a long gang could have are not kept for it where a window comes between.
#[test]
fn no_nodes_are_kept_for_a_gang_that_a_window_would_keep_off_them() {
    let mut script = two_nodes();
    script.submit(lasting(4, Some(200)));
    script.submit(lasting(4, Some(200)));
    script.plan();
    created(&mut script, maintenance(&["a", "b"], 1_000, 100));
    let gang = script.submit(lasting(4, Some(900)));
    script.now = script.now.plus(super::HOLD_AFTER);
    assert_eq!(plan(&script.view(), script.now, 1_000).held_for, None);
    let short = script.submit(lasting(4, Some(700)));
    script.now = script.now.plus(super::HOLD_AFTER);
    assert_eq!(plan(&script.view(), script.now, 1_000).held_for, Some(short));
    assert_eq!(script.word(gang), "waiting");
}

/// GPUs, seconds, whose, and whether it names the window.
type Asked = (u32, Option<u64>, bool, bool);
/// Which nodes, from when, for how long, for one user alone, and whether it is maintenance.
type Window = (u8, u64, u64, bool, bool);

fn any_asked() -> impl Strategy<Value = Asked> {
    (1u32..5, prop::option::of(1u64..400), any::<bool>(), any::<bool>())
}

fn any_window() -> impl Strategy<Value = Window> {
    (1u8..8, 0u64..300, 1u64..300, any::<bool>(), any::<bool>())
}

fn drawn(at: usize, (nodes, from, seconds, eves, closed): Window, begin: Millis) -> Reservation {
    let all = ["a", "b", "c"].iter().enumerate();
    let names: Vec<&str> =
        all.filter(|(at, _)| nodes >> at & 1 == 1).map(|(_, name)| *name).collect();
    let users = if eves && !closed { BTreeSet::from(["eve".to_owned()]) } else { BTreeSet::new() };
    Reservation {
        start: begin.plus(Millis(from * 1_000)),
        users,
        kind: if closed { WindowKind::Maintenance } else { WindowKind::Reservation },
        ..window(&format!("w{at}"), &names, 0, seconds)
    }
}

/// No attempt that the newest entry granted overlaps a window of which its job is no member.
fn overlap(script: &Script) -> Option<String> {
    let view = script.view();
    let new = view.all_leases().filter(|lease| lease.id.index == script.at.0);
    new.filter_map(|lease| Some((lease, view.live_job(lease.element.job)?))).find_map(
        |(lease, job)| {
            let barred = view.barred(job, lease.granted);
            let inside = lease.members.iter().any(|member| barred.has(member.node));
            inside.then(|| format!("{} at {}", lease.element, lease.granted.0))
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn nobody_overlaps_a_window_and_every_plan_is_made_again_from_its_rows(
        rounds in vec((vec(any_asked(), 0..4), prop::option::of(any_window()), 0u64..200), 1..7)
    ) {
        let mut script = Script::new();
        for name in ["a", "b", "c"] {
            script.register(machine(name, 4, "NVIDIA H100"));
        }
        for (at, (submits, window, seconds)) in rounds.into_iter().enumerate() {
            if let Some(window) = window {
                let asked = drawn(at, window, script.now);
                create(&mut script, asked);
            }
            for (gpus, limit, eve, names) in submits {
                let user = if eve { "eve" } else { "ada" };
                let open = script.view().windows().find(|it| {
                    it.kind == WindowKind::Reservation && (it.users.is_empty() || eve)
                });
                let reservation = open.filter(|_| names).map(|it| it.name.clone());
                script.submit(JobSpec { user: user.into(), reservation, ..lasting(gpus, limit) });
            }
            let record = plan(&script.view(), script.now, 1_000).record;
            let loaded = Cluster::load(&script.rows);
            prop_assert_eq!(&loaded, &script.cluster, "a start carries on the same");
            let again = replay(&loaded.view(), &record).map(|made| made.record);
            prop_assert_eq!(again, Ok(record.clone()));
            let before = script.view().all_leases().count();
            let placed = record.placements.len();
            script.place(record);
            prop_assert_eq!(script.view().all_leases().count(), before + placed);
            prop_assert_eq!(overlap(&script), None);
            advised(&script)?;
            script.now = script.now.plus(Millis(seconds * 1_000));
            script.send(None, Command::Wake { until: Millis(0) });
            prop_assert!(script.view().windows().all(|it| it.until > script.now));
            leave(&mut script);
        }
    }
}

/// Whoever is over, or has notice, ends.
fn leave(script: &mut Script) {
    let leases: Vec<_> = script.view().all_leases().cloned().collect();
    for lease in leases {
        let limit = script.view().live_job(lease.element.job).unwrap().brief.time_limit;
        let over = limit.is_some_and(|limit| lease.granted.plus(limit) <= script.now);
        let cause = match &lease.notice {
            Some(notice) => notice.cause.clone(),
            None if over => EndCause::TimeLimit,
            None => continue,
        };
        script.report(lease.lead(), Report::Failed { lease: lease.id, cause });
        for member in &lease.members {
            script.report(member.node, Report::Stopped { lease: lease.id });
        }
    }
}

/// Every job that waits is told why, and a time limit that is advised starts it.
fn advised(script: &Script) -> Result<(), TestCaseError> {
    let view = script.view();
    for (id, job) in view.all_live_jobs() {
        if job.progress.waiting(job.brief.elements()) == 0 {
            continue;
        }
        let why = why(&view, &script.rows, id, script.now).unwrap();
        prop_assert!(!why.reasons.is_empty(), "{why:?}");
        let advice = why.reasons.iter().find(|it| it.remedy.contains(" starts now"));
        let Some(advice) = advice else { continue };
        let words = advice.remedy.strip_prefix("a `time_limit` of at most ").unwrap();
        let limit = seconds(words.split(' ').next().unwrap());
        let mut forked = Script {
            cluster: script.cluster.clone(),
            rows: script.rows.clone(),
            at: script.at,
            now: script.now,
            log: Vec::new(),
            effects: Vec::new(),
        };
        let user = job.brief.user.to_string();
        let reservation = job.brief.reservation.as_deref().map(str::to_owned);
        let spec = lasting(job.brief.resources.gpus, Some(limit));
        let urgent = JobSpec { user, reservation, priority: 9, ..spec };
        let again = forked.submit(urgent);
        forked.plan();
        prop_assert_eq!(forked.word(again), "running", "{:?}", advice);
    }
    Ok(())
}

/// The seconds of a time as `why` writes it.
fn seconds(text: &str) -> u64 {
    let (mut total, mut number) = (0, 0);
    for letter in text.chars() {
        match (letter.to_digit(10), letter) {
            (Some(digit), _) => number = number * 10 + u64::from(digit),
            (None, 'd') => (total, number) = (total + number * 86_400, 0),
            (None, 'h') => (total, number) = (total + number * 3_600, 0),
            (None, 'm') => (total, number) = (total + number * 60, 0),
            (None, _) => (total, number) = (total + number, 0),
        }
    }
    total
}
