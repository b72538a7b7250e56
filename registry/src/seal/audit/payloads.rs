//! Payloads of events, checked many at once.

use super::ChainFault;
use crate::{ledger::rfc3339, seal::canonical};
use domain::audit::AuditEvent;
use rayon::prelude::*;
use serde_json::Value;

/// A payload that is still to be checked.
struct Pending {
    seq: u64,
    payload: String,
    ts_us: u64,
}

/// Checks payloads in batches, on all cores: reading them takes longer than hashing.
#[derive(Default)]
pub(super) struct Payloads(Vec<Pending>);

impl Payloads {
    /// Takes the payload of an event.
    pub fn push(&mut self, event: &AuditEvent) {
        let AuditEvent { seq, payload, ts_us, .. } = event;
        self.0.push(Pending { seq: *seq, payload: payload.clone(), ts_us: *ts_us });
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Checks what was gathered. Returns the first event whose payload is not its own.
    pub fn flush(&mut self) -> Option<(u64, ChainFault)> {
        let pending = std::mem::take(&mut self.0);
        let fault = |one: &Pending| {
            let why = fault(one)?;
            Some((one.seq, ChainFault::Payload { seq: one.seq, why }))
        };
        pending.par_iter().find_map_first(fault)
    }
}

/// Why it is not in canonical form, or speaks of another event.
fn fault(one: &Pending) -> Option<String> {
    let value = match canonical::parse(&one.payload) {
        Ok(value) => value,
        Err(why) => return Some(why.to_string()),
    };
    match canonical::to_string(&value) {
        Ok(again) if again == one.payload => {}
        Ok(_) => return Some("it is not in canonical form".into()),
        Err(why) => return Some(why.to_string()),
    }
    if value.get("sequence").and_then(Value::as_u64) != Some(one.seq) {
        return Some("its `sequence` is another".into());
    }
    if value.get("ts").and_then(Value::as_str) != Some(&rfc3339(one.ts_us)) {
        return Some("its `ts` is another than the event's time".into());
    }
    None
}
