//! All duties behind one door: what happened goes in, what to do comes out.

use super::{
    checking::Checking, contact::Contacts, copying::Copying, gating::Gating, gating::Training,
    planning::Planning, retraining::Retraining, sealing::Sealing, signing::Signing,
};
use crate::state::{
    command::{Command, Effect},
    view::View,
};
use domain::{
    ArtifactId, JobId, LeaseId, Millis, NodeId, PromotionId, job::EndCause, link::Report,
};

pub use super::contact::LOST_AFTER;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Time went by. To come at least ten times a second.
    Tick,
    /// Entries were applied; the view shows them.
    Applied(Vec<Effect>),
    /// A node registered, or a heartbeat of it was covered by a quorum round that began after
    /// the heartbeat had come.
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
    /// Copies of some results were looked at, and made where they were missing.
    CopiesChecked {
        /// The last of them; none when there are no more.
        last: Option<ArtifactId>,
        /// Whether any was short of copies.
        mended: bool,
    },
    /// Servers have joined the cluster or left it.
    MembersChanged,
    /// Jobs at the gate before training were decided on, but for these.
    TrainingDecided {
        /// Jobs on which nothing was decided.
        undecided: Vec<JobId>,
    },
    /// Work on a promotion ended without a proposal: try again later.
    GateFailed {
        /// The promotion.
        promotion: PromotionId,
    },
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "few live at once, and none for long")]
pub enum Duty {
    /// Propose this, under no key.
    Propose(Command),
    /// End a node's stream, so that its agent registers anew: it is in contact and counts as
    /// lost.
    Reconnect {
        /// The node.
        node: NodeId,
    },
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
    /// Look at the copies of the next results, and propose what was changed.
    CheckCopies {
        /// The last result that was looked at.
        after: ArtifactId,
    },
    /// Ask the policy about jobs before training, and propose what it said.
    DecideTraining {
        /// The jobs, each with whether this is the last try.
        jobs: Vec<(JobId, bool)>,
    },
    /// Ask a promotion's gates and the policy, and propose what they said.
    DecidePromotion {
        /// The promotion.
        promotion: PromotionId,
    },
    /// Sign a promotion's manifest, then propose the signature.
    SignPromotion {
        /// The promotion.
        promotion: PromotionId,
    },
}

/// The duties of one term of leadership.
#[derive(Clone, Debug)]
pub struct Duties {
    contacts: Contacts,
    planning: Planning,
    sealing: Sealing,
    signing: Signing,
    copying: Copying,
    gating: Gating,
    training: Training,
    checking: Checking,
    retraining: Retraining,
}

impl Duties {
    /// Takes the duties up. `now` is this replica's own monotonic clock, as in every later call.
    #[must_use]
    pub fn new(now: Millis, view: &View<'_>) -> Self {
        Self {
            contacts: Contacts::new(now, view),
            planning: Planning::new(now),
            sealing: Sealing::new(now, view),
            signing: Signing::default(),
            copying: Copying::new(now),
            gating: Gating::new(now),
            training: Training::new(now),
            checking: Checking::new(now),
            retraining: Retraining::new(now),
        }
    }

    /// Says whether this server has anything that decides on jobs before training.
    #[must_use]
    pub fn asking(mut self, asks: bool) -> Self {
        self.training.asking(asks);
        self
    }

    /// Hears what happened, and says what to do. `wall` is the clock that proposals carry.
    pub fn on(&mut self, event: Event, view: &View<'_>, now: Millis, wall: Millis) -> Vec<Duty> {
        let mut duties = Vec::new();
        match event {
            Event::Tick => {
                let broken = self.contacts.broken(view, now).into_iter();
                duties.extend(broken.map(|(node, lease)| {
                    let report = Report::Failed { lease, cause: EndCause::NodeLost };
                    Duty::Propose(Command::Report { node, report })
                }));
                let lost = self.contacts.lost(view, now).into_iter();
                duties.extend(lost.map(|(node, registered_at)| {
                    Duty::Propose(Command::NodeLost { node, registered_at })
                }));
                self.sealing.look(view, now);
            }
            Event::Applied(effects) => self.hear(effects, now),
            Event::Contact { node } => {
                if self.contacts.renewed(node, view, now) {
                    duties.push(Duty::Reconnect { node });
                }
            }
            Event::PlanAnswered => self.planning.answered(),
            Event::SealFailed { ticket } => self.sealing.failed(ticket, now),
            Event::SignFailed => self.signing.failed(now),
            Event::CopiesChecked { last, mended } => self.copying.looked(last, mended, now),
            Event::MembersChanged => self.copying.begin_again(now),
            Event::TrainingDecided { undecided } => self.training.answered(&undecided, now),
            Event::GateFailed { promotion } => self.gating.failed(promotion, now),
        }
        let plan = self.planning.next(view, now, wall);
        duties.extend(plan.into_iter().map(Duty::Propose));
        let due = self.planning.due(view, now, wall);
        duties.extend(due.map(|until| Duty::Propose(Command::Wake { until })));
        duties.extend(self.sealing.next(view, now));
        duties.extend(self.signing.next(view, now));
        duties.extend(self.copying.next(now));
        duties.extend(self.gating.next(view, now, wall));
        duties.extend(self.training.next(view, now));
        let checks = self.checking.next(view, now, wall, self.planning.is_on_its_way());
        duties.extend(checks.into_iter().map(|it| Duty::Propose(Command::Check(it))));
        let retrains = self.retraining.next(view, now, wall);
        duties.extend(retrains.into_iter().map(Duty::Propose));
        duties
    }

    /// When an open ticket is tried next, by this replica's own monotonic clock.
    #[must_use]
    pub fn seal_due(&self, ticket: LeaseId) -> Option<Millis> {
        self.sealing.due(ticket)
    }

    fn hear(&mut self, effects: Vec<Effect>, now: Millis) {
        for effect in effects {
            match effect {
                Effect::Plan => self.planning.wake(),
                Effect::Seal { ticket } => self.sealing.opened(ticket, now),
                Effect::Gate => {
                    self.gating.wake(now);
                    self.training.wake(now);
                }
                // Sessions and watchers are the shell's own; unsigned events are in the view.
                Effect::Wanted { .. } | Effect::Sign | Effect::Changed { .. } => {}
            }
        }
    }
}
