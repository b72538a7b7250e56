//! What the system shows: the documents behind every list and every `--json`.

use crate::{
    artifact::Artifact,
    audit::AuditEvent,
    check::{Accusation, CheckView},
    checkpoint::Checkpoint,
    digest::Digest,
    hardware::Hardware,
    health::{HeldGpu, IdleRank},
    id::{ArtifactId, AttemptNo, ElementId, JobId, LeaseId, NodeId, ReplicaId},
    interrupt::Notice,
    job::{ElementState, EndCause, JobSpec},
    lease::{Member, Phase},
    node::{Inventory, NodeState},
    promotion::PolicyDecision,
    retain::{ArtifactHold, Collected},
    unit::{Bytes, LogIndex, Millis},
    version::{ClusterVersion, Understood},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Counts of a job's elements by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElementCounts {
    /// Not yet placed, or to be placed again.
    pub waiting: u32,
    /// Under a lease.
    pub running: u32,
    /// Ended, not yet sealed.
    pub sealing: u32,
    /// Sealed.
    pub completed: u32,
    /// Ended without a result.
    pub failed: u32,
    /// Cancelled.
    pub cancelled: u32,
}

/// A job in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobLine {
    /// The job.
    pub id: JobId,
    /// Its name.
    pub name: String,
    /// Who submitted it.
    pub user: String,
    /// Where it waits.
    pub queue: String,
    /// Higher goes first.
    pub priority: i32,
    /// Its one-word state: waiting, held, running, sealing, completed, failed, cancelled.
    pub state: String,
    /// GPUs over all tasks of one element.
    pub gpus: u64,
    /// Counts of its elements.
    pub elements: ElementCounts,
    /// When it was submitted, by the log's clock.
    pub submitted: Millis,
    /// When it ended.
    pub ended: Option<Millis>,
}

/// One attempt that ended or runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptView {
    /// Its number.
    pub attempt: AttemptNo,
    /// Its lease.
    pub lease: LeaseId,
    /// Where it runs or ran.
    pub members: Vec<Member>,
    /// When it was granted.
    pub granted: Millis,
    /// When it ended.
    pub ended: Option<Millis>,
    /// Why it ended without a result.
    pub cause: Option<EndCause>,
    /// How far it is, while it holds its lease.
    pub phase: Option<Phase>,
    /// That it is to end soon, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<Notice>,
}

/// One element with its history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElementView {
    /// The element.
    pub id: ElementId,
    /// Where it stands.
    pub state: ElementState,
    /// Its attempts, ascending.
    pub attempts: Vec<AttemptView>,
    /// Its committed checkpoints, ascending by step.
    pub checkpoints: Vec<Checkpoint>,
}

/// A job in full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobView {
    /// The list's line.
    #[serde(flatten)]
    pub line: JobLine,
    /// The class that its priority is that of, as the classes are now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority_class: Option<String>,
    /// What was submitted.
    pub spec: JobSpec,
    /// The recipe.
    pub recipe: Digest,
    /// The log index of its submission.
    pub submitted_at: LogIndex,
    /// Elements that were ever placed (at most a page of them), or the only one.
    pub parts: Vec<ElementView>,
    /// The newest metrics by rank, if it runs: step and named numbers as the job wrote them.
    #[serde(default)]
    pub metrics: BTreeMap<u32, String>,
    /// Ranks that hold what they have and do nothing, if it runs.
    #[serde(default)]
    pub idle: Vec<IdleRank>,
    /// What the policy said of it before training, if one was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyDecision>,
    /// Segments of its work that were or are to be run again elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replays: Vec<CheckView>,
    /// What the threads of its hung ranks waited for, by digest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dumps: Vec<DumpView>,
}

/// What the threads of a hung rank waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DumpView {
    /// The element.
    pub element: ElementId,
    /// The attempt's lease.
    pub lease: LeaseId,
    /// The rank.
    pub rank: u32,
    /// Digest of the text.
    pub dump: Digest,
    /// Its length.
    pub size: Bytes,
    /// When it was recorded, by the log's clock.
    pub time: Millis,
}

