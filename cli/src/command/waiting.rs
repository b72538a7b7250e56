//! Why a job still waits, told to whoever follows it.

use super::Context;
use crate::client::follow::Documents;
use domain::{JobId, view::WhyView};
use proto::v1::query_request::What;
use std::time::Duration;
use tokio::time::Instant;

/// Most jobs start sooner, and then nobody wants to know.
const PATIENCE: Duration = Duration::from_secs(1);

/// The most binding reason for which a job waits, told anew when it becomes another one.
pub struct Reasons<'a> {
    job: JobId,
    documents: Documents<'a, WhyView>,
    from: Instant,
    told: String,
}

impl<'a> Reasons<'a> {
    /// Of a job, from a second from now on.
    #[must_use]
    pub fn new(context: &'a Context, job: JobId) -> Self {
        let documents = Documents::new(&context.client, What::Why(job.to_string()));
        Self { job, documents, from: Instant::now() + PATIENCE, told: String::new() }
    }

    /// The next line; never, where nothing is to be told. Cancel-safe.
    pub async fn next(&mut self) -> String {
        tokio::time::sleep_until(self.from).await;
        while let Ok(answer) = self.documents.next().await {
            if let Some(line) = self.line(&answer.value) {
                return line;
            }
        }
        // Whoever follows the job itself hears of the fault as well.
        std::future::pending().await
    }

    fn line(&mut self, why: &WhyView) -> Option<String> {
        let first = why.reasons.first().filter(|_| why.state == "waiting");
        let kind = first.map_or("", |reason| reason.kind.as_str());
        if kind == self.told {
            return None;
        }
        self.told = kind.to_owned();
        let reason = first?;
        let never = if reason.never { " (never, as the cluster is)" } else { "" };
        Some(format!("waiting  {}{never}; all reasons: assay why {}", reason.detail, self.job))
    }
}
