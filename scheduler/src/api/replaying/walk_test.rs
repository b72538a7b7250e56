//! Decisions made again from a real disk: all equal, unless somebody touched them.

use super::walk::{WalkError, load, on_record, walk};
use crate::{
    consensus::{
        History, Identity, Store, Window,
        codec::entry_to_bytes,
        write::{AppliedMark, LogStart, StoredEntry, WriteOp},
    },
    planner,
    state::{
        command::{Command, Entry, PlanRecord},
        script::{Script, job, machine},
    },
};
use domain::{
    Digest, LogIndex, Millis, ReplicaId,
    replay::{DecisionView, ReplayEnd, Verdict},
};
use raft::eraftpb;

/// A disk with the log of a script from its first entry on, and its past from before that.
struct Past {
    _dir: tempfile::TempDir,
    history: History,
    last: u64,
}

fn window(entries: u64) -> Window {
    Window { entries, bytes: u64::MAX }
}

fn stored(index: u64, entry: &Entry) -> StoredEntry {
    let entry =
        eraftpb::Entry { index, term: 1, data: entry.encode(), ..eraftpb::Entry::default() };
    StoredEntry { index, bytes: entry_to_bytes(&entry) }
}

impl Past {
    fn of(log: &[Entry]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity { cluster: "test".into(), id: ReplicaId(1) };
        let store = Store::open(&dir.path().join("log"), &identity, &WriteOp::default()).unwrap();
        let history = History::open(store.clone(), window(10));
        history.freeze().unwrap();
        let entries = (1..).zip(log).map(|(index, entry)| stored(index, entry)).collect();
        let op = WriteOp { entries, sync: true, ..WriteOp::default() };
        store.write([&op]).unwrap();
        Self { _dir: dir, history, last: log.len() as u64 }
    }

    /// All decisions of these entries, made again.
    fn replay(&self, from: u64, to: u64) -> Result<(Vec<DecisionView>, ReplayEnd), WalkError> {
        let log = self.history.log();
        let decisions = on_record(&log, from, to)?;
        let fork = self.history.fork(0)?.expect("it was frozen");
        let cluster = load(&fork)?;
        let mut told = Vec::new();
        let end = walk((&fork, cluster), &log, decisions, &mut |view| {
            told.extend(view);
            true
        })?;
        Ok((told, end))
    }
}

/// Two nodes, jobs that come and go, and whatever the leader decided.
fn life() -> Script {
    let mut script = Script::new();
    for name in ["a", "b"] {
        script.register(machine(name, 2, "H100"));
    }
    for round in 0..6 {
        let mut spec = job(1, 1);
        spec.priority = round;
        spec.interrupt.min_run = Some(Millis(0));
        script.submit(spec);
        script.plan_all();
        script.now = script.now.plus(Millis(60_000));
    }
    script
}

#[test]
fn every_decision_of_a_log_is_made_again_equal() {
    let script = life();
    let past = Past::of(&script.log);
    let (told, end) = past.replay(1, past.last).unwrap();
    let decided = script.log.iter().flat_map(|entry| &entry.members);
    let decided = decided.filter(|request| {
        matches!(request.command, Command::Place { .. } | Command::Preempt { .. })
    });
    assert_eq!((told.len(), end.equal), (decided.count(), end.decisions));
    assert!(end.decisions >= 5, "{end:?}");
    assert!(told.iter().all(|it| it.verdict == Verdict::Equal && it.made == Some(it.recorded)));
    // A part of it, and twice: what was gone through is left as it was.
    let (later, _) = past.replay(9, past.last).unwrap();
    let asked: Vec<_> = told.into_iter().filter(|it| it.entry >= LogIndex(9)).collect();
    assert_eq!(later, asked);
}

/// The record of the first plan of a log, to be tampered with.
fn first_plan(log: &mut [Entry]) -> &mut PlanRecord {
    let requests = log.iter_mut().flat_map(|entry| &mut entry.members);
    let mut plans = requests.filter_map(|request| match &mut request.command {
        Command::Place { plan } => Some(plan),
        _ => None,
    });
    plans.next().expect("something was placed")
}

