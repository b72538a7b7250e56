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

/// The chain as it grows, event by event.
#[derive(Default)]
pub struct Chain {
    hashes: Vec<Digest>,
}

impl Chain {
    /// The row of an event was written, or removed.
    pub fn event(&mut self, seq: u64, event: Option<&AuditEvent>) -> Result<(), Broken> {
        let broken = |what| Err(Broken::new(format!("audit_chained: event {seq} {what}")));
        let Some(event) = event else { return broken("is removed") };
        let known = self.hashes.len() as u64;
        let before = |seq: u64| self.hashes.get(usize::try_from(seq).ok()?.checked_sub(1)?);
        if let Some(first) = before(seq) {
            // A signature was attached.
            return match *first == event.hash {
                true => Ok(()),
                false => broken("has changed"),
            };
        }
        let prev = before(known).copied();
        let follows = seq == known + 1 && event.seq == seq && event.prev == prev;
        if !follows || event.hash != event_hash(&event.payload, prev) {
            return broken("does not follow");
        }
        self.hashes.push(event.hash);
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
    let mut chain = Chain::default();
    (1..).zip(events).try_for_each(|(seq, event)| chain.event(seq, Some(event)))?;
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

    #[test]
    fn it_grows_one_event_at_a_time_and_no_event_changes() {
        let event = |seq, prev, payload: &str| AuditEvent {
            seq,
            payload: payload.into(),
            prev,
            hash: event_hash(payload, prev),
            ts_us: seq,
            signature: None,
        };
        let first = event(1, None, "{}");
        let mut chain = Chain::default();
        assert!(chain.event(2, Some(&event(2, None, "{}"))).is_err(), "a gap");
        assert!(chain.event(1, Some(&first)).is_ok());
        assert!(chain.event(1, Some(&first)).is_ok(), "a signature comes later");
        assert!(chain.event(1, Some(&event(1, None, "[]"))).is_err(), "a change");
        assert!(chain.event(2, Some(&event(2, None, "{}"))).is_err(), "a fork");
        assert!(chain.event(2, Some(&event(2, Some(first.hash), "{}"))).is_ok());
        assert!(chain.event(2, None).is_err(), "a removal");
    }
}
