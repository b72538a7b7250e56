//! What a server measures, for Prometheus.
//!
//! Three sources: calls as they end, the audit chain as it grows, and the state when somebody
//! looks. The chain is the same on every server, so what is counted from it is the cluster's, not
//! the server's: take the maximum over servers, not the sum.

mod history;
mod now;

use super::{context::Context, error, query::unreadable};
use crate::{consensus::shell::Node, state::Cluster};
use domain::limit;
use history::History;
use now::Now;
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        family::Family,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use std::time::Duration;
use tokio::sync::Mutex;
use tonic::Status;

/// Events that are read at once: no step of the replica waits long for it.
const PAGE: usize = 250;

/// One kind of call and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    interface: String,
    call: String,
    code: String,
}

/// All measurements of one server.
pub struct Metrics {
    all: Registry,
    calls: Family<Call, Histogram>,
    history: History,
    now: Now,
    /// The next audit event to count. One look at a time.
    next: Mutex<u64>,
}

/// From a millisecond to half a minute.
fn seconds_of_calls() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 16))
}

/// From a second to six days.
fn seconds_of_jobs() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 3.0, 13))
}

impl Metrics {
    /// Measurements from now on.
    pub async fn begin(node: &Node<Cluster>) -> Self {
        let head = node.read_local(|cluster, _| cluster.view().audit_head().0);
        let head = head.await.ok().flatten().map_or(0, |head| head.seq);
        let mut all = Registry::default();
        let calls = Family::<Call, Histogram>::new_with_constructor(seconds_of_calls);
        let help = "Time from a call to the first word of its answer";
        all.register("assay_call_seconds", help, calls.clone());
        let (history, now) = (History::registered(&mut all), Now::registered(&mut all));
        Self { all, calls, history, now, next: Mutex::new(head + 1) }
    }

    /// Notes a call.
    pub fn called(&self, interface: &str, call: String, code: String, took: Duration) {
        let of = Call { interface: interface.to_owned(), call, code };
        self.calls.get_or_create(&of).observe(took.as_secs_f64());
    }

    /// All of it, as text.
    ///
    /// # Errors
    /// When this server's state cannot be read now.
    pub async fn text(&self, context: &Context) -> Result<String, Status> {
        let mut next = self.next.lock().await;
        let until = *next + limit::MEASURED_EVENTS_MAX;
        while *next < until {
            let first = *next;
            let read = context
                .node
                .read_local(move |cluster, rows| cluster.view().audit(rows, first, PAGE).events);
            let events = read.await.map_err(|fault| unreadable(&fault))?;
            let Some(last) = events.last() else { break };
            let seq = last.seq;
            self.history.count(context, &events).await?;
            *next = seq + 1;
        }
        self.now.look(context, *next).await?;
        let mut out = String::new();
        text::encode(&mut out, &self.all)
            .map_err(|fault| error::status("internal", fault.to_string(), "report this", false))?;
        Ok(out)
    }
}
