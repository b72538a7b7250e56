//! `audit_chained`: the chain has no fork or gap.

use super::{Broken, leader};
use crate::{server::Server, world::World};
use domain::{Digest, audit::AuditEvent};
use registry::ledger::event_hash;
use std::collections::BTreeMap;

/// The heads that any replica ever had.
#[derive(Default)]
pub struct Heads {
    hashes: BTreeMap<u64, Digest>,
}

impl Heads {
    /// A chain of one length has one head, everywhere and at all times.
    pub fn check(&mut self, server: &Server) -> Result<(), Broken> {
        let Some(replica) = &server.replica else { return Ok(()) };
        let (head, signed) = replica.view().0.0.view().audit_head();
        let Some(head) = head else { return Ok(()) };
        let first = *self.hashes.entry(head.seq).or_insert(head.hash);
        if first != head.hash || signed > head.seq {
            let (id, seq) = (server.id, head.seq);
            return Err(Broken::new(format!("audit_chained: {id} has another event {seq}")));
        }
        Ok(())
    }
}

/// Walks the chain from genesis.
pub fn check(world: &World) -> Result<(), Broken> {
    let server = leader(world)?;
    let Some(replica) = &server.replica else { return Ok(()) };
    let (machine, rows) = replica.view();
    let page = machine.0.view().audit(rows, 1, 1_000_000);
    walk(&page.events, page.head)
}

fn walk(events: &[AuditEvent], head: u64) -> Result<(), Broken> {
    let mut prev: Option<Digest> = None;
    for (seq, event) in (1..).zip(events) {
        if event.seq != seq || event.prev != prev || event.hash != event_hash(&event.payload, prev)
        {
            return Err(Broken::new(format!("audit_chained: event {seq} does not follow")));
        }
        prev = Some(event.hash);
    }
    if events.len() as u64 != head {
        return Err(Broken::new(format!("audit_chained: {} of {head} events", events.len())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_event_or_a_missing_one_breaks_it() {
        let hash = event_hash("{}", None);
        let event = AuditEvent {
            seq: 1,
            payload: "{}".into(),
            prev: None,
            hash,
            ts_us: 1,
            signature: None,
        };
        assert!(walk(std::slice::from_ref(&event), 1).is_ok());
        assert!(walk(&[], 1).is_err());
        assert!(walk(&[AuditEvent { payload: "[]".into(), ..event }], 1).is_err());
    }
}
