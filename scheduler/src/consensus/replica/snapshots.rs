//! Snapshots: wanted, built, sent, received, installed.

use super::{Output, Received, Replica, StopReason, storage::LogTail};
use crate::consensus::{
    codec::PeerMessage,
    machine::Machine,
    write::{Install, SnapshotMark},
};
use domain::{LogIndex, ReplicaId, port::RowRead};
use raft::{
    SnapshotStatus,
    eraftpb::{Message, MessageType},
};
use std::collections::{BTreeMap, BTreeSet};

/// Snapshots under way, out and in.
#[derive(Default)]
pub(super) struct Snapshots {
    building: BTreeSet<ReplicaId>,
    sending: BTreeMap<ReplicaId, u64>,
    incoming: Option<Install>,
    installing: Option<(u64, Install)>,
}

impl Snapshots {
    /// The oldest index among those that are being sent.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.sending.values().min().copied()
    }

    /// This server leads no more: it sends no snapshots.
    pub(super) fn leave(&mut self, log: &LogTail) {
        self.building.clear();
        self.sending.clear();
        log.withdraw();
    }
}

impl<M: Machine, R: RowRead> Replica<M, R> {
    /// Asks for what raft-rs could not send for want of a snapshot, and settles a received one
    /// that it did not take.
    pub(super) fn want_snapshots(&mut self, out: &mut Vec<Output>) {
        for to in self.node.store().take_wanted() {
            let to = ReplicaId(to);
            if self.leads() && self.snapshots.building.insert(to) {
                out.push(Output::BuildSnapshot { to });
            }
        }
        if let Some(install) = self.snapshots.incoming.take() {
            out.push(Output::SnapshotSettled { family: install.family, installed: false });
        }
    }

    pub(super) fn snapshot_built(&mut self, to: ReplicaId, mark: Option<SnapshotMark>) {
        if !self.snapshots.building.remove(&to) || !self.leads() {
            return;
        }
        let start = self.node.store().start().index;
        let fits = |mark: &SnapshotMark| {
            mark.applied.index >= start && mark.membership.everyone().contains(&to)
        };
        if let Some(mark) = mark.filter(fits) {
            self.snapshots.sending.insert(to, mark.applied.index);
            self.node.store().offer(to.0, mark);
            if self.node.raft.prs().get(to.0).is_some() {
                self.node.raft.send_append(to.0);
            }
        }
    }

    pub(super) fn snapshot_reported(&mut self, to: ReplicaId, delivered: bool) {
        self.snapshots.sending.remove(&to);
        let status = match delivered {
            true => SnapshotStatus::Finish,
            false => SnapshotStatus::Failure,
        };
        self.node.report_snapshot(to.0, status);
    }

    pub(super) fn snapshot_received(
        &mut self,
        from: ReplicaId,
        message: &[u8],
        received: Received,
        out: &mut Vec<Output>,
    ) {
        let family = received.family;
        let announced = |mark: &SnapshotMark| {
            mark.applied.digest.is_none_or(|digest| digest == received.digest)
        };
        let busy = self.snapshots.incoming.is_some() || self.snapshots.installing.is_some();
        match self.read_snapshot(from, message) {
            Some((message, mark)) if !busy && announced(&mark) => {
                self.snapshots.incoming = Some(Install { family, mark });
                // An error means that it is of no use; it is then settled as not installed.
                let _ = self.node.step(message);
            }
            _ => out.push(Output::SnapshotSettled { family, installed: false }),
        }
    }

    fn read_snapshot(&self, from: ReplicaId, bytes: &[u8]) -> Option<(Message, SnapshotMark)> {
        let Ok(PeerMessage::Raft(message)) = PeerMessage::decode(bytes) else { return None };
        let mark = SnapshotMark::from_raft(message.get_snapshot()).ok()?;
        let sound = message.msg_type == MessageType::MsgSnapshot as i32
            && message.term > 0
            && self.is_for_me(from, &message)
            && mark.membership.everyone().contains(&self.id());
        sound.then_some((message, mark))
    }

    /// raft-rs took the received snapshot: log and rows are to be replaced by it.
    pub(super) fn install(&mut self, index: u64) {
        let install = self.snapshots.incoming.take().expect("raft-rs takes only what is received");
        assert_eq!(install.mark.applied.index, index, "one snapshot at a time");
        self.node.mut_store().start_from((&install.mark.applied).into());
        self.membership = install.mark.membership.clone();
        self.writes.op.start_from(install.clone());
        self.snapshots.installing = Some((self.writes.seq(), install));
    }

    /// If an installed snapshot is among what was written up to `seq`, goes on from it. Returns
    /// its index.
    pub(super) fn installed(&mut self, seq: u64, out: &mut Vec<Output>) -> Option<u64> {
        let (_, install) = self.snapshots.installing.take_if(|(at, _)| *at <= seq)?;
        let applied = install.mark.applied;
        self.rows.clear();
        let stored = M::stored_version(self.rows.base());
        if let Err(reason) = self.can_load(applied.index, stored) {
            self.end(reason);
            return None;
        }
        self.machine = M::load(self.rows.base());
        self.applied = (&applied).into();
        self.digests.clear();
        self.conflict_since = None;
        if let Some(named) = applied.digest {
            let found = self.machine.digest();
            if found != named {
                self.end(StopReason::Snapshot { index: applied.index, named, found });
            }
        }
        out.push(Output::SnapshotSettled { family: install.family, installed: true });
        out.push(Output::Members(self.membership.clone()));
        out.push(Output::Applied { index: LogIndex(applied.index) });
        Some(applied.index)
    }
}
