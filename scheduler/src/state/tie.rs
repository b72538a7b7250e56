//! Jobs of one request that wait for others of it.
//!
//! A job waits only for jobs before it in the request, so that no two wait for each other. Their
//! ids are known once they are taken in, all in one entry.

use super::command::{NewJob, Refusal};
use borsh::{BorshDeserialize, BorshSerialize};
use domain::{
    JobId,
    after::{After, When},
    limit,
};

/// A job of a request that waits for another of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Tie {
    /// Its place in the request.
    pub job: u32,
    /// The place of the one that it waits for, which comes before it.
    pub on: u32,
    /// How that one must have ended.
    pub when: When,
}

/// Whether jobs may be tied so.
pub(super) fn check(jobs: &[NewJob], ties: &[Tie]) -> Result<(), Refusal> {
    for tie in ties {
        let Some(job) = jobs.get(tie.job as usize) else {
            let fault = format!("after: the request has no job {}", tie.job);
            return Err(Refusal::Spec(fault));
        };
        if tie.on >= tie.job {
            return Err(Refusal::Spec(format!(
                "job `{}`: after: it is job {} of the request and may wait for those before it, \
                 not for job {}; send each job after those that it waits for",
                job.spec.name, tie.job, tie.on
            )));
        }
    }
    for (at, job) in jobs.iter().enumerate() {
        let count = job.spec.after.len() + ties.iter().filter(|tie| tie.job as usize == at).count();
        if count > limit::AFTER_MAX {
            return Err(Refusal::Spec(format!(
                "job `{}`: after: names {count} jobs; wait for at most {}, or for one that waits \
                 for the others",
                job.spec.name,
                limit::AFTER_MAX
            )));
        }
    }
    Ok(())
}

/// Has jobs wait for each other, where the first of them has the number `first`.
pub(super) fn tie(jobs: &mut [NewJob], ties: &[Tie], first: u64) {
    for tie in ties {
        let after = After { job: JobId(first + u64::from(tie.on)), when: tie.when };
        if let Some(job) = jobs.get_mut(tie.job as usize)
            && !job.spec.after.contains(&after)
        {
            job.spec.after.push(after);
        }
    }
}
