//! `named_right`: a run is outvoted if and only if its GPU flipped a bit, and no other is named.

use super::{Broken, leader};
use crate::world::World;
use domain::{
    CheckId,
    check::{Check, Finding, Subject},
};

/// Looks at every check that has come to an end.
pub fn check(world: &World) -> Result<(), Broken> {
    let server = leader(world)?;
    let Some(replica) = &server.replica else { return Ok(()) };
    let (machine, rows) = replica.view();
    let view = machine.0.view();
    let liar = world.nodes.iter().find_map(|node| node.liar());
    let lies = |name: &str| liar.as_deref() == Some(name);
    for id in (1..).map(CheckId) {
        let Some(found) = view.check(rows, id) else { break };
        judge(id, &found.check, &lies)?;
    }
    for (id, _) in view.all_nodes() {
        if let Some(charge) = view.accusations(id).into_iter().find(|it| !lies(&it.uuid)) {
            let (gpu, check) = (charge.uuid, charge.check);
            let what = format!("named_right: {gpu} is charged by {check}, and lies not");
            return Err(Broken::new(what));
        }
    }
    Ok(())
}

fn judge(id: CheckId, check: &Check, lies: &impl Fn(&str) -> bool) -> Result<(), Broken> {
    if !matches!(check.subject, Subject::Segment { .. }) {
        return Ok(());
    }
    let wrong = check.ballots.iter().position(|it| it.gpus.iter().any(|seat| lies(&seat.uuid)));
    let right = match (check.finding(), wrong) {
        (None | Some(Finding::GivenUp { .. }), _) | (Some(Finding::Equal), None) => true,
        (Some(Finding::Outvoted { ballot }), Some(wrong)) => *ballot as usize == wrong,
        (Some(Finding::Equal | Finding::Undecided | Finding::Outvoted { .. }), _) => false,
    };
    if right {
        return Ok(());
    }
    let found = check.finding();
    Err(Broken::new(format!("named_right: {id} found {found:?}, run {wrong:?} was wrong")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{
        Bytes, Digest, ElementId, JobId, LeaseId, Millis, NodeId,
        check::{Ballot, Needs, Seat},
        checkpoint::Checkpoint,
    };

    fn closed(finding: Finding, gpus: &[&str]) -> Check {
        let lease = LeaseId { index: 1, ordinal: 0 };
        let root = Digest::default();
        let to = Checkpoint { step: 2, root, tree: root, size: Bytes(0), lease };
        let ballot = |name: &&str| Ballot {
            job: JobId(1),
            lease,
            members: Vec::new(),
            nodes: Vec::new(),
            gpus: vec![Seat { node: NodeId(1), index: 0, uuid: (*name).to_owned() }],
            digest: root,
        };
        Check {
            subject: Subject::Segment { of: ElementId::from(JobId(1)), from: None, to },
            class: String::new(),
            build_key: root,
            needs: Needs {
                tasks: 1,
                resources: Default::default(),
                confinement: Default::default(),
            },
            by: String::new(),
            opened: Millis(0),
            granted: 2,
            failures: 0,
            last: None,
            underway: None,
            ballots: gpus.iter().map(ballot).collect(),
            closed: Some((Millis(0), finding)),
            gpu: Default::default(),
        }
    }

    #[test]
    fn a_liar_that_is_not_named_and_anybody_else_who_is_break_it() {
        let lies = |name: &str| name == "liar";
        let law = |finding, gpus: &[&str]| judge(CheckId(1), &closed(finding, gpus), &lies).is_ok();
        assert!(law(Finding::Equal, &["a", "b"]));
        assert!(!law(Finding::Equal, &["a", "liar"]));
        assert!(law(Finding::Outvoted { ballot: 1 }, &["a", "liar", "c"]));
        assert!(!law(Finding::Outvoted { ballot: 0 }, &["a", "liar", "c"]));
        assert!(!law(Finding::Outvoted { ballot: 0 }, &["a", "b", "c"]));
        assert!(!law(Finding::Undecided, &["a", "liar", "c"]));
    }
}
