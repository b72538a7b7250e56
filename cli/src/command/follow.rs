//! Commands that stay until a job has ended.

use super::{
    Context, find,
    progress::{self, Progress},
    waiting::Reasons,
};
use crate::{
    args::{selector::Selector, user},
    client::follow::{LogAsk, LogPiece, LogStream, Watch},
    exit::Exit,
    fault::{Fault, Kind},
    fold::{self, Fold},
    output::Form,
    render::{job::Job, jobs::Jobs},
};
use domain::{
    ElementId, JobId, LeaseId,
    view::{DumpView, JobView},
};
use std::time::Duration;

/// Time for which a line waits for other ranks to say the same.
const HOLD: Duration = Duration::from_millis(fold::HOLD);

/// Waits for Ctrl-C. A system that grants no handler never detaches.
pub(super) async fn interrupt() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn detached(context: &Context, again: &str) -> Exit {
    context.output.note(&format!("detached; the job keeps running. Reattach: {again}"));
    Exit::Detached
}

/// `assay watch`.
///
/// # Errors
/// When there is no such job, or nobody answers.
pub async fn watch(context: &Context, which: &Selector) -> Result<Exit, Fault> {
    let job = find::one(context, which).await?.job;
    let mut watch = Watch::new(&context.client, job);
    let mut reasons = Reasons::new(context, job);
    let mut progress = Progress::default();
    let mut last = None;
    let text = context.output.form == Form::Text;
    loop {
        // Cancel-safe: both streams keep what they have received.
        let answer = tokio::select! {
            answer = watch.next() => answer?,
            reason = reasons.next(), if text => {
                context.output.text(&format!("  {reason}"))?;
                continue;
            }
            () = interrupt() => return Ok(detached(context, &format!("assay watch {job}"))),
        };
        let Some(answer) = answer else { break };
        let document = Job { job: answer.value, log_index: answer.log_index };
        match context.output.form {
            Form::Text => {
                let mut lines = progress.news(&document.job);
                lines.extend(progress.metrics(&document.job));
                lines.iter().try_for_each(|line| context.output.text(&format!("  {line}")))?;
            }
            Form::JsonLines => context.output.document("job", &document)?,
            Form::Json => {}
        }
        last = Some(document);
    }
    match (last, context.output.form) {
        (Some(document), Form::Json) => context.output.document("job", &document)?,
        (Some(document), Form::Text) => context.output.text(&progress::epilogue(&document.job))?,
        _ => {}
    }
    Ok(Exit::Ok)
}

/// Waits until a job has ended; a person is told why it waits for long.
///
/// # Errors
/// When there is no such job, or nobody answers.
pub async fn until_end(context: &Context, job: JobId) -> Result<Job, Fault> {
    let mut watch = Watch::new(&context.client, job);
    let mut reasons = Reasons::new(context, job);
    let mut last = None;
    loop {
        // Cancel-safe: both streams keep what they have received.
        tokio::select! {
            answer = watch.next() => match answer? {
                Some(answer) => {
                    last = Some(Job { job: answer.value, log_index: answer.log_index });
                }
                None => break,
            },
            reason = reasons.next() => context.output.note(&format!("{job} {reason}")),
        }
    }
    last.ok_or_else(|| Fault::internal("watch", format!("{job} ended without a document")))
}

/// As [`until_end`]; nothing if the user detaches with Ctrl-C, who is told how to come back.
///
/// # Errors
/// When there is no such job, or nobody answers.
pub async fn attached(context: &Context, job: JobId) -> Result<Option<Job>, Fault> {
    tokio::select! {
        end = until_end(context, job) => end.map(Some),
        () = interrupt() => {
            detached(context, &format!("assay watch {job}"));
            Ok(None)
        }
    }
}

