//! Why a job still waits, and when it is likely to start, told to whoever follows it.

use super::Context;
use crate::{client::Answer, client::follow::Documents, render::start};
use domain::{JobId, view::WhyView};
use proto::v1::query_request::What;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// Most jobs start sooner, and then nobody wants to know.
const PATIENCE: Duration = Duration::from_secs(1);
/// Longest that a server is given to look ahead.
const LOOK: Duration = Duration::from_secs(8);

/// The most binding reason for which a job waits, told anew when it becomes another one.
pub struct Reasons<'a> {
    context: &'a Context,
    job: JobId,
    documents: Documents<'a, WhyView>,
    from: Instant,
    /// What has come, and is to be told if it is news.
    come: Option<WhyView>,
    /// The kind of the reason that was told last.
    told: String,
}

impl<'a> Reasons<'a> {
    /// Of a job, from a second from now on.
    #[must_use]
    pub fn new(context: &'a Context, job: JobId) -> Self {
        let documents = Documents::new(&context.client, What::Why(job.to_string()));
        let from = Instant::now() + PATIENCE;
        Self { context, job, documents, from, come: None, told: String::new() }
    }

    /// The next line; never, where nothing is to be told. Cancel-safe: what has come is kept until
    /// it is told.
    pub async fn next(&mut self) -> String {
        sleep_until(self.from).await;
        loop {
            if let Some(why) = &self.come {
                let first = why.reasons.first().filter(|_| why.state == "waiting");
                let kind = first.map_or("", |reason| reason.kind.as_str()).to_owned();
                let line = first.filter(|_| kind != self.told).map(|reason| {
                    let never = if reason.never { " (never, as the cluster is)" } else { "" };
                    let all = format!("all reasons: assay why {}", self.job);
                    (format!("waiting  {}{never}; {all}", reason.detail), reason.never)
                });
                let line = match line {
                    Some((line, false)) => Some(line + &self.start().await),
                    Some((line, true)) => Some(line),
                    None => None,
                };
                (self.told, self.come) = (kind, None);
                if let Some(line) = line {
                    return line;
                }
            }
            match self.documents.next().await {
                Ok(answer) => self.come = Some(answer.value),
                // Whoever follows the job itself hears of the fault as well.
                Err(_) => std::future::pending().await,
            }
        }
    }

    /// When it is likely to start, if a server can tell in time: `; starts 14:02 to 14:11 ...`.
    async fn start(&self) -> String {
        let asked = self.context.client.query(What::Why(self.job.to_string()));
        let answer: Option<Answer<WhyView>> = match timeout(LOOK, asked).await {
            Ok(Ok(answer)) => Some(answer),
            // It is told without.
            Ok(Err(_)) | Err(_) => None,
        };
        let found = answer.and_then(|answer| answer.value.start);
        found.map_or_else(String::new, |found| format!("; {}", start::line(&found)))
    }
}
