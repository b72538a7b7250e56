//! Faults that the transport found before a service saw the request, told as services tell theirs.

use super::error;
use std::{
    convert::Infallible,
    task::{Context, Poll},
};
use tonic::{
    Code,
    body::Body,
    codegen::{BoxFuture, Service, http},
    server::NamedService,
};

/// A service whose every fault carries a document that says what to do.
#[derive(Clone)]
pub struct Explained<S>(pub S);

impl<S: NamedService> NamedService for Explained<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Explained<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move {
            let mut response = answer.await?;
            explain(response.headers_mut());
            Ok(response)
        })
    }
}

/// Adds the document to an answer that is a fault and has none.
fn explain(headers: &mut http::HeaderMap) {
    let Some(status) = tonic::Status::from_header_map(headers) else { return };
    if status.code() == Code::Ok || headers.contains_key(error::KEY) {
        return;
    }
    let (code, hint) = match status.code() {
        Code::OutOfRange | Code::ResourceExhausted => (
            "invalid",
            "send fewer jobs in one request; scripts, lists and data go as files of the job's \
             code or data sets, which travel by digest",
        ),
        Code::Unimplemented => ("invalid", "use the `assay` of this cluster's release"),
        Code::Internal | Code::InvalidArgument => (
            "invalid",
            "the request is no message of this release; use the `assay` of this cluster's release",
        ),
        _ => return,
    };
    if let Some(document) = error::document(code, status.message(), hint, false) {
        headers.insert(error::KEY, document);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(status: &tonic::Status) -> Option<serde_json::Value> {
        let mut headers = http::HeaderMap::new();
        status.add_header(&mut headers).unwrap();
        explain(&mut headers);
        let document = headers.get(error::KEY)?;
        Some(serde_json::from_slice(document.as_bytes()).unwrap())
    }

    #[test]
    fn a_fault_of_the_transport_gets_a_document_and_a_services_own_stays() {
        let large = tonic::Status::out_of_range("message of 5 bytes, the limit is 4");
        let document = explained(&large).unwrap();
        assert_eq!(document["code"], "invalid");
        assert_eq!(document["reason"], "message of 5 bytes, the limit is 4");
        assert!(document["hint"].as_str().unwrap().contains("fewer jobs"));

        let own = error::status("refused", "queue is full", "wait", false);
        assert_eq!(explained(&own).unwrap()["hint"], "wait");
        assert_eq!(explained(&tonic::Status::unavailable("gone")), None);
    }
}
