//! Which results' files may go: what the ledger cannot know, added to what it knows.

use super::{
    command::{Refusal, Reply},
    key,
    row::Submitted,
    sched::Sched,
    step::Step,
};
use domain::{
    ArtifactId, JobId,
    artifact::Artifact,
    job::JobSpec,
    limit,
    port::RowRead,
    retain::{Rule, RuleOf},
    scratch,
};
use registry::ledger::{
    Ledger,
    retain::{Looks, Outside},
    view as ledger_view,
};

impl Sched {
    /// Lets the files of results go, as far as nothing keeps them now. The reply counts them.
    pub(super) fn collect<R: RowRead>(
        &self,
        step: &mut Step<'_, R>,
        ledger: &mut Ledger,
        actor: &str,
        artifacts: &[ArtifactId],
    ) -> Reply {
        if artifacts.len() > limit::COLLECT_MAX {
            return Reply::Refused(Refusal::Limit {
                what: "the number of artifacts in one request".into(),
                limit: limit::COLLECT_MAX as u64,
                remedy: "make several requests".into(),
            });
        }
        let (mut went, mut looks) = (0, Looks::at_many());
        for id in artifacts {
            let Some(found) = ledger_view::artifact(&step.rows, *id) else { continue };
            let outside = self.outside(&step.rows, &found.artifact);
            let about = (outside, &mut looks);
            went += u64::from(ledger.collect(&mut step.rows, (step.now, actor), *id, about));
        }
        Reply::Registry { number: went, at: step.at }
    }

    /// What the ledger does not know of a result: the rule of its job or of the job's queue, and
    /// who was given its files.
    pub(super) fn outside(&self, rows: &impl RowRead, artifact: &Artifact) -> Outside {
        let job = artifact.ticket.element.job;
        let key = key::job_spec(job);
        let submitted: Option<Submitted> =
            rows.get(&key).map(|bytes| scratch::decode(&key, &bytes));
        Outside {
            rule: submitted.and_then(|it| self.rule_of(job, &it.spec)),
            input: self.inputs.job_with(artifact.ticket.output.tree),
        }
    }

    /// The job's own rule, else that of its queue, else that of the nearest queue above.
    fn rule_of(&self, job: JobId, spec: &JobSpec) -> Option<Rule> {
        if let Some(retain) = spec.retain {
            return Some(Rule { of: RuleOf::Job(job), retain });
        }
        let own = self.queues.get(spec.queue.as_str())?;
        let line = std::iter::once(spec.queue.as_str()).chain(own.above.iter().map(|up| &**up));
        line.filter_map(|name| Some((name, self.queues.get(name)?.spec.retain?)))
            .map(|(name, retain)| Rule { of: RuleOf::Queue(name.to_owned()), retain })
            .next()
    }
}
