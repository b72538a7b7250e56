//! What is tried out on a fork.

use crate::state::{
    command::{Command, DrainNodes, NewJob, Refusal, Reply},
    fork::Fork,
};
use domain::{
    Digest, JobId, Millis,
    job::JobSpec,
    node::DrainTerms,
    queue::{ClusterConfig, ConfigError},
};
use std::collections::BTreeSet;

/// What a drain says of itself in a fork.
const DRAINED: &str = "what if";

/// A change of a queue's guarantee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quota {
    /// By so many GPUs.
    By(i64),
    /// To so many.
    To(u64),
}

/// What is tried out.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Nodes and racks that are taken out of service.
    pub drained: Vec<String>,
    /// When they are; none for at once.
    pub drained_at: Option<Millis>,
    /// Whether what runs there is to go on elsewhere.
    pub migrate: bool,
    /// Another configuration.
    pub config: Option<ClusterConfig>,
    /// Queues whose guarantee is another one.
    pub quotas: Vec<(String, Quota)>,
    /// A job that is submitted.
    pub job: Option<Box<JobSpec>>,
}

impl Changes {
    /// Makes the changes that come at once, and gives those that come later with their time, and
    /// the job that was submitted.
    ///
    /// # Errors
    /// What cannot be, with the words in which the cluster would refuse it.
    pub(super) fn begin(&self, fork: &mut Fork, now: Millis) -> Result<Begun, Refusal> {
        let mut begun = Begun::default();
        if let Some(config) = self.configured(fork)? {
            let expected = fork.view().config().version;
            let why = DRAINED.to_owned();
            said(fork.go_on(now, vec![Command::apply_config(expected, config, why)]))?;
        }
        for name in self.nodes_named(fork)? {
            let drain = self.drain(name);
            if let Some(refusal) = fork.refuses(&drain) {
                return Err(refusal);
            }
            // What is to leave at once is to be seen to leave.
            let later = self.drained_at.filter(|at| *at > now);
            match later.or(self.migrate.then_some(now)) {
                Some(at) => begun.later.push((at, drain)),
                None => drop(said(fork.go_on(now, vec![drain]))?),
            }
        }
        if let Some(spec) = &self.job {
            fork.open_gate();
            let spec = bare(spec);
            let recipe = Digest::of_value(&spec);
            let replies = fork.go_on(now, vec![Command::submit(vec![NewJob { spec, recipe }])]);
            for reply in said(replies)? {
                if let Reply::Submitted { jobs, .. } = reply {
                    begun.submitted = jobs.first().copied();
                }
            }
        }
        Ok(begun)
    }

    fn drain(&self, node: String) -> Command {
        let reason = Some(DRAINED.to_owned());
        match self.migrate {
            false => Command::Drain { node, reason },
            true => {
                let terms = DrainTerms { migrate: true, ..DrainTerms::default() };
                let names = [node].into();
                Command::DrainNodes(DrainNodes { names, reason, terms, vouch: false })
            }
        }
    }

    fn nodes_named(&self, fork: &Fork) -> Result<BTreeSet<String>, Refusal> {
        let mut names = BTreeSet::new();
        for word in &self.drained {
            let view = fork.view();
            names.extend(view.nodes_named(word)?.into_iter().filter_map(|id| view.node_name(id)));
        }
        Ok(names)
    }

    fn configured(&self, fork: &Fork) -> Result<Option<ClusterConfig>, Refusal> {
        if self.config.is_none() && self.quotas.is_empty() {
            return Ok(None);
        }
        let mut config = self.config.clone().unwrap_or_else(|| fork.view().cluster_config());
        for (name, quota) in &self.quotas {
            let Some(queue) = config.queues.get_mut(name) else {
                let what = format!("queue `{name}`");
                return Err(Refusal::NotFound { what, list: "queue list".into() });
            };
            let has = queue.guaranteed_gpus;
            queue.guaranteed_gpus = match quota {
                Quota::To(gpus) => *gpus,
                Quota::By(by) => has.checked_add_signed(*by).ok_or_else(|| {
                    Refusal::Spec(format!(
                        "quota of queue `{name}`: {by} of the {has} GPUs that it is guaranteed; \
                         take at most {has}"
                    ))
                })?,
            };
        }
        let version = fork.view().config().version;
        let refuse = |fault: ConfigError| Refusal::Config(fault);
        fork.view().check_config(version, &config).map_err(refuse)?;
        Ok(Some(config))
    }
}

/// What of the changes was made.
#[derive(Debug, Default)]
pub(super) struct Begun {
    /// What comes later, in order.
    pub later: Vec<(Millis, Command)>,
    /// The job that was submitted.
    pub submitted: Option<JobId>,
}

/// A job without its bytes, which do not decide when it starts.
fn bare(spec: &JobSpec) -> JobSpec {
    JobSpec {
        code: None,
        datasets: Default::default(),
        registered: Default::default(),
        reproduces: None,
        ..spec.clone()
    }
}

fn said(replies: Vec<Reply>) -> Result<Vec<Reply>, Refusal> {
    let refused = replies.iter().find_map(|reply| match reply {
        Reply::Refused(refusal) => Some(refusal.clone()),
        Reply::Submitted { .. }
        | Reply::Part { .. }
        | Reply::Done { .. }
        | Reply::Registered { .. }
        | Reply::Sealed { .. }
        | Reply::Registry { .. } => None,
    });
    refused.map_or(Ok(replies), Err)
}
