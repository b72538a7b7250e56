//! What the world does once the faults are over, and when it is at rest.

use super::World;
use crate::{damage::Service, event::Event, server::Server};
use domain::{ReplicaId, limit};
use scheduler::leader::duties::LOST_AFTER;
use std::collections::BTreeMap;

/// Time from rest to the end, in which what is left over would show. Unit: ms.
const REST_MS: u64 = 3_000;
/// Messages and calls that a paused server finds at most when it goes on.
const MAILBOX_MAX: usize = 4_000;

impl World {
    /// The faults stop. Servers that are down come back at once; a node dies for longer than its
    /// leases last.
    pub(super) fn heal(&mut self) {
        self.healing = true;
        self.cut.clear();
        self.loss = 0;
        self.slow_disk = None;
        self.keys.heal();
        for at in 0..self.servers.len() {
            self.resume(at);
            self.after(0, Event::Boot { server: at });
            let (now, server) = (self.now, &mut self.servers[at]);
            (server.low_space, server.next_sync_fails) = (false, None);
            server.disk_hangs_until = 0;
            if server.clock.stands() {
                server.clock.stop(now);
            }
        }
        self.upgrade_all();
        self.after(2_000, Event::CutForever);
        let elected = 10 * limit::ELECTION_MAX.0;
        self.after(elected, Event::MustLead);
        self.settled_at = self.now + elected;
        let node = self.plan.seed as usize % self.nodes.len();
        let released = elected + LOST_AFTER.0 + 2_000;
        self.coverage.reboots += 1;
        self.nodes[node].reboot();
        self.start_agent_after(node, released + 5_000);
        self.after(released, Event::MustRelease { node });
    }

    /// A paused server goes on, and finds what has reached it meanwhile: what came on one
    /// connection in order, but a client's call perhaps before the word of a new leader.
    pub(super) fn resume(&mut self, at: usize) {
        self.servers[at].paused_until = 0;
        let mut waits = BTreeMap::new();
        for event in std::mem::take(&mut self.servers[at].mailbox) {
            self.coverage.deferred += 1;
            let net = &mut self.net;
            let wait = *waits.entry(connection(&event)).or_insert_with(|| net.below(6));
            self.after(wait, event);
        }
    }

    /// The event, unless it is for a server that is paused: it then waits there.
    pub(super) fn unless_paused(&mut self, event: Event) -> Option<Event> {
        let at = match &event {
            Event::Tick { server, .. }
            | Event::Written { server, .. }
            | Event::Message { to: server, .. }
            | Event::Snapshot { to: server, .. }
            | Event::SnapshotReported { server, .. }
            | Event::SnapshotBuilt { server, .. }
            | Event::Seal { server, .. }
            | Event::Signed { server, .. }
            | Event::CheckCopies { server, .. }
            | Event::Collect { server, .. }
            | Event::Ask { server, .. }
            | Event::AskRead { server, .. } => *server,
            _ => return Some(event),
        };
        let server = &mut self.servers[at];
        if server.paused_until <= self.now {
            return Some(event);
        }
        if server.mailbox.len() < MAILBOX_MAX {
            server.mailbox.push(event);
        }
        None
    }

    /// Whether all that was asked for has ended, some time ago.
    pub(super) fn has_rested(&mut self) -> bool {
        if self.now < self.settled_at || !self.is_quiet() {
            self.rest_ms = None;
            return false;
        }
        let applied = |server: &Server| server.replica.as_ref().map(|replica| replica.applied().0);
        let newest = self.servers.iter().filter_map(applied).max();
        let since = *self.rest_ms.get_or_insert_with(|| {
            self.rest_index = newest.unwrap_or(0);
            self.now
        });
        self.now >= since + REST_MS
    }

    /// Whether all that was asked for has ended.
    fn is_quiet(&self) -> bool {
        let idle = self.clients.iter().all(|client| client.asked.is_none());
        let done = |server: &Server| {
            let live = |live: usize| live == 0;
            server.replica.as_ref().is_some_and(|it| live(it.view().0.0.view().live_jobs()))
        };
        // What is dear to find out comes last.
        idle && self.is_in_order()
            && self.servers.iter().any(|server| server.leads() && done(server))
            && self.short_of_copies().is_empty()
    }

    /// Whether a server should hold all that the leader does, at rest.
    #[must_use]
    pub fn is_whole(&self, server: &Server) -> bool {
        let id = server.id.0;
        server.service == Service::In
            && server.damage.is_none()
            && self.forever.iter().all(|(from, to)| *from != id && *to != id)
    }

    /// Now and then some links are cut for the rest of time, as long as the members that are not
    /// at either end of them are a quorum, or those at one end with them.
    pub(super) fn cut_forever(&mut self) {
        let Some(members) = self.all_well() else { return };
        let voters: Vec<u64> = members.voters.iter().map(|id| id.0).collect();
        let victim = voters[self.net.below(voters.len() as u64) as usize];
        let others: Vec<u64> = voters.into_iter().filter(|id| *id != victim).collect();
        let one = others[self.net.below(others.len() as u64) as usize];
        let cuts: Vec<(u64, u64)> = match self.net.below(6) {
            0 => others.iter().map(|other| (*other, victim)).collect(),
            1 => others.iter().map(|other| (victim, *other)).collect(),
            2 => vec![(victim, one), (one, victim)],
            3 => vec![(victim, one)],
            _ => return,
        };
        self.coverage.for_ever += cuts.len() as u64;
        self.forever.extend(cuts);
    }
}

/// Whom an event that waits for a server comes from: another server, a client, or its own timers.
fn connection(event: &Event) -> (Option<ReplicaId>, Option<usize>) {
    match event {
        Event::Message { from, .. } | Event::Snapshot { from, .. } => (Some(*from), None),
        Event::Ask { client, .. } | Event::AskRead { client, .. } => (None, Some(*client)),
        _ => (None, None),
    }
}
