//! The alphabet of a replica: what may happen to it, and what it asks for.

use crate::{
    consensus::{
        membership::{ChangeError, MemberChange, Membership},
        write::{SnapshotMark, WriteOp},
    },
    state::command::{Effect, Reply, Request},
};
use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use domain::{
    Bytes as Size, LogIndex, ReplicaId,
    version::{ClusterVersion, Understood},
};

/// Something that happens to a replica.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a request is moved a few times; boxed, each submit would cost an allocation more"
)]
pub enum Input {
    /// [`domain::limit::TICK`] has passed.
    Tick,
    /// A caller wants `request` in the log. Answered by [`Output::Reply`] or
    /// [`Output::Rejected`], once.
    Propose {
        /// The caller's number for it, unique until answered.
        token: u64,
        /// What to put in the log.
        request: Request,
    },
    /// Bytes from another replica, whose identity the transport has checked.
    Message {
        /// Who sent them.
        from: ReplicaId,
        /// A [`crate::consensus::codec::PeerMessage`].
        bytes: Bytes,
    },
    /// All writes up to `seq` are readable, and durable if any asked for it. If one of them
    /// installed a snapshot, the rows that the replica reads are already the new family's.
    Written {
        /// The newest of them.
        seq: u64,
    },
    /// A caller wants to read what was acknowledged before now. Answered by
    /// [`Output::ReadReady`] or [`Output::ReadFailed`], once.
    ReadIndex {
        /// The caller's number for it.
        token: u64,
    },
    /// A caller wants the members changed. Answered by [`Output::Changed`], once.
    Change {
        /// The caller's number for it.
        token: u64,
        /// What to change.
        change: MemberChange,
    },
    /// Give the leadership to another server, if this one leads.
    Transfer {
        /// Whom to.
        to: ReplicaId,
    },
    /// Nothing else has happened for a moment: tell followers what is committed.
    Announce,
    /// A message to `to` was lost on this side.
    Unreachable {
        /// Whom it was for.
        to: ReplicaId,
    },
    /// An answer to [`Output::BuildSnapshot`].
    SnapshotBuilt {
        /// Whom it is for.
        to: ReplicaId,
        /// What it contains; none if it could not be built.
        mark: Option<SnapshotMark>,
    },
    /// The end of [`Output::SendSnapshot`].
    SnapshotReported {
        /// Whom it was for.
        to: ReplicaId,
        /// Whether it was installed there.
        delivered: bool,
    },
    /// A snapshot's rows were received whole into a family of their own. Answered by
    /// [`Output::SnapshotSettled`].
    SnapshotReceived {
        /// Who sent it.
        from: ReplicaId,
        /// The message of [`Output::SendSnapshot`].
        message: Bytes,
        /// The rows.
        received: Received,
    },
    /// A scrub has found the disk damaged under this replica: it gives its leadership away, then
    /// stops.
    Damaged(Damage),
}

/// What a scrub may find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The rows give another digest than was stored beside them.
    Differs {
        /// The newest entry in them.
        at: u64,
        /// What was stored.
        stored: domain::Digest,
        /// What they give.
        found: domain::Digest,
    },
    /// They cannot be read.
    Unreadable {
        /// The database's words.
        why: String,
    },
}

/// Rows of a snapshot that were received whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// The family that holds them.
    pub family: u64,
    /// Their set hash. They are taken in only if it is what the snapshot announces, so that a
    /// sender whose own rows are damaged harms nobody else.
    pub digest: domain::Digest,
}

