//! The `#SBATCH` directives that have a meaning here, and a word about each that has none.

use super::draft::{Draft, array};
use crate::{
    document::reader::Reader,
    quantity::{self, GpuCount},
};
use domain::{Bytes, CpuMillis, Millis};

/// Slurm's short options and their long forms.
const SHORT: [(&str, &str); 9] = [
    ("-J", "job-name"),
    ("-G", "gpus"),
    ("-n", "ntasks"),
    ("-c", "cpus-per-task"),
    ("-t", "time"),
    ("-p", "partition"),
    ("-a", "array"),
    ("-N", "nodes"),
    ("-o", "output"),
];

/// What a script's `#SBATCH` lines said.
#[derive(Debug, Default)]
pub struct Slurm {
    draft: Draft,
    /// `--gpus` counts over the whole job; its line and number.
    gpus_total: Option<(usize, u32)>,
}

impl Slurm {
    /// Reads the words of one line.
    pub fn line(
        &mut self,
        reader: &mut Reader,
        line: usize,
        words: &[String],
        notes: &mut Vec<String>,
    ) {
        let mut words = words.iter().map(String::as_str).peekable();
        while let Some(word) = words.next() {
            let Some((name, inline)) = option(word) else {
                notes.push(format!("line {line}: #SBATCH {word} is ignored"));
                continue;
            };
            let value = match inline {
                Some(value) => value.to_owned(),
                None => words.next_if(|next| !next.starts_with('-')).unwrap_or_default().into(),
            };
            match self.set(line, name, &value, notes) {
                Ok(true) => {}
                Ok(false) => notes.push(format!("line {line}: #SBATCH --{name} is ignored")),
                Err(fault) => {
                    reader.fault(Some(line), &format!("#SBATCH --{name}"), fault, "");
                }
            }
        }
    }

