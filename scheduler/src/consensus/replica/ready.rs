//! What raft-rs has ready: to be written, sent, applied.

use super::{Output, Planted, Replica};
use crate::consensus::{
    codec::{PeerMessage, entry_to_bytes},
    machine::Machine,
    write::StoredEntry,
};
use domain::{LogIndex, ReplicaId, port::RowRead};
use raft::{
    Ready,
    eraftpb::{Message, MessageType},
};

impl<M: Machine, R: RowRead> Replica<M, R> {
    /// Handles readies until there is none.
    pub(super) fn drive(&mut self, entropy: &mut dyn FnMut() -> u64, out: &mut Vec<Output>) {
        while self.stop.is_none() && self.node.has_ready() {
            let ready = self.node.ready();
            self.take_ready(ready, out);
            self.settle_timeout(entropy);
        }
    }

    /// Order: nothing is stepped between `ready` and `advance`; entries are readable before
    /// `advance`; a leader's messages go at once, all others wait for the write.
    fn take_ready(&mut self, mut ready: Ready, out: &mut Vec<Output>) {
        let number = ready.number();
        for state in ready.take_read_states() {
            self.reads.confirm(&state.request_ctx, state.index);
        }
        if !ready.snapshot().is_empty() {
            self.install(ready.snapshot().get_metadata().index);
        }
        let entries = ready.take_entries();
        if !entries.is_empty() {
            let stored = entries
                .iter()
                .map(|entry| StoredEntry { index: entry.index, bytes: entry_to_bytes(entry) })
                .collect();
            let last = self.node.store().last();
            self.writes.op.append(last, stored);
            self.node.mut_store().append(entries);
        }
        if let Some(state) = ready.hs() {
            let mut state: crate::consensus::HardState = state.into();
            if self.config.planted.is(Planted::VoteForgotten) {
                state.vote = 0;
            }
            self.writes.op.hard_state = Some(state);
        }
        self.writes.op.sync |= ready.must_sync();
        let now = ready.take_messages();
        let mut later = ready.take_persisted_messages();
        let committed = ready.take_committed_entries();
        self.node.advance_append_async(ready);

        self.send(now, out);
        if self.config.planted.is(Planted::SentBeforePersisted) {
            self.send(std::mem::take(&mut later), out);
        }
        if let Some(messages) = self.writes.hold(number, later) {
            self.node.on_persist_ready(number);
            self.send(messages, out);
        }
        self.apply(committed, out);
    }

    pub(super) fn send(&mut self, messages: Vec<Message>, out: &mut Vec<Output>) {
        for message in messages {
            let to = ReplicaId(message.to);
            let snapshot = message.get_msg_type() == MessageType::MsgSnapshot;
            let index = LogIndex(message.get_snapshot().get_metadata().index);
            let bytes = PeerMessage::Raft(message).encode();
            out.push(match snapshot {
                true => Output::SendSnapshot { to, index, message: bytes },
                false => Output::Send { to, bytes },
            });
        }
    }

    /// A write is done: what waited for it may go.
    pub(super) fn written(&mut self, seq: u64, out: &mut Vec<Output>) {
        self.settle(seq, out);
        self.rows.written(seq);
    }

    fn settle(&mut self, seq: u64, out: &mut Vec<Output>) {
        let (ready, messages) = self.writes.written(seq);
        let installed = self.installed(seq, out);
        if let Some(number) = ready {
            self.node.on_persist_ready(number);
        }
        if let Some(index) = installed {
            self.node.advance_apply_to(index);
        }
        self.send(messages, out);
    }

    /// Ends a step: tells what is new, and hands out the write that the step put together.
    pub(super) fn finish(&mut self, out: &mut Vec<Output>) {
        self.note_role(out);
        self.compact();
        self.reads.applied(self.applied.index, out);
        if let Some((seq, op)) = self.writes.take() {
            out.push(Output::Write { seq, op });
            if self.config.planted.is(Planted::UnsyncedAcknowledged) {
                self.settle(seq, out);
            }
        }
        self.want_snapshots(out);
        if let Some(reason) = self.stop.take() {
            self.stopped = true;
            self.abandon(out);
            self.reads.stop(out);
            out.push(Output::Stop(reason));
        }
    }

    /// The write of what is applied and waits for a reason to be written, before an orderly end.
    pub fn rest(&mut self) -> Option<Output> {
        self.writes.flush();
        self.writes.take().map(|(seq, op)| Output::Write { seq, op })
    }

    /// Forgets entries that are applied and that followers are not likely to need.
    fn compact(&mut self) {
        let (kept, kept_bytes) = (self.config.log_kept, self.config.log_kept_bytes);
        let (count, bytes) = self.node.store().weight();
        if count <= 2 * kept && bytes <= kept_bytes {
            return;
        }
        let applied = self.applied.index;
        let for_bytes = self.node.store().index_for_bytes(kept_bytes / 2, applied);
        let mut index = applied.saturating_sub(kept).max(for_bytes);
        // A snapshot under way is of no use if the log no longer follows it: wait for it a while.
        if let Some(sending) = self.snapshots.oldest()
            && count <= 8 * kept
            && bytes <= 4 * kept_bytes
        {
            index = index.min(sending);
        }
        if index > self.node.store().start().index {
            self.writes.op.compact_to = Some(self.node.mut_store().compact(index));
        }
    }
}
