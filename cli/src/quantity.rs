//! Durations, sizes and times as people write and read them.

use domain::{Bytes, CpuMillis, Millis, PerMille, resource::GpuShare};

/// A text that is not a quantity of the wanted kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {kind}; write it like `{example}`")]
pub struct QuantityError {
    /// What was given.
    pub text: String,
    /// What was wanted.
    pub kind: &'static str,
    /// One that would do.
    pub example: &'static str,
}

const DURATION: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

const SIZE: [(&str, u64); 9] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// Reads `2h30m`, `90s`, `1d`, `250ms`.
///
/// # Errors
/// When the text is anything else, or does not fit.
pub fn duration(text: &str) -> Result<Millis, QuantityError> {
    let fault = || QuantityError { text: text.into(), kind: "a duration", example: "2h30m" };
    let mut rest = text.trim();
    let mut total = 0u64;
    if rest.is_empty() {
        return Err(fault());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().map_err(|_| fault())?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = scale(&DURATION, &rest[..letters]).ok_or_else(fault)?;
        rest = &rest[letters..];
        total = number.checked_mul(unit).and_then(|ms| total.checked_add(ms)).ok_or_else(fault)?;
    }
    Ok(Millis(total))
}

/// Reads `32GiB`, `512MiB`, `1.5GB`, or a plain number of bytes.
///
/// # Errors
/// When the text is anything else, or does not fit.
pub fn size(text: &str) -> Result<Bytes, QuantityError> {
    let fault = || QuantityError { text: text.into(), kind: "a size", example: "32GiB" };
    let trimmed = text.trim();
    let number = trimmed.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
    let unit = match trimmed[number..].trim_start() {
        "" => 1,
        unit => scale(&SIZE, unit).ok_or_else(fault)?,
    };
    let thousandths = thousandths(&trimmed[..number]).ok_or_else(fault)?;
    let bytes = u128::from(thousandths) * u128::from(unit) / 1_000;
    u64::try_from(bytes).map(Bytes).map_err(|_| fault())
}

/// Reads a number of cores: `4`, `0.5`.
///
/// # Errors
/// When the text is no decimal number of at most three places.
pub fn cpus(text: &str) -> Result<CpuMillis, QuantityError> {
    thousandths(text.trim()).map(CpuMillis).ok_or_else(|| QuantityError {
        text: text.into(),
        kind: "a number of cores",
        example: "1.5",
    })
}

/// How many GPUs a task asks for: whole ones, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GpuCount {
    /// How many.
    pub gpus: u32,
    /// How much of one each is.
    pub share: GpuShare,
}

impl GpuCount {
    /// So many whole ones.
    #[must_use]
    pub fn whole(gpus: u32) -> Self {
        Self { gpus, share: GpuShare::Whole }
    }
}

/// Reads a number of GPUs: `4`, `0.25`, `1/4`.
///
/// # Errors
/// When the text is neither a whole number nor a part of one GPU.
pub fn gpus(text: &str) -> Result<GpuCount, QuantityError> {
    let fault = |kind| QuantityError { text: text.into(), kind, example: "4` or `0.25" };
    let part = |part| GpuCount { gpus: 1, share: GpuShare::AtLeast(PerMille(part)) };
    let trimmed = text.trim();
    if let Some((one, of)) = trimmed.split_once('/') {
        let of = of.parse::<u64>().ok().filter(|of| one == "1" && (2..=1_000).contains(of));
        return of.map(|of| part(1_000 / of)).ok_or_else(|| fault("a part of a GPU"));
    }
    let read = thousandths(trimmed).ok_or_else(|| fault("a number of GPUs"))?;
    match (read / 1_000, read % 1_000) {
        (whole, 0) => {
            u32::try_from(whole).map(GpuCount::whole).map_err(|_| fault("a number of GPUs"))
        }
        (0, rest) => Ok(part(rest)),
        _ => Err(fault("a whole number of GPUs, or a part of one")),
    }
}

/// A number of GPUs for people: `4 GPUs`, `0.25 GPU`.
#[must_use]
pub fn show_gpus(gpus: u32, share: GpuShare) -> String {
    match share {
        GpuShare::AtLeast(PerMille(part)) => format!("{} GPU", show_cpus(CpuMillis(part))),
        GpuShare::Whole | GpuShare::Any | GpuShare::OneOf(_) => match gpus {
            1 => "1 GPU".to_owned(),
            gpus => format!("{gpus} GPUs"),
        },
    }
}

fn scale(units: &[(&str, u64)], name: &str) -> Option<u64> {
    units.iter().find(|(unit, _)| *unit == name).map(|(_, scale)| *scale)
}

