//! The audit chain: each event holds the hash of the one before it.

use super::{Ledger, key};
use crate::seal::canonical;
use borsh::{BorshDeserialize, BorshSerialize};
use domain::{
    Digest, Millis,
    audit::{AuditEvent, EventSignature, next_ts_us},
    port::RowRead,
    scratch::Scratch,
};
use serde_json::{Map, Value};

/// The newest event of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Head {
    /// Its sequence number.
    pub seq: u64,
    /// Its hash.
    pub hash: Digest,
    /// Its time. Unit: µs since the Unix epoch.
    pub ts_us: u64,
}

/// Why signatures were not attached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerRefusal {
    /// They are for other events than those that lack one.
    #[error("signatures start at event {first}, the first unsigned one is {wanted}")]
    OutOfOrder {
        /// Where they start.
        first: u64,
        /// Where they should.
        wanted: u64,
    },
    /// More signatures than events.
    #[error("{given} signatures from event {first} on go past the head of the chain, {head}")]
    PastHead {
        /// Where they start.
        first: u64,
        /// How many.
        given: u64,
        /// The chain's head.
        head: u64,
    },
}

/// `sha256(utf8(payload) || prev)`, the chain's formula.
///
/// Source: platform contract §2.1; genesis has no bytes for `prev`.
#[must_use]
pub fn event_hash(payload: &str, prev: Option<Digest>) -> Digest {
    let mut message = payload.as_bytes().to_vec();
    if let Some(prev) = prev {
        message.extend_from_slice(&prev.0);
    }
    Digest::of(&message)
}

impl Ledger {
    /// Chains an event. Returns its sequence number.
    ///
    /// The payload is `body` with `actor`, `eventType`, `sequence` and `ts` added, since nothing
    /// outside the payload is covered by the hash.
    pub fn record<R: RowRead>(
        &mut self,
        rows: &mut Scratch<'_, R>,
        now: Millis,
        kind: &str,
        actor: &str,
        mut body: Map<String, Value>,
    ) -> u64 {
        let seq = self.head.map_or(1, |head| head.seq + 1);
        let ts_us = next_ts_us(self.head.map_or(0, |head| head.ts_us), now);
        body.insert("actor".into(), actor.into());
        body.insert("eventType".into(), kind.into());
        body.insert("sequence".into(), seq.into());
        body.insert("ts".into(), rfc3339(ts_us).into());
        let payload = canonical::to_string(&Value::Object(body))
            .expect("bodies hold strings and integers below 2^53 only");
        let prev = self.head.map(|head| head.hash);
        let hash = event_hash(&payload, prev);
        let event = AuditEvent { seq, payload, prev, hash, ts_us, signature: None };
        rows.put_new(key::event(seq), &event);
        self.grow(rows, seq, &event.payload);
        self.head = Some(Head { seq, hash, ts_us });
        self.keep(rows);
        seq
    }

    /// Attaches signatures to the first events that lack one.
    ///
    /// # Errors
    /// When they are for other events; nothing is changed then.
    pub fn sign<R: RowRead>(
        &mut self,
        rows: &mut Scratch<'_, R>,
        first: u64,
        signatures: Vec<EventSignature>,
    ) -> Result<(), LedgerRefusal> {
        let wanted = self.signed + 1;
        let head = self.head.map_or(0, |head| head.seq);
        if first != wanted {
            return Err(LedgerRefusal::OutOfOrder { first, wanted });
        }
        let given = signatures.len() as u64;
        if first.saturating_add(given) > head + 1 {
            return Err(LedgerRefusal::PastHead { first, given, head });
        }
        for (seq, signature) in (first..).zip(signatures) {
            let key = key::event(seq);
            let event: Option<AuditEvent> = rows.read(&key);
            let mut event = event.expect("every event up to the head has a row");
            event.signature = Some(signature);
            rows.put(key, &event);
            self.signed = seq;
        }
        self.keep(rows);
        Ok(())
    }

    pub(super) fn keep<R: RowRead>(&self, rows: &mut Scratch<'_, R>) {
        rows.put(key::meta(), self);
    }
}

/// RFC 3339 in UTC with microseconds.
///
/// Days to a date after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
#[must_use]
pub fn rfc3339(ts_us: u64) -> String {
    let (seconds, micros) = (ts_us / 1_000_000, ts_us % 1_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// Reads what [`rfc3339`] writes, and nothing else.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<u64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<u64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let micros = number(20..26)?;
    let shifted = (month + 9) % 12;
    let year = (year + u64::from(shifted < 10)).checked_sub(1)?;
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * shifted + 2) / 5 + day.checked_sub(1)?;
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100;
    let days = (days + day_of_year).checked_sub(719_468)?;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    let ts_us = seconds * 1_000_000 + micros;
    (rfc3339(ts_us) == text).then_some(ts_us)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(rfc3339(951_782_400_000_001), "2000-02-29T00:00:00.000001Z");
        assert_eq!(rfc3339(1_795_522_603_500_000), "2026-11-24T12:16:43.500000Z");
    }

    #[test]
    fn a_time_is_read_as_it_is_written_and_no_other_text_is() {
        for ts_us in [0, 951_782_400_000_001, 1_735_689_599_999_999, 1_795_522_603_500_000] {
            assert_eq!(parse_rfc3339(&rfc3339(ts_us)), Some(ts_us));
        }
        for text in ["", "2026-11-24", "2026-02-30T00:00:00.000000Z", "2026-11-24T12:16:43.5Z"] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn each_event_holds_the_hash_of_the_one_before_it() {
        let base = BTreeMap::new();
        let mut rows = Scratch::new(&base);
        let mut ledger = Ledger::default();
        for _ in 0..3 {
            ledger.record(&mut rows, Millis(5), "job.submitted", "user:ada", Map::new());
        }
        let mut prev = None;
        let mut time = 0;
        for seq in 1..=3 {
            let event: AuditEvent = rows.read(&key::event(seq)).unwrap();
            assert_eq!(event.prev, prev);
            assert_eq!(event.hash, event_hash(&event.payload, prev));
            assert!(event.ts_us > time, "times strictly increase though the clock stood still");
            (prev, time) = (Some(event.hash), event.ts_us);
        }
        assert_eq!(ledger.head().map(|head| head.seq), Some(3));
    }

    #[test]
    fn signatures_go_to_the_first_unsigned_events_and_no_others() {
        let base = BTreeMap::new();
        let mut rows = Scratch::new(&base);
        let mut ledger = Ledger::default();
        ledger.record(&mut rows, Millis(5), "job.submitted", "user:ada", Map::new());
        let signature = EventSignature { signer: "k".into(), bytes: vec![1; 64] };
        let two = vec![signature.clone(), signature.clone()];
        assert!(ledger.sign(&mut rows, 1, two).is_err(), "past the head");
        assert_eq!(ledger.unsigned(), 1);
        assert_eq!(ledger.sign(&mut rows, 1, vec![signature.clone()]), Ok(()));
        assert_eq!(ledger.unsigned(), 0);
        assert_eq!(
            ledger.sign(&mut rows, 1, vec![signature]),
            Err(LedgerRefusal::OutOfOrder { first: 1, wanted: 2 })
        );
    }
}
