//! What a call came to, as JSON.

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::Millis;
use registry::ledger::rfc3339;
use serde::Serialize;

/// A document with its code.
pub struct Answer<T>(pub StatusCode, pub T);

/// A document that is there.
pub fn found<T: Serialize>(document: T) -> Answer<T> {
    Answer(StatusCode::OK, document)
}

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.1) {
            Ok(bytes) => {
                (self.0, [(header::CONTENT_TYPE, "application/json")], bytes).into_response()
            }
            // Our documents are plain structures with texts for keys.
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}

/// A time of the log, as the platform writes it.
pub fn time(at: Millis) -> String {
    rfc3339(at.0.saturating_mul(1_000))
}
