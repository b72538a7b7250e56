//! Messages from other replicas: checked before raft-rs sees them, because it trusts them.

use super::{Replica, StopReason};
use crate::consensus::{codec::PeerMessage, machine::Machine};
use domain::{ReplicaId, port::RowRead};
use raft::eraftpb::{EntryType, Message, MessageType};

/// Indexes and terms above this are not genuine: raft-rs adds to them without care.
const NUMBER_MAX: u64 = 1 << 62;

impl<M: Machine, R: RowRead> Replica<M, R> {
    pub(super) fn receive(&mut self, from: ReplicaId, bytes: &[u8]) {
        match PeerMessage::decode(bytes) {
            Ok(PeerMessage::Raft(message)) => {
                if is_sound(&message) && self.is_for_me(from, &message) {
                    self.receive_raft(from, message);
                }
            }
            Ok(PeerMessage::Digest { index, digest }) => {
                if self.membership.everyone().contains(&from) {
                    self.hear_digest(from, index, digest);
                }
            }
            Ok(PeerMessage::Understands(understands)) => self.hear_understood(from, understands),
            Ok(PeerMessage::Hello { .. }) | Err(_) => {}
        }
    }

    pub(super) fn is_for_me(&self, from: ReplicaId, message: &Message) -> bool {
        message.from == from.0 && message.to == self.id().0 && from != self.id()
    }

    fn receive_raft(&mut self, from: ReplicaId, message: Message) {
        self.heard.insert(from, self.ticks);
        let raft = &self.node.raft;
        let last = raft.raft_log.last_index();
        if message.get_msg_type() == MessageType::MsgHeartbeat
            && message.term >= raft.term
            && message.commit > last
        {
            // A leader commits no further than it knows this log to reach.
            self.end(StopReason::LostLog { committed: message.commit, last });
            return;
        }
        // An error means that the message is of no use now, as a lost one would be.
        let _ = self.node.step(message);
    }

    /// Whether `id` was heard of within an election time.
    pub fn is_active(&self, id: ReplicaId) -> bool {
        let window = 2 * domain::limit::ELECTION_TICKS as u64;
        id == self.id() || self.heard.get(&id).is_some_and(|tick| self.ticks <= tick + window)
    }
}

/// Whether raft-rs can take the message without harm. Snapshots come by another door.
fn is_sound(message: &Message) -> bool {
    use MessageType as T;
    let Some(kind) = T::from_i32(message.msg_type) else { return false };
    let wanted = match kind {
        T::MsgAppend => follows_on(message),
        T::MsgReadIndex | T::MsgReadIndexResp => message.entries.len() == 1,
        T::MsgAppendResponse
        | T::MsgRequestVote
        | T::MsgRequestVoteResponse
        | T::MsgHeartbeat
        | T::MsgHeartbeatResponse
        | T::MsgTimeoutNow
        | T::MsgRequestPreVote
        | T::MsgRequestPreVoteResponse => message.entries.is_empty(),
        // Only a leader's own shell asks it to give its leadership away.
        T::MsgTransferLeader
        | T::MsgSnapshot
        | T::MsgPropose
        | T::MsgHup
        | T::MsgBeat
        | T::MsgUnreachable
        | T::MsgSnapStatus
        | T::MsgCheckQuorum => false,
    };
    let numbers =
        [message.term, message.log_term, message.index, message.commit, message.reject_hint];
    // What asks for a read has no term, and a follower that sends it on may not find one; without
    // one all else would count as this replica's own.
    wanted
        && (message.term > 0) == (kind != T::MsgReadIndex)
        && message.request_snapshot == 0
        && numbers.iter().all(|number| *number < NUMBER_MAX)
}

/// An entry has a term: to raft-rs one that is far beyond the log's end has 0.
fn follows_on(message: &Message) -> bool {
    let mut before = (message.index, message.log_term);
    let begins = (message.index == 0) == (message.log_term == 0);
    begins
        && message.entries.iter().all(|entry| {
            let fits = entry.index == before.0.saturating_add(1)
                && before.1 <= entry.term
                && entry.term <= message.term
                && EntryType::from_i32(entry.entry_type).is_some();
            before = (entry.index, entry.term);
            fits
        })
}
