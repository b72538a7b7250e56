//! How long the calls of a service take, and how they end.

use super::metrics::Metrics;
use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};
use tonic::{
    Code, Status,
    body::Body,
    codegen::{BoxFuture, Service, http},
    server::NamedService,
};

/// A service whose calls are measured, up to the first word of the answer.
#[derive(Clone)]
pub struct Measured<S> {
    service: S,
    metrics: Arc<Metrics>,
}

impl<S> Measured<S> {
    /// Measures a service.
    pub fn new(service: S, metrics: Arc<Metrics>) -> Self {
        Self { service, metrics }
    }
}

impl<S: NamedService> NamedService for Measured<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Measured<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let (start, metrics) = (Instant::now(), self.metrics.clone());
        let path = request.uri().path().to_owned();
        let answer = self.service.call(request);
        Box::pin(async move {
            let response = answer.await?;
            let status = Status::from_header_map(response.headers());
            let code = status.map_or(Code::Ok, |status| status.code());
            metrics.called("grpc", call(&path, code), format!("{code:?}"), start.elapsed());
            Ok(response)
        })
    }
}

/// The call's name. Those that are not served have one together: a caller makes up any number.
fn call(path: &str, code: Code) -> String {
    match (code, path.rsplit_once('/')) {
        (Code::Unimplemented, _) | (_, None) => "unknown".to_owned(),
        (_, Some((_, call))) => call.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_callers_make_up_is_no_label() {
        assert_eq!(call("/assay.v1.Assay/Submit", Code::Ok), "Submit");
        assert_eq!(call("/assay.v1.Assay/X1", Code::Unimplemented), "unknown");
    }
}