/// `assay wait`: the exit code is that of the first job which did not complete.
///
/// # Errors
/// When there is no such job, or nobody answers.
pub async fn wait(context: &Context, which: &[Selector]) -> Result<Exit, Fault> {
    let mut jobs: Vec<_> =
        find::every(context, which).await?.into_iter().map(|element| element.job).collect();
    jobs.dedup();
    let mut exit = Exit::Ok;
    let mut ended = Jobs { jobs: Vec::new(), log_index: u64::MAX };
    for job in jobs {
        let Some(end) = attached(context, job).await? else { return Ok(Exit::Detached) };
        if exit == Exit::Ok {
            exit = progress::exit(&end.job);
        }
        match context.output.form {
            Form::Text => context.output.text(&progress::epilogue(&end.job))?,
            Form::JsonLines => context.output.document("job", &end)?,
            Form::Json => {
                ended.log_index = ended.log_index.min(end.log_index);
                ended.jobs.push(end.job.line);
            }
        }
    }
    if context.output.form == Form::Json {
        context.output.document("jobs", &ended)?;
    }
    Ok(exit)
}

/// `assay logs`.
///
/// # Errors
/// When there is no such job, or nobody answers.
pub async fn logs(context: &Context, args: user::Logs) -> Result<Exit, Fault> {
    let element = find::one(context, &args.which).await?;
    if args.dump {
        return dump(context, element, &args).await;
    }
    let ask = LogAsk {
        element,
        attempt: args.attempt.unwrap_or(0),
        rank: args.rank,
        metrics: args.metrics,
        follow: args.follow,
    };
    if element.index.is_none()
        && let Some(array) = find::job(context, element.job).await?.spec.array
    {
        let detail = format!("{} is an array of {} elements", element.job, array.count);
        let hint = format!("name one of them: assay logs {}[0]", element.job);
        return Err(Fault::usage("element", detail).hint(hint));
    }
    let mut stream = LogStream::new(&context.client, ask);
    let (mut all, mut fold) = (Vec::new(), Fold::default());
    loop {
        // Cancel-safe: the stream keeps what it has received.
        let piece = tokio::select! {
            piece = stream.next() => piece?,
            () = tokio::time::sleep(HOLD), if !fold.is_empty() => {
                show(context, &mut all, &lines(fold.flush()))?;
                continue;
            }
            () = interrupt() => return Ok(detached(context, &format!("assay logs -f {element}"))),
        };
        let Some(piece) = piece else { break };
        let gang = args.rank.is_none() && piece.ranks > 1;
        match context.output.form {
            Form::JsonLines => context.output.document("log", &log_document(element, &piece))?,
            Form::Text | Form::Json if gang => {
                let (rank, ranks, time) = (piece.rank, piece.ranks, piece.time);
                let ready = fold.hear(rank, ranks, time, &piece.data);
                show(context, &mut all, &lines(ready))?;
            }
            Form::Text | Form::Json => show(context, &mut all, &piece.data)?,
        }
    }
    show(context, &mut all, &lines(fold.finish()))?;
    if context.output.form == Form::Json {
        let text = String::from_utf8_lossy(&all);
        let document = serde_json::json!({"element": element, "rank": args.rank, "text": text});
        context.output.document("log", &document)?;
    }
    if fold.has_folded() {
        context.output.note("identical lines of several ranks are folded; --rank N shows one's");
    }
    Ok(Exit::Ok)
}

fn lines(lines: Vec<String>) -> Vec<u8> {
    lines.into_iter().flat_map(|line| (line + "\n").into_bytes()).collect()
}

