//! Changes, each under a key of its own, so that a repetition has no second effect.

use super::Client;
use crate::fault::Fault;
use domain::{
    ArtifactId, ElementId, JobId, LeaseId, LogIndex, Millis, job::JobSpec, queue::ClusterConfig,
};
use proto::v1::{self, membership_request::Change};

/// What was submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// The jobs, in order.
    pub jobs: Vec<JobId>,
    /// The entry that holds them.
    pub at: LogIndex,
}

/// How nodes are taken out of service.
#[derive(Clone, Debug, Default)]
pub struct Out {
    /// Why; empty puts them back.
    pub reason: String,
    /// When they are back by themselves.
    pub until: Option<Millis>,
    /// Whether what runs there is to go on elsewhere.
    pub migrate: bool,
    /// Whether an acceptance job has to pass before they are back.
    pub quarantine: bool,
    /// Whether they are put back without one.
    pub vouch: bool,
}

/// What came of a job that need not run if its result is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It was submitted.
    Job(JobId, LogIndex),
    /// It was not: this artifact has its recipe.
    Artifact(ArtifactId, LogIndex),
}

impl Client {
    /// Submits jobs: all or none.
    ///
    /// # Errors
    /// When they are refused, or nobody answers.
    pub async fn submit(&self, specs: &[JobSpec]) -> Result<Submitted, Fault> {
        self.submit_tied(specs, Vec::new()).await
    }

    /// Submits jobs of which some wait for others of them: all or none.
    ///
    /// # Errors
    /// When they are refused, or nobody answers.
    pub async fn submit_tied(
        &self,
        specs: &[JobSpec],
        ties: Vec<v1::Tie>,
    ) -> Result<Submitted, Fault> {
        let reply = self.send(specs, false, ties).await?;
        let jobs = reply.jobs.into_iter().map(JobId).collect();
        Ok(Submitted { jobs, at: LogIndex(reply.log_index) })
    }

    /// Submits a job; with `reuse` only if no artifact has its recipe.
    ///
    /// # Errors
    /// When it is refused, or nobody answers.
    pub async fn submit_one(&self, spec: &JobSpec, reuse: bool) -> Result<Taken, Fault> {
        let reply = self.send(std::slice::from_ref(spec), reuse, Vec::new()).await?;
        let at = LogIndex(reply.log_index);
        match (reply.jobs.first(), reply.artifact.parse()) {
            (Some(job), _) => Ok(Taken::Job(JobId(*job), at)),
            (None, Ok(artifact)) => Ok(Taken::Artifact(artifact, at)),
            (None, Err(_)) => {
                Err(Fault::internal("submit", "the server took the job in without an id"))
            }
        }
    }

    async fn send(
        &self,
        specs: &[JobSpec],
        reuse: bool,
        ties: Vec<v1::Tie>,
    ) -> Result<v1::SubmitReply, Fault> {
        let jobs = specs.iter().map(v1::Job::from).collect();
        let request = v1::SubmitRequest { key: self.key()?, jobs, reuse, ties };
        self.call(|mut service| {
            let request = request.clone();
            async move { service.submit(request).await }
        })
        .await
    }

    /// Ends a job or one element.
    ///
    /// # Errors
    /// When it is not there or has ended, or nobody answers.
    pub async fn cancel(&self, element: ElementId) -> Result<LogIndex, Fault> {
        let request = v1::CancelRequest { key: self.key()?, element: element.to_string() };
        let call = |mut service: super::AssayClient<_>| {
            let request = request.clone();
            async move { service.cancel(request).await }
        };
        self.call(call).await.map(|done| LogIndex(done.log_index))
    }

