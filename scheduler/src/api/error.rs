//! Errors as callers see them: a status with a document that says what to do.

use crate::state::command::Refusal;
use domain::refusal::{RefusalKind, RegistryRefusal};
use serde::Serialize;
use tonic::{Code, Status, codegen::http::HeaderValue, metadata::MetadataValue};

/// Metadata key of the document.
pub const KEY: &str = "assay-error";
/// The reason of [`elsewhere`], by which clients know it.
const ELSEWHERE: &str = "elsewhere";
/// What REST calls it when a key was sent before with another body (platform contract, 3.3).
pub const KEY_CONFLICT: &str = "idempotency_key_conflict";
/// Metadata key of a code that REST gives in the place of the document's.
pub const REST_CODE: &str = "assay-rest-code";

#[derive(Serialize)]
struct Document<'a> {
    code: &'a str,
    reason: &'a str,
    detail: &'a str,
    hint: &'a str,
    retry_safe: bool,
}

/// A status whose metadata holds `{code, reason, detail, hint, retry_safe}`.
///
/// `code` is one of: invalid, refused, not_found, unavailable, busy, unauthenticated,
/// not_authorised, mismatch, internal.
#[must_use]
pub fn status(code: &str, reason: impl Into<String>, hint: &str, retry_safe: bool) -> Status {
    let reason = reason.into();
    let document = document(code, &reason, hint, retry_safe);
    with(code, reason, document)
}

/// That another server was asked for. Programs know it by its reason.
#[must_use]
pub fn elsewhere(detail: String, hint: &str) -> Status {
    let (code, retry_safe) = ("unavailable", true);
    let document = Document { code, reason: ELSEWHERE, detail: &detail, hint, retry_safe };
    let document = header(&document);
    with(code, detail, document)
}

fn with(code: &str, message: String, document: Option<HeaderValue>) -> Status {
    let mut status = Status::new(wire_code(code), message);
    let value = document.and_then(|value| MetadataValue::try_from(value.as_bytes()).ok());
    if let Some(value) = value {
        status.metadata_mut().insert(KEY, value);
    }
    status
}

/// The document of a fault, as a header's value.
#[must_use]
pub fn document(code: &str, reason: &str, hint: &str, retry_safe: bool) -> Option<HeaderValue> {
    header(&Document { code, reason, detail: reason, hint, retry_safe })
}

fn header(document: &Document<'_>) -> Option<HeaderValue> {
    let json = serde_json::to_string(document).unwrap_or_default();
    // Metadata is ASCII; other characters travel as JSON escapes.
    HeaderValue::try_from(escape(&json)).ok()
}

fn wire_code(code: &str) -> Code {
    match code {
        "invalid" => Code::InvalidArgument,
        "refused" => Code::FailedPrecondition,
        "not_found" => Code::NotFound,
        "unavailable" => Code::Unavailable,
        "busy" => Code::ResourceExhausted,
        "unauthenticated" => Code::Unauthenticated,
        "not_authorised" => Code::PermissionDenied,
        "mismatch" => Code::DataLoss,
        _ => Code::Internal,
    }
}

/// Escapes what is outside printable ASCII as JSON does.
fn escape(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for unit in json.encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte @ 0x20..=0x7e) => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\u{unit:04x}")),
        }
    }
    out
}

/// A refusal by the state machine.
#[must_use]
pub fn refused(refusal: &Refusal) -> Status {
    let (code, hint) = match refusal {
        Refusal::NotFound { .. } => ("not_found", "check the id"),
        Refusal::Spec(_) => ("invalid", "correct the job and submit it again"),
        Refusal::KeyReused { .. } => ("refused", "use a new request key"),
        Refusal::WrongState { .. } => ("refused", "look at it with `assay job`"),
        Refusal::Limit { .. } => ("refused", "wait for work to finish, or raise the limit"),
        Refusal::StaleLease { .. } => ("refused", "stop what runs under the lease"),
        Refusal::NotYet { .. } => ("unavailable", "repeat it"),
        Refusal::Config(_) => ("refused", "`assay plan FILE` shows what a file would change"),
        Refusal::Registry(RegistryRefusal::DatasetBlocked { .. }) => (
            "refused",
            "`assay dataset show` tells what was found, `assay approver list` who clears",
        ),
        Refusal::Registry(refusal) => match refusal.kind() {
            RefusalKind::Invalid => ("invalid", "correct the request"),
            RefusalKind::NotFound => ("not_found", "check the name"),
            RefusalKind::NotAuthorised => ("not_authorised", "ask an admin: `assay approver list`"),
            RefusalKind::Mismatch => ("mismatch", "see the message"),
            RefusalKind::Refused => ("refused", "`assay promotion list` shows what is under way"),
            RefusalKind::NotYet => ("unavailable", "repeat it later"),
        },
    };
    let mut status = status(code, refusal.to_string(), hint, code == "unavailable");
    if matches!(refusal, Refusal::KeyReused { .. }) {
        status.metadata_mut().insert(REST_CODE, MetadataValue::from_static(KEY_CONFLICT));
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_carries_its_document_even_with_foreign_letters() {
        let status = status("refused", "job `größe` is full", "wait", false);
        let text = status.metadata().get(KEY).unwrap().to_str().unwrap();
        let json: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(json["reason"], "job `größe` is full");
        assert_eq!(json["code"], "refused");
        assert_eq!(status.code(), Code::FailedPrecondition);
    }
}
