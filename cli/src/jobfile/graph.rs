//! A file with several jobs, some of which wait for others of it.
//!
//! ```toml
//! [jobs.prep]
//! command = ["./prep"]
//! [jobs.train]
//! command = ["./train"]
//! after = { ok = ["prep"] }
//! ```

use super::{Read, all_faults, draft::Draft, faults_of, form, waits::Named};
use crate::{
    document::{
        node::{Entry, Node, Value},
        reader::{FieldFault, Reader, nearest},
    },
    fault::Fault,
};
use domain::{JobId, after::When, limit};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// The key under which the jobs of such a file stand.
const JOBS: &str = "jobs";

/// One job of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Its name in the file.
    pub key: String,
    /// The job.
    pub draft: Draft,
    /// The parts before it that it waits for, by their places.
    pub after: Vec<(usize, When)>,
}

/// A part as it was read, before the names in it are known to be right.
struct Raw {
    key: String,
    line: Option<usize>,
    read: Read,
}

/// Whether a document has several jobs.
#[must_use]
pub fn is_one(document: &Node) -> bool {
    matches!(&document.value, Value::Table(entries) if entries.iter().any(|it| it.key == JOBS))
}

/// Reads all jobs of a document. Each comes after those that it waits for.
///
/// # Errors
/// Every fault of every job.
pub fn read(document: &Node, file: &Path, base: &Path) -> Result<Vec<Part>, Fault> {
    let mut reader = Reader::default();
    let raw = raw_parts(&mut reader, document, base);
    let named = waited_for(&mut reader, &raw);
    let order = match reader.faults.is_empty() {
        true => sorted(&mut reader, &raw, &named),
        false => Vec::new(),
    };
    let mut faults = reader.faults;
    let mut parts: BTreeMap<usize, Part> = BTreeMap::new();
    for (at, Raw { key, read, .. }) in raw.into_iter().enumerate() {
        let within = |mut fault: FieldFault| {
            fault.field = format!("{JOBS}.{key}.{}", fault.field);
            fault
        };
        match faults_of(read) {
            Ok(draft) => {
                parts.insert(at, Part { key, draft, after: Vec::new() });
            }
            Err(all) => faults.extend(all.into_iter().map(within)),
        }
    }
    if !faults.is_empty() {
        faults.sort();
        faults.dedup();
        return Err(all_faults(&faults, Some(file)));
    }
    let place = |at: &usize| order.iter().position(|it| it == at).unwrap_or_default();
    let mut all = Vec::with_capacity(order.len());
    for at in &order {
        let Some(mut part) = parts.remove(at) else { continue };
        part.after = named[*at].iter().map(|(on, when, _)| (place(on), *when)).collect();
        all.push(part);
    }
    Ok(all)
}

/// Every job of the file, in the order in which they stand there.
fn raw_parts(reader: &mut Reader, document: &Node, base: &Path) -> Vec<Raw> {
    let Value::Table(entries) = &document.value else { return Vec::new() };
    let mut raw = Vec::new();
    for entry in entries {
        match &entry.node.value {
            Value::Table(jobs) if entry.key == JOBS => {
                // `after = ["j7"]` would mean another job, which is not of this file.
                for job in jobs.iter().filter(|job| job.key.parse::<JobId>().is_ok()) {
                    let name = format!("{JOBS}.{}", job.key);
                    let fault = "is the form of a job's id".to_owned();
                    reader.fault(job.line, &name, fault, "give it another name");
                }
                raw.extend(jobs.iter().map(|job| raw_part(job, base)));
            }
            _ if entry.key == JOBS => {
                let fault = format!("is {}", entry.node.value.kind());
                reader.fault(entry.line, JOBS, fault, "write a table `[jobs.NAME]` for each job");
            }
            _ => {
                let fault = "stands beside `jobs`".to_owned();
                reader.fault(entry.line, &entry.key, fault, "write it into a table `[jobs.NAME]`");
            }
        }
    }
    raw.sort_by(|one, other| (one.line, &one.key).cmp(&(other.line, &other.key)));
    if raw.is_empty() || raw.len() > limit::SUBMIT_BATCH_MAX {
        let fault = format!("has {} jobs", raw.len());
        reader.fault(None, JOBS, fault, "write 1 to 1000 tables `[jobs.NAME]`");
    }
    raw
}

fn raw_part(entry: &Entry, base: &Path) -> Raw {
    let mut reader = Reader::default();
    let mut draft = form::read(&mut reader, &entry.node, base);
    if draft.name.is_none() {
        draft.name = Some(entry.key.clone());
    }
    let (faults, base) = (reader.faults, base.to_owned());
    let read = Read { draft, faults, notes: Vec::new(), base, unreadable: false };
    Raw { key: entry.key.clone(), line: entry.line, read }
}

/// Which part waits for which, by their places, with the line that says so.
type Waits = Vec<Vec<(usize, When, Option<usize>)>>;

