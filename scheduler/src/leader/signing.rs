//! Has audit events signed in batches, in the order of the chain.

use super::duties::Duty;
use crate::state::view::View;
use domain::Millis;

/// Events signed by one proposal at most.
const BATCH: u64 = 512;
/// Time for which events gather before they are signed, so that signatures do not double the
/// entries of a quiet log.
const GATHER: Millis = Millis(100);
/// First and longest pause after a failure.
const PAUSE: (Millis, Millis) = (Millis(200), Millis(5_000));
/// Time after which a batch whose signatures are not in the log is signed again.
const PATIENCE: Millis = Millis(2_000);

/// When to sign next.
#[derive(Clone, Debug)]
pub(super) struct Signing {
    /// The last event of the batch that is being signed, and since when.
    batch: Option<(u64, Millis)>,
    /// When the events that wait are due.
    due: Option<Millis>,
    /// The pause after the next failure.
    pause: Millis,
    /// Not before, after a failure.
    paused_until: Millis,
}

impl Default for Signing {
    fn default() -> Self {
        Self { batch: None, due: None, pause: PAUSE.0, paused_until: Millis(0) }
    }
}

impl Signing {
    /// The batch was not signed.
    pub fn failed(&mut self, now: Millis) {
        self.batch = None;
        self.paused_until = now.plus(self.pause);
        self.pause = Millis(self.pause.0.saturating_mul(2)).min(PAUSE.1);
    }

    /// The next batch, if events wait and none is being signed.
    pub fn next(&mut self, view: &View<'_>, now: Millis) -> Option<Duty> {
        let (head, signed) = view.audit_head();
        if let Some((last, since)) = self.batch {
            if signed < last && now < since.plus(PATIENCE) {
                return None;
            }
            if signed >= last {
                self.pause = PAUSE.0;
            }
            self.batch = None;
        }
        let unsigned = head.map_or(0, |head| head.seq).saturating_sub(signed);
        if unsigned == 0 {
            self.due = None;
            return None;
        }
        let due = *self.due.get_or_insert(now.plus(GATHER));
        if now < self.paused_until || (now < due && unsigned < BATCH) {
            return None;
        }
        let count = unsigned.min(BATCH);
        self.due = None;
        self.batch = Some((signed + count, now));
        Some(Duty::Sign { first: signed + 1, count })
    }
}
