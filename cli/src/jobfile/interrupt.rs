//! What a job file says of being interrupted.

use crate::document::{
    node::Value,
    reader::{Field, Reader},
};
use domain::interrupt::Preemptible;

/// The words of `preemptible`.
pub const PREEMPTIBLE: [(&str, Preemptible); 2] =
    [("yes", Preemptible::Yes), ("no", Preemptible::No)];

/// Reads `preemptible = false`, or one of the words.
pub fn read_preemptible(reader: &mut Reader, field: Field<'_>) -> Option<Preemptible> {
    match &field.node.value {
        Value::Bool(true) => Some(Preemptible::Yes),
        Value::Bool(false) => Some(Preemptible::No),
        _ => reader.word(field, &PREEMPTIBLE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{document::node, jobfile::form};
    use domain::Millis;
    use std::path::Path;

    fn read(text: &str) -> (crate::jobfile::draft::Draft, Vec<String>) {
        let mut reader = Reader::default();
        let draft = form::read(&mut reader, &node::from_toml(text).unwrap(), Path::new("/"));
        (draft, reader.faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_job_says_whether_and_after_what_time_it_may_be_preempted() {
        let (draft, faults) =
            read("preemptible = false\nmin_run_time = \"0s\"\nwarn_before = \"2m\"\n");
        assert_eq!(faults, [""; 0]);
        assert_eq!(draft.preemptible, Some(Preemptible::No));
        assert_eq!((draft.min_run, draft.warn), (Some(Millis(0)), Some(Millis(120_000))));
        let (_, faults) = read("preemptible = \"maybe\"\n");
        assert!(faults[0].contains("preemptible"), "{faults:?}");
    }
}