/// Something that a replica asks of its shell, in order.
#[expect(clippy::large_enum_variant, reason = "short-lived and moved once; a box would cost more")]
#[derive(Debug, PartialEq)]
pub enum Output {
    /// Write this, then say [`Input::Written`].
    Write {
        /// Its number.
        seq: u64,
        /// What to write.
        op: WriteOp,
    },
    /// Send this. It may be lost, repeated or overtaken.
    Send {
        /// Whom to.
        to: ReplicaId,
        /// A [`crate::consensus::codec::PeerMessage`].
        bytes: Bytes,
    },
    /// The answer of the state machine.
    Reply {
        /// The caller's number.
        token: u64,
        /// The answer.
        reply: Reply,
    },
    /// A request that got no answer.
    Rejected {
        /// The caller's number.
        token: u64,
        /// Why.
        error: ProposeError,
    },
    /// A read may go on: all that was acknowledged before it was asked for is applied.
    ReadReady {
        /// The caller's number.
        token: u64,
        /// The index that it shows at least.
        index: LogIndex,
    },
    /// A read that could not be confirmed.
    ReadFailed {
        /// The caller's number.
        token: u64,
        /// Why.
        error: ReadError,
    },
    /// The end of a change of members.
    Changed {
        /// The caller's number.
        token: u64,
        /// Where in the log, or why not.
        result: Result<LogIndex, ChangeError>,
    },
    /// Role, term or known leader are new.
    RoleChanged {
        /// What this replica is now.
        role: Role,
        /// In which term.
        term: u64,
        /// Who leads.
        leader: Option<ReplicaId>,
    },
    /// Members or their addresses are new.
    Members(Membership),
    /// The state machine has come to `index`.
    Applied {
        /// The newest applied entry.
        index: LogIndex,
    },
    /// What the applied entries ask of the leader's shell. Every replica says so.
    Effects(Vec<Effect>),
    /// Build a snapshot of the rows for `to` from what was handed over to be written so far,
    /// then say [`Input::SnapshotBuilt`].
    BuildSnapshot {
        /// Whom it is for.
        to: ReplicaId,
    },
    /// Send the snapshot that was built for `to`, then say [`Input::SnapshotReported`].
    SendSnapshot {
        /// Whom to.
        to: ReplicaId,
        /// The index that it must contain.
        index: LogIndex,
        /// To be handed to the receiver's replica with the rows.
        message: Bytes,
    },
    /// What became of a received snapshot. If it was not installed, its family is to be dropped.
    SnapshotSettled {
        /// The family that holds its rows.
        family: u64,
        /// Whether it is now the one that counts.
        installed: bool,
    },
    /// This replica must not go on. Perform the writes before, then end the process.
    Stop(StopReason),
}

/// What a replica is in its cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// It follows a leader, or waits for one.
    #[default]
    Follower,
    /// It asks for votes.
    Candidate,
    /// It leads.
    Leader,
}

/// Why a request got no answer from the state machine.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, thiserror::Error)]
pub enum ProposeError {
    /// It was not put in the log here.
    #[error("this server is not the leader; {}", match leader {
        Some(leader) => format!("ask {leader}"),
        None => "no leader is known yet, try again in a second".to_owned(),
    })]
    NotLeader {
        /// The leader, if known.
        leader: Option<ReplicaId>,
    },
    /// It was not put in the log: too much is under way.
    #[error("the cluster is busy; try again in {retry_after_ms} ms")]
    Busy {
        /// When to try again.
        retry_after_ms: u64,
    },
    /// It can never be put in the log.
    #[error("the request has {size} bytes, {max} are the most; split it")]
    TooLarge {
        /// Its encoded size.
        size: u64,
        /// The most.
        max: u64,
    },
    /// It may or may not take effect.
    #[error("the outcome is unknown: the leader changed; repeat it with the same key")]
    Unknown,
    /// It was not put in the log: the disk is nearly full.
    #[error(
        "the disk of {server}, which leads, has {} MiB left and {} are needed: nothing was taken \
         in; free some there, or let a server with more room lead: `assay cluster transfer`",
        free.0 >> 20, needed.0 >> 20
    )]
    DiskFull {
        /// The server.
        server: ReplicaId,
        /// Bytes that are free.
        free: Size,
        /// Bytes that have to be.
        needed: Size,
    },
    /// This server is ending.
    #[error("this server is stopping; ask another one")]
    Stopped,
    /// It was not put in the log: not all members can read it.
    #[error(
        "this needs version {needs} and the cluster runs at {runs}: {}; `assay cluster status` \
         shows what each understands, and the cluster is raised by itself once all do",
        match behind.iter().map(ToString::to_string).collect::<Vec<_>>() {
            behind if behind.is_empty() => "it is about to be raised, try again".to_owned(),
            behind => format!("upgrade, start or remove {}", behind.join(", ")),
        }
    )]
    Newer {
        /// The version that it needs.
        needs: ClusterVersion,
        /// The version that the cluster runs at.
        runs: ClusterVersion,
        /// Members that do not understand it, or are not there to say so.
        behind: Vec<ReplicaId>,
    },
}

