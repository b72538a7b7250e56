//! The leader's duties as a pure machine: what happened goes in, what to do comes out.
//!
//! All of it is rebuilt from the view when a replica becomes leader, and each duty may be
//! repeated by the next leader without harm.

use crate::{
    planner,
    state::{
        command::{Command, Effect},
        view::View,
    },
};
use domain::{LeaseId, LogIndex, Millis, NodeId, limit};
use std::collections::BTreeMap;

/// Gangs that one planning pass may try.
pub const PLAN_BUDGET: u64 = 4_096;
/// Placements in one proposal.
const PLAN_CUT: usize = 512;
/// Time after which a plan that was not applied is made anew.
const PLAN_PATIENCE: Millis = Millis(2_000);
/// First and longest pause before a ticket is tried again.
const SEAL_PAUSE: (Millis, Millis) = (Millis(200), Millis(5_000));
/// Tickets worked on at once.
const SEALS_AT_ONCE: usize = 64;
/// Events signed by one proposal.
const SIGN_BATCH: u64 = 512;
/// Time after which signatures that were not applied are made anew.
const SIGN_PATIENCE: Millis = Millis(2_000);
/// Time without contact after which a node's leases are over.
///
/// Source: rulings, 5.
pub const LOST_AFTER: Millis =
    Millis(limit::LEASE_TTL.0 + limit::DRIFT_MARGIN.0 + limit::KILL_GRACE.0);

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Time went by.
    Tick,
    /// An entry was applied.
    Applied(Vec<Effect>),
    /// A node's heartbeat was covered by a quorum round.
    Contact {
        /// The node.
        node: NodeId,
    },
    /// The proposed plan was answered, or its fate is unknown: the next may be made.
    PlanAnswered,
    /// Work on a ticket ended without a proposal: try again later.
    SealFailed {
        /// The ticket.
        ticket: LeaseId,
    },
    /// Signing failed: try again later.
    SignFailed,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Propose this, under no key.
    Propose(Command),
    /// Check, copy and sign a ticket, then propose its completion.
    Seal {
        /// The ticket.
        ticket: LeaseId,
    },
    /// Sign these events, then propose the signatures.
    Sign {
        /// Sequence number of the first.
        first: u64,
        /// How many.
        count: u64,
    },
}

#[derive(Clone, Copy, Debug)]
struct SealTry {
    due: Millis,
    pause: Millis,
    working: bool,
}

/// The duties of one term of leadership.
#[derive(Clone, Debug)]
pub struct Duties {
    /// When each node was last in contact; the start of the term for those not heard since.
    contact: BTreeMap<NodeId, Millis>,
    started: Millis,
    /// Nodes whose loss is proposed, by the registration that was lost.
    lost: BTreeMap<NodeId, LogIndex>,
    plan_wanted: bool,
    /// A plan is on its way since then.
    planned: Option<Millis>,
    seals: BTreeMap<LeaseId, SealTry>,
    /// Events that are being signed: the last one, and since when.
    signing: Option<(u64, Millis)>,
}

impl Duties {
    /// Takes the duties up. `now` is this replica's own clock, as in every later call.
    #[must_use]
    pub fn new(now: Millis, view: &View<'_>) -> Self {
        let fresh = SealTry { due: now, pause: SEAL_PAUSE.0, working: false };
        Self {
            contact: BTreeMap::new(),
            started: now,
            lost: BTreeMap::new(),
            plan_wanted: true,
            planned: None,
            seals: view.all_tickets().map(|ticket| (ticket.lease, fresh)).collect(),
            signing: None,
        }
    }

