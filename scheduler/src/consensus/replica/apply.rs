//! Committed entries, one after the other, through the state machine.

use super::{Output, Planted, Replica, StopReason};
use crate::{
    consensus::{
        codec::PeerMessage,
        machine::Machine,
        membership::{ChangeError, MemberChange},
        write::{AppliedMark, LogStart},
    },
    state::command::{self, Effect},
};
use domain::{LogIndex, ReplicaId, limit, port::RowRead};
use prost_raft::Message as _;
use raft::eraftpb::{ConfChangeV2, Entry, EntryType};

use super::divergence::Verdict;

/// Ticks between two sendings of the newest digest: a lost one costs no more than this.
pub(super) const DIGEST_TICKS: u64 = 64;
/// Ticks for which a difference may stay undecided before all stop.
const CONFLICT_TICKS: u64 = 4 * DIGEST_TICKS;
/// Ticks for which a leader that must stop waits for its successor.
const HANDOVER_TICKS: u64 = 2 * limit::ELECTION_TICKS as u64;

impl<M: Machine, R: RowRead> Replica<M, R> {
    pub(super) fn apply(&mut self, entries: Vec<Entry>, out: &mut Vec<Output>) {
        if entries.is_empty() {
            return;
        }
        let mut effects = Vec::new();
        for entry in &entries {
            let done = match entry.get_entry_type() {
                EntryType::EntryNormal => self.apply_requests(entry, &mut effects, out),
                EntryType::EntryConfChangeV2 | EntryType::EntryConfChange => {
                    self.apply_change(entry, out)
                }
            };
            if let Err(reason) = done {
                self.end(reason);
                break;
            }
            self.applied = LogStart { index: entry.index, term: entry.term };
            if entry.index.is_multiple_of(self.config.digest_every) {
                self.digests.record(entry.index, self.machine.digest());
                self.send_digest(out);
            }
        }
        let LogStart { index, term } = self.applied;
        let digest = Some(self.machine.digest());
        self.writes.op.applied = Some(AppliedMark { index, term, digest });
        self.node.advance_apply_to(index);
        out.push(Output::Applied { index: LogIndex(index) });
        if !effects.is_empty() {
            out.push(Output::Effects(effects));
        }
        self.judge();
    }

    fn apply_requests(
        &mut self,
        entry: &Entry,
        effects: &mut Vec<Effect>,
        out: &mut Vec<Output>,
    ) -> Result<(), StopReason> {
        if entry.data.is_empty() {
            return Ok(());
        }
        self.can_read(entry.index, &entry.data)?;
        let decoded = command::Entry::decode(&entry.data, self.config.understands)
            .map_err(|fault| StopReason::Entry { index: entry.index, why: fault.to_string() })?;
        let applied = self.machine.apply(&self.rows, LogIndex(entry.index), decoded);
        let seq = self.writes.seq();
        for change in &applied.rows {
            self.rows.lay(seq, change);
        }
        self.writes.op.rows.extend(applied.rows);
        if self.config.planted.is(Planted::RowLost) && entry.index.is_multiple_of(17) {
            self.writes.op.rows.pop();
        }
        effects.extend(applied.effects);
        if let Some(tokens) = self.proposals.landed(&entry.context) {
            assert_eq!(tokens.len(), applied.replies.len(), "each request has one reply");
            let replies = tokens.into_iter().zip(applied.replies);
            out.extend(replies.map(|(token, reply)| Output::Reply { token, reply }));
        }
        Ok(())
    }

    /// A change that raft-rs refuses is refused by every replica alike and changes nothing.
    fn apply_change(&mut self, entry: &Entry, out: &mut Vec<Output>) -> Result<(), StopReason> {
        let unreadable = |why: String| StopReason::Entry { index: entry.index, why };
        let change =
            ConfChangeV2::decode(&entry.data[..]).map_err(|fault| unreadable(fault.to_string()))?;
        let named: Option<MemberChange> = match change.context.as_slice() {
            [] => None,
            bytes => Some(borsh::from_slice(bytes).map_err(|fault| unreadable(fault.to_string()))?),
        };
        let was_member = self.membership.everyone().contains(&self.id());
        let result = match self.node.apply_conf_change(&change) {
            Ok(state) => {
                self.membership.adopt(&state, named.as_ref());
                self.writes.op.membership = Some(self.membership.clone());
                out.push(Output::Members(self.membership.clone()));
                Ok(LogIndex(entry.index))
            }
            Err(fault) => Err(ChangeError::Void { why: fault.to_string() }),
        };
        if let Some(token) = self.proposals.changed(&entry.context) {
            out.push(Output::Changed { token, result });
        }
        if was_member && !self.membership.everyone().contains(&self.id()) {
            self.end(StopReason::Removed);
        }
        Ok(())
    }

    fn send_digest(&self, out: &mut Vec<Output>) {
        let Some((index, digest)) = self.digests.newest() else { return };
        let bytes = PeerMessage::Digest { index, digest }.encode();
        let others = self.membership.everyone().into_iter().filter(|id| *id != self.id());
        out.extend(others.map(|to| Output::Send { to, bytes: bytes.clone() }));
    }

    pub(super) fn hear_digest(&mut self, from: ReplicaId, index: u64, digest: domain::Digest) {
        self.digests.hear(from, index, digest);
        self.judge();
    }

    /// Stops, or begins to, if the majority holds another state.
    fn judge(&mut self) {
        let voters = &self.membership.voters;
        match self.digests.verdict(self.id(), voters) {
            Verdict::Fine => self.conflict_since = None,
            Verdict::Undecided { likelier, .. } => {
                self.conflict_since.get_or_insert(self.ticks);
                // Whoever is behind, and does not speak for it, must not have to learn its state
                // from a leader that may be wrong: a snapshot of that would be refused for ever.
                if let Some(likelier) = likelier.filter(|_| self.leads()) {
                    self.node.transfer_leader(likelier.0);
                }
            }
            Verdict::NoMajority { index } => self.end(StopReason::NoMajority { index }),
            Verdict::Minority { index, own, majority } => {
                self.end_after_handover(StopReason::Diverged { index, own, majority });
            }
        }
    }

    pub(super) fn end_after_handover(&mut self, reason: StopReason) {
        if self.ending.is_some() {
            return;
        }
        match self.heir() {
            Some(heir) => {
                self.node.transfer_leader(heir.0);
                self.ending = Some((reason, self.ticks + HANDOVER_TICKS));
            }
            None => self.end(reason),
        }
    }

    pub(super) fn tend_digests(&mut self, out: &mut Vec<Output>) {
        if self.ticks.is_multiple_of(DIGEST_TICKS) {
            self.tell_understood(out);
            self.send_digest(out);
        }
        if let Some(since) = self.conflict_since
            && self.ticks > since + CONFLICT_TICKS
        {
            let index = self.digests.newest().map_or(0, |(index, _)| index);
            self.end(StopReason::NoMajority { index });
        }
        if let Some((reason, until)) = &self.ending
            && (!self.leads() || self.ticks >= *until)
        {
            self.end(reason.clone());
        }
    }
}