    /// Sets one option; says whether it has a meaning here.
    fn set(
        &mut self,
        line: usize,
        name: &str,
        value: &str,
        notes: &mut Vec<String>,
    ) -> Result<bool, String> {
        let draft = &mut self.draft;
        match name {
            "job-name" => draft.name = Some(value.into()),
            "partition" => draft.queue = Some(value.into()),
            "ntasks" => draft.tasks = Some(whole(value)?),
            "cpus-per-task" => draft.cpu = Some(CpuMillis(u64::from(whole(value)?) * 1_000)),
            "gpus-per-task" => set_gpus(draft, value)?,
            "gres" => {
                let rest = value.strip_prefix("gpu").filter(|r| r.is_empty() || r.starts_with(':'));
                match rest {
                    Some(rest) => set_gpus(draft, rest.trim_start_matches(':'))?,
                    None => return Ok(false),
                }
            }
            "gpus" => {
                let (model, count) = gpus(value)?;
                draft.gpu_model = model.or(draft.gpu_model.take());
                self.gpus_total = Some((line, count));
            }
            "mem" => {
                draft.memory = Some(megabytes(value)?);
                notes.push(format!("line {line}: --mem is taken for each task, not each node"));
            }
            "time" => draft.time_limit = Some(time(value)?),
            "array" => draft.array = Some(array(value)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The job that the lines describe.
    pub fn draft(mut self, reader: &mut Reader, notes: &mut Vec<String>) -> Draft {
        if let Some((line, total)) = self.gpus_total {
            let tasks = self.draft.tasks.unwrap_or(1).max(1);
            if total % tasks == 0 {
                self.draft.gpus = Some(GpuCount::whole(total / tasks));
            } else {
                let fault = format!("{total} GPUs do not divide by {tasks} tasks");
                reader.fault(Some(line), "#SBATCH --gpus", fault, "use --gpus-per-task");
            }
            if tasks > 1 {
                notes.push(format!("line {line}: --gpus {total} gives {} a task", total / tasks));
            }
        }
        self.draft
    }
}

/// An option's long name and the value written onto it, if any.
fn option(word: &str) -> Option<(&str, Option<&str>)> {
    if let Some(long) = word.strip_prefix("--") {
        return Some(match long.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (long, None),
        });
    }
    let short = word.get(..2).filter(|_| word.starts_with('-') && word.len() >= 2)?;
    let long = SHORT.iter().find(|(name, _)| *name == short).map(|(_, long)| *long)?;
    let value = word[2..].trim_start_matches('=');
    Some((long, (!value.is_empty()).then_some(value)))
}

fn whole(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("`{text}` is not a whole number"))
}

/// `2`, `h100:2`, or `h100` for one.
fn gpus(text: &str) -> Result<(Option<String>, u32), String> {
    match text.rsplit_once(':') {
        Some((model, count)) => Ok((Some(model.into()), whole(count)?)),
        None if text.is_empty() => Ok((None, 1)),
        None => Ok(text.parse().map_or_else(|_| (Some(text.into()), 1), |count| (None, count))),
    }
}

fn set_gpus(draft: &mut Draft, text: &str) -> Result<(), String> {
    let (model, count) = gpus(text)?;
    draft.gpu_model = model.or(draft.gpu_model.take());
    draft.gpus = Some(GpuCount::whole(count));
    Ok(())
}

/// Slurm's memory: megabytes, or with K, M, G or T, all in powers of 1024.
fn megabytes(text: &str) -> Result<Bytes, String> {
    let trimmed = text.trim_end_matches(['B', 'b']);
    let (number, unit) = match trimmed.strip_suffix(['K', 'M', 'G', 'T', 'k', 'm', 'g', 't']) {
        Some(number) => (number, trimmed[number.len()..].to_ascii_uppercase()),
        None => (trimmed, "M".to_owned()),
    };
    quantity::size(&format!("{number}{unit}iB")).map_err(|fault| fault.to_string())
}

/// Slurm's time: `MM`, `MM:SS`, `HH:MM:SS`, `D-HH`, `D-HH:MM`, `D-HH:MM:SS`.
fn time(text: &str) -> Result<Millis, String> {
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
    seconds.and_then(|s| s.checked_mul(1_000)).map(Millis).ok_or_else(fault)
}

fn sum(parts: &[(u64, u64)]) -> Option<u64> {
    parts.iter().try_fold(0u64, |all, (n, unit)| n.checked_mul(*unit)?.checked_add(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> (Draft, Vec<String>, Vec<String>) {
        let (mut slurm, mut reader, mut notes) = (Slurm::default(), Reader::default(), Vec::new());
        for (number, line) in lines.iter().enumerate() {
            let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            slurm.line(&mut reader, number + 1, &words, &mut notes);
        }
        let draft = slurm.draft(&mut reader, &mut notes);
        (draft, notes, reader.faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_common_directives_are_understood() {
        let (draft, _, faults) = read(&[
            "--job-name=train",
            "-p ml",
            "-n2",
            "--cpus-per-task 4",
            "--gpus=h100:8",
            "--mem=32G",
            "-t 1-12:30",
            "--array=0-7%2",
        ]);
        assert_eq!(faults, [""; 0]);
        assert_eq!(draft.name.as_deref(), Some("train"));
        assert_eq!(draft.queue.as_deref(), Some("ml"));
        assert_eq!((draft.tasks, draft.gpus), (Some(2), Some(GpuCount::whole(4))));
        assert_eq!(draft.gpu_model.as_deref(), Some("h100"));
        assert_eq!(draft.cpu, Some(CpuMillis(4_000)));
        assert_eq!(draft.memory, Some(Bytes(32 << 30)));
        assert_eq!(draft.time_limit, Some(Millis((36 * 3_600 + 1_800) * 1_000)));
        assert_eq!(draft.array.map(|a| (a.count, a.at_once_max)), Some((8, 2)));
    }

    #[test]
    fn what_has_no_meaning_here_is_named() {
        let (_, notes, _) = read(&["--mail-type=END", "--exclusive", "-o out.txt"]);
        assert_eq!(
            notes,
            [
                "line 1: #SBATCH --mail-type is ignored",
                "line 2: #SBATCH --exclusive is ignored",
                "line 3: #SBATCH --output is ignored",
            ]
        );
    }

    #[test]
    fn what_cannot_be_read_is_a_fault_with_its_line() {
        let (_, _, faults) = read(&["-c many", "-n 3", "--gpus 8"]);
        assert_eq!(
            faults,
            [
                "line 1: #SBATCH --cpus-per-task: `many` is not a whole number",
                "line 3: #SBATCH --gpus: 8 GPUs do not divide by 3 tasks; use --gpus-per-task",
            ]
        );
    }

    #[test]
    fn slurms_times_are_read() {
        for (text, seconds) in [
            ("90", 5_400),
            ("10:30", 630),
            ("1:00:00", 3_600),
            ("2-0", 172_800),
            ("0-1:1:1", 3_661),
        ] {
            assert_eq!(time(text), Ok(Millis(seconds * 1_000)), "{text}");
        }
        assert!(time("soon").is_err());
    }
}
