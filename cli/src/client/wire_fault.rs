//! What a server's refusal, or its silence, means to the caller.

use crate::fault::{Fault, Kind};
use std::error::Error;
use tonic::{Code, Status};

/// Metadata key of the error document.
const KEY: &str = "assay-error";

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
        .hint("repeat the command, it is safe; a cluster on this machine: assay dev"),
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
}
