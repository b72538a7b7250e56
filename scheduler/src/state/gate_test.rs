//! Nothing trains before a policy has allowed it.

use super::{
    Cluster,
    command::{Command, Reply},
    model_test::{head, kinds},
    promotion_test::allow,
    script::{Script, array, job, machine},
};
use crate::planner;
use domain::{JobId, promotion::PolicyDecision, promotion::Ruling};
use registry::ledger::view as ledger;

fn decide(script: &mut Script, job: JobId, decision: Ruling) -> Reply {
    let policy = PolicyDecision { decision, rationale: "because".into(), ..allow() };
    script.send(None, Command::DecideTraining { decisions: vec![(job, policy)] })
}

/// A cluster with a closed gate, and two jobs that wait at it.
fn gated() -> (Script, JobId, JobId) {
    let mut script = Script::new();
    script.register(machine("a", 4, "H100"));
    script.send(None, Command::GateTraining);
    let one = script.submit(job(1, 1));
    let many = script.submit(array(3, 0, 1));
    (script, one, many)
}

#[test]
fn a_job_waits_at_the_gate_says_so_and_goes_on_once_it_is_allowed() {
    let (mut script, one, many) = gated();
    assert_eq!(script.plan(), []);
    assert_eq!((script.word(one), script.reasons(one)), ("waiting".into(), vec!["policy".into()]));
    let why = planner::why(&script.view(), &script.rows, one, script.now).unwrap();
    assert!(why.reasons[0].detail.contains("policy has not decided"), "{why:?}");
    assert_eq!(Cluster::load(&script.rows), script.cluster, "a restart keeps the gate closed");

    let first = head(&script) + 1;
    decide(&mut script, one, Ruling::Allow);
    decide(&mut script, many, Ruling::Allow);
    assert_eq!(kinds(&script, first), ["policy.decision", "policy.decision"]);
    assert_eq!(script.plan().len(), 4);
    let shown = script.view().job(&script.rows, one).unwrap().policy.unwrap();
    assert_eq!(shown.rationale, "because");
}

#[test]
fn a_plan_that_passes_the_gate_by_grants_nothing() {
    let mut script = Script::new();
    script.register(machine("a", 4, "H100"));
    script.submit(job(1, 1));
    let sneaked = planner::plan(&script.view(), script.now, 100).record;
    let (mut script, ..) = gated();
    script.place(sneaked);
    assert_eq!(script.view().all_leases().count(), 0);
}

#[test]
fn whatever_is_not_an_allowance_fails_the_job_and_tells_why() {
    for ruling in [Ruling::Deny, Ruling::Quarantine, Ruling::Remediate] {
        let (mut script, one, many) = gated();
        decide(&mut script, one, ruling);
        decide(&mut script, many, ruling);
        assert_eq!((script.word(one), script.word(many)), ("failed".into(), "failed".into()));
        assert_eq!((script.plan(), script.view().live_jobs()), (Vec::new(), 0));
        let why = planner::why(&script.view(), &script.rows, many, script.now).unwrap();
        assert!(why.reasons[0].never && why.reasons[0].detail.contains("because"), "{why:?}");
        let events = ledger::events(&script.rows, 1, 100);
        let last = &events.last().unwrap().payload;
        for part in [&ruling.to_string(), "pol-1", "because"] {
            assert!(last.contains(part), "{part} in {last}");
        }
    }
}

#[test]
fn a_job_that_is_cancelled_at_the_gate_is_gone_and_a_late_decision_changes_nothing() {
    let (mut script, one, many) = gated();
    script.cancel(&one.to_string());
    script.cancel(&format!("{many}[1]"));
    let before = head(&script);
    decide(&mut script, one, Ruling::Allow);
    assert_eq!((script.word(one), head(&script)), ("cancelled".into(), before));
    decide(&mut script, many, Ruling::Allow);
    assert_eq!(script.plan().len(), 2);
    decide(&mut script, many, Ruling::Deny);
    assert_eq!(script.word(many), "running", "the first decision holds");
}

#[test]
fn where_nothing_decides_the_record_says_so() {
    let mut script = Script::new();
    script.submit(job(1, 1));
    let event = ledger::events(&script.rows, 1, 1).pop().unwrap();
    assert!(event.payload.contains("no policy configured"), "{}", event.payload);
}