fn verdict_when(tamper: impl FnOnce(&mut PlanRecord)) -> DecisionView {
    let mut log = life().log;
    tamper(first_plan(&mut log));
    let past = Past::of(&log);
    let (mut told, end) = past.replay(1, past.last).unwrap();
    assert!(end.equal < end.decisions);
    // The record is in the audit chain: from there on the state is another.
    told.sort_by_key(|it| it.entry);
    told.remove(0)
}

#[test]
fn a_record_that_somebody_touched_is_found() {
    let favoured = verdict_when(|plan| {
        plan.placements[0].members[0].tasks[0].gpus = vec![1];
        plan.plan = PlanRecord::digest_of(&plan.placements);
    });
    assert_eq!(favoured.verdict, Verdict::Plan);
    let made = favoured.made.expect("the rules give a plan");
    let why = favoured.why.unwrap();
    assert!(made != favoured.recorded);
    assert!(why.contains(&made.to_string()) && why.contains(&favoured.recorded.to_string()));

    let cut = verdict_when(|plan| plan.placements.clear());
    assert_eq!((cut.verdict, cut.made), (Verdict::Record, None));
    let seen = verdict_when(|plan| plan.view = Digest::of(b"other rows"));
    assert_eq!(seen.verdict, Verdict::View);
    let ruled = verdict_when(|plan| plan.policy_version = planner::POLICY_VERSION + 1);
    assert_eq!(ruled.verdict, Verdict::Policy);
    let never = verdict_when(|plan| plan.base = LogIndex(1_000_000));
    assert_eq!(never.verdict, Verdict::Base);
}

#[test]
fn an_entry_that_was_changed_before_a_decision_shows_in_what_it_saw() {
    let mut log = life().log;
    log[2].members[0].actor = "user:eve".into();
    let past = Past::of(&log);
    let (told, end) = past.replay(1, past.last).unwrap();
    assert_eq!(end.equal, 0, "the state is another from there on");
    assert!(told.iter().all(|it| it.verdict == Verdict::View));
}

#[test]
fn compaction_leaves_what_the_kept_rows_need_and_no_more() {
    let script = life();
    let dir = tempfile::tempdir().unwrap();
    let identity = Identity { cluster: "test".into(), id: ReplicaId(1) };
    let open = || Store::open(&dir.path().join("log"), &identity, &WriteOp::default()).unwrap();
    let mut store = open();
    let mut history = History::open(store.clone(), window(4));
    history.freeze().unwrap();
    for (index, entry) in (1u64..).zip(&script.log) {
        let op = WriteOp {
            entries: vec![stored(index, entry)],
            compact_to: Some(LogStart { index, term: 1 }),
            applied: Some(AppliedMark { index, term: 1, digest: None }),
            sync: true,
            ..WriteOp::default()
        };
        store.write([&op]).unwrap();
        history.turn(index, true).unwrap();
        let copies = history.copies();
        assert!(copies.len() <= 2, "{copies:?}");
        let oldest = copies[0];
        assert!(index - oldest <= 8, "entry {index}: {copies:?}");
        let held = |from| history.log().entries(from, index).all(|entry| entry.is_ok());
        assert!(held(oldest + 1), "entry {index}: {copies:?}");
        if index % 5 == 0 {
            // Another process takes over what this one has kept.
            drop(history);
            drop(store);
            store = open();
            history = History::open(store.clone(), window(4));
            assert_eq!(history.copies(), copies);
        }
    }
    let oldest = history.copies()[0];
    assert!(oldest > 0, "it went on");
    assert!(history.log().entries(oldest.saturating_sub(4), oldest).any(|entry| entry.is_err()));
    assert!(history.fork(oldest).unwrap().is_some() && history.fork(0).unwrap().is_none());
    // A disk that fills gives the past up.
    history.turn(script.at.0, false).unwrap();
    assert!(history.copies().is_empty());
}
