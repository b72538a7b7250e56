//! What is due at some virtual time.

use crate::read::{ReadOf, ReadValue};
use agent::machine::Input as NodeInput;
use bytes::Bytes;
use domain::{
    ArtifactId, LeaseId, ReplicaId,
    link::{Down, Up},
};
use scheduler::{
    consensus::disk::Rows,
    state::command::{Command, Reply, Request},
};

#[expect(missing_docs, reason = "fields say by their names what they are")]
/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Event {
    /// Raft's tick of a server, in one of its lives.
    Tick { server: usize, life: u64 },
    /// A server's disk has done its oldest write.
    Written { server: usize, life: u64 },
    /// A message from one server reaches another.
    Message { from: ReplicaId, to: usize, bytes: Bytes },
    /// A snapshot reaches a server.
    Snapshot { from: ReplicaId, to: usize, message: Bytes, rows: Rows },
    /// The sender of a snapshot learns its fate.
    SnapshotReported { server: usize, life: u64, to: ReplicaId, delivered: bool },
    /// A server's frozen copy is made.
    SnapshotBuilt { server: usize, life: u64, to: ReplicaId },
    /// A seal duty has done its checks.
    Seal { server: usize, life: u64, ticket: LeaseId },
    /// A key has signed for a seal duty, which proposes this.
    Signed { server: usize, life: u64, command: Box<Command> },
    /// A leader looks at the copies of results.
    CheckCopies { server: usize, life: u64, after: ArtifactId },
    /// A server looks at what was collected, in one of its lives.
    Collect { server: usize, life: u64 },
    /// A message of an agent reaches a server.
    Up { server: usize, link: u64, up: Box<Up> },
    /// A message of a server reaches an agent.
    Down { node: usize, link: u64, down: Box<Down> },
    /// An agent finds that its stream has broken.
    Broken { node: usize, link: u64 },
    /// An agent opens a stream.
    Connect { node: usize, life: u64 },
    /// Something happens on a node, in one life of its agent.
    Node { node: usize, life: u64, input: Box<NodeInput> },
    /// An agent's machine is to be given the time.
    NodeTick { node: usize, life: u64 },
    /// Tasks on a node go on, in one boot of it.
    Work { node: usize, boot: u64 },
    /// A client's request reaches a server.
    Ask { server: usize, client: usize, call: u64, request: Box<Request> },
    /// A client's read reaches a server.
    AskRead { server: usize, client: usize, call: u64, of: ReadOf },
    /// What a read shows, as of which entry, reaches a client; none when there is no quorum.
    ReadAnswer { client: usize, call: u64, answer: Option<(u64, ReadValue)> },
    /// A client looks at something.
    Look { client: usize },
    /// An answer reaches a client.
    Answer { client: usize, call: u64, reply: Option<Box<Reply>> },
    /// A client does something, or has waited long enough.
    Client { client: usize, call: u64 },
    /// The faults are over for so long that a server must lead.
    MustLead,
    /// A node is dead for so long that its leases must be released.
    MustRelease { node: usize },
    /// Links are cut that never heal.
    CutForever,
    /// The operator looks after the members.
    Operate,
    /// Somebody does something at the registry.
    People,
    /// Somebody looks after the keys.
    Keys,
    /// The key that seals is put out of use, while it signs.
    KeyOut,
    /// A model in use sends a window, is measured, or is looked after.
    Drift,
    /// The next fault.
    Fault,
    /// A server is reached again.
    Rejoin { server: usize },
    /// A server dies for a time.
    Crash { server: usize, down: u64 },
    /// A server that is down comes back.
    Boot { server: usize },
    /// A paused server goes on.
    Resume { server: usize, life: u64 },
    /// A dead agent comes back.
    StartAgent { node: usize, life: u64 },
}
