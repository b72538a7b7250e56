//! A lease on this node: which step it is at, and what the leader wants of it.

use super::{AgentMachine, Exit, HeldLease, HeldTask, Output, checkpoint::Commits, notice::Notice};
use domain::{
    LeaseId, LogIndex, Millis, NodeId,
    artifact::OutputDigests,
    check::{CheckRun, CheckTask},
    job::{EndCause, OnDisconnect},
    lease::Phase,
    link::{Report, WantedLease},
};
use std::collections::BTreeSet;

/// How far this node is with a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Code and data are being laid out.
    Preparing,
    /// All is laid out; nothing runs before the whole gang is ready.
    Ready,
    /// Tasks run.
    Running {
        /// When they were started.
        since: Millis,
        /// Ranks that have not ended.
        left: BTreeSet<u32>,
    },
    /// All tasks ended well; the last checkpoint is still on its way.
    Settling,
    /// The output is being stored.
    Storing,
    /// The output is stored; other nodes of the gang are not done.
    Stored {
        /// What it is.
        output: OutputDigests,
        /// Since when.
        since: Millis,
    },
    /// The end was reported; the leader has not taken the lease away yet.
    Reported(Report),
    /// Processes are being ended.
    Killing(Option<EndCause>),
    /// Nothing runs, nor will it. The cause is what we tell if the leader still wants it run.
    Dead(Option<EndCause>),
}

/// A lease that this node holds.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) wanted: WantedLease,
    pub(super) step: Step,
    pub(super) commits: Commits,
    /// When its tasks are killed for want of contact; none means never.
    pub(super) deadline: Option<Millis>,
    /// Whether the tasks were asked for a checkpoint since the last contact.
    pub(super) asked: bool,
    /// Whether its time limit is near.
    pub(super) warned: bool,
    /// That the leader wants it to give its place up.
    pub(super) notice: Option<Notice>,
    /// What its tasks were told of how they end, if they were.
    pub(super) told: Option<EndCause>,
    /// Whether the leader has taken it away: forget it as soon as nothing runs.
    pub(super) gone: bool,
}

impl Held {
    pub(super) fn new(wanted: WantedLease, step: Step) -> Self {
        let commits = Commits::after(&wanted);
        Self {
            wanted,
            step,
            commits,
            deadline: None,
            asked: false,
            warned: false,
            notice: None,
            told: None,
            gone: false,
        }
    }

    pub(super) fn leads(&self, node: Option<NodeId>) -> bool {
        node == Some(self.wanted.lease.lead())
    }

    /// The step whose checkpoint is to be stored, now that one at `step` was seen: of a run that
    /// is compared at one step, that one alone.
    pub(super) fn wants(&self, step: u64) -> Option<u64> {
        match &self.wanted.spec.check {
            Some(CheckRun { task: CheckTask::Segment { until, .. }, .. }) => {
                (step >= *until).then_some(*until)
            }
            Some(CheckRun { task: CheckTask::BurnIn, .. }) => None,
            None => Some(step),
        }
    }

    pub(super) fn fenced(&self) -> bool {
        self.wanted.spec.on_disconnect == OnDisconnect::Stop
    }
}

impl AgentMachine {
    /// Takes over tasks that an earlier life of the agent started.
    pub(super) fn adopt(&mut self, held: HeldLease) {
        let lease = held.wanted.lease.id;
        let left = held.tasks.keys().copied().collect();
        let mut entry = Held::new(held.wanted, Step::Running { since: held.started, left });
        entry.deadline = held.deadline;
        self.leases.insert(lease, entry);
        for (rank, task) in held.tasks {
            match task {
                HeldTask::Running => {}
                HeldTask::Exited(exit) => self.exited(lease, rank, exit),
                HeldTask::Lost => self.fail(lease, EndCause::NodeLost),
            }
        }
    }

    /// Obeys the list of all leases that this node is to hold, and what is new of some of them.
    pub(super) fn wanted(
        &mut self,
        at: LogIndex,
        held: &BTreeSet<LeaseId>,
        leases: Vec<WantedLease>,
        now: Millis,
    ) {
        if at < self.seen {
            return;
        }
        self.seen = at;
        let taken: Vec<_> = self.leases.keys().filter(|id| !held.contains(id)).copied().collect();
        for lease in taken {
            if lease.index <= at.0 {
                self.take_away(lease);
            }
        }
        for wanted in leases {
            self.want(wanted, now);
        }
    }

    fn want(&mut self, wanted: WantedLease, now: Millis) {
        let id = wanted.lease.id;
        if self.node.is_none_or(|node| wanted.lease.member(node).is_none()) {
            return;
        }
        let Some(held) = self.leases.get_mut(&id) else {
            self.take_on(wanted);
            self.heed(id, now);
            return;
        };
        held.gone = false;
        held.commits.committed(&wanted);
        held.wanted = wanted;
        match &held.wanted.lease.phase {
            Phase::Stopping { cause, .. } => {
                let cause = cause.clone();
                match held.wanted.spec.check.is_some() {
                    true => self.stop(id),
                    false => self.end(id, None, self.grace_after(&cause)),
                }
            }
            Phase::Started { .. } => {
                self.publish_if_all_done(id);
                self.start(id, now);
            }
            Phase::Preparing { .. } => {}
        }
        self.heed(id, now);
        self.remind(id);
    }