fn waited_for(reader: &mut Reader, raw: &[Raw]) -> Waits {
    let keys: Vec<&str> = raw.iter().map(|part| part.key.as_str()).collect();
    let mut all = Vec::with_capacity(raw.len());
    for part in raw {
        let mut on = Vec::new();
        for Named { name, when, line } in &part.read.draft.named {
            let field = format!("{JOBS}.{}.after", part.key);
            if *name == part.key {
                let fault = format!("`{name}` waits for itself");
                reader.fault(*line, &field, fault, "name another job, or leave it out");
                continue;
            }
            match keys.iter().position(|key| key == name) {
                Some(at) => on.push((at, *when, *line)),
                None => {
                    let remedy = match nearest(name, &keys) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("jobs of this file: {}", keys.join(", ")),
                    };
                    let fault = format!("there is no job `{name}` in this file");
                    reader.fault(*line, &field, fault, &remedy);
                }
            }
        }
        on.sort_unstable_by_key(|(at, when, _)| (*at, *when));
        on.dedup_by_key(|(at, when, _)| (*at, *when));
        all.push(on);
    }
    all
}

/// The places in an order in which each comes after those that it waits for, else as in the file.
fn sorted(reader: &mut Reader, raw: &[Raw], waits: &Waits) -> Vec<usize> {
    let mut order: Vec<usize> = Vec::with_capacity(raw.len());
    let mut done = BTreeSet::new();
    while order.len() < raw.len() {
        let ready =
            |at: &usize| !done.contains(at) && waits[*at].iter().all(|(on, ..)| done.contains(on));
        let Some(next) = (0..raw.len()).find(ready) else {
            cycle(reader, raw, waits, &done);
            return Vec::new();
        };
        done.insert(next);
        order.push(next);
    }
    order
}

/// Names the jobs of one cycle among those that can never be next.
fn cycle(reader: &mut Reader, raw: &[Raw], waits: &Waits, done: &BTreeSet<usize>) {
    let stuck = |at: usize| waits[at].iter().find(|(on, ..)| !done.contains(on));
    let Some(mut at) = (0..raw.len()).find(|at| !done.contains(at)) else { return };
    let mut path = Vec::new();
    // Each that is stuck waits for one that is: the walk meets a place again.
    while !path.contains(&at) {
        path.push(at);
        match stuck(at) {
            Some((on, ..)) => at = *on,
            None => return,
        }
    }
    let begin = path.iter().position(|it| *it == at).unwrap_or_default();
    let circle = path[begin..].iter().chain([&at]);
    let names: Vec<&str> = circle.map(|at| raw[*at].key.as_str()).collect();
    let line = stuck(at).and_then(|(_, _, line)| *line);
    let fault = format!("each waits for the next, so none could start: {}", names.join(" -> "));
    let field = format!("{JOBS}.{}.after", raw[at].key);
    reader.fault(line, &field, fault, "leave one of these out");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::node;

    fn of(text: &str) -> Result<Vec<Part>, String> {
        let document = node::from_toml(text).unwrap();
        assert!(is_one(&document));
        read(&document, Path::new("dag.toml"), Path::new(".")).map_err(|fault| fault.detail)
    }

    #[test]
    fn each_job_comes_after_those_that_it_waits_for_else_as_in_the_file() {
        let parts = of("[jobs.report]\ncommand = [\"r\"]\nafter = { any = [\"train\"] }\n\
                        [jobs.train]\ncommand = [\"t\"]\n\
                        after = { ok = [\"prep\"], failed = \"j7\" }\n\
                        [jobs.prep]\nname = \"first\"\ncommand = [\"p\"]\n\
                        [jobs.alone]\ncommand = [\"a\"]\nafter_any = [\"prep\", \"prep\"]\n");
        let parts = parts.unwrap();
        let keys: Vec<_> = parts.iter().map(|part| part.key.as_str()).collect();
        assert_eq!(keys, ["prep", "train", "report", "alone"]);
        assert_eq!(parts[0].draft.name.as_deref(), Some("first"));
        assert_eq!(parts[1].draft.name.as_deref(), Some("train"));
        assert_eq!(parts[1].after, [(0, When::Completed)]);
        assert_eq!(parts[1].draft.after.len(), 1, "a job by its id, as in any file");
        assert_eq!(parts[2].after, [(1, When::Ended)]);
        assert_eq!(parts[3].after, [(0, When::Ended)]);
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_line_and_the_nearest_name() {
        let fault = of("[jobs.prep]\ncommand = [\"p\"]\nafter = [\"prep\"]\n\
                        [jobs.train]\ncommand = [\"t\"]\nafter = { ok = [\"perp\"], okay = [] }\n\
                        gpu = 1\n");
        let fault = fault.unwrap_err();
        for says in [
            "line 3: jobs.prep.after: `prep` waits for itself",
            "line 6: jobs.train.after: there is no job `perp` in this file; did you mean `prep`?",
            "line 6: jobs.train.after.okay: is not a known key; did you mean `after.ok`?",
            "line 7: jobs.train.gpu: is not a known key",
        ] {
            assert!(fault.contains(says), "{says}: {fault}");
        }
        let fault = of("[jobs.a]\ncommand = [\"a\"]\nafter = [\"c\"]\n[jobs.b]\n\
                        command = [\"b\"]\nafter = [\"a\"]\n[jobs.c]\ncommand = [\"c\"]\n\
                        after = [\"b\"]\n[jobs.d]\ncommand = [\"d\"]\nafter = [\"c\"]\n");
        let fault = fault.unwrap_err();
        assert!(fault.contains("line 3: jobs.a.after: "), "{fault}");
        assert!(fault.contains("a -> c -> b -> a"), "{fault}");
        assert!(of("queue = \"x\"\n[jobs.a]\ncommand = [\"a\"]\n").unwrap_err().contains("line 1"));
        assert!(of("[jobs]\n").unwrap_err().contains("has 0 jobs"));
    }
}