/// Shows bytes, or keeps them for the document.
fn show(context: &Context, all: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Fault> {
    match context.output.form {
        Form::Json => all.extend_from_slice(bytes),
        _ if bytes.is_empty() => {}
        _ => context.output.bytes(bytes)?,
    }
    Ok(())
}

/// The newest dump of a rank that hung.
async fn dump(context: &Context, element: ElementId, args: &user::Logs) -> Result<Exit, Fault> {
    let job = find::job(context, element.job).await?;
    let attempt = |lease: LeaseId| {
        let attempts = job.parts.iter().flat_map(|part| &part.attempts);
        args.attempt.is_none_or(|wanted| {
            attempts.clone().any(|it| it.lease == lease && it.attempt.0 == wanted)
        })
    };
    let of = job
        .dumps
        .iter()
        .filter(|it| it.element == element && args.rank.is_none_or(|rank| it.rank == rank));
    let Some(newest) = of.filter(|it| attempt(it.lease)).max_by_key(|it| it.time) else {
        let which =
            args.rank.map_or_else(|| "no rank".to_owned(), |rank| format!("not rank {rank}"));
        let detail = format!("{which} of {element} has hung");
        return Err(Fault::new(Kind::NotFound, "no_dump", detail)
            .hint(format!("assay job {} shows what was dumped", element.job)));
    };
    let bytes = context.client.blob(newest.dump).await?;
    match context.output.form {
        Form::Text => context.output.bytes(&bytes)?,
        Form::Json | Form::JsonLines => {
            context.output.document("dump", &dump_document(newest, &bytes))?;
        }
    }
    Ok(Exit::Ok)
}

fn dump_document(of: &DumpView, bytes: &[u8]) -> serde_json::Value {
    serde_json::json!({ "dump": of, "text": String::from_utf8_lossy(bytes) })
}

fn log_document(element: ElementId, piece: &LogPiece) -> serde_json::Value {
    serde_json::json!({
        "element": element,
        "attempt": piece.attempt,
        "offset": piece.offset,
        "rank": piece.rank,
        "text": String::from_utf8_lossy(&piece.data),
    })
}

/// Shows what a job does and writes until it has ended: `submit --follow`.
///
/// # Errors
/// When nobody answers.
pub async fn along(context: &Context, job: JobId) -> Result<Option<JobView>, Fault> {
    let ask = LogAsk { element: job.into(), attempt: 0, rank: None, metrics: false, follow: true };
    let mut stream = LogStream::new(&context.client, ask);
    let mut watch = Watch::new(&context.client, job);
    let mut reasons = Reasons::new(context, job);
    let (mut progress, mut last) = (Progress::default(), None);
    let (mut log_open, mut fold) = (true, Fold::default());
    loop {
        // Cancel-safe: both streams keep what they have received.
        tokio::select! {
            piece = stream.next(), if log_open => match piece? {
                Some(piece) => show_lines(context, hear(&mut fold, &piece))?,
                None => log_open = false,
            },
            () = tokio::time::sleep(HOLD), if !fold.is_empty() => {
                show_lines(context, fold.flush())?;
            }
            answer = watch.next() => match answer? {
                Some(answer) => {
                    let news = progress.news(&answer.value);
                    news.iter().try_for_each(|n| context.output.text(&format!("  {n}")))?;
                    last = Some(answer.value);
                }
                None => break,
            },
            reason = reasons.next() => context.output.text(&format!("  {reason}"))?,
            () = interrupt() => return Ok(None),
        }
    }
    while log_open && let Some(piece) = stream.next().await? {
        show_lines(context, hear(&mut fold, &piece))?;
    }
    show_lines(context, fold.finish())?;
    Ok(last)
}

fn hear(fold: &mut Fold, piece: &LogPiece) -> Vec<String> {
    fold.hear(piece.rank, piece.ranks, piece.time, &piece.data)
}

fn show_lines(context: &Context, lines: Vec<String>) -> Result<(), Fault> {
    lines.iter().try_for_each(|line| context.output.text(&format!("  {line}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{Bytes, Digest, Millis};
    use expect_test::expect;

    /// `logs --dump --json`: a rank hangs for minutes before there is one, so not on a real cluster.
    #[test]
    fn a_dump_keeps_its_form() {
        let of = DumpView {
            element: ElementId { job: JobId(7), index: Some(3) },
            lease: LeaseId { index: 9, ordinal: 1 },
            rank: 2,
            dump: Digest::of(b"x"),
            size: Bytes(11),
            time: Millis(1_700_000_000_000),
        };
        expect![[r#"
            {
              "dump": {
                "dump": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
                "element": "j7[3]",
                "lease": "l9.1",
                "rank": 2,
                "size": 11,
                "time": 1700000000000
              },
              "text": "thread 1 sh�"
            }"#]]
        .assert_eq(&serde_json::to_string_pretty(&dump_document(&of, b"thread 1 sh\xff")).unwrap());
    }
}
