//! Streams that survive the loss of the server that sends them.

use super::{Answer, Client, PATIENCE, answer, of_status, service};
use crate::fault::Fault;
use bytes::Bytes;
use domain::{ElementId, JobId, view::JobView};
use proto::v1::{self, query_request::What};
use serde::de::DeserializeOwned;
use std::{
    collections::BTreeMap,
    marker::PhantomData,
    time::{Duration, Instant},
};
use tonic::{Streaming, transport::Channel};

/// Pause before a stream is opened anew.
const REOPEN: Duration = Duration::from_millis(100);

/// A stream that can be opened anew at another server.
struct Reopened<T> {
    open: Option<Streaming<T>>,
    server: usize,
    /// Since when nothing has come.
    silent_since: Option<Instant>,
}

impl<T> Reopened<T> {
    fn new(client: &Client) -> Self {
        Self { open: None, server: client.current.get(), silent_since: None }
    }

    /// The next message; none when the stream ended by itself.
    async fn next<F, R>(&mut self, client: &Client, make: F) -> Result<Option<T>, Fault>
    where
        F: Fn(proto::v1::assay_client::AssayClient<Channel>) -> R,
        R: Future<Output = Result<tonic::Response<Streaming<T>>, tonic::Status>>,
    {
        loop {
            let server = &client.servers[self.server];
            let status = match &mut self.open {
                Some(stream) => match stream.message().await {
                    Ok(message) => {
                        self.silent_since = None;
                        if message.is_none() {
                            self.open = None;
                        }
                        return Ok(message);
                    }
                    Err(status) => status,
                },
                None => match make(service(server.channel()?)).await {
                    Ok(response) => {
                        self.open = Some(response.into_inner());
                        continue;
                    }
                    Err(status) => status,
                },
            };
            let fault = of_status(&status, &server.address);
            let since = *self.silent_since.get_or_insert_with(Instant::now);
            if !fault.retry_safe || since.elapsed() > PATIENCE {
                return Err(fault);
            }
            self.open = None;
            self.server = (self.server + 1) % client.servers.len();
            tokio::time::sleep(REOPEN).await;
        }
    }
}

/// A job's document, anew whenever it changes, until the job has ended.
pub struct Watch<'a> {
    client: &'a Client,
    job: JobId,
    stream: Reopened<v1::Document>,
    last: Bytes,
    ended: bool,
}

impl<'a> Watch<'a> {
    /// Watches a job.
    #[must_use]
    pub fn new(client: &'a Client, job: JobId) -> Self {
        let stream = Reopened::new(client);
        Self { client, job, stream, last: Bytes::new(), ended: false }
    }

    /// The next document that differs from the last; none after the job has ended.
    ///
    /// # Errors
    /// When there is no such job, or nobody answers.
    pub async fn next(&mut self) -> Result<Option<Answer<JobView>>, Fault> {
        while !self.ended {
            let request = v1::WatchRequest { job: self.job.to_string() };
            let make = |mut service: v1::assay_client::AssayClient<Channel>| {
                let request = request.clone();
                async move { service.watch(request).await }
            };
            let Some(document) = self.stream.next(self.client, make).await? else {
                // A server that stops ends its streams; the job goes on.
                tokio::time::sleep(REOPEN).await;
                continue;
            };
            let shown: Answer<JobView> = answer(&document)?;
            self.ended = shown.value.line.ended.is_some();
            if document.json != self.last || self.ended {
                self.last = document.json;
                return Ok(Some(shown));
            }
        }
        Ok(None)
    }
}

/// What a query answers, anew whenever it changes, without an end.
pub struct Documents<'a, T> {
    client: &'a Client,
    request: v1::QueryRequest,
    stream: Reopened<v1::Document>,
    last: Option<Bytes>,
    kind: PhantomData<T>,
}

impl<'a, T: DeserializeOwned> Documents<'a, T> {
    /// Asks for a document and for all that come after it.
    #[must_use]
    pub fn new(client: &'a Client, what: What) -> Self {
        let request = v1::QueryRequest { stale: client.stale, what: Some(what) };
        let stream = Reopened::new(client);
        Self { client, request, stream, last: None, kind: PhantomData }
    }

    /// The next document that differs from the last.
    ///
    /// # Errors
    /// When what is asked for is not there, or nobody answers.
    pub async fn next(&mut self) -> Result<Answer<T>, Fault> {
        loop {
            let make = |mut service: v1::assay_client::AssayClient<Channel>| {
                let request = self.request.clone();
                async move { service.changes(request).await }
            };
            let Some(document) = self.stream.next(self.client, make).await? else {
                // A server that stops ends its streams; another one goes on.
                tokio::time::sleep(REOPEN).await;
                continue;
            };
            if self.last.as_ref() != Some(&document.json) {
                self.last = Some(document.json.clone());
                return answer(&document);
            }
        }
    }
}

