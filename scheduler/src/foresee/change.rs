//! What is tried out on a fork.

use crate::state::{
    command::{Command, NewJob, Refusal, Reply},
    fork::Fork,
};
use domain::{
    Digest, JobId, Millis,
    job::JobSpec,
    queue::{ClusterConfig, ConfigError},
};

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
    /// Nodes that are taken out of service.
    pub drained: Vec<String>,
    /// When they are; none for at once.
    pub drained_at: Option<Millis>,
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
            said(fork.go_on(now, vec![Command::ApplyConfig { expected, config, why }]))?;
        }
        for name in &self.drained {
            if !fork.view().all_nodes().any(|(_, node)| node.row.inventory.name == *name) {
                let what = format!("node `{name}`");
                return Err(Refusal::NotFound { what, list: "nodes".into() });
            }
            let drain = Command::Drain { node: name.clone(), reason: Some(DRAINED.to_owned()) };
            match self.drained_at.filter(|at| *at > now) {
                Some(at) => begun.later.push((at, drain)),
                None => drop(said(fork.go_on(now, vec![drain]))?),
            }
        }
        if let Some(spec) = &self.job {
            fork.open_gate();
            let spec = bare(spec);
            let recipe = Digest::of_value(&spec);
            let replies =
                fork.go_on(now, vec![Command::Submit { jobs: vec![NewJob { spec, recipe }] }]);
            for reply in said(replies)? {
                if let Reply::Submitted { jobs, .. } = reply {
                    begun.submitted = jobs.first().copied();
                }
            }
        }
        Ok(begun)
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
