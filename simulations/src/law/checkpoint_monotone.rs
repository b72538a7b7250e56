//! `checkpoint_monotone`: an attempt resumes from the newest committed checkpoint, which was
//! committed under a lease of the same element.

use super::Broken;
use crate::server::Server;
use domain::{LeaseId, lease::Lease};
use std::collections::BTreeMap;

/// What each lease resumes from, and whose each lease is.
#[derive(Default)]
pub struct CheckpointMonotone {
    elements: BTreeMap<LeaseId, domain::ElementId>,
    newest: BTreeMap<domain::ElementId, u64>,
}

impl CheckpointMonotone {
    /// Looks at every lease of a server.
    pub fn check(&mut self, server: &Server) -> Result<(), Broken> {
        let Some(replica) = &server.replica else { return Ok(()) };
        let view = replica.view().0.0.view();
        // A run of a check begins where the work that it repeats did.
        let runs = |id| view.live_job(id).is_some_and(|job| job.brief.check.is_some());
        for lease in view.all_leases() {
            if runs(lease.element.job) {
                self.elements.insert(lease.id, lease.element);
            } else {
                self.look(lease)?;
            }
        }
        for (id, job) in view.all_live_jobs().filter(|(id, _)| !runs(*id)) {
            for (position, row) in &job.elements {
                let Some(saved) = &row.newest else { continue };
                let whose = self.elements.get(&saved.lease);
                let fits = whose.is_none_or(|element| {
                    element.job == id && element.index.is_none_or(|index| index == *position)
                });
                if !fits {
                    return Err(Broken::new(format!(
                        "stale_lease_fenced: {id} holds a checkpoint under {}, which is not its",
                        saved.lease
                    )));
                }
            }
        }
        Ok(())
    }

    /// Whether a lease is or was in the log.
    pub fn knows(&self, lease: LeaseId) -> bool {
        self.elements.contains_key(&lease)
    }

    fn look(&mut self, lease: &Lease) -> Result<(), Broken> {
        if self.elements.insert(lease.id, lease.element).is_some() {
            return Ok(());
        }
        let step = lease.resume_from.as_ref().map_or(0, |saved| saved.step);
        let newest = self.newest.entry(lease.element).or_insert(0);
        if step < *newest {
            return Err(Broken::new(format!(
                "checkpoint_monotone: {} resumes {} from step {step}, an earlier attempt from {newest}",
                lease.id, lease.element
            )));
        }
        *newest = step;
        match &lease.resume_from {
            Some(saved) if self.elements.get(&saved.lease) != Some(&lease.element) => {
                Err(Broken::new(format!(
                    "stale_lease_fenced: {} resumes {} from a checkpoint under {}, which is not its",
                    lease.id, lease.element, saved.lease
                )))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{AttemptNo, Bytes, Digest, JobId, Millis, checkpoint::Checkpoint, lease::Phase};

    fn lease(index: u64, saved: Option<(u64, u64)>) -> Lease {
        let checkpoint = |(step, under)| Checkpoint {
            step,
            root: Digest::default(),
            tree: Digest::default(),
            size: Bytes(0),
            lease: LeaseId { index: under, ordinal: 0 },
        };
        Lease {
            id: LeaseId { index, ordinal: 0 },
            element: JobId(1).into(),
            attempt: AttemptNo(1),
            granted: Millis(0),
            members: Vec::new(),
            phase: Phase::Preparing { ready: Default::default() },
            resume_from: saved.map(checkpoint),
            build_key: Digest::default(),
            isolation: domain::isolation::Isolation::None,
            notice: None,
        }
    }

    #[test]
    fn resuming_from_an_older_or_a_foreign_checkpoint_breaks_it() {
        let mut law = CheckpointMonotone::default();
        assert!(law.look(&lease(1, None)).is_ok());
        assert!(law.look(&lease(2, Some((5, 1)))).is_ok());
        assert!(law.look(&lease(3, Some((4, 1)))).is_err(), "older");
        let mut law = CheckpointMonotone::default();
        assert!(law.look(&lease(2, Some((5, 9)))).is_err(), "foreign");
    }
}
