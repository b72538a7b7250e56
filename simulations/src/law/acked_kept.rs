//! `acked_kept`: what was acknowledged is there.

use super::{Broken, leader};
use crate::world::World;
use domain::JobId;
use std::collections::{BTreeMap, BTreeSet};

/// Jobs as the log took them in, and those that have ended: nothing takes that back.
#[derive(Default)]
pub struct Taken {
    names: BTreeMap<JobId, String>,
    ended: BTreeSet<JobId>,
}

impl Taken {
    /// A job's submission was written under a name, or removed.
    pub fn submitted(&mut self, job: JobId, name: Option<&str>) -> Result<(), Broken> {
        let Some(name) = name else {
            return Err(Broken::new(format!("acked_kept: {job} is removed")));
        };
        let first = self.names.entry(job).or_insert_with(|| name.to_owned());
        match *first == name {
            true => Ok(()),
            false => Err(Broken::new(format!("acked_kept: {job} `{first}` becomes `{name}`"))),
        }
    }

    /// The end of a job was written, or taken back.
    pub fn ended(&mut self, job: JobId, ended: bool) -> Result<(), Broken> {
        match ended || !self.ended.contains(&job) {
            true => {
                self.ended.insert(job);
                Ok(())
            }
            false => Err(Broken::new(format!("acked_kept: {job} had ended and goes on"))),
        }
    }
}

/// Every acknowledged job is known, and every acknowledged cancellation has ended its job.
pub fn check(world: &World) -> Result<(), Broken> {
    let server = leader(world)?;
    let Some(replica) = &server.replica else { return Ok(()) };
    let (machine, rows) = replica.view();
    let view = machine.0.view();
    for client in &world.clients {
        for (name, job) in &client.acked {
            match view.job_rows(rows, *job) {
                Some((submitted, _)) if submitted.spec.name == *name => {}
                Some((submitted, _)) => {
                    let found = submitted.spec.name;
                    return Err(Broken::new(format!(
                        "acked_kept: {job} is `{found}`, not `{name}`"
                    )));
                }
                None => return Err(Broken::new(format!("acked_kept: {job} `{name}` is lost"))),
            }
        }
        for job in &client.cancelled {
            let ended = view.job_rows(rows, *job).is_some_and(|(_, done)| done.ended.is_some());
            if !ended {
                return Err(Broken::new(format!("acked_kept: {job} was cancelled and goes on")));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_vanishes_changes_or_goes_on_after_its_end_breaks_it() {
        let mut law = Taken::default();
        assert!(law.submitted(JobId(1), Some("a")).is_ok());
        assert!(law.submitted(JobId(1), Some("a")).is_ok());
        assert!(law.submitted(JobId(1), Some("b")).is_err());
        assert!(law.submitted(JobId(1), None).is_err());
        assert!(law.ended(JobId(1), true).is_ok());
        assert!(law.ended(JobId(1), false).is_err());
    }
}
