//! Contact with the leader, and what its absence does to running tasks.

use super::{AgentMachine, Output, lease::Step, notice::Notice};
use domain::{LeaseId, Millis, job::EndCause, link::Up};
use std::collections::BTreeMap;

/// Heartbeats that may go unanswered before the oldest is forgotten; more than a lease holds.
const BEATS_MAX: usize = 64;

/// Time after which a gang's lead reports the end without having heard that the others are done.
const ASK_ANYWAY: Millis = Millis(20_000);

/// The stream's state, and the newest proof that the leader knows us.
#[derive(Debug, Default)]
pub(super) struct Contact {
    welcomed: bool,
    next_seq: u64,
    /// When each unanswered heartbeat was sent.
    beats: BTreeMap<u64, Millis>,
    due: Millis,
    /// When the newest answered heartbeat was sent.
    renewed: Option<Millis>,
}

impl Contact {
    pub(super) fn opened(&mut self) {
        self.lost();
        self.next_seq = 0;
    }

    pub(super) fn lost(&mut self) {
        self.welcomed = false;
        self.beats.clear();
    }

    pub(super) fn welcomed(&mut self, now: Millis) {
        self.welcomed = true;
        self.due = now;
    }

    pub(super) fn is_welcomed(&self) -> bool {
        self.welcomed
    }

    /// Until when tasks may run.
    ///
    /// Source: rulings, 5: counts from when the heartbeat was sent.
    pub(super) fn until(&self, ttl: Millis) -> Option<Millis> {
        self.renewed.map(|sent| sent.plus(ttl))
    }

    fn answered(&mut self, seq: u64) {
        if let Some(sent) = self.beats.get(&seq).copied() {
            self.beats = self.beats.split_off(&(seq + 1));
            self.renewed = self.renewed.max(Some(sent));
        }
    }
}

impl AgentMachine {
    /// Sends a heartbeat if one is due.
    pub(super) fn beat(&mut self, now: Millis) {
        let contact = &mut self.contact;
        if !contact.welcomed || now < contact.due {
            return;
        }
        let seq = contact.next_seq;
        contact.next_seq += 1;
        contact.due = now.plus(self.config.heartbeat);
        contact.beats.insert(seq, now);
        if contact.beats.len() > BEATS_MAX {
            contact.beats.pop_first();
        }
        let held = self.leases.keys().copied().collect();
        self.out.push(Output::Send(Up::Heartbeat { seq, held }));
    }

    /// A heartbeat was covered by a quorum round: everything that runs may run longer.
    pub(super) fn renew(&mut self, seq: u64) {
        self.contact.answered(seq);
        let Some(until) = self.contact.until(self.config.lease_ttl) else { return };
        for (lease, held) in &mut self.leases {
            let running = matches!(held.step, Step::Running { .. });
            if !running || !held.fenced() || held.deadline.is_some_and(|at| at >= until) {
                continue;
            }
            held.deadline = Some(until);
            self.out.push(Output::RenewDeadline { lease: *lease, deadline: held.deadline });
            held.asked = false;
            self.out.extend(held.say(*lease));
        }
    }

    /// Ends what has run too long, asks for checkpoints where that is near.
    pub(super) fn guard(&mut self, now: Millis) {
        let mut over: Vec<(LeaseId, EndCause, Millis)> = Vec::new();
        let mut stored = Vec::new();
        for (lease, held) in &mut self.leases {
            if let Step::Stored { since, .. } = held.step
                && since.plus(ASK_ANYWAY) <= now
            {
                // The word that the others are done may have been lost on its way here.
                stored.push(*lease);
            }
            let Step::Running { since, .. } = held.step else { continue };
            if held.deadline.is_some_and(|at| at <= now) {
                over.push((*lease, EndCause::LeaseExpired, Millis(0)));
            } else if held.wanted.spec.time_limit.is_some_and(|limit| since.plus(limit) <= now) {
                over.push((*lease, EndCause::TimeLimit, self.config.kill_grace));
            } else {
                held.asked |=
                    held.deadline.is_some_and(|at| at.minus(self.config.lease_grace) <= now);
                held.warned |= held.warns_at(since).is_some_and(|at| at <= now);
                self.out.extend(held.say(*lease));
            }
        }
        for (lease, cause, grace) in over {
            self.fail_within(lease, cause, grace);
        }
        for lease in stored {
            self.publish(lease);
        }
    }

    /// When [`super::Input::Tick`] is due at the latest, if nothing else happens.
    #[must_use]
    pub fn wake(&self) -> Option<Millis> {
        let mut wake = None;
        let mut at = |when: Option<Millis>| {
            if let Some(when) = when {
                wake = Some(wake.map_or(when, |earlier: Millis| earlier.min(when)));
            }
        };
        if self.contact.welcomed {
            at(Some(self.contact.due));
            at(self.reports.wake(self.config.resend));
        }
        for held in self.leases.values() {
            if let Step::Stored { since, .. } = held.step {
                at(Some(since.plus(ASK_ANYWAY)));
            }
            let Step::Running { since, .. } = held.step else { continue };
            let ahead = if held.asked { Millis(0) } else { self.config.lease_grace };
            at(held.deadline.map(|deadline| deadline.minus(ahead)));
            at(held.wanted.spec.time_limit.map(|limit| since.plus(limit)));
            at(held.warns_at(since).filter(|_| !held.warned));
            at(held.notice.as_ref().filter(|_| held.leads(self.node)).map(Notice::until));
        }
        wake
    }
}
