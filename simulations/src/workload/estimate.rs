//! What users say of how long their jobs take.

use super::job::Job;
use crate::chance::Chance;
use std::str::FromStr;

/// How good the estimates are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Estimates {
    /// There are none. Policies that cannot do without know the truth.
    None,
    /// The truth.
    Exact,
    /// What users asked for, as SWF records it; the truth where a trace does not say.
    Asked,
    /// The truth, off by up to so many percent, evenly, up or down.
    Noise(f64),
}

impl FromStr for Estimates {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("noise:").and_then(|percent| percent.parse().ok())) {
            ("none", _) => Ok(Self::None),
            ("exact", _) => Ok(Self::Exact),
            ("asked", _) => Ok(Self::Asked),
            (_, Some(percent)) if (0.0..100.0).contains(&percent) => Ok(Self::Noise(percent)),
            _ => Err("write none, exact, asked, or noise:PERCENT with PERCENT from 0 to below 100"
                .into()),
        }
    }
}

impl Estimates {
    /// Seconds that are said of each job.
    #[must_use]
    pub fn of(self, jobs: &[Job]) -> Vec<f64> {
        let Self::Noise(percent) = self else {
            let asked = |job: &Job| job.asked_s.filter(|_| self == Self::Asked);
            return jobs.iter().map(|job| asked(job).unwrap_or(job.service_s)).collect();
        };
        let mut chance = Chance::new(1).branch("estimates", 0);
        let mut off = || {
            // Evenly from -1 to 1.
            let draw = chance.below(1 << 32) as f64 / (1_u64 << 31) as f64 - 1.0;
            1.0 + draw * percent / 100.0
        };
        jobs.iter().map(|job| job.service_s * off()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_stays_within_its_percent() {
        let job = Job {
            id: String::new(),
            submit_s: 0.0,
            gpus: 1,
            service_s: 100.0,
            asked_s: None,
            overhead_s: 0.0,
            tenant: String::new(),
        };
        let jobs = vec![job; 1_000];
        let noisy = Estimates::from_str("noise:50").unwrap().of(&jobs);
        assert!(noisy.iter().all(|said| (50.0..=150.0).contains(said)));
        assert!(noisy.iter().any(|said| *said < 60.0) && noisy.iter().any(|said| *said > 140.0));
        assert!(Estimates::from_str("noise:100").is_err() && Estimates::from_str("x").is_err());
    }
}
