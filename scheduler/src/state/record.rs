//! Which changes are events of record: at most one event of a kind for each entry.

use domain::{Digest, Millis, port::RowRead, scratch::Scratch};
use registry::{ledger::Ledger, seal::canonical};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Members that are listed in an event; of more, the event holds count and digest.
const LISTED_MAX: usize = 8;

/// The events of record that the scheduler's own changes give. `ledger.seal` adds
/// `registry.artifact.registered`, `registry.artifact.copied` and `registry.divergence.recorded`;
/// `ledger.step` those of models, approvers and promotions; `gate` one `policy.decision` a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Jobs were taken in.
    JobSubmitted,
    /// Jobs were cancelled.
    JobCancelled,
    /// Leases were granted.
    LeaseGranted,
    /// Checkpoints were committed.
    CheckpointCommitted,
    /// Attempts ended.
    AttemptEnded,
    /// Seal tickets were opened.
    SealOpened,
    /// Seal tickets were given up.
    SealAbandoned,
    /// A node registered.
    NodeRegistered,
    /// What a node tells of its machine beside its inventory is other than it was.
    NodeChanged,
    /// A node was lost.
    NodeLost,
    /// A node was drained or put back.
    NodeDrained,
    /// An acceptance job has passed on a node in quarantine.
    NodeAccepted,
    /// An operator vouched that a lease is dead.
    LeaseConfirmedDead,
    /// GPUs are held back.
    GpuHeldBack,
    /// GPUs are held back no more.
    GpuReleased,
    /// An operator accepted GPUs.
    GpuAccepted,
    /// The configuration was changed.
    ConfigApplied,
    /// A queue's budget runs low.
    BudgetLow,
    /// A queue's budget is spent.
    BudgetSpent,
    /// Users keep jobs from starting.
    JobHeld,
    /// Users let jobs go on.
    JobReleased,
    /// Jobs were given another priority.
    JobPriority,
    /// Jobs ended that can never start.
    JobGivenUp,
    /// Something has to pass a gate from now on.
    GateClosed,
    /// Running attempts were asked to make room for a gang.
    PreemptionBegun,
    /// All have made room and the gang has it, or it is no longer asked for.
    PreemptionEnded,
    /// Checks of machines were opened.
    CheckOpened,
    /// Checks of machines came to an end.
    CheckDecided,
    /// GPUs were outvoted.
    GpuAccused,
    /// It is known what classes of hardware give.
    ReferenceSet,
    /// Ranks hung.
    RankDumped,
    /// Windows were made.
    ReservationCreated,
    /// Windows were taken back, or ended before their time.
    ReservationDeleted,
    /// Windows began.
    ReservationOpened,
    /// Windows are over.
    ReservationEnded,
    /// The cluster runs at a newer version.
    VersionRaised,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::JobSubmitted => "job.submitted",
            Self::JobCancelled => "job.cancelled",
            Self::LeaseGranted => "lease.granted",
            Self::CheckpointCommitted => "checkpoint.committed",
            Self::AttemptEnded => "attempt.ended",
            Self::SealOpened => "seal.opened",
            Self::SealAbandoned => "seal.abandoned",
            Self::NodeRegistered => "node.registered",
            Self::NodeChanged => "node.changed",
            Self::NodeLost => "node.lost",
            Self::NodeDrained => "node.drained",
            Self::NodeAccepted => "node.accepted",
            Self::LeaseConfirmedDead => "lease.confirmed_dead",
            Self::GpuHeldBack => "gpu.held_back",
            Self::GpuReleased => "gpu.released",
            Self::GpuAccepted => "gpu.accepted",
            Self::ConfigApplied => "config.applied",
            Self::BudgetLow => "queue.budget_low",
            Self::BudgetSpent => "queue.budget_spent",
            Self::JobHeld => "job.held",
            Self::JobReleased => "job.released",
            Self::JobPriority => "job.priority_changed",
            Self::JobGivenUp => "job.given_up",
            Self::GateClosed => "gate.closed",
            Self::PreemptionBegun => "preemption.begun",
            Self::PreemptionEnded => "preemption.ended",
            Self::CheckOpened => "check.opened",
            Self::CheckDecided => "check.decided",
            Self::GpuAccused => "gpu.accused",
            Self::ReferenceSet => "class.reference_set",
            Self::RankDumped => "rank.dumped",
            Self::ReservationCreated => "reservation.created",
            Self::ReservationDeleted => "reservation.deleted",
            Self::ReservationOpened => "reservation.opened",
            Self::ReservationEnded => "reservation.ended",
            Self::VersionRaised => "cluster.version_raised",
        }
    }
}

/// What one entry gathers.
#[derive(Default)]
pub struct Events {
    gathered: BTreeMap<(Kind, String), Gathered>,
}

/// What one event tells.
#[derive(Default)]
struct Gathered {
    count: usize,
    /// The canonical text of each member, after `[` or `,`.
    members: Vec<u8>,
    /// Plans that the members came from: never by digest alone, since few words make each again.
    plans: Vec<Value>,
}

impl Events {
    /// Adds a member: an object of strings and integers.
    pub fn add(&mut self, kind: Kind, actor: &str, member: &Value) {
        let text = canonical::to_string(member)
            .expect("members hold strings and integers below 2^53 only");
        self.next(kind, actor).extend_from_slice(text.as_bytes());
    }

    /// Adds a member of which an entry may hold thousands: a structure whose fields are declared
    /// in the order of their names and hold strings and integers, which is its canonical form.
    pub fn add_in_order(&mut self, kind: Kind, actor: &str, member: &impl Serialize) {
        debug_assert_eq!(
            serde_json::to_value(member).ok().and_then(|value| canonical::to_string(&value).ok()),
            serde_json::to_string(member).ok(),
            "the fields are in the order of their names"
        );
        serde_json::to_writer(self.next(kind, actor), member)
            .expect("a structure of strings and integers is written to memory");
    }

    /// Where the text of one more member goes.
    fn next(&mut self, kind: Kind, actor: &str) -> &mut Vec<u8> {
        let gathered = self.gathered.entry((kind, actor.to_owned())).or_default();
        gathered.members.push(if gathered.count == 0 { b'[' } else { b',' });
        gathered.count += 1;
        &mut gathered.members
    }

    /// Adds the evidence of a plan to the event that its members are in.
    pub fn explain(&mut self, kind: Kind, actor: &str, plan: Value) {
        self.gathered.entry((kind, actor.to_owned())).or_default().plans.push(plan);
    }

    /// Chains one event for each kind and actor.
    pub fn flush<R: RowRead>(self, ledger: &mut Ledger, rows: &mut Scratch<'_, R>, now: Millis) {
        for ((kind, actor), Gathered { count, mut members, plans }) in self.gathered {
            members.push(b']');
            let mut body = Map::new();
            if !plans.is_empty() {
                body.insert("plans".into(), Value::Array(plans));
            }
            if count > LISTED_MAX {
                body.insert("memberCount".into(), count.into());
                body.insert("membersSha256".into(), Digest::of(&members).to_string().into());
            } else {
                let list = serde_json::from_slice(&members).expect("it was written as JSON");
                body.insert("members".into(), list);
            }
            ledger.record(rows, now, kind.name(), &actor, body);
        }
    }
}
