//! The steps of the tour, made of what the commands are made of.

use super::{super::layout::Layout, guide::Guide};
use crate::{
    args::{operator::AuditVerify, selector::Selector},
    capture::Capture,
    client::follow::Watch,
    command::{
        self, Context, artifact, audit, find,
        progress::{self, Progress},
        reproduce, submit, verify,
    },
    fault::Fault,
    jobfile,
    quantity::GpuCount,
    render,
};
use domain::{
    ArtifactId, JobId, LeaseId,
    job::ElementState,
    view::{JobView, NodeView, WhyView},
};
use proto::v1::{NodesQuery, query_request::What};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Metrics lines between two that are shown.
const METRICS_EVERY: u32 = 3;

fn selector(job: JobId) -> Selector {
    Selector::Element(job.into())
}

/// Shows the cluster and its nodes.
///
/// # Errors
/// When it does not answer.
pub async fn cluster(context: &Context, guide: &mut Guide) -> Result<(), Fault> {
    let style = context.output.style;
    guide.command("cluster status")?;
    let view = command::cluster::status(context).await?;
    guide.say(&render::cluster::text(style, &view))?;
    guide.command("nodes")?;
    let answer = context.client.query::<Vec<NodeView>>(What::Nodes(NodesQuery::default())).await?;
    let nodes = render::node::Nodes { nodes: answer.value, log_index: answer.log_index };
    guide.say(&render::node::text(style, &nodes))?;
    guide.holds("a leader and two nodes", view.leader.is_some() && nodes.nodes.len() == 2)
}

/// Copies the example with its program into the tour's folder.
///
/// # Errors
/// When the example or its program is not there.
pub fn stage(layout: &Layout, examples: &Path, program: &Path) -> Result<PathBuf, Fault> {
    let (from, to) = (examples.join("digits"), layout.tour().join("digits"));
    let hint = "name the folder of examples: assay dev --tour --examples DIR";
    for folder in ["data", "code"] {
        let path = to.join(folder);
        fs::create_dir_all(&path).map_err(|fault| Fault::file(&path, &fault))?;
    }
    let copy = |from: PathBuf, to: PathBuf, hint: &str| {
        fs::copy(&from, &to).map_err(|fault| Fault::file(&from, &fault).hint(hint)).map(drop)
    };
    copy(from.join("job.toml"), to.join("job.toml"), hint)?;
    copy(from.join("data/digits.csv"), to.join("data/digits.csv"), hint)?;
    let hint = "build the example's program: cargo build -p assay-train";
    copy(program.with_file_name("assay-train"), to.join("code/assay-train"), hint)?;
    Ok(to.join("job.toml"))
}

/// Submits the example.
///
/// # Errors
/// When it is refused.
pub async fn submit(context: &Context, guide: &mut Guide, file: &Path) -> Result<JobId, Fault> {
    guide.command("submit examples/digits/job.toml")?;
    let draft = jobfile::check(jobfile::load(file)?, Some(file))?;
    let capture = Capture::of(&draft, None)?;
    let submitted = submit::submit(context, &capture).await?;
    guide.say(&submit::describe(&capture))?;
    let job = submitted.jobs[0];
    guide.say(&format!("job {job} submitted, durable at log {}", submitted.at))?;
    Ok(job)
}

/// What the tour compares before and after the leader's death.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    /// The attempt's number.
    pub attempt: u32,
    /// Its lease.
    pub lease: Option<LeaseId>,
    /// The newest checkpoint's step.
    pub last_step: u64,
    /// Checkpoints seen so far.
    pub checkpoints: u32,
}

/// The job as it is followed through several steps.
pub struct Watching<'a> {
    watch: Watch<'a>,
    progress: Progress,
    sight: Sight,
    metrics: u32,
    last: Option<JobView>,
}

impl<'a> Watching<'a> {
    /// Follows a job.
    #[must_use]
    pub fn new(context: &'a Context, job: JobId) -> Self {
        Self {
            watch: Watch::new(&context.client, job),
            progress: Progress::default(),
            sight: Sight::default(),
            metrics: 0,
            last: None,
        }
    }

    /// Shows what comes next; false once the job has ended.
    async fn next(&mut self, guide: &mut Guide) -> Result<bool, Fault> {
        let Some(answer) = self.watch.next().await? else { return Ok(false) };
        let job = answer.value;
        for line in self.progress.news(&job) {
            guide.say(&format!("   {line}"))?;
        }
        for line in self.progress.metrics(&job) {
            if self.metrics.is_multiple_of(METRICS_EVERY) {
                guide.say(&format!("   {line}"))?;
            }
            self.metrics += 1;
        }
        self.look(&job);
        self.last = Some(job);
        Ok(true)
    }

    fn look(&mut self, job: &JobView) {
        let Some(part) = job.parts.first() else { return };
        if let Some(attempt) = part.attempts.last() {
            self.sight.attempt = attempt.attempt.0;
            self.sight.lease = Some(attempt.lease);
        }
        for point in &part.checkpoints {
            if point.step > self.sight.last_step {
                self.sight.last_step = point.step;
                self.sight.checkpoints += 1;
            }
        }
    }

