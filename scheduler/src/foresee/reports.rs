//! What agents of a fork would report: they do all at once that takes a real one moments.

use crate::state::{command::Command, view::View};
use domain::{
    Bytes, Digest, LeaseId, NodeId, ReplicaId,
    artifact::OutputDigests,
    job::{EndCause, Restart},
    lease::{Lease, Phase},
    link::Report,
};

/// What is reported without any time going by: gangs are prepared, what is to stop has stopped,
/// what has ended is sealed.
pub(super) fn at_once(view: &View<'_>) -> Vec<Command> {
    let seals = view.all_tickets().map(|ticket| seal(ticket.lease));
    let leases = view.all_leases().flat_map(|lease| match &lease.phase {
        Phase::Preparing { ready } => {
            let nodes = lease.members.iter().map(|member| member.node);
            let left = nodes.filter(|node| !ready.contains(node));
            left.map(|node| report(node, Report::Prepared { lease: lease.id })).collect()
        }
        Phase::Stopping { remaining, .. } => {
            let left = remaining.iter().filter(|node| !waits_for_word(view, lease, **node));
            left.map(|node| report(*node, Report::Stopped { lease: lease.id })).collect()
        }
        Phase::Started { .. } => Vec::new(),
    });
    seals.chain(leases).collect()
}

/// Whether only an operator's word ends a lease on a node.
fn waits_for_word(view: &View<'_>, lease: &Lease, node: NodeId) -> bool {
    let confirmed =
        view.live_job(lease.element.job).is_some_and(|job| job.brief.restart == Restart::Confirmed);
    confirmed && view.node(node).is_some_and(|row| row.lost)
}

/// An attempt ends well.
pub(super) fn ends(view: &View<'_>, lease: &Lease) -> Vec<Command> {
    let id = lease.id;
    let run = view.live_job(lease.element.job).is_some_and(|job| job.brief.check.is_some());
    if run {
        // What it finds is not known, and so nobody is charged with anything.
        return yields(lease, EndCause::MadeRoom);
    }
    let others = lease.members.iter().filter(|member| member.node != lease.lead());
    let done =
        others.map(|member| report(member.node, Report::Done { lease: id, log: of(id, b"log") }));
    let ended = report(lease.lead(), Report::Ended { lease: id, output: output(id) });
    done.chain([ended, seal(id)]).collect()
}

/// An attempt gives its place up.
pub(super) fn yields(lease: &Lease, cause: EndCause) -> Vec<Command> {
    let id = lease.id;
    let failed = report(lease.lead(), Report::Failed { lease: id, cause });
    let nodes = lease.members.iter().map(|member| member.node);
    let stopped = nodes.map(|node| report(node, Report::Stopped { lease: id }));
    std::iter::once(failed).chain(stopped).collect()
}

fn report(node: NodeId, report: Report) -> Command {
    Command::Report { node, report }
}

fn seal(ticket: LeaseId) -> Command {
    Command::CompleteSeal {
        ticket,
        signature: of(ticket, b"signature"),
        provenance: of(ticket, b"provenance"),
        signer: Digest::default(),
        copies: vec![ReplicaId(1)],
    }
}

fn output(lease: LeaseId) -> OutputDigests {
    OutputDigests {
        root: of(lease, b"root"),
        tree: of(lease, b"tree"),
        statement: of(lease, b"statement"),
        provenance: of(lease, b"provenance"),
        log: of(lease, b"log"),
        files: 0,
        size: Bytes(0),
    }
}

/// Bytes that are nowhere, under a name of their own.
fn of(lease: LeaseId, what: &[u8]) -> Digest {
    Digest::of(&[lease.to_string().as_bytes(), what].concat())
}
