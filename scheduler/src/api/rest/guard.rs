//! What every call passes: a place, a name for the caller, an end to its time, a mark in its reply.

use super::{
    caller::{Caller, Connection},
    fault::Fault,
};
use crate::api::context::Context;
use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};
use domain::limit;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::Semaphore, time::timeout};

/// The header that names one call in logs on both sides.
const REQUEST_ID: &str = "x-request-id";
/// Longest name that a caller may give a call.
const REQUEST_ID_MAX: usize = 128;
/// What is told without a certificate.
const OPEN: [&str; 1] = ["/healthz"];
/// Longest time of a call.
const PATIENCE: Duration = Duration::from_millis(limit::REST_CALL.0);

/// What the guard looks at.
#[derive(Clone)]
pub struct Guard {
    context: Arc<Context>,
    places: Arc<Semaphore>,
}

impl Guard {
    /// A guard with places for as many calls as may be under way.
    #[must_use]
    pub fn new(context: Arc<Context>) -> Self {
        Self { context, places: Arc::new(Semaphore::new(limit::REST_CALLS_MAX)) }
    }
}

/// Lets a call in, or says why not.
pub async fn watch(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let start = Instant::now();
    let id = request_id(request.headers());
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("unknown", MatchedPath::as_str).to_owned();
    let call = format!("{} {route}", method(&request));
    let mut response = match admit(&route, &mut request) {
        Ok(()) => answer(&guard, request, next).await,
        Err(fault) => fault.into_response(),
    };
    response.headers_mut().insert(REQUEST_ID, id);
    let code = response.status().as_str().to_owned();
    guard.context.metrics.called("rest", call, code, start.elapsed());
    response
}

/// The method, of which there are few, as a label.
fn method(request: &Request) -> &'static str {
    match request.method().as_str() {
        "GET" | "HEAD" => "GET",
        "POST" => "POST",
        _ => "other",
    }
}

fn admit(route: &str, request: &mut Request) -> Result<(), Fault> {
    if OPEN.contains(&route) {
        return Ok(());
    }
    let connection = request.extensions().get::<Connection>().cloned();
    let unknown = || {
        let why = "the connection was not looked at";
        Fault::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", why, "report this")
    };
    let caller = Caller::of(connection.ok_or_else(unknown)?)?;
    request.extensions_mut().insert(caller);
    Ok(())
}

async fn answer(guard: &Guard, request: Request, next: Next) -> Response {
    let Ok(_place) = guard.places.try_acquire() else {
        let why = format!("{} calls are under way at this server", limit::REST_CALLS_MAX);
        return Fault::passing("busy", why, "repeat it in a moment").into_response();
    };
    match timeout(PATIENCE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let why = format!("no answer within {PATIENCE:?}");
            Fault::passing("unavailable", why, "repeat it with the same key").into_response()
        }
    }
}

/// The caller's name for the call, or a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(REQUEST_ID).filter(|value| {
        let visible = value.as_bytes().iter().all(u8::is_ascii_graphic);
        visible && (1..=REQUEST_ID_MAX).contains(&value.len())
    });
    let new = || {
        let mut bytes = [0; 16];
        // A name is for people to find a line by: without chance it is still a name.
        let _ = getrandom::fill(&mut bytes);
        HeaderValue::from_str(&hex::encode(bytes)).unwrap_or(HeaderValue::from_static("-"))
    };
    given.cloned().unwrap_or_else(new)
}

/// Somebody asks for what is not served.
pub async fn absent() -> Fault {
    let hint = "/openapi.json names what is served";
    Fault::new(StatusCode::NOT_FOUND, "not_found", "nothing is served at this path", hint)
}

/// Somebody asks in a way that is not served.
pub async fn other_method() -> Fault {
    let hint = "the header `Allow` names the methods of this path";
    let why = "this path is not served by this method";
    Fault::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", why, hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_keeps_the_name_that_its_caller_gave_if_it_is_one() {
        let mut headers = HeaderMap::new();
        assert_eq!(request_id(&headers).len(), 32);
        headers.insert(REQUEST_ID, "trace-7".parse().unwrap());
        assert_eq!(request_id(&headers), "trace-7");
        headers.insert(REQUEST_ID, "two words".parse().unwrap());
        assert_eq!(request_id(&headers).len(), 32);
    }
}
