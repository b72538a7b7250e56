//! What Assay does, shown on a real job: each step has its own words, output and proof.

mod guide;
mod leader;
mod steps;

use super::{children::Children, layout::Layout};
use crate::{command::Context, fault::Fault};
use domain::{ArtifactId, JobId};
use guide::Guide;
use std::path::Path;

/// Walks through all steps.
///
/// # Errors
/// The first step that does not hold, by name.
pub async fn run(
    context: &Context,
    layout: &Layout,
    children: &Children,
    examples: &Path,
    program: &Path,
) -> Result<(), Fault> {
    let mut guide = Guide::new(context.output);
    guide.step(
        "A cluster of three servers and two agents",
        "Each is a process of its own; they \
        speak TLS with certificates of both sides. The GPUs are simulated, and read through the \
        real NVML interface.",
    )?;
    steps::cluster(context, &mut guide).await?;

    guide.step(
        "Submit a training job",
        "A small neural network on handwritten digits. Its code \
        and data are captured by digest, so that what ran can be named for ever.",
    )?;
    let example = steps::stage(layout, examples, program)?;
    let job = steps::submit(context, &mut guide, &example).await?;

    guide.step(
        "Watch it train",
        "Step, loss, and the digest of each checkpoint as it is \
        committed to the log.",
    )?;
    let mut watch = steps::Watching::new(context, job);
    let before = watch.until_checkpoints(&mut guide, 2).await?;

    guide.step(
        "Kill the leader with SIGKILL, in the middle",
        "The log is on three servers: the \
        other two elect a new leader. The job holds its lease and trains on.",
    )?;
    let old = leader::kill(context, children, &mut guide).await?;
    let after = watch.until_checkpoints(&mut guide, before.checkpoints + 2).await?;
    leader::unnoticed(context, &mut guide, old, &before, &after).await?;

    guide.step(
        "The sealed result",
        "The output is hashed, described, signed, and on two servers \
        before the job counts as complete.",
    )?;
    let done = watch.until_end(&mut guide).await?;
    let artifact = steps::artifact(context, &mut guide, &done).await?;

    examine(context, &mut guide, layout, job, &artifact).await?;
    guide.end(layout, &artifact)
}

/// What can be done with a sealed result, and asked of the cluster.
async fn examine(
    context: &Context,
    guide: &mut Guide,
    layout: &Layout,
    job: JobId,
    artifact: &ArtifactId,
) -> Result<(), Fault> {
    guide.step("Verify it, point by point", "Every byte is fetched and hashed again.")?;
    steps::verify(context, guide, job).await?;

    guide.step(
        "Export it, and verify it without any cluster",
        "A folder and a public key are \
        enough; tools for signed models of other makers accept the same files.",
    )?;
    steps::offline(context, guide, layout, artifact).await?;

    guide.step(
        "Reproduce it on the other node",
        "The same recipe runs again elsewhere, and \
        gives the same bits.",
    )?;
    steps::reproduce(context, guide, job).await?;

    guide.step(
        "Ask why a job waits",
        "No node has nine GPUs; the answer says so, and what to \
        change.",
    )?;
    steps::why(context, guide).await?;

    guide.step(
        "Check the audit chain",
        "Every step so far is an event, chained by hash and \
        signed.",
    )?;
    steps::audit(context, guide).await?;
    Ok(())
}