    /// Follows the job until so many checkpoints are committed.
    ///
    /// # Errors
    /// When it ends before.
    pub async fn until_checkpoints(
        &mut self,
        guide: &mut Guide,
        wanted: u32,
    ) -> Result<Sight, Fault> {
        while self.sight.checkpoints < wanted {
            if !self.next(guide).await? {
                return Err(guide.broken(&format!("{wanted} checkpoints before the job ends")));
            }
        }
        Ok(self.sight.clone())
    }

    /// Follows the job to its end.
    ///
    /// # Errors
    /// When it has no good one.
    pub async fn until_end(&mut self, guide: &mut Guide) -> Result<JobView, Fault> {
        while self.next(guide).await? {}
        let job = self.last.take().ok_or_else(|| guide.broken("the job is shown"))?;
        guide.holds(&progress::epilogue(&job), job.line.state == "completed")?;
        Ok(job)
    }
}

/// Shows the artifact that a job made.
///
/// # Errors
/// When it made none.
pub async fn artifact(
    context: &Context,
    guide: &mut Guide,
    job: &JobView,
) -> Result<ArtifactId, Fault> {
    let made = job.parts.first().and_then(|part| match &part.state {
        ElementState::Completed { artifact } => Some(*artifact),
        _ => None,
    });
    let id = made.ok_or_else(|| guide.broken("the job made an artifact"))?;
    guide.command(&format!("artifact show {id}"))?;
    let artifact = find::artifact(context, &Selector::Artifact(id)).await?;
    let tree = artifact::tree(&context.client, &artifact).await?;
    let detail = render::artifact::Detail { artifact, tree };
    guide.say(&render::artifact::detail(context.output.style, &detail))?;
    Ok(id)
}

/// Verifies what a job made.
///
/// # Errors
/// When a point does not hold.
pub async fn verify(context: &Context, guide: &mut Guide, job: JobId) -> Result<(), Fault> {
    guide.command(&format!("verify {job}"))?;
    let report = verify::online(context, &selector(job)).await?;
    guide.say(&verify::text(context.output.style, &report))?;
    guide.holds("the artifact verifies", report.ok)
}

/// Exports an artifact and verifies the folder.
///
/// # Errors
/// When a point does not hold.
pub async fn offline(
    context: &Context,
    guide: &mut Guide,
    layout: &Layout,
    id: &ArtifactId,
) -> Result<(), Fault> {
    let dir = layout.tour().join("export");
    guide.command(&format!("artifact export {id} {}", dir.display()))?;
    let view = find::artifact(context, &Selector::Artifact(*id)).await?;
    let export = artifact::export(&context.client, &view, &dir).await?;
    let key = export.keys();
    guide.command(&format!("verify --offline {} --keys {}", dir.display(), key.display()))?;
    let report = verify::offline(&dir, &key, None)?;
    let failed = report.checks.iter().filter(|check| !check.ok).count();
    guide.holds(
        &format!("{} points hold without a cluster, {failed} fail", report.checks.len() - failed),
        report.ok,
    )
}

/// Runs a job again and compares.
///
/// # Errors
/// When the bits differ, or the second run was on the same node.
pub async fn reproduce(context: &Context, guide: &mut Guide, job: JobId) -> Result<(), Fault> {
    guide.command(&format!("reproduce {job}"))?;
    let verdict = reproduce::reproduce(context, job).await?;
    guide.say(&reproduce::text(context.output.style, &verdict))?;
    guide.holds("the root digests are equal", verdict.same)?;
    let node = |place: &str| place.split('[').next().unwrap_or_default().to_owned();
    let (first, second) = (node(&verdict.places[0]), node(&verdict.places[1]));
    guide.holds(&format!("first on {first}, again on {second}"), first != second)
}

/// Submits a job that cannot fit, asks why it waits, and cancels it.
///
/// # Errors
/// When the answer does not say that it never fits.
pub async fn why(context: &Context, guide: &mut Guide) -> Result<(), Fault> {
    guide.command("submit --name too-big --gpus 9 -- true")?;
    let draft = jobfile::draft::Draft {
        name: Some("too-big".into()),
        command: Some(vec!["true".into()]),
        gpus: Some(GpuCount::whole(9)),
        ..jobfile::draft::Draft::default()
    };
    let submitted = submit::submit(context, &Capture::of(&draft, None)?).await?;
    let job = submitted.jobs[0];
    guide.command(&format!("why {job}"))?;
    let why: WhyView = context.client.query(What::Why(job.to_string())).await?.value;
    guide.say(&render::why::text(context.output.style, &why))?;
    let never = why.reasons.iter().any(|reason| reason.never);
    guide.holds("it says that waiting will not help", never)?;
    guide.command(&format!("cancel {job}"))?;
    context.client.cancel(job.into()).await?;
    Ok(())
}

/// Checks the audit chain.
///
/// # Errors
/// When it does not hold.
pub async fn audit(context: &Context, guide: &mut Guide) -> Result<(), Fault> {
    guide.command("audit verify")?;
    let found = audit::verify::online(context, &AuditVerify::default()).await?;
    let what = format!("{} events from genesis to head, signed by {}", found.events, found.signer);
    guide.holds(&what, found.events > 0)
}
