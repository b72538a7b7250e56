//! Connections of the REST port: TLS first, then HTTP/1.1, each with a bound on its time.

use super::caller::Connection;
use crate::api::{
    GOODBYE,
    door::{self, Visitor},
};
use axum::{Router, body::Body};
use domain::limit;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{io, sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinSet, time::timeout};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig, server::TlsStream};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::{codegen::Service, transport::server::Connected};

/// Longest wait for the head of the next request on a connection.
const IDLE: Duration = Duration::from_millis(limit::REST_IDLE.0);
/// Bytes of a request's head.
const HEAD_MAX: usize = 64 << 10;

/// Serves connections until `stop` says so or nobody listens any more.
pub async fn run(
    router: Router,
    mut visitors: ReceiverStream<io::Result<Visitor>>,
    tls: Arc<ServerConfig>,
    mut stop: watch::Receiver<bool>,
) {
    let acceptor = TlsAcceptor::from(tls);
    let mut open = JoinSet::new();
    loop {
        // Every arm is cancel-safe: a visitor stays in the channel.
        tokio::select! {
            () = told(&mut stop) => break,
            Some(_) = open.join_next() => {}
            visitor = visitors.next() => match visitor {
                Some(Ok(visitor)) => {
                    let (acceptor, router) = (acceptor.clone(), router.clone());
                    open.spawn(greet(acceptor, visitor, router, stop.clone()));
                }
                Some(Err(_)) => {}
                None => break,
            },
        }
    }
    drop(visitors);
    // Calls that stay open are cut.
    let _ = timeout(GOODBYE, async { while open.join_next().await.is_some() {} }).await;
}

async fn greet(
    acceptor: TlsAcceptor,
    visitor: Visitor,
    router: Router,
    stop: watch::Receiver<bool>,
) {
    match timeout(door::PATIENCE, acceptor.accept(visitor)).await {
        Ok(Ok(stream)) => serve(stream, router, stop).await,
        Ok(Err(fault)) => tracing::debug!(%fault, "TLS was not agreed on"),
        Err(_) => tracing::debug!("TLS was not agreed on in time"),
    }
}

async fn serve(stream: TlsStream<Visitor>, router: Router, mut stop: watch::Receiver<bool>) {
    let connection: Connection = stream.connect_info();
    let calls = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(connection.clone());
        router.clone().call(request.map(Body::new))
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), calls);
    tokio::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = told(&mut stop) => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(fault) = ended {
        tracing::debug!(%fault, "connection ended");
    }
}

/// Completes when it is time to end.
async fn told(stop: &mut watch::Receiver<bool>) {
    // Without a sender it is time as well.
    let _ = stop.wait_for(|stop| *stop).await;
}
