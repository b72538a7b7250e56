//! `assay reproduce`: the same recipe again, elsewhere where possible, and the bits compared.

use super::{Context, diff, find, follow, progress};
use crate::{args::selector::Selector, exit::Exit, fault::Fault, output::Style, render::members};
use domain::{ArtifactId, Digest, JobId, job::JobSpec, view::JobView};
use serde::Serialize;

/// The two results.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The job that was run again.
    pub job: JobId,
    /// The job that ran it again.
    pub again: JobId,
    /// The artifacts, in the same order.
    pub artifacts: [ArtifactId; 2],
    /// The root digests, in the same order.
    pub roots: [Digest; 2],
    /// The build keys, in the same order.
    pub build_keys: [Digest; 2],
    /// Where each ran.
    pub places: [String; 2],
    /// Whether the bits are equal.
    pub same: bool,
    /// The first checkpoint at which they parted, if they did.
    pub parted: Option<diff::Parted>,
}

/// The specification that runs `job` again.
///
/// # Errors
/// When the job has no one result to compare with.
pub fn again(job: &JobView) -> Result<JobSpec, Fault> {
    let id = job.line.id;
    if job.spec.array.is_some() {
        let detail = format!("{id} is an array; its elements have results of their own");
        return Err(
            Fault::usage("array", detail).hint("submit it again, then compare: assay diff A B")
        );
    }
    if job.line.state != "completed" {
        let detail = format!("{id} is {}, so that there is no result to compare", job.line.state);
        return Err(Fault::new(crate::fault::Kind::Refused, "wrong_state", detail)
            .hint(format!("assay watch {id}")));
    }
    Ok(JobSpec { reproduces: Some(id), after: Vec::new(), ..job.spec.clone() })
}

/// Runs the command: exit code 7 when the bits differ.
///
/// # Errors
/// When the job has no result, or the second run makes none.
pub async fn run(context: &Context, which: &Selector) -> Result<Exit, Fault> {
    let job = find::one(context, which).await?.job;
    let verdict = tokio::select! {
        verdict = reproduce(context, job) => verdict?,
        () = follow::interrupt() => {
            context.output.note(&format!(
                "detached; the second run goes on. Its job: assay jobs; compare: assay diff {job} JOB"
            ));
            return Ok(Exit::Detached);
        }
    };
    context.output.show("reproduction", &verdict, |style| text(style, &verdict))?;
    Ok(if verdict.same { Exit::Ok } else { Exit::Mismatch })
}

/// Runs a job again and compares.
///
/// # Errors
/// When the job has no result, or the second run makes none.
pub async fn reproduce(context: &Context, job: JobId) -> Result<Verdict, Fault> {
    let first = find::job(context, job).await?;
    let submitted = context.client.submit(&[again(&first)?]).await?;
    let again = submitted
        .jobs
        .first()
        .copied()
        .ok_or_else(|| Fault::internal("submit", "the server took the job in without an id"))?;
    context.output.note(&format!("{job} runs again as {again}"));
    let second = follow::until_end(context, again).await?.job;
    if second.line.state != "completed" {
        let detail = progress::epilogue(&second);
        return Err(Fault::new(crate::fault::Kind::Refused, "no_result", detail)
            .hint(format!("assay job {again}")));
    }
    verdict(context, &first, &second).await
}

async fn verdict(context: &Context, first: &JobView, second: &JobView) -> Result<Verdict, Fault> {
    let (left, right) =
        (Selector::Element(first.line.id.into()), Selector::Element(second.line.id.into()));
    let (a, b) = (find::artifact(context, &left).await?, find::artifact(context, &right).await?);
    let (a, b) = (a.artifact, b.artifact);
    let same = a.ticket.output.root == b.ticket.output.root;
    let parted = match same {
        true => None,
        false => {
            let (left, right) =
                (diff::load(context, &left).await?, diff::load(context, &right).await?);
            diff::compare(&left, &right).parted
        }
    };
    Ok(Verdict {
        job: first.line.id,
        again: second.line.id,
        artifacts: [a.id, b.id],
        roots: [a.ticket.output.root, b.ticket.output.root],
        build_keys: [a.ticket.build_key, b.ticket.build_key],
        places: [place(first), place(second)],
        same,
        parted,
    })
}

fn place(job: &JobView) -> String {
    let attempt = job.parts.first().and_then(|part| part.attempts.last());
    attempt.map_or_else(|| "-".into(), |attempt| members(&attempt.members))
}

/// The verdict as text.
#[must_use]
pub fn text(style: Style, verdict: &Verdict) -> String {
    let mut out = String::new();
    let jobs = [verdict.job, verdict.again];
    for (number, job) in jobs.iter().enumerate() {
        let (artifact, root) = (verdict.artifacts[number], verdict.roots[number]);
        out.push_str(&format!("{job}  {artifact}  {root}  on {}\n", verdict.places[number]));
    }
    if verdict.same {
        out.push_str(&style.good("reproduced: the same bits\n"));
        return out;
    }
    out.push_str(&style.bad("NOT reproduced: the bits differ\n"));
    if verdict.build_keys[0] != verdict.build_keys[1] {
        out.push_str("the two ran on different classes of hardware, so no promise is broken\n");
    }
    match &verdict.parted {
        Some(parted) => out.push_str(&format!(
            "first checkpoint that differs: step {} ({} and {})\n",
            parted.step,
            parted.left.short(),
            parted.right.short()
        )),
        None => out.push_str("no common checkpoint differs\n"),
    }
    out.push_str(&style.faint(&format!("next: assay diff {} {}\n", verdict.job, verdict.again)));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{output::stable, render::sample};
    use expect_test::expect;

    fn verdict(same: bool) -> Verdict {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        Verdict {
            job: JobId(7),
            again: JobId(8),
            artifacts: [ArtifactId(3), ArtifactId(4)],
            roots: [a, if same { a } else { b }],
            build_keys: [a, a],
            places: ["n1[0]".into(), "n2[0]".into()],
            same,
            parted: (!same).then_some(diff::Parted {
                step: 300,
                left: a,
                right: b,
                agreed_at: Some(200),
            }),
        }
    }

    #[test]
    fn both_digests_are_shown_and_the_step_at_which_they_parted() {
        expect![[r#"
            j7  a3  ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb  on n1[0]
            j8  a4  ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb  on n2[0]
            reproduced: the same bits
        "#]]
        .assert_eq(&text(Style::PLAIN, &verdict(true)));
        expect![[r#"
            j7  a3  ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb  on n1[0]
            j8  a4  3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d  on n2[0]
            NOT reproduced: the bits differ
            first checkpoint that differs: step 300 (ca978112 and 3e23e816)
            next: assay diff j7 j8
        "#]]
        .assert_eq(&text(Style::PLAIN, &verdict(false)));
        let document = stable::document("reproduction", &verdict(false));
        insta::assert_json_snapshot!("reproduction.json", document);
    }

    #[test]
    fn only_a_completed_job_can_be_run_again() {
        let mut job = sample::job();
        assert_eq!(again(&job).unwrap_err().reason, "wrong_state");
        job.line.state = "completed".into();
        assert_eq!(again(&job).unwrap().reproduces, Some(JobId(7)));
        assert_eq!(again(&sample::array()).unwrap_err().reason, "array");
    }
}