/// A decimal number with at most three places, times a thousand.
fn thousandths(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 3 {
        return None;
    }
    let part: u64 = format!("{part:0<3}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1_000)?.checked_add(part)
}

/// A duration for people: its two greatest units, `2h30m`, `1.5s`, `80ms`.
#[must_use]
pub fn show_duration(time: Millis) -> String {
    let (ms, s) = (time.0, time.0 / 1_000);
    match s {
        0 => format!("{ms}ms"),
        1..=9 => format!("{s}.{}s", ms % 1_000 / 100),
        10..=59 => format!("{s}s"),
        60..=3_599 => format!("{}m{:02}s", s / 60, s % 60),
        3_600..=86_399 => format!("{}h{:02}m", s / 3_600, s % 3_600 / 60),
        _ => format!("{}d{:02}h", s / 86_400, s % 86_400 / 3_600),
    }
}

/// A size for people: `3.2 GiB`.
#[must_use]
pub fn show_size(size: Bytes) -> String {
    size.text()
}

/// A number of cores for people: `1.5`, `4`.
#[must_use]
pub fn show_cpus(cpu: CpuMillis) -> String {
    let (whole, part) = (cpu.0 / 1_000, cpu.0 % 1_000);
    if part == 0 {
        return whole.to_string();
    }
    let part = format!("{part:03}");
    format!("{whole}.{}", part.trim_end_matches('0'))
}

/// Reads a day, `2026-01-31`, as the number of days since 1970-01-01 in UTC.
///
/// # Errors
/// When the text is anything else.
pub fn day(text: &str) -> Result<u64, QuantityError> {
    let fault = || QuantityError { text: text.into(), kind: "a day", example: "2026-01-31" };
    let begin = registry::ledger::parse_rfc3339(&format!("{text}T00:00:00.000000Z"));
    begin.map(|us| us / 86_400_000_000).ok_or_else(fault)
}

/// A day: `2026-01-31`.
#[must_use]
pub fn show_day(day: u64) -> String {
    civil(day)
}

/// GPU time: `12.5s` up to an hour of one GPU, then `3.25h`.
#[must_use]
pub fn show_gpu_time(gpu_ms: u64) -> String {
    match gpu_ms {
        0 => "0".to_owned(),
        ms if ms < 3_600_000 => format!("{}.{}s", ms / 1_000, ms / 100 % 10),
        ms => format!("{}.{:02}h", ms / 3_600_000, ms / 36_000 % 100),
    }
}

/// A point in time in UTC: `2026-01-31T14:02:10.250Z`.
#[must_use]
pub fn show_time(at: Millis) -> String {
    let (date, ms) = (civil(at.0 / 86_400_000), at.0 % 86_400_000);
    format!("{date}T{}.{:03}Z", show_clock(ms / 1_000), ms % 1_000)
}

/// A point in time in UTC with its microseconds.
#[must_use]
pub fn show_time_us(at_us: u64) -> String {
    let text = show_time(Millis(at_us / 1_000));
    format!("{}{:03}Z", text.trim_end_matches('Z'), at_us % 1_000)
}

/// The time of day in UTC for people: `14:02:10`.
#[must_use]
pub fn show_time_of_day(at: Millis) -> String {
    show_clock(at.0 % 86_400_000 / 1_000)
}

fn show_clock(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// The date of a day since the Unix epoch.
///
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`, for
/// days that are not negative. Eras of 400 years begin on 1 March.
fn civil(days: u64) -> String {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_written() {
        let table = [
            ("2h30m", Some(9_000_000)),
            ("90s", Some(90_000)),
            ("1d", Some(86_400_000)),
            ("250ms", Some(250)),
            ("0s", Some(0)),
            ("", None),
            ("10", None),
            ("h", None),
            ("2 h", None),
            ("1x", None),
            ("99999999999999999999d", None),
        ];
        for (text, ms) in table {
            assert_eq!(duration(text).ok().map(|d| d.0), ms, "{text}");
        }
    }

    #[test]
    fn sizes_are_read_as_written() {
        let table = [
            ("512MiB", Some(512 << 20)),
            ("32GiB", Some(32 << 30)),
            ("1.5GB", Some(1_500_000_000)),
            ("7", Some(7)),
            ("7 B", Some(7)),
            ("1KB", None),
            ("GiB", None),
            ("1.2345GiB", None),
            ("-1", None),
        ];
        for (text, bytes) in table {
            assert_eq!(size(text).ok().map(|b| b.0), bytes, "{text}");
        }
    }

    #[test]
    fn cores_are_read_in_thousandths() {
        assert_eq!(cpus("1.5"), Ok(CpuMillis(1_500)));
        assert_eq!(cpus("4"), Ok(CpuMillis(4_000)));
        assert!(cpus("1,5").is_err());
        assert_eq!(
            cpus("two").unwrap_err().to_string(),
            "`two` is not a number of cores; write it like `1.5`"
        );
    }

    #[test]
    fn times_are_shown_in_utc() {
        let table = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_200_000, "2024-03-01T00:00:00.000Z"),
            (4_102_444_799_000, "2099-12-31T23:59:59.000Z"),
        ];
        for (ms, text) in table {
            assert_eq!(show_time(Millis(ms)), text);
        }
        assert_eq!(show_time_us(1_000_001), "1970-01-01T00:00:01.000001Z");
    }

    #[test]
    fn quantities_are_shown_for_people() {
        for (ms, text) in [
            (80, "80ms"),
            (1_540, "1.5s"),
            (61_000, "1m01s"),
            (9_000_000, "2h30m"),
            (90_000_000, "1d01h"),
        ] {
            assert_eq!(show_duration(Millis(ms)), text);
        }
        assert_eq!(show_size(Bytes(1_610_612_736)), "1.5 GiB");
        assert_eq!(show_size(Bytes(512 << 20)), "512 MiB");
        assert_eq!(show_size(Bytes(12)), "12 B");
        assert_eq!(show_cpus(CpuMillis(1_500)), "1.5");
    }

    #[test]
    fn days_and_gpu_time_are_read_and_shown() {
        assert_eq!(day("1970-01-02"), Ok(1));
        assert_eq!(day("2024-02-29").map(show_day), Ok("2024-02-29".to_owned()));
        assert!(day("2026-02-30").is_err() && day("yesterday").is_err());
        for (ms, text) in [(0, "0"), (12_549, "12.5s"), (3_600_000, "1.00h"), (11_700_000, "3.25h")]
        {
            assert_eq!(show_gpu_time(ms), text);
        }
    }
}
