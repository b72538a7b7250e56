//! What the state shows at the moment of a look: queues, nodes, GPUs, this server's part in Raft.

use crate::{
    api::{context::Context, query::unreadable},
    consensus::replica::Role,
    state::view::View,
};
use domain::{node::NodeState, queue::view::QueueView, view::NodeView};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};
use std::collections::BTreeMap;
use tonic::Status;

/// Roles with their words.
const ROLES: [(Role, &str); 3] =
    [(Role::Leader, "leader"), (Role::Follower, "follower"), (Role::Candidate, "candidate")];

/// A queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Queue {
    queue: String,
}

/// A state of several.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

/// A role in Raft.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Part {
    role: &'static str,
}

/// What is set anew at each look.
#[derive(Default)]
pub struct Now {
    jobs: Family<Queue, Gauge>,
    waiting: Family<Queue, Gauge>,
    running: Family<Queue, Gauge>,
    queue_gpus: Family<Queue, Gauge>,
    gpus: Family<State, Gauge>,
    nodes: Family<State, Gauge>,
    role: Family<Part, Gauge>,
    term: Gauge,
    commit: Gauge,
    applied: Gauge,
    has_leader: Gauge,
    seals: Gauge,
    head: Gauge,
    signed: Gauge,
    counted: Gauge,
}

/// One look.
struct Seen {
    queues: Vec<QueueView>,
    nodes: Vec<NodeView>,
    seals: usize,
    head: u64,
    signed: u64,
    applied: u64,
}

impl Now {
    /// All at zero.
    pub fn registered(all: &mut Registry) -> Self {
        let now = Self::default();
        let queue = |gauge: &Family<Queue, Gauge>| gauge.clone();
        all.register("assay_queue_jobs", "Jobs that have not ended", queue(&now.jobs));
        let help = "Jobs of which an element may start as far as the job goes";
        all.register("assay_queue_waiting_jobs", help, queue(&now.waiting));
        all.register("assay_queue_running", "Elements that run", queue(&now.running));
        let help = "GPUs that a queue and its parts hold";
        all.register("assay_queue_gpus_held", help, queue(&now.queue_gpus));
        let help =
            "GPUs: held by jobs, free for them, held back as unfit, or on nodes out of service";
        all.register("assay_gpus", help, now.gpus.clone());
        all.register("assay_nodes", "Nodes by whether they take work", now.nodes.clone());
        let help = "1 for what this server is in Raft";
        all.register("assay_raft_role", help, now.role.clone());
        all.register("assay_raft_term", "Raft's term", now.term.clone());
        all.register("assay_raft_commit_index", "Newest committed entry", now.commit.clone());
        all.register("assay_raft_applied_index", "Newest applied entry", now.applied.clone());
        let help = "1 where this server knows a leader";
        all.register("assay_raft_has_leader", help, now.has_leader.clone());
        let help = "Ended attempts whose output waits for its signatures and copies";
        all.register("assay_seals_open", help, now.seals.clone());
        all.register("assay_audit_head", "Newest event of the audit chain", now.head.clone());
        let help = "Newest event of the audit chain that is signed";
        all.register("assay_audit_signed", help, now.signed.clone());
        let help = "Newest event of the audit chain that the counters here know of";
        all.register("assay_audit_counted", help, now.counted.clone());
        now
    }

    /// Looks at the state. Counters know of the events before `next`.
    ///
    /// # Errors
    /// When this server's state cannot be read now.
    pub async fn look(&self, context: &Context, next: u64) -> Result<(), Status> {
        let read = context.node.read_local(|cluster, rows| {
            let view: View<'_> = cluster.view();
            let (head, signed) = view.audit_head();
            Seen {
                queues: view.queue_views().queues,
                nodes: view.nodes(rows),
                seals: view.all_tickets().count(),
                head: head.map_or(0, |head| head.seq),
                signed,
                applied: view.applied().0,
            }
        });
        let seen = read.await.map_err(|fault| unreadable(&fault))?;
        self.show_queues(&seen.queues);
        self.show_nodes(&seen.nodes);
        set(&self.seals, seen.seals as u64);
        set(&self.head, seen.head);
        set(&self.signed, seen.signed);
        set(&self.counted, next.saturating_sub(1));
        set(&self.applied, seen.applied);
        let status = context.node.status();
        set(&self.term, status.term);
        set(&self.commit, status.commit.0);
        set(&self.has_leader, u64::from(status.leader.is_some()));
        for (role, word) in ROLES {
            let of = self.role.get_or_create_owned(&Part { role: word });
            set(&of, u64::from(status.role == role));
        }
        Ok(())
    }

    fn show_queues(&self, queues: &[QueueView]) {
        let families = [&self.jobs, &self.waiting, &self.running, &self.queue_gpus];
        // A queue that is gone is shown no more.
        families.iter().for_each(|family| family.clear());
        for it in queues {
            let values = [it.jobs, it.waiting_jobs, it.running, it.held_gpus];
            for (family, value) in families.iter().zip(values) {
                set(&family.get_or_create_owned(&Queue { queue: it.name.clone() }), value);
            }
        }
    }

    fn show_nodes(&self, nodes: &[NodeView]) {
        let mut gpus = BTreeMap::from(["held", "free", "held_back", "away"].map(|it| (it, 0)));
        let mut states = BTreeMap::from(["ready", "drained", "lost"].map(|it| (it, 0)));
        for node in nodes {
            let has = node.inventory.gpus.len() as u64;
            let held = node.gpus_used.len() as u64;
            let back = node.held_back.len() as u64;
            let rest = if node.status == NodeState::Ready { "free" } else { "away" };
            let rest = (rest, has.saturating_sub(held));
            for (state, count) in [("held", held), ("held_back", back), rest] {
                *gpus.entry(state).or_default() += count;
            }
            *states.entry(word(&node.status)).or_default() += 1;
        }
        for (family, counts) in [(&self.gpus, gpus), (&self.nodes, states)] {
            for (state, count) in counts {
                set(&family.get_or_create_owned(&State { state }), count);
            }
        }
    }
}

fn word(state: &NodeState) -> &'static str {
    match state {
        NodeState::Ready => "ready",
        NodeState::Drained { .. } => "drained",
        NodeState::Lost => "lost",
    }
}

fn set(gauge: &Gauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}
