//! Which versions the members understand: the cluster runs at the newest that all of them do.
//!
//! Every replica tells every other what it understands. The one that leads puts the raise into the
//! log itself, once it has heard of every member, and takes in nothing newer than the cluster. So
//! no replica ever has to read what it does not understand, but for one that was started with an
//! older release afterwards: that one stops before it, and goes on once it runs a newer one.

use super::{Output, Planted, ProposeError, Replica, StopReason, apply::DIGEST_TICKS};
use crate::{
    consensus::{codec::PeerMessage, machine::Machine},
    state::command::{Command, Entry, RaiseVersion, Request},
};
use domain::{
    LogIndex, ReplicaId,
    port::RowRead,
    version::{ClusterVersion, Understood},
};
use std::collections::BTreeMap;

/// Ticks between two looks of a leader at what all understand.
const LOOK_TICKS: u64 = 8;
/// Ticks for which a member's word counts: it repeats it every [`DIGEST_TICKS`], and two may be
/// lost.
const SAID_TICKS: u64 = 3 * DIGEST_TICKS;
/// The token of what a replica proposes by itself: no caller has it.
const OWN: u64 = 0;

impl<M: Machine, R: RowRead> Replica<M, R> {
    /// Tells the others what this replica understands.
    pub(super) fn tell_understood(&self, out: &mut Vec<Output>) {
        let bytes = PeerMessage::Understands(self.config.understands).encode();
        let others = self.membership.everyone().into_iter().filter(|id| *id != self.id());
        out.extend(others.map(|to| Output::Send { to, bytes: bytes.clone() }));
    }

    pub(super) fn hear_understood(&mut self, from: ReplicaId, understands: Understood) {
        if self.membership.everyone().contains(&from) {
            self.understood.insert(from, (self.ticks, understands));
        }
    }

    /// What a member understands, if it has said so lately: it may have been started with another
    /// release since.
    pub fn understood(&self, id: ReplicaId) -> Option<Understood> {
        match id == self.id() {
            true => Some(self.config.understands),
            false => {
                let said = self.understood.get(&id).copied();
                let lately = |(tick, _): &(u64, _)| self.ticks <= tick + SAID_TICKS;
                said.filter(lately).map(|(_, understands)| understands)
            }
        }
    }

    /// What each member has said, if all are there and have.
    fn all_understood(&self) -> Option<BTreeMap<ReplicaId, Understood>> {
        if self.config.planted.is(Planted::VersionUnasked) {
            return Some([(self.id(), self.config.understands)].into());
        }
        let here = |id| self.is_active(id).then(|| self.understood(id)).flatten();
        self.membership.everyone().into_iter().map(|id| Some((id, here(id)?))).collect()
    }

    /// On the leader, now and then: raises the cluster to what all members understand.
    pub(super) fn tend_version(&mut self) {
        let may = self.leads() && self.ending.is_none() && !self.node.raft.has_pending_conf();
        if !may || !self.ticks.is_multiple_of(LOOK_TICKS) {
            return;
        }
        let Some(members) = self.all_understood() else { return };
        let Some(to) = Understood::common(members.values().copied()) else { return };
        if to > self.machine.version() {
            let command = Command::RaiseVersion(RaiseVersion { to, members });
            let actor = format!("server:{}", self.id().0);
            self.proposals.gather(OWN, Request { key: None, actor, command });
        }
    }

    /// Why a request may not be put in the log yet.
    pub(super) fn too_new(&self, request: &Request) -> Option<ProposeError> {
        let said = |id| self.is_active(id).then(|| self.understood(id)).flatten();
        let members = self.membership.everyone().into_iter().map(|id| (id, said(id)));
        too_new(&request.command, self.machine.version(), members)
    }

    /// Whether this replica may read an entry.
    pub(super) fn can_read(&self, index: u64, data: &[u8]) -> Result<(), StopReason> {
        let needs = Entry::needs(data);
        match needs <= self.config.understands.newest {
            true => Ok(()),
            false => Err(self.stop_at(index, needs)),
        }
    }

    /// Whether this replica may go on from rows of a version.
    pub(super) fn can_load(&self, index: u64, stored: ClusterVersion) -> Result<(), StopReason> {
        match self.config.understands.has(stored) {
            true => Ok(()),
            false => Err(self.stop_at(index, stored)),
        }
    }

    fn stop_at(&self, index: u64, needs: ClusterVersion) -> StopReason {
        let understands = self.config.understands;
        StopReason::Version { index: LogIndex(index), needs, understands }
    }
}

/// Why a cluster that runs at a version takes a command not in yet, with the members that do not
/// understand it, or are not there to say so.
pub(in crate::consensus) fn too_new(
    command: &Command,
    runs: ClusterVersion,
    members: impl Iterator<Item = (ReplicaId, Option<Understood>)>,
) -> Option<ProposeError> {
    let needs = command.since();
    let lacks = |said: Option<Understood>| !said.is_some_and(|said| said.has(needs));
    (needs > runs).then(|| {
        let behind = members.filter(|(_, said)| lacks(*said)).map(|(id, _)| id).collect();
        ProposeError::Newer { needs, runs, behind }
    })
}