/// Which log, and from where to where.
#[derive(Clone, Debug)]
pub struct LogAsk {
    /// Whose.
    pub element: ElementId,
    /// Of which attempt; 0 for the newest, and those that follow it.
    pub attempt: u32,
    /// Of which task; none for all.
    pub rank: Option<u32>,
    /// The metrics rather than the output.
    pub metrics: bool,
    /// On to the job's end.
    pub follow: bool,
}

/// New bytes of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPiece {
    /// The attempt that wrote them.
    pub attempt: u32,
    /// Where they stand in its log.
    pub offset: u64,
    /// The bytes.
    pub data: Bytes,
    /// The rank that wrote them.
    pub rank: u32,
    /// When they came in, by the server's clock. Unit: ms.
    pub time: u64,
    /// Size of the gang.
    pub ranks: u32,
}

/// What an attempt wrote, each byte once.
pub struct LogStream<'a> {
    client: &'a Client,
    ask: LogAsk,
    stream: Reopened<v1::LogChunk>,
    seen: Seen,
}

impl<'a> LogStream<'a> {
    /// Reads a log.
    #[must_use]
    pub fn new(client: &'a Client, ask: LogAsk) -> Self {
        Self { client, ask, stream: Reopened::new(client), seen: Seen::default() }
    }

    /// The next bytes; none at the end.
    ///
    /// # Errors
    /// When there is no such job, or nobody answers.
    pub async fn next(&mut self) -> Result<Option<LogPiece>, Fault> {
        loop {
            let request = v1::LogsRequest {
                element: self.ask.element.to_string(),
                attempt: self.ask.attempt,
                rank: self.ask.rank.unwrap_or(0),
                metrics: self.ask.metrics,
                follow: self.ask.follow,
                offset: 0,
                all_ranks: self.ask.rank.is_none(),
            };
            let make = |mut service: v1::assay_client::AssayClient<Channel>| {
                let request = request.clone();
                async move { service.logs(request).await }
            };
            let Some(chunk) = self.stream.next(self.client, make).await? else {
                return Ok(None);
            };
            if let Some(piece) = self.seen.fresh(chunk) {
                return Ok(Some(piece));
            }
        }
    }
}

/// How far each rank's log was read, so that a stream opened anew repeats nothing.
#[derive(Default)]
struct Seen {
    attempt: u32,
    ends: BTreeMap<u32, u64>,
}

impl Seen {
    fn fresh(&mut self, chunk: v1::LogChunk) -> Option<LogPiece> {
        if chunk.attempt < self.attempt {
            return None;
        }
        if chunk.attempt > self.attempt {
            *self = Self { attempt: chunk.attempt, ends: BTreeMap::new() };
        }
        let end = self.ends.entry(chunk.rank).or_default();
        let known = usize::try_from(end.saturating_sub(chunk.offset)).unwrap_or(usize::MAX);
        if known >= chunk.data.len() {
            return None;
        }
        let offset = chunk.offset + known as u64;
        let data = chunk.data.slice(known..);
        *end = offset + data.len() as u64;
        let v1::LogChunk { attempt, rank, time_ms: time, ranks, .. } = chunk;
        Some(LogPiece { attempt, offset, data, rank, time, ranks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_opened_anew_repeats_no_byte() {
        let mut seen = Seen::default();
        let chunk = |attempt, rank, offset, data: &'static str| v1::LogChunk {
            attempt,
            rank,
            offset,
            data: Bytes::from_static(data.as_bytes()),
            time_ms: 0,
            ranks: 2,
        };
        let text = |piece: Option<LogPiece>| {
            piece.map(|p| (p.offset, String::from_utf8(p.data.to_vec()).unwrap()))
        };
        assert_eq!(text(seen.fresh(chunk(1, 0, 0, "abc"))), Some((0, "abc".into())));
        assert_eq!(text(seen.fresh(chunk(1, 0, 0, "abc"))), None);
        assert_eq!(text(seen.fresh(chunk(1, 1, 0, "abc"))), Some((0, "abc".into())));
        assert_eq!(text(seen.fresh(chunk(1, 0, 0, "abcde"))), Some((3, "de".into())));
        assert_eq!(text(seen.fresh(chunk(2, 0, 0, "xy"))), Some((0, "xy".into())));
        assert_eq!(text(seen.fresh(chunk(1, 0, 5, "late"))), None);
    }
}
