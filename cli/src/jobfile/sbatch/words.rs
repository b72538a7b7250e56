//! Slurm's ways to write counts, amounts, times and dependencies.

use crate::quantity;
use domain::{
    Bytes, JobId, Millis,
    after::{After, When},
};

pub fn whole(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("`{text}` is not a whole number"))
}

/// How many nodes: a number, or from one to another.
#[derive(Clone, Copy, Debug)]
pub struct NodeCount {
    /// At least.
    pub least: u32,
    most: u32,
}

impl NodeCount {
    /// The number, if it is one.
    pub fn exact(self) -> Option<u32> {
        (self.least == self.most).then_some(self.least)
    }
}

/// `2` or `2-4`.
pub fn nodes(text: &str) -> Result<NodeCount, String> {
    let (least, most) = text.split_once('-').unwrap_or((text, text));
    Ok(NodeCount { least: whole(least)?, most: whole(most)? })
}

/// The GPUs in a list of resources, such as `gpu:a100:2` of `nvme:1,gpu:a100:2`.
pub fn gpus_among(text: &str) -> Option<&str> {
    let entries = text.split(',').map(|entry| {
        let bare = entry.strip_prefix("gres:").or_else(|| entry.strip_prefix("gres/"));
        bare.unwrap_or(entry)
    });
    let mut gpus = entries.filter_map(|entry| entry.strip_prefix("gpu"));
    gpus.find(|rest| rest.is_empty() || rest.starts_with(':'))
        .map(|rest| rest.trim_start_matches(':'))
}

/// `2`, `h100:2`, or `h100` for one.
pub fn gpus(text: &str) -> Result<(Option<String>, u32), String> {
    if text.contains(',') {
        return Err(format!("`{text}` names several kinds of GPUs; a job has one"));
    }
    match text.rsplit_once(':') {
        Some((model, count)) => Ok((Some(model.into()), whole(count)?)),
        None if text.is_empty() => Ok((None, 1)),
        None => Ok(text.parse().map_or_else(|_| (Some(text.into()), 1), |count| (None, count))),
    }
}

/// Slurm's memory: megabytes, or with K, M, G or T, all in powers of 1024.
pub fn megabytes(text: &str) -> Result<Bytes, String> {
    let trimmed = text.trim_end_matches(['B', 'b']);
    let (number, unit) = match trimmed.strip_suffix(['K', 'M', 'G', 'T', 'k', 'm', 'g', 't']) {
        Some(number) => (number, trimmed[number.len()..].to_ascii_uppercase()),
        None => (trimmed, "M".to_owned()),
    };
    quantity::size(&format!("{number}{unit}iB")).map_err(|fault| fault.to_string())
}

/// Slurm's time, or none for no limit: `MM`, `MM:SS`, `HH:MM:SS`, `D-HH`, `D-HH:MM`,
/// `D-HH:MM:SS`.
pub fn time(text: &str) -> Result<Option<Millis>, String> {
    if matches!(text, "0" | "UNLIMITED" | "INFINITE") {
        return Ok(None);
    }
    let fault = || format!("`{text}` is not a time of Slurm's; write `1-12:30:00` or `90`");
    let (days, rest) = match text.split_once('-') {
        Some((days, rest)) => (Some(days.parse::<u64>().map_err(|_| fault())?), rest),
        None => (None, text),
    };
    let parts: Vec<u64> =
        rest.split(':').map(|part| part.parse().map_err(|_| fault())).collect::<Result<_, _>>()?;
    let seconds = match (days, parts.as_slice()) {
        (None, [minutes]) => minutes.checked_mul(60),
        (None, [minutes, seconds]) => sum(&[(*minutes, 60), (*seconds, 1)]),
        (None, [h, m, s]) => sum(&[(*h, 3_600), (*m, 60), (*s, 1)]),
        (Some(d), [h]) => sum(&[(d, 86_400), (*h, 3_600)]),
        (Some(d), [h, m]) => sum(&[(d, 86_400), (*h, 3_600), (*m, 60)]),
        (Some(d), [h, m, s]) => sum(&[(d, 86_400), (*h, 3_600), (*m, 60), (*s, 1)]),
        _ => None,
    };
    seconds.and_then(|s| s.checked_mul(1_000)).map(|ms| Some(Millis(ms))).ok_or_else(fault)
}

