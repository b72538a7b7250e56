//! What goes wrong, in the platform's envelope: a code for programs, words for people.

use crate::api::error;
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoResponses, ToSchema};

/// Seconds after which a call that met a busy server is to be repeated.
const AGAIN: HeaderValue = HeaderValue::from_static("1");

/// A call that came to nothing.
#[derive(Debug)]
pub struct Fault {
    http: StatusCode,
    code: String,
    message: String,
    hint: String,
    retry_safe: bool,
    about: Option<String>,
}

/// The envelope of a call that came to nothing.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Failure)]
pub struct Envelope {
    /// Always false.
    ok: bool,
    error: Told,
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Error)]
pub struct Told {
    /// One stable word.
    code: String,
    /// What is wrong, where.
    message: String,
    details: Details,
}

/// What to do about it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Details {
    /// What to do next.
    hint: String,
    /// Whether the same call may be made again with the same key.
    retry_safe: bool,
    /// What the fault is about, where that has an id.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
}

/// Every way in which a call may come to nothing.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "the document is made from it")]
pub enum Faults {
    /// The call has not the shape that this document gives it.
    #[response(status = 400)]
    Malformed(Envelope),
    /// No certificate, or one that names nobody.
    #[response(status = 401)]
    Unknown(Envelope),
    /// The caller may not do this, or the policy said no.
    #[response(status = 403)]
    Forbidden(Envelope),
    /// What is named is not there.
    #[response(status = 404)]
    Absent(Envelope),
    /// A rule forbids it in the present state, or the key belongs to another call.
    #[response(status = 409)]
    Conflict(Envelope),
    /// The body is larger than any that is taken.
    #[response(status = 413)]
    TooLarge(Envelope),
    /// The body is no `application/json`.
    #[response(status = 415)]
    NotJson(Envelope),
    /// The shape is right and what it says breaks a rule.
    #[response(status = 422)]
    Unfit(Envelope),
    /// Something that should not be.
    #[response(status = 500)]
    Internal(Envelope),
    /// Not now: repeat it after `Retry-After` with the same key.
    #[response(status = 503)]
    Busy(Envelope),
}

/// What a service says of its fault.
#[derive(Deserialize)]
struct Document {
    code: String,
    reason: String,
    hint: String,
    retry_safe: bool,
}

impl Fault {
    /// A call that has not the shape that the document gives it.
    #[must_use]
    pub fn malformed(code: &str, message: impl Into<String>, hint: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message, hint)
    }

    /// A call whose shape is right and which breaks a rule.
    #[must_use]
    pub fn unfit(message: impl Into<String>, hint: &str) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", message, hint)
    }

    /// A call that says something else than what is recorded.
    #[must_use]
    pub fn mismatch(message: impl Into<String>, hint: &str) -> Self {
        Self::new(StatusCode::CONFLICT, "mismatch", message, hint)
    }

    /// A caller who may not do this.
    #[must_use]
    pub fn forbidden(message: impl Into<String>, hint: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "not_authorised", message, hint)
    }

    /// Something that is not there.
    #[must_use]
    pub fn absent(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("there is no {what}"), "check the id")
    }

    /// Any fault that the same call will meet again.
    #[must_use]
    pub fn new(http: StatusCode, code: &str, message: impl Into<String>, hint: &str) -> Self {
        let (code, message, hint) = (code.to_owned(), message.into(), hint.to_owned());
        Self { http, code, message, hint, retry_safe: false, about: None }
    }

    /// A fault that passes.
    #[must_use]
    pub fn passing(code: &str, message: impl Into<String>, hint: &str) -> Self {
        let fault = Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message, hint);
        Self { retry_safe: true, ..fault }
    }

    /// The same, about something that has an id.
    #[must_use]
    pub fn about(self, id: impl ToString) -> Self {
        Self { about: Some(id.to_string()), ..self }
    }
}

/// The code of HTTP for a code of ours.
fn http_of(code: &str) -> StatusCode {
    match code {
        "invalid" => StatusCode::UNPROCESSABLE_ENTITY,
        "refused" | "mismatch" => StatusCode::CONFLICT,
        "not_found" => StatusCode::NOT_FOUND,
        "unavailable" | "busy" => StatusCode::SERVICE_UNAVAILABLE,
        "unauthenticated" => StatusCode::UNAUTHORIZED,
        "not_authorised" => StatusCode::FORBIDDEN,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<tonic::Status> for Fault {
    fn from(status: tonic::Status) -> Self {
        let document = status.metadata().get(error::KEY).map(|value| value.as_bytes());
        match document.and_then(|bytes| serde_json::from_slice::<Document>(bytes).ok()) {
            Some(Document { code, reason, hint, retry_safe }) => {
                let own = status.metadata().get(error::REST_CODE);
                let told = own.and_then(|value| value.to_str().ok()).unwrap_or(&code);
                let fault = Self::new(http_of(&code), told, reason, &hint);
                Self { retry_safe, ..fault }
            }
            None => {
                let http = StatusCode::INTERNAL_SERVER_ERROR;
                Self::new(http, "internal", status.message(), "report this")
            }
        }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let Self { http, code, message, hint, retry_safe, about: id } = self;
        let details = Details { hint, retry_safe, id };
        let envelope = Envelope { ok: false, error: Told { code, message, details } };
        let mut response = super::answer::Answer(http, envelope).into_response();
        if http == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, AGAIN);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_services_fault_keeps_its_words_and_gets_the_code_of_http() {
        for (code, http) in [
            ("invalid", 422),
            ("refused", 409),
            ("not_found", 404),
            ("busy", 503),
            ("not_authorised", 403),
            ("anything", 500),
        ] {
            let status = error::status(code, "why `größe`", "do this", code == "busy");
            let fault = Fault::from(status);
            assert_eq!((fault.http.as_u16(), fault.code.as_str()), (http, code));
            assert_eq!((fault.message.as_str(), fault.hint.as_str()), ("why `größe`", "do this"));
            assert_eq!(fault.retry_safe, code == "busy");
        }
        assert_eq!(Fault::from(tonic::Status::unknown("?")).http.as_u16(), 500);
    }
}
