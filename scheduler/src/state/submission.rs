//! The whole of a submit: earlier parts, jobs, which of them wait for which, and what few of them
//! say beside the first form of a specification.

use super::{
    command::{Command, NewJob},
    tie::Tie,
};
use borsh::{BorshDeserialize, BorshSerialize};
use domain::{job::Further, version::ClusterVersion};
use std::collections::BTreeSet;

/// Since which version a job may say more than the first form has a place for.
pub(super) const FURTHER: ClusterVersion = ClusterVersion(2);

/// Jobs that are taken in together, all or none.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Submission {
    /// Earlier parts, by the numbers that [`super::command::Reply::Part`] gave, in order.
    pub parts: Vec<u64>,
    /// The jobs, or the last of them.
    pub jobs: Vec<NewJob>,
    /// Which waits for which, by their places over all parts.
    pub ties: Vec<Tie>,
    /// What some of them say further, with their places over all parts.
    pub further: Vec<(Further, BTreeSet<u32>)>,
}

impl From<Vec<NewJob>> for Submission {
    fn from(jobs: Vec<NewJob>) -> Self {
        (Vec::new(), jobs).into()
    }
}

impl From<(Vec<u64>, Vec<NewJob>)> for Submission {
    fn from((parts, jobs): (Vec<u64>, Vec<NewJob>)) -> Self {
        Self { parts, jobs, ties: Vec::new(), further: Vec::new() }
    }
}

impl Submission {
    /// Puts what is said further into the jobs, of which these are all. What none is said of for a
    /// job is taken out: the log does not hold it in the job.
    pub(super) fn complete(jobs: &mut [NewJob], further: Vec<(Further, BTreeSet<u32>)>) {
        for job in &mut *jobs {
            job.spec.set_further(Further::default());
        }
        for (said, places) in further {
            for place in places {
                if let Some(job) = jobs.get_mut(place as usize) {
                    job.spec.set_further(said.clone());
                }
            }
        }
    }
}

/// Takes out of jobs what they say further: each once, with the places of those that say it.
#[must_use]
pub fn gather(jobs: &mut [NewJob]) -> Vec<(Further, BTreeSet<u32>)> {
    let mut all: Vec<(Further, BTreeSet<u32>)> = Vec::new();
    for (place, job) in (0u32..).zip(jobs) {
        let said = job.spec.further();
        if said.is_default() {
            continue;
        }
        job.spec.set_further(Further::default());
        match all.iter_mut().find(|(known, _)| *known == said) {
            Some((_, places)) => drop(places.insert(place)),
            None => all.push((said, [place].into())),
        }
    }
    all
}

impl Command {
    /// The command that takes a submission in: the oldest that has a place for all that it says.
    #[must_use]
    pub fn take_in(submission: Submission) -> Self {
        let Submission { parts, jobs, ties, further } = submission;
        match (parts.is_empty(), ties.is_empty(), further.is_empty()) {
            (_, _, false) => Self::SubmitFurther(Submission { parts, jobs, ties, further }),
            (true, true, true) => Self::Submit { jobs },
            (false, true, true) => Self::SubmitLast { parts, jobs },
            (_, false, true) => Self::SubmitTied { parts, jobs, ties },
        }
    }

    /// The command that takes these jobs in at once.
    #[must_use]
    pub fn submit(mut jobs: Vec<NewJob>) -> Self {
        let further = gather(&mut jobs);
        Self::take_in(Submission { further, ..jobs.into() })
    }
}
