//! Sees every open seal ticket through, again and again until it is closed.

use super::duties::Duty;
use crate::state::view::View;
use domain::{LeaseId, Millis};
use std::collections::{BTreeMap, BTreeSet};

/// First and longest pause before a ticket is tried again.
const PAUSE: (Millis, Millis) = (Millis(200), Millis(5_000));
/// Tickets that are worked on at once.
const AT_ONCE: usize = 64;
/// Time after which a try that was never heard of again is repeated. Copies of large results
/// between servers take their time.
const GIVE_UP: Millis = Millis(600_000);
/// Time between two looks for tickets whose effect was lost.
const LOOK_EVERY: Millis = Millis(1_000);

/// Open tickets and when to try them.
#[derive(Clone, Debug)]
pub(super) struct Sealing {
    /// When to try each, and the pause after its next failure.
    tries: BTreeMap<LeaseId, (Millis, Millis)>,
    /// The same in order of time.
    due: BTreeSet<(Millis, LeaseId)>,
    /// Those that are worked on.
    busy: BTreeSet<LeaseId>,
    looked: Millis,
}

impl Sealing {
    /// All tickets that are open are due.
    pub fn new(now: Millis, view: &View<'_>) -> Self {
        let mut sealing = Self {
            tries: BTreeMap::new(),
            due: BTreeSet::new(),
            busy: BTreeSet::new(),
            looked: now,
        };
        for ticket in view.all_tickets() {
            sealing.opened(ticket.lease, now);
        }
        sealing
    }

    /// A ticket was opened.
    pub fn opened(&mut self, ticket: LeaseId, now: Millis) {
        if !self.tries.contains_key(&ticket) {
            self.put(ticket, now, PAUSE.0);
        }
    }

    /// Looks for open tickets that were not heard of.
    pub fn look(&mut self, view: &View<'_>, now: Millis) {
        if now >= self.looked.plus(LOOK_EVERY) {
            self.looked = now;
            for ticket in view.all_tickets() {
                self.opened(ticket.lease, now);
            }
        }
    }

    /// A try has failed.
    pub fn failed(&mut self, ticket: LeaseId, now: Millis) {
        self.busy.remove(&ticket);
        if let Some(pause) = self.take(ticket) {
            let longer = Millis(pause.0.saturating_mul(2)).min(PAUSE.1);
            self.put(ticket, now.plus(pause), longer);
        }
    }

    /// Tickets to work on now.
    pub fn next(&mut self, view: &View<'_>, now: Millis) -> Vec<Duty> {
        let closed = |ticket: &LeaseId| view.ticket(*ticket).is_none();
        let over: Vec<LeaseId> = self.busy.iter().copied().filter(closed).collect();
        for ticket in over {
            self.busy.remove(&ticket);
            self.take(ticket);
        }
        let mut duties = Vec::new();
        while let Some((due, ticket)) = self.due.first().copied()
            && due <= now
            && (self.busy.len() < AT_ONCE || self.busy.contains(&ticket))
        {
            let Some(pause) = self.take(ticket) else { break };
            if closed(&ticket) {
                continue;
            }
            self.put(ticket, now.plus(GIVE_UP), pause);
            self.busy.insert(ticket);
            duties.push(Duty::Seal { ticket });
        }
        duties
    }

    /// When a ticket is tried next.
    pub fn due(&self, ticket: LeaseId) -> Option<Millis> {
        self.tries.get(&ticket).map(|(due, _)| *due)
    }

    fn put(&mut self, ticket: LeaseId, due: Millis, pause: Millis) {
        self.due.insert((due, ticket));
        self.tries.insert(ticket, (due, pause));
    }

    fn take(&mut self, ticket: LeaseId) -> Option<Millis> {
        let (due, pause) = self.tries.remove(&ticket)?;
        self.due.remove(&(due, ticket));
        Some(pause)
    }
}
