//! What a server's refusal, or its silence, means to the caller.

use crate::fault::{Fault, Kind};
use std::error::Error;
use tonic::{Code, Status};

/// Metadata key of the error document.
const KEY: &str = "assay-error";

/// What the transport says when one side does not accept the other's certificate.
const TLS: [&str; 2] = ["invalid peer certificate", "received fatal alert"];

/// Whether a server said this, rather than the network.
pub fn came_from_server(status: &Status) -> bool {
    status.metadata().contains_key(KEY)
}

/// The fault behind a status.
#[must_use]
pub fn of_status(status: &Status, address: &str) -> Fault {
    let document = status.metadata().get(KEY).and_then(|value| value.to_str().ok());
    if let Some(fault) = document.and_then(|text| serde_json::from_str::<Fault>(text).ok()) {
        return fault;
    }
    let why = chain(status);
    if TLS.iter().any(|words| why.contains(words)) {
        let detail = format!("server {address} and this profile do not trust each other: {why}");
        return Fault::new(Kind::NotAuthorised, "certificate", detail).hint(
            "the profile's `ca`, `cert` and `key` must be of this cluster's authority and not \
             expired: use another --profile, or ask an admin for new ones",
        );
    }
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied => {
            Fault::new(Kind::NotAuthorised, "identity", format!("server {address}: {why}"))
        }
        Code::Unavailable
        | Code::DeadlineExceeded
        | Code::Cancelled
        | Code::Unknown
        | Code::Aborted => Fault::new(
            Kind::Unavailable,
            "no_answer",
            format!("no server answered; {address}: {why}"),
        )
        .hint("repeat the command; a cluster on this machine: assay dev"),
        Code::OutOfRange => Fault::usage("too_large", format!("the request is too large: {why}"))
            .hint("ask for less at once; large inputs go as files of the job's code or data"),
        _ => Fault::internal("server", format!("server {address}: {why}")),
    }
}

/// The message with its causes, each once.
fn chain(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = status.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !text.contains(&words) {
            text = if text.is_empty() { words } else { format!("{text}: {words}") };
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_own_words_come_through() {
        let mut status = Status::failed_precondition("x");
        let document = r#"{"code":"refused","reason":"q","detail":"gr\u00f6\u00dfe is full",
            "hint":"wait","retry_safe":false}"#
            .replace('\n', "");
        status.metadata_mut().insert(KEY, document.parse().unwrap());
        let fault = of_status(&status, "a:1");
        assert_eq!((fault.code, fault.detail.as_str()), (Kind::Refused, "größe is full"));
    }

    #[test]
    fn silence_may_be_answered_with_the_same_request() {
        for code in [Code::Unavailable, Code::DeadlineExceeded, Code::Unknown] {
            let fault = of_status(&Status::new(code, "gone"), "a:1");
            assert_eq!((fault.code, fault.retry_safe), (Kind::Unavailable, true));
        }
        assert!(!of_status(&Status::internal("bug"), "a:1").retry_safe);
    }

    #[test]
    fn a_certificate_that_is_not_accepted_is_no_silence() {
        for words in ["invalid peer certificate: BadSignature", "received fatal alert: UnknownCA"] {
            let fault = of_status(&Status::unavailable(words), "a:1");
            assert_eq!((fault.code, fault.retry_safe), (Kind::NotAuthorised, false));
            assert!(fault.hint.contains("`ca`"), "{}", fault.hint);
        }
    }
}
