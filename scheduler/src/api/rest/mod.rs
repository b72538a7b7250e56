//! REST beside gRPC: JSON in and out of the functions that serve both, on a port of its own.
//!
//! Nothing here decides. A handler turns a body with the platform's names (platform contract,
//! 6.2 and 6.3) into the message that the other port takes, calls the function behind that, and
//! turns what it says into the platform's envelope.

mod answer;
mod audit;
mod caller;
mod calls;
mod datasets;
mod drift;
mod eval;
mod fault;
mod guard;
mod input;
mod listener;
mod models;
mod ops;
mod promotions;
mod record;
mod registry;
mod router;
mod shapes;
mod tls;
mod train;

use super::{ServeError, Tls, context::Context, door};
use domain::limit;
use std::{net::SocketAddr, sync::Arc};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_rustls::rustls::ServerConfig;

/// What somebody who speaks HTTP without TLS is told.
const ANSWER: &str = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Connection: close\r\nContent-Length: 78\r\n\r\n\
    This is the REST port of an Assay server. It speaks HTTP/1.1 over TLS: https.\n";

/// A port that is open and not served yet.
pub struct Port {
    listener: TcpListener,
    tls: Arc<ServerConfig>,
}

/// Opens the port, if it has an address.
///
/// # Errors
/// When the certificate cannot be used or the address is taken.
pub async fn open(listen: Option<SocketAddr>, tls: &Tls) -> Result<Option<Port>, ServeError> {
    let Some(listen) = listen else { return Ok(None) };
    let tls = tls::config(tls)?;
    let listener = TcpListener::bind(listen).await;
    let listener = listener.map_err(|source| ServeError::Listen { listen, source })?;
    Ok(Some(Port { listener, tls }))
}

/// A port that is served until it is stopped.
pub struct Serving {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Port {
    /// Serves it.
    #[must_use]
    pub fn serve(self, context: Arc<Context>) -> Serving {
        let (stop, stopped) = watch::channel(false);
        let visitors = door::open_for(self.listener, limit::REST_CONNECTIONS_MAX, ANSWER);
        let router = router::router(context);
        let task = tokio::spawn(listener::run(router, visitors, self.tls, stopped));
        Serving { stop, task }
    }
}

impl Serving {
    /// Takes no more calls, and waits a little for those under way.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        // A task that panicked has ended as well.
        let _ = self.task.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_http_has_the_length_that_it_says() {
        let (head, body) = ANSWER.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{}", body.len());
    }
}