/// A node in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeView {
    /// The node.
    pub id: NodeId,
    /// What it has.
    pub inventory: Inventory,
    /// Its class.
    pub hardware_class: String,
    /// Whether it takes work.
    pub status: NodeState,
    /// GPU indices in use.
    pub gpus_used: Vec<u32>,
    /// Processor time in use.
    pub cpu_used: crate::unit::CpuMillis,
    /// Memory in use.
    pub memory_used: crate::unit::Bytes,
    /// Leases on it.
    pub leases: Vec<LeaseId>,
    /// GPUs that it has and does not offer.
    #[serde(default)]
    pub held_back: Vec<HeldGpuView>,
    /// GPUs that are charged with wrong bits and that the node has not held back yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accused: Vec<Accusation>,
    /// Windows that it is in, or will be, the first to begin first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<crate::reservation::NodeWindow>,
    /// Where it is in quarantine: the newest check whether it is well again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acceptance: Option<CheckView>,
    /// The whole machine, as its agent tells; only where one node is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware: Option<Hardware>,
}

/// A GPU that is held back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldGpuView {
    /// What its node tells of it.
    #[serde(flatten)]
    pub gpu: HeldGpu,
    /// The entry that accepts it, while its node has not acted on it.
    pub accepted: Option<LogIndex>,
    /// The newest check whether it is well again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<CheckView>,
}

/// Why a job waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyView {
    /// The job.
    pub job: JobId,
    /// Its state's word.
    pub state: String,
    /// Reasons, most binding first; empty when it does not wait.
    pub reasons: Vec<ReasonView>,
    /// What one might suspect and is not a reason.
    pub not_reasons: Vec<String>,
    /// When it is likely to start, if it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<crate::foresee::StartView>,
    /// Its results whose seal did not succeed yet, as the server that seals tells it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seals: Vec<crate::seal_wait::SealWait>,
}

/// One reason for waiting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonView {
    /// Its one word: gpus, gpu_model, cpu, memory, gang, ahead, share, queue, user, budget,
    /// health, array, lease, held, after, pause, isolation, network, policy, reservation, topology;
    /// of what runs: idle, hung; of what has run and is not sealed: key, servers.
    pub kind: String,
    /// What is asked and what there is.
    pub detail: String,
    /// The smallest change that removes it.
    pub remedy: String,
    /// Whether no waiting will help: no set of nodes could ever hold it.
    pub never: bool,
}

/// An artifact in a list or in full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactView {
    /// The artifact.
    #[serde(flatten)]
    pub artifact: Artifact,
    /// Its job's name.
    pub name: String,
    /// Artifacts of the same build key with the same root.
    pub agrees_with: Vec<ArtifactId>,
    /// Artifacts of the same build key with another root: a recorded divergence.
    pub differs_from: Vec<ArtifactId>,
    /// Segments of the work behind it that were or are to be run again elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replays: Vec<CheckView>,
    /// That its files went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collected: Option<Collected>,
    /// The legal hold that it is under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<ArtifactHold>,
}

/// A page of the audit chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditPage {
    /// The events, ascending.
    pub events: Vec<AuditEvent>,
    /// The newest sequence number of the chain.
    pub head: u64,
    /// Its hash.
    pub head_hash: Option<Digest>,
    /// Newest sequence number with a signature.
    pub signed: u64,
}

/// An event with what proves it to a stranger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditProofView {
    /// The event.
    pub event: AuditEvent,
    /// The log's public key, as verifiers of transparency logs take it.
    pub log_key: String,
    /// The proof, with a signed head of the log (C2SP tlog-proof).
    pub proof: String,
    /// Root over all events.
    pub root: Digest,
    /// Events under it.
    pub tree_size: u64,
    /// By what a model key vouches for the log's key: a DSSE envelope.
    #[serde(default)]
    pub delegation: String,
}

/// One server of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaView {
    /// The server.
    pub id: ReplicaId,
    /// Its address.
    pub address: String,
    /// leader, follower, learner.
    pub role: String,
    /// The newest entry it is known to hold, as the leader sees it.
    pub matched: LogIndex,
    /// Whether the leader heard from it lately.
    pub active: bool,
    /// The versions that it understands, if it has said so.
    #[serde(default)]
    pub understands: Option<Understood>,
}

/// The cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterView {
    /// Its identity.
    pub cluster: String,
    /// The version that it runs at.
    #[serde(default)]
    pub version: ClusterVersion,
    /// The server that answers.
    pub answered_by: ReplicaId,
    /// The leader, if one is known.
    pub leader: Option<ReplicaId>,
    /// Raft's term.
    pub term: u64,
    /// Newest committed entry.
    pub commit: LogIndex,
    /// Newest applied entry.
    pub applied: LogIndex,
    /// Digest of the state at `applied`.
    pub state_digest: Digest,
    /// The servers.
    pub replicas: Vec<ReplicaView>,
}
