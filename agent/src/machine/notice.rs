//! Notice: a running attempt saves what it has, and then gives its place up.
//!
//! The tasks are told at once. As soon as a checkpoint that was complete since is in the log, the
//! attempt gives its place up. Until then its time runs out when no byte of a checkpoint was
//! written, hashed or sent for [`limit::NOTICE_PATIENCE`]; every byte begins that time anew, and
//! the leader bounds the whole. Only the node that holds rank 0 sees checkpoints, so it decides
//! for the gang.

use super::{
    AgentMachine, Output,
    lease::{Held, Step},
};
use domain::{LeaseId, Millis, job::EndCause, limit};

/// A notice as this node follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    /// How the attempt ends if it heeds.
    cause: EndCause,
    /// When a byte was last seen to move, or when the notice came.
    moved: Millis,
    /// Bytes of checkpoints that were written, hashed and sent, as the shell counts them.
    bytes: Option<u64>,
    /// The first step that was seen to be complete since.
    saved: Option<u64>,
    /// Whether a task has ended by itself since, without being done.
    pub(super) left: bool,
}

impl Notice {
    /// A complete checkpoint stands in the folder.
    pub(super) fn seen(&mut self, step: u64, now: Millis) {
        self.saved = Some(self.saved.map_or(step, |first| first.min(step)));
        self.moves(now);
    }

    /// Something of a checkpoint got on.
    pub(super) fn moves(&mut self, now: Millis) {
        self.moved = now;
    }

    /// When the attempt ends if nothing moves.
    pub(super) fn until(&self) -> Millis {
        self.moved.plus(limit::NOTICE_PATIENCE)
    }
}

impl Held {
    /// When its tasks are warned of their time limit.
    pub(super) fn warns_at(&self, since: Millis) -> Option<Millis> {
        let spec = &self.wanted.spec;
        spec.time_limit.map(|limit| since.plus(limit.minus(spec.interrupt.warns(limit))))
    }

    /// What its tasks are to be told of how they end, if that is other than they were told.
    pub(super) fn say(&mut self, lease: LeaseId) -> Option<Output> {
        let notice = self.notice.as_ref().map(|notice| notice.cause.clone());
        let warned = self.warned.then_some(EndCause::TimeLimit);
        let asked = self.asked.then_some(EndCause::LeaseExpired);
        let says = notice.or(warned).or(asked);
        if says == self.told {
            return None;
        }
        self.told = says;
        Some(match self.told.clone() {
            Some(cause) => Output::AskCheckpoint { lease, cause },
            None => Output::UnaskCheckpoint { lease },
        })
    }
}

impl AgentMachine {
    /// Obeys what the leader says of a lease's notice.
    pub(super) fn heed(&mut self, lease: LeaseId, now: Millis) {
        let Some(held) = self.leases.get_mut(&lease) else { return };
        let wanted = held.wanted.lease.notice.as_ref().map(|notice| notice.cause.clone());
        match (wanted, &held.notice) {
            (Some(cause), None) => match held.step {
                Step::Running { .. } => {
                    let notice =
                        Notice { cause, moved: now, bytes: None, saved: None, left: false };
                    held.notice = Some(notice);
                    self.out.extend(held.say(lease));
                }
                Step::Preparing | Step::Ready => self.fail(lease, cause),
                // It ends by itself, or is being ended.
                Step::Settling
                | Step::Storing
                | Step::Stored { .. }
                | Step::Reported(_)
                | Step::Killing(_)
                | Step::Dead(_) => {}
            },
            (None, Some(notice)) => {
                // What has left for it is not there any more.
                let left = notice.left.then(|| notice.cause.clone());
                held.notice = None;
                match left {
                    Some(cause) => self.fail(lease, cause),
                    None => self.out.extend(held.say(lease)),
                }
            }
            // It is to leave for another reason now, in the time that it has.
            (Some(cause), Some(notice)) if cause != notice.cause => {
                if let Some(notice) = &mut held.notice {
                    notice.cause = cause;
                }
                self.out.extend(held.say(lease));
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
    }

    /// Bytes of a lease's checkpoints have moved.
    pub(super) fn advanced(&mut self, lease: LeaseId, bytes: u64, now: Millis) {
        let held = self.leases.get_mut(&lease);
        let Some(notice) = held.and_then(|held| held.notice.as_mut()) else { return };
        // The first count says how much there was before.
        if notice.bytes.replace(bytes).is_some_and(|before| before != bytes) {
            notice.moves(now);
        }
    }

    /// Ends attempts that have saved what they had, or that do not move.
    pub(super) fn release(&mut self, now: Millis) {
        let mut over = Vec::new();
        for (lease, held) in &self.leases {
            let Some(notice) = &held.notice else { continue };
            let decides = held.leads(self.node) && matches!(held.step, Step::Running { .. });
            let saved = notice.saved.is_some_and(|step| held.commits.has(step));
            let left = notice.left && held.commits.settled();
            if decides && (saved || left || notice.until() <= now) {
                over.push((*lease, notice.cause.clone()));
            }
        }
        for (lease, cause) in over {
            self.fail(lease, cause);
        }
    }

    /// Leases that have notice and still run: the shell counts the bytes of their checkpoints.
    pub fn noticed(&self) -> impl Iterator<Item = LeaseId> + '_ {
        let runs = |(_, held): &(&LeaseId, &Held)| {
            held.notice.is_some() && matches!(held.step, Step::Running { .. })
        };
        self.leases.iter().filter(runs).map(|(lease, _)| *lease)
    }
}
