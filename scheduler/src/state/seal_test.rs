//! Which servers hold a result may change after it was sealed; nothing else of it may.

use super::{
    command::{Command, Refusal, Reply},
    script::{Script, job, machine},
};
use domain::{ArtifactId, ReplicaId, view::ArtifactView};
use registry::ledger::view as ledger;

fn sealed() -> Script {
    let mut script = Script::new();
    script.register(machine("a", 1, "H100"));
    script.submit(job(1, 1));
    script.plan();
    let lease = script.lease_of("j1");
    script.finish(lease, 1);
    script.seal(lease);
    script
}

fn record(script: &mut Script, artifact: u64, servers: &[u64]) -> Reply {
    let copies = servers.iter().copied().map(ReplicaId).collect();
    script.send(None, Command::RecordCopies { artifact: ArtifactId(artifact), copies })
}

fn shown(script: &Script) -> ArtifactView {
    ledger::artifact(&script.rows, ArtifactId(1)).unwrap()
}

#[test]
fn new_holders_are_recorded_with_one_event_and_nothing_else_changes() {
    let mut script = sealed();
    let before = shown(&script);
    let events = ledger::events(&script.rows, 1, 100).len();
    record(&mut script, 1, &[3, 1, 3]);
    record(&mut script, 1, &[1, 3]);
    let after = shown(&script);
    assert_eq!(after.artifact.copies, [ReplicaId(1), ReplicaId(3)]);
    let mut same = after.artifact;
    same.copies = before.artifact.copies;
    assert_eq!(same, shown(&sealed()).artifact);
    let recorded = ledger::events(&script.rows, 1, 100);
    assert_eq!(recorded.len(), events + 1, "a repetition is no event");
    let last = &recorded.last().unwrap().payload;
    assert!(last.contains("registry.artifact.copied"), "{last}");
    assert!(last.contains(r#""copies":["r1","r3"],"copiesBefore":["r1","r2"]"#), "{last}");
}

#[test]
fn copies_of_nothing_and_on_nobody_are_refused() {
    let mut script = sealed();
    let unknown = record(&mut script, 7, &[1]);
    assert!(matches!(unknown, Reply::Refused(Refusal::NotFound { .. })), "{unknown:?}");
    let nobody = record(&mut script, 1, &[]);
    assert!(matches!(nobody, Reply::Refused(Refusal::Spec(_))), "{nobody:?}");
    assert_eq!(shown(&script).artifact.copies, [ReplicaId(1), ReplicaId(2)]);
}
