//! Keys of a job file that stand in the wrong place: which table they belong to.
//!
//! In TOML, all that follows a table's heading is in that table: a key is quickly written a level
//! too high or too low.

use super::{form, keeping, topology, waits};
use crate::document::{
    node::Entry,
    reader::{Reader, nearest},
};

/// The tables of a job file with the keys that each may hold.
pub const TABLES: [(&str, &[&str]); 7] = [
    ("after", &waits::AFTER_KEYS),
    ("array", &form::ARRAY),
    ("checkpoint", &keeping::CHECKPOINT),
    ("datasets.NAME", &form::DATASET),
    ("resources", &form::RESOURCES),
    ("retry", &waits::RETRY),
    ("topology", &topology::TOPOLOGY),
];

/// Refuses a key that a table does not know: says where it belongs, or what it looks like. The
/// job itself is the table "".
pub fn unknown(reader: &mut Reader, entry: &Entry, table: &str, known: &[&str]) {
    let prefix = if table.is_empty() { String::new() } else { format!("{table}.") };
    let key = entry.key.as_str();
    let elsewhere = || TABLES.iter().filter(|(other, _)| *other != table);
    let remedy = if !table.is_empty() && form::KEYS.contains(&key) {
        "it belongs to the job itself: write it above the first table".to_owned()
    } else if let Some((home, _)) = elsewhere().find(|(_, keys)| keys.contains(&key)) {
        format!("it belongs to [{home}]: write `{home}.{key}`")
    } else if nearest(key, known).is_some() {
        return reader.unknown(entry, &prefix, known);
    } else if let Some((home, near)) =
        elsewhere().find_map(|(home, keys)| Some((home, nearest(key, keys)?)))
    {
        format!("did you mean `{home}.{near}`?")
    } else {
        return reader.unknown(entry, &prefix, known);
    };
    let fault = "is not a known key here".to_owned();
    reader.fault(entry.line, &format!("{prefix}{key}"), fault, &remedy);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobfile;
    use std::path::Path;

    fn faults(file: &str, text: &str) -> Vec<String> {
        let read = jobfile::read(Path::new(file), text);
        read.faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_key_of_a_table_is_known_a_level_too_high_and_in_another_table() {
        for (home, keys) in TABLES {
            for key in keys {
                let wanted = format!("it belongs to [{home}]: write `{home}.{key}`");
                let high = faults("job.toml", &format!("command = [\"x\"]\n{key} = 8\n"));
                let told = format!("line 2: {key}: is not a known key here; {wanted}");
                assert_eq!(high, [told], "`{key}` a level too high");
                let other = if home == "retry" { "checkpoint" } else { "retry" };
                let text = format!("command = [\"x\"]\n[{other}]\n{key} = 8\n");
                let told = format!("line 3: {other}.{key}: is not a known key here; {wanted}");
                assert_eq!(faults("job.toml", &text), [told], "`{key}` in another table");
            }
        }
    }

    #[test]
    fn every_key_of_the_job_is_known_a_level_too_low() {
        for key in form::KEYS {
            let text = format!("[resources]\ngpus = 1\n{key} = 8\n");
            let told = format!(
                "line 3: resources.{key}: is not a known key here; it belongs to the job itself: \
                 write it above the first table"
            );
            assert_eq!(faults("job.toml", &text), [told], "`{key}` a level too low");
        }
    }

    #[test]
    fn what_is_near_is_offered_from_here_first_and_then_from_other_tables() {
        for (text, told) in [
            ("gpu = 2\n", "gpu: is not a known key here; did you mean `resources.gpus`?"),
            ("comand = \"x\"\n", "comand: is not a known key; did you mean `command`?"),
            ("[resources]\ngpu = 2\n", "gpu: is not a known key; did you mean `resources.gpus`?"),
            ("zzzz = 2\n", "zzzz: is not a known key; known here: after"),
        ] {
            let found = faults("job.toml", text);
            assert!(found.iter().any(|it| it.contains(told)), "{text}: {found:?}");
        }
        let found = faults("job.yaml", "command: x\ngpus: 8\n");
        assert!(found[0].starts_with("line 2: gpus: ") && found[0].contains("[resources]"));
        let found = faults("job.json", "{\"command\": \"x\", \"gpus\": 8}");
        assert!(found[0].contains("it belongs to [resources]"), "{found:?}");
    }
}
