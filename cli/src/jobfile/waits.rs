//! What a job file says of other jobs and of retries.

use super::{draft::Draft, place};
use crate::{
    document::{
        node::{Node, Value},
        reader::{Field, Reader},
    },
    quantity,
};
use domain::{
    JobId,
    after::{After, RetryMax, RetryOn, RetryRule, When},
};

pub(super) const RETRY: [&str; 3] = ["backoff", "max", "on"];
const AFTER: [(&str, When); 3] =
    [("ok", When::Completed), ("any", When::Ended), ("failed", When::Failed)];

/// The keys of a table `after`.
pub(super) const AFTER_KEYS: [&str; 3] = [AFTER[0].0, AFTER[1].0, AFTER[2].0];

/// A job that is waited for by its name in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The name.
    pub name: String,
    /// How it must have ended.
    pub when: When,
    /// Where it stands.
    pub line: Option<usize>,
}

/// Reads `after = ["j12"]`, `after = "j12"`, or `after = { ok = ["j12"], any = ["j13"] }`.
pub fn read_after(reader: &mut Reader, field: Field<'_>, when: When, draft: &mut Draft) {
    let Value::Table(entries) = &field.node.value else {
        return read_jobs(reader, field, when, draft);
    };
    if when != When::Completed {
        let fault = "is a table".to_owned();
        reader.fault(field.node.line, field.name, fault, "write `after = { ok = [...] }`");
        return;
    }
    for entry in entries {
        let known = AFTER.iter().find(|(word, _)| *word == entry.key);
        let name = format!("{}.{}", field.name, entry.key);
        match known {
            Some((_, when)) => {
                read_jobs(reader, Field { name: &name, node: &entry.node }, *when, draft);
            }
            None => place::unknown(reader, entry, "after", &AFTER_KEYS),
        }
    }
}

/// Names of jobs that are none are kept: a file with several jobs may have them.
fn read_jobs(reader: &mut Reader, field: Field<'_>, when: When, draft: &mut Draft) {
    let texts = match &field.node.value {
        Value::Text(text) => vec![(text.clone(), field.node.line)],
        Value::List(items) => {
            let text =
                |node: &Node| Some((reader.text(Field { name: field.name, node })?, node.line));
            items.iter().filter_map(text).collect()
        }
        _ => {
            let fault = format!("is {}", field.node.value.kind());
            reader.fault(field.node.line, field.name, fault, "write a list such as [\"j12\"]");
            return;
        }
    };
    for (text, line) in texts {
        match text.parse::<JobId>() {
            Ok(job) => draft.after.push(After { job, when }),
            Err(_) => draft.named.push(Named { name: text, when, line }),
        }
    }
}

/// Refuses names of jobs where there are no others.
pub fn refuse_names(reader: &mut Reader, draft: &mut Draft) {
    for Named { name, when, line } in std::mem::take(&mut draft.named) {
        let Err(fault) = name.parse::<JobId>() else { continue };
        let field = match when {
            When::Completed => "after",
            When::Ended => "after_any",
            When::Failed => "after_failed",
        };
        let remedy = "name a job, such as \"j12\"; `assay jobs` shows what there is; by name only \
                      in a file with `[jobs.NAME]` tables";
        reader.fault(line, field, fault.to_string(), remedy);
    }
}

/// Reads `retry = { backoff = "30s", on = ["signal"], max = { signal = 3 } }`.
pub fn read_retry(reader: &mut Reader, field: Field<'_>) -> RetryRule {
    let mut rule = RetryRule::default();
    for entry in reader.table(field) {
        let name = format!("retry.{}", entry.key);
        let field = Field { name: &name, node: &entry.node };
        match entry.key.as_str() {
            "backoff" => {
                let remedy = "give a duration such as \"30s\"";
                rule.backoff = reader.quantity(field, quantity::duration, remedy);
            }
            "max" => rule.max = read_retry_max(reader, field),
            "on" => {
                let items = match &entry.node.value {
                    Value::List(items) => items.iter().collect(),
                    _ => vec![&entry.node],
                };
                for node in items {
                    rule.on.extend(reader.word(Field { name: &name, node }, &RetryOn::WORDS));
                }
            }
            _ => place::unknown(reader, entry, "retry", &RETRY),
        }
    }
    rule
}

fn read_retry_max(reader: &mut Reader, field: Field<'_>) -> RetryMax {
    let mut max = RetryMax::default();
    for entry in reader.table(field) {
        let name = format!("{}.{}", field.name, entry.key);
        let field = Field { name: &name, node: &entry.node };
        if !RetryMax::WORDS.contains(&entry.key.as_str()) {
            place::unknown(reader, entry, "retry.max", &RetryMax::WORDS);
        } else if let Some(most) = reader.whole(field, "give a whole number from 0")
            && !max.set(&entry.key, most)
        {
            unreachable!("each of these words is one of a bound");
        }
    }
    max
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobfile;
    use domain::Millis;
    use std::path::Path;

    #[test]
    fn jobs_to_wait_for_and_retries_are_read_and_wrong_ones_are_named() {
        let text = "command = [\"x\"]\nafter = [\"j3\"]\nafter_any = \"j4\"\n\
                    retry = { backoff = \"30s\", on = [\"signal\"], max = { signal = 3, node = 0 } }\n";
        let read = jobfile::read(Path::new("a.toml"), text);
        let of = |job, when| After { job: JobId(job), when };
        assert_eq!(read.faults, []);
        assert_eq!(read.draft.after, [of(3, When::Completed), of(4, When::Ended)]);
        let max = RetryMax { own: [(RetryOn::Signal, 3)].into(), node: Some(0) };
        let rule = RetryRule { backoff: Some(Millis(30_000)), on: vec![RetryOn::Signal], max };
        assert_eq!(read.draft.retry, rule);

        let text =
            "after = [\"x3\"]\nretry = { backof = \"30s\", on = \"never\", max = { signl = 1 } }\n";
        let read = jobfile::read(Path::new("a.toml"), text);
        let faults: Vec<_> = read.faults.iter().map(ToString::to_string).collect();
        assert!(faults[0].starts_with("line 1: after: "), "{faults:?}");
        assert!(faults.iter().any(|it| it.contains("did you mean `retry.backoff`?")), "{faults:?}");
        assert!(faults.iter().any(|it| it.contains("use \"exit_code\" or")), "{faults:?}");
        assert!(
            faults.iter().any(|it| it.contains("did you mean `retry.max.signal`?")),
            "{faults:?}"
        );
    }
}
