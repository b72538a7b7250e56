//! A server's side of agents' streams, as the API has it.

use crate::read::ReadOf;
use domain::NodeId;
use scheduler::state::view::Told;
use std::collections::BTreeMap;

#[expect(missing_docs, reason = "fields say by their names what they are")]
/// Who waits for the answer to a proposal or a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A client's call.
    Client { client: usize, call: u64 },
    /// A client's read.
    Read { client: usize, call: u64, of: ReadOf },
    /// An agent's registration on a stream.
    Register { node: usize, link: u64 },
    /// An agent's report on a stream.
    Report { link: u64, seq: u64 },
    /// An agent's heartbeat on a stream.
    Heartbeat { link: u64, seq: u64 },
    /// The operator.
    Operator,
    /// The plan duty.
    Plan,
    /// The duty that asks about training, of which these got no answer.
    Training { undecided: Vec<domain::JobId> },
    /// The duty that deletes what was collected.
    Collecting,
    /// A seal duty.
    Seal { ticket: domain::LeaseId },
    /// Another duty.
    Duty,
}

/// One agent's stream to this server.
#[derive(Clone, Debug)]
pub struct Session {
    /// Which node of the world.
    pub node: usize,
    /// Its id in the cluster, once registered.
    pub id: Option<NodeId>,
    /// Whether what it is to hold has changed.
    pub dirty: bool,
    /// What it was told to hold, so that only what is new is sent.
    pub told: Option<Told>,
}

/// All streams to one server.
pub type Sessions = BTreeMap<u64, Session>;
