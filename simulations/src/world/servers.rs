//! What happens to servers: ticks, their disks, and what they ask of the world.

use super::World;
use crate::{
    event::Event,
    law::Broken,
    server::{self, Server},
};
use bytes::Bytes;
use domain::{ReplicaId, limit};
use scheduler::{consensus::Input, leader::duties::Event as DutyEvent};
use sha2::Digest as _;

impl World {
    pub(super) fn tick(&mut self, at: usize, life: u64) -> Result<(), Broken> {
        if self.servers[at].life != life {
            return Ok(());
        }
        // Clocks of servers run a little apart.
        let wait = limit::TICK.0 + u64::from(self.net.one_in(20));
        self.after(wait, Event::Tick { server: at, life });
        self.flee(at)?;
        self.step(at, Input::Tick)?;
        self.with_server(at, |server, now, asks| {
            server.duty(DutyEvent::Tick, now, asks);
        })?;
        if self.servers[at].replica.as_ref().is_some_and(|replica| replica.unannounced()) {
            self.step(at, Input::Announce)?;
        }
        Ok(())
    }

    pub(super) fn written(&mut self, at: usize, life: u64) -> Result<(), Broken> {
        if self.servers[at].life != life {
            return Ok(());
        }
        if let Some(fits) = self.servers[at].next_sync_fails.take() {
            self.fail_sync(at, fits);
            return Ok(());
        }
        self.write_one(at)?;
        Ok(())
    }

    pub(super) fn write_one(&mut self, at: usize) -> Result<bool, Broken> {
        match self.servers[at].disk.write_next() {
            Some(seq) => self.step(at, Input::Written { seq }).map(|()| true),
            None => Ok(false),
        }
    }

    pub(super) fn step(&mut self, at: usize, input: Input) -> Result<(), Broken> {
        self.with_server(at, |server, now, asks| server.input(input, now, asks))
    }

    pub(super) fn with_server(
        &mut self,
        at: usize,
        act: impl FnOnce(&mut Server, u64, &mut Vec<server::Ask>),
    ) -> Result<(), Broken> {
        if !self.is_up(at) {
            return Ok(());
        }
        let mut asks = Vec::new();
        act(&mut self.servers[at], self.now, &mut asks);
        for ask in asks {
            self.server_asks(at, ask)?;
        }
        Ok(())
    }

    pub(super) fn server_asks(&mut self, at: usize, ask: server::Ask) -> Result<(), Broken> {
        let (id, life) = (self.servers[at].id, self.servers[at].life);
        match ask {
            server::Ask::Write => {
                let slow = self.slow_disk == Some(at) || self.net.one_in(50);
                let spread = if slow { 300 } else { 3 };
                let hangs = self.servers[at].disk_hangs_until.saturating_sub(self.now);
                let wait = 1 + self.net.below(spread) + hangs;
                self.after(wait, Event::Written { server: at, life });
            }
            server::Ask::Send(to, bytes) => self.send(id, to, bytes),
            server::Ask::BuildSnapshot(to) => {
                self.after(5, Event::SnapshotBuilt { server: at, life, to });
            }
            server::Ask::SendSnapshot(to, message) => self.send_snapshot(at, to, message),
            server::Ask::Answer(client, call, reply) => {
                // Answers are lost like anything else.
                if self.loss == 0 || !self.net.one_in(10) {
                    let reply = reply.map(Box::new);
                    self.after(1, Event::Answer { client, call, reply });
                }
            }
            server::Ask::ReadAnswer(client, call, answer) => {
                self.after(1, Event::ReadAnswer { client, call, answer });
            }
            server::Ask::Planned(command) => self.laws.planned(&command),
            server::Ask::Tell(link, down) => self.tell(link, down),
            server::Ask::Close(link) => self.close(link),
            server::Ask::Seal(ticket) => {
                let wait = self.net.between(5, 200);
                self.after(wait, Event::Seal { server: at, life, ticket });
            }
            server::Ask::CheckCopies(after) => {
                let wait = self.net.between(5, 500);
                self.after(wait, Event::CheckCopies { server: at, life, after });
            }
            server::Ask::CaughtUp => self.carry_out(at)?,
            server::Ask::Leads(term) => self.elected(at, term)?,
            server::Ask::Applied => {
                let server = &mut self.servers[at];
                let digest = self.laws.applied(server, &mut self.coverage)?;
                self.hash.update(digest.0);
            }
            server::Ask::Changed(done) => self.coverage.changes += u64::from(done),
            server::Ask::Stopped(reason) => self.stopped(at, &reason)?,
        }
        Ok(())
    }

    fn send_snapshot(&mut self, at: usize, to: ReplicaId, message: Bytes) {
        let (from, life) = (self.servers[at].id, self.servers[at].life);
        let hop = self.hop(from.0, to.0);
        let delivered = hop.is_some();
        if let Some(wait) = hop {
            let rows = self.servers[at].disk.rows();
            let to = to.0 as usize - 1;
            self.after(wait + 30, Event::Snapshot { from, to, message, rows });
        }
        self.after(60, Event::SnapshotReported { server: at, life, to, delivered });
    }

    fn send(&mut self, from: ReplicaId, to: ReplicaId, bytes: Bytes) {
        let Some(wait) = self.hop(from.0, to.0) else { return };
        let to = to.0 as usize - 1;
        if self.loss > 0 && self.net.one_in(30) {
            self.coverage.duplicates += 1;
            self.after(wait + 5, Event::Message { from, to, bytes: bytes.clone() });
        }
        self.after(wait, Event::Message { from, to, bytes });
    }

    fn elected(&mut self, at: usize, term: u64) -> Result<(), Broken> {
        self.laws.leads(self.servers[at].id, term)?;
        if !self.healing && self.net.one_in(5) {
            self.isolate_leader(at);
        }
        Ok(())
    }

    /// A leader is cut off the moment it is elected, and those who voted for it die for moments:
    /// they must not vote again in its term.
    fn isolate_leader(&mut self, at: usize) {
        for other in 0..self.servers.len() {
            if other == at {
                continue;
            }
            self.cut.insert((at as u64 + 1, other as u64 + 1));
            self.cut.insert((other as u64 + 1, at as u64 + 1));
            let (wait, down) = (self.net.below(3), self.net.between(1, 20));
            self.after(wait, Event::Crash { server: other, down });
        }
        self.after(4_000, Event::Rejoin { server: at });
    }
}
