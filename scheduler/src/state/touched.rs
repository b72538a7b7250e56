//! What a row is of, for whoever watches rows change.

use super::key;
use domain::JobId;
use registry::ledger;

/// What a changed row is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touched {
    /// What a job was submitted as.
    Submitted(JobId),
    /// How a job ended.
    Ended(JobId),
    /// The element of a job at a position.
    Element(JobId, u32),
    /// An attempt of a job.
    Attempt(JobId),
    /// Something of the ledger.
    Ledger(ledger::Touched),
}

/// What the row under a key is of, if that is told.
#[must_use]
pub fn touched(key: &[u8]) -> Option<Touched> {
    let job = || Some(JobId(u64::from_be_bytes(key.get(1..9)?.try_into().ok()?)));
    let position = || Some(u32::from_be_bytes(key.get(9..13)?.try_into().ok()?));
    match *key.first()? {
        key::JOB_SPEC => job().map(Touched::Submitted),
        key::JOB => job().map(Touched::Ended),
        key::ELEMENT => Some(Touched::Element(job()?, position()?)),
        key::ATTEMPT => job().map(Touched::Attempt),
        _ => ledger::touched(key).map(Touched::Ledger),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::AttemptNo;

    #[test]
    fn keys_are_told_apart_by_what_they_are_of() {
        let job = JobId(0x0102);
        for (key, of) in [
            (key::job_spec(job), Touched::Submitted(job)),
            (key::job(job), Touched::Ended(job)),
            (key::element(job, 5), Touched::Element(job, 5)),
            (key::attempt(job, 5, AttemptNo(2)), Touched::Attempt(job)),
        ] {
            assert_eq!(touched(&key), Some(of));
        }
        assert_eq!(touched(&key::live(job)), None);
    }
}