impl ProposeError {
    /// Whether it is certain that the request has had no effect.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        !matches!(self, Self::Unknown)
    }
}

/// Why a read could not be confirmed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No quorum answered in time.
    #[error("no leader with a quorum answered in time; try again, or read this server's own view")]
    NoQuorum,
    /// Too many reads wait.
    #[error("the cluster is busy; try again in {retry_after_ms} ms")]
    Busy {
        /// When to try again.
        retry_after_ms: u64,
    },
    /// This server is ending.
    #[error("this server is stopping; ask another one")]
    Stopped,
}

/// Why a replica must not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StopReason {
    /// Its state is not that of the majority.
    #[error(
        "state digest at entry {index} is {own}, the majority has {majority}: this server's disk \
         or memory is at fault; remove it and add a new one with an empty disk"
    )]
    Diverged {
        /// The entry.
        index: u64,
        /// This replica's digest after it.
        own: domain::Digest,
        /// The majority's.
        majority: domain::Digest,
    },
    /// The replicas differ and no majority agrees.
    #[error(
        "state digests at entry {index} differ and no majority agrees; restore the cluster from \
         a backup, or keep the one server that `assay audit verify` finds whole"
    )]
    NoMajority {
        /// The entry.
        index: u64,
    },
    /// It acknowledged entries that it no longer has.
    #[error(
        "entry {committed} was acknowledged by this server, but its log ends at {last}: its disk \
         lost writes; remove it and add a new one with an empty disk"
    )]
    LostLog {
        /// What the leader knows it to have.
        committed: u64,
        /// What it has.
        last: u64,
    },
    /// A committed entry cannot be read.
    #[error("committed entry {index} cannot be applied: {why}")]
    Entry {
        /// The entry.
        index: u64,
        /// Why.
        why: String,
    },
    /// The cluster runs at a version that this release does not understand.
    #[error(
        "from entry {index} on the cluster runs at version {needs}, this release understands {} to \
         {}; nothing is lost: start another release on the same directory",
        understands.oldest, understands.newest
    )]
    Version {
        /// The entry.
        index: LogIndex,
        /// The version that it needs.
        needs: ClusterVersion,
        /// What is understood.
        understands: Understood,
    },
    /// The received rows are not those that were sent.
    #[error("snapshot at entry {index} has digest {found}, {named} was announced; start again")]
    Snapshot {
        /// The entry.
        index: u64,
        /// What was announced.
        named: domain::Digest,
        /// What the rows give.
        found: domain::Digest,
    },
    /// A scrub found other rows than were written.
    #[error(
        "scrub: the rows of {server} at entry {at} have digest {found}, {stored} was stored: its \
         disk or memory is at fault and it must not serve; remove it with `assay cluster remove \
         {server}`, then add a new one with a new id and an empty disk"
    )]
    Rows {
        /// This server.
        server: ReplicaId,
        /// The newest entry in the rows.
        at: u64,
        /// What was stored.
        stored: domain::Digest,
        /// What the rows give.
        found: domain::Digest,
    },
    /// A scrub could not read the rows.
    #[error(
        "scrub: the rows of {server}, which has come to entry {at}, cannot be read ({why}): its \
         disk is at fault and it must not serve; remove it with `assay cluster remove {server}`, \
         then add a new one with a new id and an empty disk"
    )]
    Unreadable {
        /// This server.
        server: ReplicaId,
        /// The newest entry that it has applied.
        at: u64,
        /// The database's words.
        why: String,
    },
    /// It was removed from the cluster.
    #[error("this server was removed from the cluster; its data directory may be deleted")]
    Removed,
}
