//! The audit chain.

use crate::{
    output::{Style, table::table},
    quantity::show_time_us,
};
use domain::view::AuditPage;

const HEADING: [&str; 5] = ["SEQ", "TIME", "SIGNED", "HASH", "EVENT"];

/// A page of the chain as text.
#[must_use]
pub fn list(style: Style, page: &AuditPage) -> String {
    let rows: Vec<_> = page
        .events
        .iter()
        .map(|event| {
            let signed = event.signature.as_ref().map_or("not yet", |s| s.signer.as_str());
            vec![
                event.seq.to_string(),
                show_time_us(event.ts_us),
                signed.to_owned(),
                event.hash.short(),
                event.payload.clone(),
            ]
        })
        .collect();
    table(style, &HEADING, &rows)
}
