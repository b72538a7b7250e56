//! `exactly_once`: one key, one effect.

use super::{Broken, leader};
use crate::world::World;
use domain::JobId;
use std::collections::BTreeMap;

/// The jobs that came of each request: clients and duties never use a name twice. What the cluster
/// submits itself takes its name from another job, and is looked at by `retrain_once`.
#[derive(Default)]
pub struct Names {
    jobs: BTreeMap<String, JobId>,
}

impl Names {
    /// A job was taken in.
    pub fn submitted(&mut self, job: JobId, name: &str) -> Result<(), Broken> {
        if name.ends_with("-retrain") || name.starts_with("measure-") {
            return Ok(());
        }
        let first = *self.jobs.entry(name.to_owned()).or_insert(job);
        match first == job {
            true => Ok(()),
            false => Err(Broken::new(format!("exactly_once: `{name}` is {first} and {job}"))),
        }
    }
}

/// No two jobs have come of one request.
pub fn check(world: &World) -> Result<(), Broken> {
    let server = leader(world)?;
    let Some(replica) = &server.replica else { return Ok(()) };
    let (machine, rows) = replica.view();
    let view = machine.0.view();
    let names = (1..)
        .map(JobId)
        .map_while(|id| view.job_rows(rows, id).map(|(submitted, _)| (id, submitted.spec.name)));
    unique(names)
}

fn unique(mut names: impl Iterator<Item = (JobId, String)>) -> Result<(), Broken> {
    let mut seen = Names::default();
    names.try_for_each(|(id, name)| seen.submitted(id, &name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_jobs_of_one_name_break_it() {
        let jobs =
            |names: [&str; 2]| unique((1..).map(JobId).zip(names.map(str::to_owned))).is_ok();
        assert!(jobs(["a", "b"]));
        assert!(!jobs(["a", "a"]));
    }
}