    fn take_on(&mut self, wanted: WantedLease) {
        let id = wanted.lease.id;
        let stopping = matches!(wanted.lease.phase, Phase::Stopping { .. });
        let step = if stopping { Step::Dead(None) } else { Step::Preparing };
        if !stopping {
            self.out.push(Output::Prepare { wanted: Box::new(wanted.clone()) });
        }
        self.leases.insert(id, Held::new(wanted, step));
        self.remind(id);
    }

    /// The leader no longer wants it here.
    fn take_away(&mut self, lease: LeaseId) {
        if let Some(held) = self.leases.get_mut(&lease) {
            held.gone = true;
        }
        self.reports.drop_all_but_stopped(lease);
        self.stop(lease);
    }

    /// Ends what runs, if anything does.
    pub(super) fn stop(&mut self, lease: LeaseId) {
        // What a check's run has saved nobody uses: a job may wait for its room.
        let held = self.leases.get(&lease);
        let checks = held.is_some_and(|held| held.wanted.spec.check.is_some());
        let grace = if checks { Millis(0) } else { self.config.kill_grace };
        self.end(lease, None, grace);
    }

    /// Time from SIGTERM to SIGKILL for tasks whose attempt ends by `cause`.
    fn grace_after(&self, cause: &EndCause) -> Millis {
        match cause {
            EndCause::ExitCode { .. }
            | EndCause::Signal { .. }
            | EndCause::OutOfMemory { .. }
            | EndCause::TooManyProcesses { .. }
            | EndCause::DiskQuota { .. }
            | EndCause::Drift { .. }
            | EndCause::GpuFault { .. }
            | EndCause::NodeLost => self.config.gang_grace,
            _ => self.config.kill_grace,
        }
    }

    /// Ends what runs because it failed, and says why.
    pub(super) fn fail(&mut self, lease: LeaseId, cause: EndCause) {
        let grace = self.grace_after(&cause);
        self.fail_within(lease, cause, grace);
    }

    pub(super) fn fail_within(&mut self, lease: LeaseId, cause: EndCause, grace: Millis) {
        let Some(held) = self.leases.get(&lease) else { return };
        if matches!(held.step, Step::Killing(_) | Step::Dead(_)) {
            return;
        }
        if !held.gone {
            self.reports.add(Report::Failed { lease, cause: cause.clone() });
        }
        self.end(lease, Some(cause), grace);
    }

    fn end(&mut self, lease: LeaseId, cause: Option<EndCause>, grace: Millis) {
        let Some(held) = self.leases.get_mut(&lease) else { return };
        match held.step {
            Step::Killing(_) => {}
            Step::Running { .. } => {
                held.step = Step::Killing(cause);
                self.out.push(Output::Kill { lease, grace });
            }
            Step::Preparing
            | Step::Ready
            | Step::Settling
            | Step::Storing
            | Step::Stored { .. }
            | Step::Reported(_) => {
                held.step = Step::Dead(cause);
                if !held.gone {
                    self.reports.add(Report::Stopped { lease });
                }
                self.forget_if_gone(lease);
            }
            Step::Dead(_) => self.forget_if_gone(lease),
        }
    }

    /// No process of the lease is left. Said even of a lease that was taken away: its job may
    /// wait for this very word (`restart = "confirmed"`).
    pub(super) fn killed(&mut self, lease: LeaseId) {
        let Some(held) = self.leases.get_mut(&lease) else { return };
        if let Step::Killing(cause) = &held.step {
            held.step = Step::Dead(cause.clone());
            self.reports.add(Report::Stopped { lease });
            self.forget_if_gone(lease);
        }
    }

    fn forget_if_gone(&mut self, lease: LeaseId) {
        if self.leases.get(&lease).is_some_and(|held| held.gone) {
            self.leases.remove(&lease);
            self.out.push(Output::Forget { lease });
        }
    }

    /// Repeats what the leader's picture of the lease lacks: a report may have been lost with a
    /// leader after it was taken for recorded.
    fn remind(&mut self, lease: LeaseId) {
        let (Some(held), Some(node)) = (self.leases.get(&lease), self.node) else { return };
        let lacks = match (&held.wanted.lease.phase, &held.step) {
            (Phase::Preparing { ready }, Step::Ready) if !ready.contains(&node) => {
                Some(Report::Prepared { lease })
            }
            (Phase::Started { done }, Step::Reported(report)) if !done.contains_key(&node) => {
                Some(report.clone())
            }
            (Phase::Preparing { .. } | Phase::Started { .. }, Step::Dead(cause)) => {
                let cause = cause.clone().unwrap_or(EndCause::NodeLost);
                Some(Report::Failed { lease, cause })
            }
            (Phase::Stopping { remaining, .. }, Step::Dead(_)) if remaining.contains(&node) => {
                Some(Report::Stopped { lease })
            }
            _ => None,
        };
        if let Some(report) = lacks {
            self.reports.add(report);
        }
    }
}

impl Exit {
    /// What it says of the attempt, if the task did not end well.
    pub fn cause(self, rank: u32) -> Option<EndCause> {
        match self {
            Self::Code(0) => None,
            Self::Code(code) => Some(EndCause::ExitCode { rank, code }),
            Self::Signal(signal) => Some(EndCause::Signal { rank, signal }),
            Self::Killed => Some(EndCause::LeaseExpired),
            Self::OutOfMemory { used, limit } => Some(EndCause::OutOfMemory { rank, used, limit }),
            Self::TooManyProcesses { limit } => Some(EndCause::TooManyProcesses { rank, limit }),
        }
    }
}
