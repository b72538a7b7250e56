//! The keys under which the changes of one command are sent.
//!
//! Whoever was not answered does not know whether a change took effect. Sent again under its key
//! it has no second effect, and is answered as the first would have been.

use crate::fault::{Fault, Kind};
use bytes::Bytes;
use domain::{Digest, RequestKey};
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Debug, Default)]
struct Used {
    first: Option<RequestKey>,
    changes: u64,
}

/// Shared by its clones: a command has one.
#[derive(Clone, Debug, Default)]
pub struct Keys(Arc<Mutex<Used>>);

impl Keys {
    /// The key of the next change. The first has `given`, or one that is drawn; what follows it in
    /// the same command has keys that follow from it.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn next(&self, given: Option<RequestKey>) -> Result<Bytes, Fault> {
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = match used.first.or(given) {
            Some(first) => first,
            None => draw()?,
        };
        used.first = Some(first);
        let number = used.changes;
        used.changes += 1;
        let key = match number {
            0 => first.0.to_vec(),
            _ => Digest::of_value(&("a further change", first.0, number)).0[..16].to_vec(),
        };
        Ok(key.into())
    }

    /// Says of a change that was not answered how it may be repeated.
    #[must_use]
    pub fn tell(&self, given: Option<RequestKey>, mut fault: Fault) -> Fault {
        let used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = used.first
            && matches!(fault.code, Kind::Unavailable | Kind::Timeout)
        {
            fault.retry_safe = given.is_some();
            fault.request_key = Some(key.to_string());
            let again = format!("repeated with `--request-key {key}` it has no second effect");
            fault.hint = match fault.hint.as_str() {
                "" => again,
                hint => format!("{hint}; {again}"),
            };
        }
        fault
    }
}

fn draw() -> Result<RequestKey, Fault> {
    let mut key = [0; 16];
    getrandom::fill(&mut key).map_err(|fault| {
        Fault::internal("entropy", format!("the system gives no random numbers: {fault}"))
    })?;
    Ok(RequestKey(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_is_repeated_with_its_key_repeats_the_keys_of_all_its_changes() {
        let keys = Keys::default();
        let before: Vec<Bytes> = (0..3).map(|_| keys.clone().next(None).unwrap()).collect();
        assert_ne!(before[0], before[1]);
        assert_ne!(before[1], before[2]);
        let fault = keys.tell(None, Fault::new(Kind::Unavailable, "no_answer", "x").hint("wait"));
        let key = fault.request_key.clone().unwrap();
        let hint = format!("wait; repeated with `--request-key {key}` it has no second effect");
        assert_eq!((fault.hint, fault.retry_safe), (hint, false));

        let given = Some(key.parse().unwrap());
        let again = Keys::default();
        let after: Vec<Bytes> = (0..3).map(|_| again.next(given).unwrap()).collect();
        assert_eq!(before, after);
        assert!(again.tell(given, Fault::new(Kind::Timeout, "timeout", "x")).retry_safe);
        let refused = Fault::new(Kind::Refused, "quota", "x");
        assert_eq!(again.tell(given, refused.clone()), refused);
    }

    #[test]
    fn what_changes_nothing_may_be_repeated_as_it_is() {
        let silence = Fault::new(Kind::Unavailable, "no_answer", "x");
        assert_eq!(Keys::default().tell(None, silence.clone()), silence);
    }
}