    /// Takes nodes out of service; without a reason, back in.
    ///
    /// # Errors
    /// When there is no such node, or nobody answers.
    pub async fn drain(&self, names: &[String], out: &Out) -> Result<LogIndex, Fault> {
        let (first, others) = names.split_first().map_or(("", &[][..]), |it| (it.0, it.1));
        let request = v1::DrainRequest {
            key: self.key()?,
            node: first.to_owned(),
            reason: out.reason.clone(),
            until_ms: out.until.map_or(0, |until| until.0),
            migrate: out.migrate,
            others: others.to_vec(),
            quarantine: out.quarantine,
            vouch: out.vouch,
        };
        let call = |mut service: super::AssayClient<_>| {
            let request = request.clone();
            async move { service.drain(request).await }
        };
        self.call(call).await.map(|done| LogIndex(done.log_index))
    }

    /// Vouches that nothing of a lease runs any more.
    ///
    /// # Errors
    /// When there is no such lease, or nobody answers.
    pub async fn confirm_dead(&self, lease: LeaseId) -> Result<LogIndex, Fault> {
        let request = v1::ConfirmDeadRequest { key: self.key()?, lease: lease.to_string() };
        let call = |mut service: super::AssayClient<_>| {
            let request = request.clone();
            async move { service.confirm_dead(request).await }
        };
        self.call(call).await.map(|done| LogIndex(done.log_index))
    }

    /// Has GPUs in quarantine run the acceptance job, or vouches that one is well again.
    ///
    /// # Errors
    /// When there is no such GPU in quarantine, or nobody answers.
    pub async fn accept_gpu(&self, node: &str, gpu: &str, vouch: bool) -> Result<LogIndex, Fault> {
        let (node, gpu) = (node.to_owned(), gpu.to_owned());
        let request = v1::AcceptGpuRequest { key: self.key()?, node, gpu, vouch };
        let call = |mut service: super::AssayClient<_>| {
            let request = request.clone();
            async move { service.accept_gpu(request).await }
        };
        self.call(call).await.map(|done| LogIndex(done.log_index))
    }

    /// Keeps what has not started of a job from starting, or lets it go on.
    ///
    /// # Errors
    /// When there is no such job, it has ended or is so already, or nobody answers.
    pub async fn hold(&self, job: JobId, held: bool) -> Result<LogIndex, Fault> {
        let request = v1::HoldRequest { key: self.key()?, job: job.0, release: !held };
        let call = |mut service: super::AssayClient<_>| {
            let request = request.clone();
            async move { service.hold(request).await }
        };
        self.call(call).await.map(|done| LogIndex(done.log_index))
    }

    /// Gives a job another priority.
    ///
    /// # Errors
    /// When there is no such job, its queue allows no such priority, or nobody answers.
    pub async fn set_priority(&self, job: JobId, priority: i32) -> Result<LogIndex, Fault> {
        let priority_class = String::new();
        let request =
            v1::SetPriorityRequest { key: self.key()?, job: job.0, priority, priority_class };
        let call = |mut service: super::AssayClient<_>| {
            let request = request.clone();
            async move { service.set_priority(request).await }
        };
        self.call(call).await.map(|done| LogIndex(done.log_index))
    }

    /// Puts a configuration in the place of the one at version `expected`.
    ///
    /// # Errors
    /// When it is impossible, the other has changed meanwhile, or nobody answers.
    pub async fn apply_config(
        &self,
        expected: u64,
        config: &ClusterConfig,
        why: &str,
    ) -> Result<LogIndex, Fault> {
        let config = Some(config.into());
        let request =
            v1::ApplyConfigRequest { key: self.key()?, expected, config, why: why.to_owned() };
        let call = |mut service: super::AssayClient<_>| {
            let request = request.clone();
            async move { service.apply_config(request).await }
        };
        self.call(call).await.map(|done| LogIndex(done.log_index))
    }

    /// Changes the set of servers, or who leads.
    ///
    /// # Errors
    /// When the change is refused, or nobody answers.
    pub async fn membership(&self, change: Change) -> Result<LogIndex, Fault> {
        let request = v1::MembershipRequest { change: Some(change) };
        let call = |mut service: super::AssayClient<_>| {
            let request = request.clone();
            async move { service.membership(request).await }
        };
        self.call(call).await.map(|done| LogIndex(done.log_index))
    }
}
