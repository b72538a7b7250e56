//! Tells the leader, and tells it again until it is recorded.

use super::{AgentMachine, Output, lease::Step};
use domain::{
    Digest, LeaseId, Millis,
    artifact::OutputDigests,
    job::EndCause,
    lease::Phase,
    link::{Report, Up},
};
use std::collections::{BTreeMap, BTreeSet};

/// Reports that are not recorded yet, by number.
///
/// Bounded: each lease has at most one of each kind here.
#[derive(Debug)]
pub(super) struct Reports {
    next: u64,
    queued: BTreeMap<u64, Queued>,
}

#[derive(Debug)]
struct Queued {
    report: Report,
    sent: Option<Millis>,
}

impl Reports {
    pub(super) fn new(first: u64) -> Self {
        Self { next: first, queued: BTreeMap::new() }
    }

    /// Queues a report, unless the same one waits already.
    pub(super) fn add(&mut self, report: Report) {
        if self.queued.values().any(|queued| queued.report == report) {
            return;
        }
        self.queued.insert(self.next, Queued { report, sent: None });
        self.next += 1;
    }

    /// A new stream begins: nothing was sent on it.
    pub(super) fn forget_sent(&mut self) {
        for queued in self.queued.values_mut() {
            queued.sent = None;
        }
    }

    /// Drops what no longer counts, since the lease has ended in the log.
    pub(super) fn drop_all_but_stopped(&mut self, lease: LeaseId) {
        self.queued.retain(|_, queued| {
            queued.report.lease() != lease || matches!(queued.report, Report::Stopped { .. })
        });
    }

    fn take(&mut self, seq: u64) -> Option<Report> {
        self.queued.remove(&seq).map(|queued| queued.report)
    }

    /// The reports to send now: of each lease only the first, so that they are recorded in the
    /// order in which they came about, whichever way they take.
    fn due(&mut self, now: Millis, resend: Millis) -> Vec<(u64, Report)> {
        let mut due = Vec::new();
        let mut leases = BTreeSet::new();
        for (seq, queued) in &mut self.queued {
            if !leases.insert(queued.report.lease()) {
                continue;
            }
            if queued.sent.is_none_or(|sent| sent.plus(resend) <= now) {
                queued.sent = Some(now);
                due.push((*seq, queued.report.clone()));
            }
        }
        due
    }

    /// When the first report is to be sent again.
    pub(super) fn wake(&self, resend: Millis) -> Option<Millis> {
        self.queued.values().filter_map(|queued| queued.sent).min().map(|sent| sent.plus(resend))
    }
}

impl AgentMachine {
    /// Sends the reports that are due, in the order of their numbers.
    pub(super) fn deliver(&mut self, now: Millis) {
        if !self.contact.is_welcomed() {
            return;
        }
        for (seq, report) in self.reports.due(now, self.config.resend) {
            self.out.push(Output::Send(Up::Report { seq, report }));
        }
    }

    /// A report is in the log, or was refused for good.
    pub(super) fn recorded(&mut self, seq: u64, refused: Option<String>) {
        let Some(report) = self.reports.take(seq) else { return };
        let lease = report.lease();
        match (refused, report) {
            (None, Report::Checkpoint { checkpoint }) => self.checkpoint_recorded(checkpoint),
            (None, _) => {}
            (Some(_), Report::Failed { .. } | Report::Stopped { .. } | Report::Dumped { .. }) => {}
            // Most likely the lease has ended; if it has not, this ends it.
            (Some(why), _) => self.fail(lease, EndCause::Seal { detail: why }),
        }
    }

    pub(super) fn output_stored(
        &mut self,
        lease: LeaseId,
        result: Result<OutputDigests, EndCause>,
        now: Millis,
    ) {
        let Some(held) = self.leases.get_mut(&lease) else { return };
        if held.step != Step::Storing {
            return;
        }
        match result {
            Err(cause) => self.fail(lease, cause),
            Ok(output) => {
                held.step = Step::Stored { output, since: now };
                self.publish_if_all_done(lease);
            }
        }
    }

    /// A node without rank 0 is done once its log is where the record can name it.
    pub(super) fn log_stored(&mut self, lease: LeaseId, result: Result<Digest, EndCause>) {
        let Some(held) = self.leases.get_mut(&lease) else { return };
        if held.step != Step::Storing || held.leads(self.node) {
            return;
        }
        match result {
            Err(cause) => self.fail(lease, cause),
            Ok(log) => {
                let done = Report::Done { lease, log };
                held.step = Step::Reported(done.clone());
                self.reports.add(done);
            }
        }
    }

    /// Reports the end once the other nodes of the gang are done: theirs may still fail.
    pub(super) fn publish_if_all_done(&mut self, lease: LeaseId) {
        let Some(held) = self.leases.get(&lease) else { return };
        let Phase::Started { done } = &held.wanted.lease.phase else { return };
        let mut others = held.wanted.lease.members.iter().skip(1);
        if others.all(|member| done.contains_key(&member.node)) {
            self.publish(lease);
        }
    }

    /// Reports the end. The log takes it only when the whole gang is done, so asking does no harm.
    pub(super) fn publish(&mut self, lease: LeaseId) {
        let Some(held) = self.leases.get_mut(&lease) else { return };
        let Step::Stored { output, .. } = &held.step else { return };
        let report = Report::Ended { lease, output: output.clone() };
        held.step = Step::Reported(report.clone());
        self.reports.add(report);
    }
}