fn sum(parts: &[(u64, u64)]) -> Option<u64> {
    parts.iter().try_fold(0u64, |all, (n, unit)| n.checked_mul(*unit)?.checked_add(all))
}

/// Jobs that have to end first: `afterok:7:8,afterany:9`; all of them.
pub fn dependency(text: &str) -> Result<Vec<After>, String> {
    let mut all = Vec::new();
    for clause in text.split(',') {
        let mut parts = clause.split(':');
        let when = match parts.next() {
            Some("afterok") => When::Completed,
            Some("afterany") => When::Ended,
            Some("afternotok") => When::Failed,
            _ => {
                return Err(format!(
                    "`{clause}` has no meaning here; give `afterok:`, `afterany:` or `afternotok:` \
                     and jobs, such as `afterok:j7:j8`"
                ));
            }
        };
        let jobs: Vec<After> = parts
            .map(|job| {
                let number = job.strip_prefix('j').unwrap_or(job).parse();
                let job = number.map_err(|_| format!("`{job}` is not a job; an example is `j7`"));
                Ok(After { job: JobId(job?), when })
            })
            .collect::<Result<_, String>>()?;
        if jobs.is_empty() {
            return Err(format!("`{clause}` names no job; an example is `afterok:j7`"));
        }
        all.extend(jobs);
    }
    Ok(all)
}

/// Seconds of `[R][B:]SIGNAL[@SECONDS]`, a minute where it names none.
pub fn warning(text: &str) -> Result<Millis, String> {
    let seconds = match text.split_once('@') {
        None => 60,
        Some((_, seconds)) => u64::from(whole(seconds)?),
    };
    Ok(Millis(seconds * 1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slurms_times_are_read() {
        for (text, seconds) in [
            ("90", 5_400),
            ("10:30", 630),
            ("1:00:00", 3_600),
            ("2-0", 172_800),
            ("0-1:1:1", 3_661),
        ] {
            assert_eq!(time(text), Ok(Some(Millis(seconds * 1_000))), "{text}");
        }
        assert_eq!([time("0"), time("UNLIMITED")], [Ok(None), Ok(None)]);
        assert!(time("soon").is_err());
    }

    #[test]
    fn dependencies_are_read_or_say_what_can_be_given() {
        let after = |job, when| After { job: JobId(job), when };
        assert_eq!(
            dependency("afterok:7:j8,afternotok:9"),
            Ok(vec![after(7, When::Completed), after(8, When::Completed), after(9, When::Failed)])
        );
        for (text, fault) in [
            ("singleton", "`singleton` has no meaning here"),
            ("after:7", "`after:7` has no meaning here"),
            ("afterok:7?afterok:8", "`7?afterok` is not a job"),
            ("afterok", "`afterok` names no job"),
            ("afterany:x", "`x` is not a job; an example is `j7`"),
        ] {
            let found = dependency(text).unwrap_err();
            assert!(found.starts_with(fault), "{text}: {found}");
        }
    }

    #[test]
    fn a_signal_before_the_end_is_a_warning() {
        for (text, seconds) in [("B:USR1@120", 120), ("TERM@5", 5), ("USR2", 60)] {
            assert_eq!(warning(text), Ok(Millis(seconds * 1_000)), "{text}");
        }
        assert!(warning("USR1@soon").is_err());
    }

    #[test]
    fn gpus_are_found_in_a_list_of_resources() {
        for (text, found) in [
            ("gpu", Some("")),
            ("gpu:2", Some("2")),
            ("gpu:p100:1,lscratch:100", Some("p100:1")),
            ("lscratch:10,gres:gpu:a100:4", Some("a100:4")),
            ("gpumem:4,nvme:1", None),
        ] {
            assert_eq!(gpus_among(text), found, "{text}");
        }
        assert!(gpus("volta:3,kepler:5").is_err());
    }
}
