//! Arguments of `assay whatif`.

use crate::{complete, quantity};
use clap::Args;
use domain::Millis;
use std::path::PathBuf;

/// A point in time, as people say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// So long from now on.
    In(Millis),
    /// The next time that a clock in UTC shows this: milliseconds since midnight.
    AtClock(Millis),
}

/// Another guarantee of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The queue.
    pub queue: String,
    /// By so many GPUs, or to so many.
    pub gpus: Gpus,
}

/// A number of GPUs, or a change of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gpus {
    /// More, or fewer.
    By(i64),
    /// So many.
    To(u64),
}

/// `assay whatif`.
#[derive(Args, Debug)]
pub struct Whatif {
    /// Take nodes out of service; names with commas between them, may be repeated
    #[arg(long, value_name = "NODE", value_delimiter = ',', add = complete::nodes())]
    pub drain: Vec<String>,
    /// When they are taken out: in a time (2h), or at one (18:00, in UTC)
    #[arg(long, value_name = "TIME", value_parser = when, requires = "drain")]
    pub at: Option<When>,
    /// Guarantee a queue more GPUs (ml=+32), fewer (ml=-8) or so many (ml=64); may be repeated
    #[arg(long, value_name = "QUEUE=GPUS", value_parser = quota)]
    pub quota: Vec<Quota>,
    /// Submit this job
    #[arg(long, value_name = "FILE")]
    pub submit: Option<PathBuf>,
    /// Put this configuration into force, such as cluster.toml
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// How far to look ahead; at most 31d
    #[arg(long, value_name = "TIME", value_parser = quantity::duration, default_value = "24h")]
    pub horizon: Millis,
}

fn when(text: &str) -> Result<When, String> {
    let fault = || format!("`{text}` is no time; give `2h` from now on, or `18:00` in UTC");
    match text.split_once(':') {
        None => quantity::duration(text).map(When::In).map_err(|_| fault()),
        Some((hours, minutes)) => {
            let part = |text: &str, below: u64| {
                let two = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
                let number = text.parse::<u64>().ok().filter(|number| two && *number < below);
                number.ok_or_else(fault)
            };
            let minutes = part(hours, 24)? * 60 + part(minutes, 60)?;
            Ok(When::AtClock(Millis(minutes * 60_000)))
        }
    }
}

fn quota(text: &str) -> Result<Quota, String> {
    let fault = || format!("`{text}` is no QUEUE=GPUS; give `ml=+32`, `ml=-8` or `ml=64`");
    let (queue, gpus) =
        text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(fault)?;
    let gpus = match gpus.strip_prefix(['+', '-']) {
        Some(number) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
            Gpus::By(gpus.parse().map_err(|_| fault())?)
        }
        Some(_) => return Err(fault()),
        None => Gpus::To(gpus.parse().map_err(|_| fault())?),
    };
    Ok(Quota { queue: queue.to_owned(), gpus })
}

impl When {
    /// The point in time, seen from `now`.
    #[must_use]
    pub fn from(self, now: Millis) -> Millis {
        const DAY: u64 = 24 * 3_600_000;
        match self {
            Self::In(time) => now.plus(time),
            Self::AtClock(time) => {
                let today = Millis(now.0 / DAY * DAY + time.0);
                if today > now { today } else { today.plus(Millis(DAY)) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_a_while_or_the_next_one_on_the_clock() {
        const DAY: u64 = 24 * 3_600_000;
        let now = Millis(10 * DAY + 17 * 3_600_000);
        assert_eq!(when("2h").unwrap().from(now), now.plus(Millis(7_200_000)));
        assert_eq!(when("18:00").unwrap().from(now), now.plus(Millis(3_600_000)));
        assert_eq!(when("17:00").unwrap().from(now), now.plus(Millis(DAY)));
        for wrong in ["24:00", "18:60", "6:00", "18:", "soon", "-1:00"] {
            assert!(when(wrong).unwrap_err().contains("`18:00` in UTC"), "{wrong}");
        }
    }

    #[test]
    fn a_quota_is_changed_by_some_or_to_some() {
        let gpus = |text: &str| quota(text).map(|quota| quota.gpus);
        assert_eq!(gpus("ml=+32"), Ok(Gpus::By(32)));
        assert_eq!(gpus("ml=-8"), Ok(Gpus::By(-8)));
        assert_eq!(gpus("ml=64"), Ok(Gpus::To(64)));
        for wrong in ["ml", "=3", "ml=", "ml=+", "ml=+-3", "ml=3.5"] {
            assert!(gpus(wrong).is_err(), "{wrong}");
        }
    }
}