    /// Hears what happened, and says what to do. `wall` is the clock that proposals carry.
    pub fn on(&mut self, event: Event, view: &View<'_>, now: Millis, wall: Millis) -> Vec<Duty> {
        let mut duties = Vec::new();
        match event {
            Event::Tick => self.end_lost_nodes(view, now, &mut duties),
            Event::Contact { node } => {
                self.contact.insert(node, now);
                self.lost.remove(&node);
            }
            Event::Applied(effects) => self.hear(&effects, now),
            Event::SealFailed { ticket } => {
                if let Some(seal) = self.seals.get_mut(&ticket) {
                    seal.working = false;
                    seal.due = now.plus(seal.pause);
                    seal.pause = Millis((seal.pause.0 * 2).min(SEAL_PAUSE.1.0));
                }
            }
            Event::PlanAnswered => self.planned = None,
            // The pause of an unanswered batch applies.
            Event::SignFailed => {}
        }
        self.plan(view, now, wall, &mut duties);
        self.seal(view, now, &mut duties);
        self.sign(view, now, &mut duties);
        duties
    }

    fn hear(&mut self, effects: &[Effect], now: Millis) {
        for effect in effects {
            match effect {
                Effect::Plan => self.plan_wanted = true,
                Effect::Seal { ticket } => {
                    let fresh = SealTry { due: now, pause: SEAL_PAUSE.0, working: false };
                    self.seals.entry(*ticket).or_insert(fresh);
                }
                Effect::Wanted { .. } | Effect::Sign | Effect::Changed { .. } => {}
            }
        }
    }

    fn end_lost_nodes(&mut self, view: &View<'_>, now: Millis, duties: &mut Vec<Duty>) {
        for (node, registered_at) in view.watched_nodes() {
            let heard = self.contact.get(&node).copied().unwrap_or(self.started);
            let silent = now.minus(heard) >= LOST_AFTER;
            if silent && self.lost.get(&node) != Some(&registered_at) {
                self.lost.insert(node, registered_at);
                duties.push(Duty::Propose(Command::NodeLost { node, registered_at }));
            }
        }
    }

    /// One plan at a time: the next is made when the last was answered, or given up.
    fn plan(&mut self, view: &View<'_>, now: Millis, wall: Millis, duties: &mut Vec<Duty>) {
        if self.planned.is_some_and(|since| now.minus(since) < PLAN_PATIENCE) {
            return;
        }
        self.planned = None;
        if !self.plan_wanted {
            return;
        }
        self.plan_wanted = false;
        let mut plan = planner::plan(view, wall, PLAN_BUDGET);
        if plan.record.placements.is_empty() {
            return;
        }
        if plan.exhausted || plan.record.placements.len() > PLAN_CUT {
            self.plan_wanted = true;
        }
        plan.record.placements.truncate(PLAN_CUT);
        self.planned = Some(now);
        duties.push(Duty::Propose(Command::Place { plan: plan.record }));
    }

    fn seal(&mut self, view: &View<'_>, now: Millis, duties: &mut Vec<Duty>) {
        self.seals.retain(|ticket, _| view.ticket(*ticket).is_some());
        let working = self.seals.values().filter(|seal| seal.working).count();
        let free = SEALS_AT_ONCE.saturating_sub(working);
        let due = self.seals.iter_mut().filter(|(_, seal)| !seal.working && seal.due <= now);
        for (ticket, seal) in due.take(free) {
            seal.working = true;
            duties.push(Duty::Seal { ticket: *ticket });
        }
    }

    fn sign(&mut self, view: &View<'_>, now: Millis, duties: &mut Vec<Duty>) {
        let (head, signed) = view.audit_head();
        if let Some((last, since)) = self.signing {
            if signed < last && now.minus(since) < SIGN_PATIENCE {
                return;
            }
            self.signing = None;
        }
        let head = head.map_or(0, |head| head.seq);
        let count = (head - signed).min(SIGN_BATCH);
        if count > 0 {
            self.signing = Some((signed + count, now));
            duties.push(Duty::Sign { first: signed + 1, count });
        }
    }

    /// When each node was last heard, for the cluster's display.
    #[must_use]
    pub fn last_contact(&self, node: NodeId) -> Option<Millis> {
        self.contact.get(&node).copied()
    }
}
