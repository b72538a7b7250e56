//! Starts, stops for good, and the damage that leads to them.

use super::{World, config};
use crate::{
    damage::{self, Damage, Service},
    event::Event,
    fault::Faults,
    law::Broken,
};
use domain::ReplicaId;
use scheduler::consensus::{Input, Membership, ReplicaConfig, StopReason};

impl World {
    /// A server's process starts, unless its disk forbids it.
    pub(super) fn boot(&mut self, at: usize) -> Result<(), Broken> {
        let planted = self.plan.planted;
        if self.servers[at].replica.is_some() || self.servers[at].service == Service::Gone {
            return Ok(());
        }
        let understands = self.choose_release(at);
        let server = &mut self.servers[at];
        let id = server.id;
        let damaged = matches!(server.damage, Some(Damage::Log | Damage::Row));
        match server.boot(ReplicaConfig { understands, ..config(id, planted) }) {
            Ok(()) if damaged || server.condemned => {
                let what = server.damage;
                return Err(Broken::new(format!("bit_flips: {id} starts in spite of {what:?}")));
            }
            Ok(()) => server.damage = None,
            Err(_) if server.damage.is_some() || server.condemned => {
                server.service = Service::Out;
                self.coverage.refused_starts += 1;
                return Ok(());
            }
            Err(_) if server.too_old => {
                return self.too_old(at);
            }
            Err(fault) => return Err(Broken::new(format!("restart: {id}: {fault}"))),
        }
        self.laws.restarted(&self.servers[at])?;
        let life = self.servers[at].life;
        self.after(1, Event::Tick { server: at, life });
        self.after(1_000, Event::Collect { server: at, life });
        Ok(())
    }

    /// A replica finds that it must not go on.
    pub(super) fn stopped(&mut self, at: usize, reason: &StopReason) -> Result<(), Broken> {
        let flipped = |damage| matches!(damage, Some(Damage::Memory { .. }));
        let mine = flipped(self.servers[at].damage);
        let any = self.servers.iter().any(|server| flipped(server.damage));
        match reason {
            StopReason::Removed => self.retire(at),
            StopReason::Version { .. } => {
                self.end_process(at);
                self.too_old(at)?;
            }
            StopReason::Diverged { .. } if mine => {
                self.coverage.diverged += 1;
                self.servers[at].service = Service::Out;
                self.end_process(at);
                // It must refuse to start again.
                self.after(500, Event::Boot { server: at });
            }
            // Nobody can tell who is right until the third is back.
            StopReason::NoMajority { .. } if any => {
                self.coverage.diverged += 1;
                self.end_process(at);
                self.after(1_000, Event::Boot { server: at });
            }
            _ => {
                let id = self.servers[at].id;
                return Err(Broken::new(format!("healthy: {id} stops: {reason}")));
            }
        }
        Ok(())
    }

    /// The process ends in good order: what it handed over is written.
    fn end_process(&mut self, at: usize) {
        let server = &mut self.servers[at];
        while server.disk.write_next().is_some() {}
        server.crash();
        self.break_streams(at);
    }

    /// A server is no member any more: it is switched off, and what it stored is lost.
    pub(super) fn retire(&mut self, at: usize) {
        if self.servers[at].service == Service::Gone {
            return;
        }
        self.servers[at].service = Service::Gone;
        self.servers[at].crash();
        self.break_streams(at);
        for holders in self.blobs.values_mut() {
            holders.remove(&at);
        }
    }

    /// Agents find that a server is gone.
    pub fn break_streams(&mut self, at: usize) {
        for node in 0..self.nodes.len() {
            if let Some((link, server)) = self.nodes[node].link
                && server == at
            {
                self.after(10, Event::Broken { node, link });
            }
        }
    }

    /// The members, when all of them are up, whole and agree on who they are, and hold enough
    /// copies of every result: then one of them may be lost for good.
    #[must_use]
    pub fn all_well(&self) -> Option<Membership> {
        let servers = self.in_service();
        let replicas = servers.iter().map(|at| self.servers[*at].replica.as_ref());
        let replicas = replicas.collect::<Option<Vec<_>>>()?;
        let members = replicas.first()?.membership().clone();
        let ids: Vec<ReplicaId> = servers.iter().map(|at| self.servers[*at].id).collect();
        let well = self
            .servers
            .iter()
            .all(|server| server.damage.is_none() || server.service == Service::Gone)
            && replicas.iter().all(|replica| *replica.membership() == members)
            && members.voters.iter().copied().eq(ids)
            && members.voters.len() >= 3
            && !members.is_joint()
            && self.short_of_copies().is_empty();
        well.then_some(members)
    }

    /// A sync fails: the process ends at once, and starts again from its disk, once there is
    /// room on it.
    pub(super) fn fail_sync(&mut self, at: usize, fits: bool) {
        self.servers[at].disk.fail(fits);
        let down = match fits {
            true => self.net.between(100, 2_000),
            false => self.net.between(2_000, 10_000),
        };
        match fits {
            true => self.coverage.sync_errors += 1,
            false => self.coverage.full_disks += 1,
        }
        Faults::crash_for(self, at, down);
    }

    /// A leader whose disk is nearly full gives its leadership away.
    pub(super) fn flee(&mut self, at: usize) -> Result<(), Broken> {
        let server = &self.servers[at];
        if !server.low_space || !server.leads() {
            return Ok(());
        }
        let Some(replica) = &server.replica else { return Ok(()) };
        let id = server.id;
        let others = replica.membership().voters.iter().copied().filter(|other| *other != id);
        let heir = others.max_by_key(|other| replica.matched(*other));
        heir.map_or(Ok(()), |to| self.step(at, Input::Transfer { to }))
    }

    /// A bit flips on a server, of its disk while it is down or of its memory while it is up.
    pub fn damage(&mut self, at: usize, memory: bool, down: u64) {
        if self.all_well().is_none() || !self.is_idle() || self.servers[at].service != Service::In {
            return;
        }
        if self.net.one_in(3) {
            self.lose_blob(at);
            return;
        }
        if memory {
            let Some(replica) = &self.servers[at].replica else { return };
            replica.view().0.flip();
            let since = replica.applied().0;
            self.coverage.memory_flips += 1;
            self.servers[at].damage = Some(Damage::Memory { since });
            return;
        }
        Faults::crash_for(self, at, down);
        let server = &mut self.servers[at];
        let mut chance = server.chance.branch("damage", server.life);
        server.damage = damage::flip(&mut server.disk, &mut chance);
        match server.damage {
            Some(Damage::Log) => self.coverage.log_flips += 1,
            Some(Damage::Row) => self.coverage.row_flips += 1,
            Some(Damage::Memory { .. }) | None => {}
        }
    }
}
