//! The operator: adds servers, removes them, moves the leadership, and replaces what is damaged.

use super::World;
use crate::{
    chance::Chance, damage::Service, disk::SimDisk, event::Event, law::Broken, server::Server,
};
use domain::ReplicaId;
use scheduler::consensus::{Input, MemberChange, Membership, WriteOp};
use std::collections::BTreeSet;

/// Servers of a cluster at least.
const VOTERS_MIN: usize = 3;
/// Time after which a change of members is over: a server that is lost before is one too many,
/// beside the one that leaves. Unit: ms.
const SETTLED_MS: u64 = 5_000;

/// What the operator has in mind.
pub(super) struct Operator {
    root: Chance,
    chance: Chance,
    voters: usize,
    joining: Option<ReplicaId>,
    /// When it last changed the members. Unit: ms.
    changed_ms: u64,
    /// Servers that it has asked to be removed. What they hold goes with them.
    leaving: BTreeSet<ReplicaId>,
}

enum Act {
    Change(MemberChange),
    Transfer(ReplicaId),
}

impl Operator {
    pub(super) fn new(root: &Chance) -> Self {
        let chance = root.branch("operator", 0);
        Self {
            root: root.clone(),
            chance,
            voters: VOTERS_MIN,
            joining: None,
            changed_ms: 0,
            leaving: BTreeSet::new(),
        }
    }

    fn draw(&mut self, from: &[ReplicaId]) -> Option<ReplicaId> {
        (!from.is_empty()).then(|| from[self.chance.below(from.len() as u64) as usize])
    }
}

impl World {
    /// The operator looks at the cluster, does one thing, and comes back later.
    pub(super) fn operate(&mut self) -> Result<(), Broken> {
        let wait = match self.healing {
            true => 500,
            false => self.operator.chance.between(1_500, 12_000),
        };
        self.after(wait, Event::Operate);
        let Some(at) = self.leader() else { return Ok(()) };
        let Some(replica) = &self.servers[at].replica else { return Ok(()) };
        let members = replica.membership().clone();
        self.retire_removed(&members);
        match self.next_act(at, &members) {
            Some(Act::Change(change)) => {
                self.operator.changed_ms = self.now;
                if let MemberChange::Remove { id } = &change {
                    self.operator.leaving.insert(*id);
                }
                self.with_server(at, |server, now, asks| server.change(change, now, asks))
            }
            Some(Act::Transfer(to)) => {
                self.coverage.transfers += 1;
                self.step(at, Input::Transfer { to })
            }
            None => Ok(()),
        }
    }

    /// The leader of the newest term among those that are up.
    pub(super) fn leader(&self) -> Option<usize> {
        let term = |at: &usize| {
            let replica = self.servers[*at].replica.as_ref();
            replica.map_or(0, |replica| replica.role().1)
        };
        let up = (0..self.servers.len()).filter(|at| self.is_up(*at) && self.servers[*at].leads());
        up.max_by_key(term)
    }

    /// Whether a server stays a member, as far as anybody knows.
    pub(super) fn stays(&self, at: usize) -> bool {
        let server = &self.servers[at];
        server.service == Service::In && !self.operator.leaving.contains(&server.id)
    }

    fn retire_removed(&mut self, members: &Membership) {
        for id in &members.removed {
            if self.servers[id.0 as usize - 1].service != Service::Gone {
                self.coverage.removed += 1;
                self.retire(id.0 as usize - 1);
            }
        }
    }

    fn next_act(&mut self, leader: usize, members: &Membership) -> Option<Act> {
        if members.is_joint() {
            return None;
        }
        // What was asked for is asked for until it is done: a leader that is lost takes it along.
        let out = |id: &ReplicaId| !self.stays(id.0 as usize - 1);
        if let Some(id) = members.everyone().into_iter().find(out) {
            let me = self.servers[leader].id;
            let heir = members.voters.iter().copied().find(|other| *other != me && !out(other));
            return match heir.filter(|_| id == me) {
                Some(heir) => Some(Act::Transfer(heir)),
                None => Some(Act::Change(MemberChange::Remove { id })),
            };
        }
        if let Some(id) = self.operator.joining {
            if !members.everyone().contains(&id) {
                return Some(join(id));
            }
            self.operator.joining = None;
            self.coverage.added += 1;
        }
        if !members.learners.is_empty() {
            return None;
        }
        let count = members.voters.len();
        if count < VOTERS_MIN || (count < self.operator.voters && !self.healing) {
            return Some(join(self.build()));
        }
        // Two copies outlive the loss of one: nobody takes a holder away while one is missing.
        if self.healing || self.all_well().is_none() {
            return None;
        }
        let me = self.servers[leader].id;
        let others: Vec<ReplicaId> =
            members.voters.iter().copied().filter(|id| *id != me).collect();
        let other = self.operator.draw(&others)?;
        if count > self.operator.voters {
            return Some(Act::Change(MemberChange::Remove { id: other }));
        }
        match self.operator.chance.below(4) {
            0 => self.operator.voters = VOTERS_MIN + self.operator.chance.below(3) as usize,
            // One is taken away, and another comes in its place.
            1 if count > VOTERS_MIN => {
                return Some(Act::Change(MemberChange::Remove { id: other }));
            }
            1 | 2 => return Some(Act::Transfer(other)),
            _ => {}
        }
        None
    }

    /// A new server with an empty disk, which waits to be taken in.
    fn build(&mut self) -> ReplicaId {
        let id = ReplicaId(self.servers.len() as u64 + 1);
        let chance = self.operator.root.branch("server", id.0);
        self.servers.push(Server::new(id, SimDisk::new(&WriteOp::default()), chance));
        self.after(1, Event::Boot { server: id.0 as usize - 1 });
        self.operator.joining = Some(id);
        id
    }

    /// Whether the last change of members is known to all by now.
    pub(super) fn is_idle(&self) -> bool {
        let left = |id: &ReplicaId| self.servers[id.0 as usize - 1].service == Service::Gone;
        self.now >= self.operator.changed_ms + SETTLED_MS && self.operator.leaving.iter().all(left)
    }

    /// Whether nothing is left to be replaced or taken in.
    pub(super) fn is_in_order(&self) -> bool {
        let Some(replica) = self.leader().and_then(|at| self.servers[at].replica.as_ref()) else {
            return false;
        };
        let members = replica.membership();
        let whole = |id: &ReplicaId| self.servers[id.0 as usize - 1].service == Service::In;
        !members.is_joint()
            && members.learners.is_empty()
            && members.voters.len() >= VOTERS_MIN
            && members.voters.iter().all(whole)
            && self.operator.joining.is_none()
    }
}

fn join(id: ReplicaId) -> Act {
    Act::Change(MemberChange::AddLearner { id, address: format!("host-{}:1", id.0) })
}
