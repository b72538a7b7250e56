//! What has happened to a job since it was last looked at, in words.

use crate::{
    exit::Exit,
    quantity::{show_duration, show_time_of_day},
    render::{self, members, show_metrics},
};
use domain::{
    AttemptNo, ElementId,
    job::{ElementState, EndCause},
    lease::Phase,
    view::{AttemptView, ElementView, JobView},
};
use std::collections::{BTreeMap, BTreeSet};

/// How far one element was.
#[derive(Debug, Default)]
struct Mark {
    granted: BTreeSet<AttemptNo>,
    started: BTreeSet<AttemptNo>,
    ended: BTreeSet<AttemptNo>,
    step: Option<u64>,
    state: String,
}

/// How far a job was when it was last looked at.
#[derive(Debug, Default)]
pub struct Progress {
    marks: BTreeMap<ElementId, Mark>,
    metrics: BTreeMap<u32, String>,
}

impl Progress {
    /// What is new, one line each.
    pub fn news(&mut self, job: &JobView) -> Vec<String> {
        let mut lines = Vec::new();
        for part in &job.parts {
            let prefix = match part.id.index {
                Some(_) => format!("{} ", part.id),
                None => String::new(),
            };
            let mark = self.marks.entry(part.id).or_default();
            let mut news = Vec::new();
            mark.attempts(part, &mut news);
            mark.checkpoints(part, &mut news);
            mark.state(part, job, &mut news);
            lines.extend(news.into_iter().map(|line| format!("{prefix}{line}")));
        }
        lines
    }

    /// The metrics that are new, one line a rank.
    pub fn metrics(&mut self, job: &JobView) -> Vec<String> {
        let mut lines = Vec::new();
        for (rank, text) in &job.metrics {
            if self.metrics.get(rank) != Some(text) {
                lines.push(format!("r{rank}| {}", show_metrics(text)));
            }
        }
        self.metrics.clone_from(&job.metrics);
        lines
    }
}

impl Mark {
    fn attempts(&mut self, part: &ElementView, news: &mut Vec<String>) {
        for attempt in &part.attempts {
            let (number, at) = (attempt.attempt, show_time_of_day(attempt.granted));
            if self.granted.insert(number) {
                let places = members(&attempt.members);
                let number = number.0;
                news.push(format!(
                    "{at} placed   attempt {number} on {places} ({})",
                    attempt.lease
                ));
            }
            if has_started(attempt) && self.started.insert(number) {
                news.push(format!("{at} started  attempt {}", number.0));
            }
            if let (Some(ended), Some(cause)) = (attempt.ended, &attempt.cause)
                && self.ended.insert(number)
            {
                let at = show_time_of_day(ended);
                news.push(format!("{at} ended    attempt {}: {cause}", number.0));
            }
        }
    }

    fn checkpoints(&mut self, part: &ElementView, news: &mut Vec<String>) {
        for point in &part.checkpoints {
            if self.step.is_none_or(|step| step < point.step) {
                self.step = Some(point.step);
                news.push(format!("checkpoint step {} {}", point.step, point.root.short()));
            }
        }
    }

    fn state(&mut self, part: &ElementView, job: &JobView, news: &mut Vec<String>) {
        let word = part.state.word();
        if self.state == word {
            return;
        }
        self.state = word.to_owned();
        let took = job.line.ended.map_or(String::new(), |ended| {
            format!(" after {}", show_duration(ended.minus(job.line.submitted)))
        });
        match &part.state {
            ElementState::Waiting | ElementState::Running { .. } => {}
            ElementState::Sealing { .. } => news.push("sealing".to_owned()),
            ElementState::Completed { artifact } => {
                news.push(format!("completed{took}: sealed as {artifact}"));
            }
            ElementState::Failed { cause } => news.push(format!("failed{took}: {cause}")),
            ElementState::Cancelled => news.push(format!("cancelled{took}")),
        }
    }
}

fn has_started(attempt: &AttemptView) -> bool {
    match &attempt.phase {
        Some(Phase::Started { .. }) => true,
        Some(Phase::Preparing { .. } | Phase::Stopping { .. }) => false,
        None => attempt.cause.is_none(),
    }
}

/// The exit code that a job's end has for those who waited for it.
#[must_use]
pub fn exit(job: &JobView) -> Exit {
    match (failure(job), job.line.state.as_str()) {
        (Some(EndCause::ExitCode { code, .. }), _) => Exit::of_job(*code),
        (Some(EndCause::Signal { signal, .. }), _) => Exit::of_signal(*signal),
        (Some(_), _) => Exit::Internal,
        (None, "completed") => Exit::Ok,
        (None, _) => Exit::Internal,
    }
}

/// The last word on a job, with what to do next.
#[must_use]
pub fn epilogue(job: &JobView) -> String {
    let why = failure(job).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{} {}{why}; next: {}", job.line.id, job.line.state, render::job::next(job))
}

/// Why the first of a job's elements that failed did so.
fn failure(job: &JobView) -> Option<&EndCause> {
    job.parts.iter().find_map(|part| match &part.state {
        ElementState::Failed { cause } => Some(cause),
        ElementState::Waiting
        | ElementState::Running { .. }
        | ElementState::Sealing { .. }
        | ElementState::Completed { .. }
        | ElementState::Cancelled => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;
    use domain::ArtifactId;
    use expect_test::expect;

    #[test]
    fn news_are_told_once() {
        let mut progress = Progress::default();
        let mut job = sample::job();
        let told = progress.news(&job).join("\n");
        expect![[r#"
            16:00:00 placed   attempt 1 on n1[0] (l60.0)
            16:00:08 ended    attempt 1: its node was lost
            16:00:09 placed   attempt 2 on n2[3] (l88.0)
            16:00:09 started  attempt 2
            checkpoint step 100 76191a61
            checkpoint step 200 ce39378e"#]]
        .assert_eq(&told);
        assert_eq!(progress.news(&job), [""; 0]);
        job.parts[0].state = ElementState::Completed { artifact: ArtifactId(3) };
        assert_eq!(progress.news(&job), ["completed: sealed as a3"]);
        assert_eq!(progress.metrics(&job), ["r0| step 210 loss 0.25"]);
        assert_eq!(progress.metrics(&job), [""; 0]);
    }

    #[test]
    fn those_who_wait_get_the_jobs_own_code() {
        let mut job = sample::job();
        let mut end = |state, word: &str| {
            job.parts[0].state = state;
            job.line.state = word.into();
            exit(&job).code()
        };
        let failed = |cause| ElementState::Failed { cause };
        assert_eq!(end(ElementState::Completed { artifact: ArtifactId(1) }, "completed"), 0);
        assert_eq!(end(failed(EndCause::ExitCode { rank: 0, code: 3 }), "failed"), 3);
        assert_eq!(end(failed(EndCause::Signal { rank: 0, signal: 9 }), "failed"), 137);
        assert_eq!(end(failed(EndCause::NoOutput), "failed"), 1);
        assert_eq!(end(ElementState::Cancelled, "cancelled"), 1);
    }
}
