//! Points in time as people write them.

use crate::quantity::{self, QuantityError};
use domain::Millis;

/// A day.
const DAY: u64 = 86_400_000;

/// A point in time, as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// At once.
    Now,
    /// So long from now.
    In(Millis),
    /// The next time at which it is so late, in UTC.
    At(Millis),
    /// A time since the Unix epoch.
    On(Millis),
}

impl Moment {
    /// The time since the Unix epoch; zero for at once, which is for the cluster's clock to say.
    #[must_use]
    pub fn since_epoch(self, now: Millis) -> Millis {
        match self {
            Self::Now => Millis(0),
            Self::In(time) => now.plus(time),
            Self::At(clock) => {
                let today = Millis(now.0 - now.0 % DAY).plus(clock);
                if today > now { today } else { today.plus(Millis(DAY)) }
            }
            Self::On(time) => time,
        }
    }
}

/// Reads `now`, `+2h30m`, `18:00`, `2026-01-31T18:00Z`, `2026-01-31T18:00:30Z`.
///
/// # Errors
/// When the text is anything else.
pub fn read(text: &str) -> Result<Moment, QuantityError> {
    let fault = || QuantityError {
        text: text.into(),
        kind: "a point in time in UTC",
        example: "now, +2h30m, 18:00 or 2026-01-31T18:00Z",
    };
    if text == "now" {
        return Ok(Moment::Now);
    }
    if let Some(time) = text.strip_prefix('+') {
        return quantity::duration(time).map(Moment::In).map_err(|_| fault());
    }
    match text.split_once('T') {
        None => clock(text).map(Moment::At).ok_or_else(fault),
        Some((day, time)) => {
            let day = quantity::day(day).map_err(|_| fault())?;
            let time = time.strip_suffix('Z').and_then(clock).ok_or_else(fault)?;
            let begin = day.checked_mul(DAY).ok_or_else(fault)?;
            Ok(Moment::On(Millis(begin).plus(time)))
        }
    }
}

/// `18:00` or `18:00:30`.
fn clock(text: &str) -> Option<Millis> {
    let parts: Vec<&str> = text.split(':').collect();
    let two = |text: &&str, most: u64| {
        let good = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<u64>().ok().filter(|number| good && *number < most)
    };
    let (hours, minutes, seconds) = match parts.as_slice() {
        [hours, minutes] => (two(hours, 24)?, two(minutes, 60)?, 0),
        [hours, minutes, seconds] => (two(hours, 24)?, two(minutes, 60)?, two(seconds, 60)?),
        _ => return None,
    };
    Some(Millis((hours * 3_600 + minutes * 60 + seconds) * 1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_time_are_read_as_people_write_them() {
        let noon = Millis(20_000 * DAY + DAY / 2);
        let at = |text: &str| read(text).unwrap().since_epoch(noon).0;
        assert_eq!(at("now"), 0);
        assert_eq!(at("+2h30m"), noon.0 + 9_000_000);
        assert_eq!(at("18:00"), noon.0 + 6 * 3_600_000);
        assert_eq!(at("11:59:30"), noon.0 + DAY - 30_000, "tomorrow");
        assert_eq!(at("12:00"), noon.0 + DAY, "not at once");
        assert_eq!(at("1970-01-02T00:00:01Z"), DAY + 1_000);
        for text in [
            "",
            "later",
            "24:00",
            "1:00",
            "12:60",
            "2026-01-31",
            "2026-13-31T00:00Z",
            "+",
            "18:",
            "-1:00",
        ] {
            let fault = read(text).unwrap_err().to_string();
            assert!(fault.contains("write it like `now, +2h30m"), "{fault}");
        }
    }
}
