//! `checkpoint_monotone`: an attempt resumes from the newest committed checkpoint, which was
//! committed under a lease of the same element.

use super::Broken;
use crate::server::Server;
use domain::{JobId, LeaseId, ReplicaId, checkpoint::Checkpoint, lease::Lease};
use std::collections::BTreeMap;

/// What each lease resumes from, whose each lease is, and how far each element was saved.
#[derive(Default)]
pub struct CheckpointMonotone {
    elements: BTreeMap<LeaseId, domain::ElementId>,
    resumed: BTreeMap<domain::ElementId, u64>,
    /// The step that each server knew an element to be saved at, in one life of the server.
    saved: BTreeMap<(ReplicaId, u64), BTreeMap<(JobId, u32), u64>>,
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
        let life = (server.id, server.life);
        self.saved.retain(|(id, older), _| *id != life.0 || *older == life.1);
        let mut known = self.saved.remove(&life).unwrap_or_default();
        known.retain(|(job, _), _| view.live_job(*job).is_some());
        for lease in view.all_leases().filter(|lease| !runs(lease.element.job)) {
            let job = view.live_job(lease.element.job);
            let row = job.and_then(|job| job.elements.get(&job.position(lease.element)?));
            resumes_from_newest(lease, row.and_then(|row| row.newest.as_ref()))?;
        }
        for (id, job) in view.all_live_jobs().filter(|(id, _)| !runs(*id)) {
            for (position, row) in &job.elements {
                let Some(saved) = &row.newest else { continue };
                let before = known.insert((id, *position), saved.step).unwrap_or(0);
                if saved.step < before {
                    return Err(Broken::new(format!(
                        "acked_kept: {id} at position {position} was saved at step {before}, and \
                         is at {} on {}",
                        saved.step, server.id
                    )));
                }
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
        self.saved.insert(life, known);
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
        let newest = self.resumed.entry(lease.element).or_insert(0);
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

/// Nothing is committed between a grant and the first checkpoint under it: so an attempt resumes
/// from what is the newest until then, and from something older afterwards.
fn resumes_from_newest(lease: &Lease, newest: Option<&Checkpoint>) -> Result<(), Broken> {
    let resumed = lease.resume_from.as_ref();
    let holds = match newest {
        Some(saved) if saved.lease == lease.id => {
            resumed.is_none_or(|before| before.step < saved.step)
        }
        newest => resumed == newest,
    };
    let step = |saved: Option<&Checkpoint>| saved.map_or(0, |saved| saved.step);
    match holds {
        true => Ok(()),
        false => Err(Broken::new(format!(
            "checkpoint_monotone: {} resumes {} from step {}, and step {} was committed",
            lease.id,
            lease.element,
            step(resumed),
            step(newest)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{AttemptNo, Bytes, Digest, Millis, lease::Phase};

    fn checkpoint((step, under): (u64, u64)) -> Checkpoint {
        Checkpoint {
            step,
            root: Digest::default(),
            tree: Digest::default(),
            size: Bytes(0),
            lease: LeaseId { index: under, ordinal: 0 },
        }
    }

    fn lease(index: u64, saved: Option<(u64, u64)>) -> Lease {
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

    #[test]
    fn resuming_from_another_than_the_newest_that_was_committed_breaks_it() {
        let resumes = |from: Option<(u64, u64)>, newest: Option<(u64, u64)>| {
            resumes_from_newest(&lease(3, from), newest.map(checkpoint).as_ref()).is_ok()
        };
        assert!(resumes(None, None) && resumes(Some((5, 2)), Some((5, 2))));
        assert!(!resumes(None, Some((5, 2))) && !resumes(Some((5, 2)), Some((10, 2))));
        assert!(!resumes(Some((5, 2)), None), "lost");
        assert!(resumes(Some((5, 2)), Some((6, 3))), "it has saved since");
        assert!(!resumes(Some((5, 2)), Some((5, 3))));
    }
}
