//! What a job file says of its checkpoints.

use super::place;
use crate::{
    document::reader::{Field, Reader},
    quantity,
};
use domain::checkpoint::CheckpointRule;

pub(super) const CHECKPOINT: [&str; 2] = ["keep", "max_age"];

/// Reads `checkpoint = { keep = 3, max_age = "7d" }`.
pub fn read(reader: &mut Reader, field: Field<'_>) -> CheckpointRule {
    let mut rule = CheckpointRule::default();
    for entry in reader.table(field) {
        let name = format!("checkpoint.{}", entry.key);
        let field = Field { name: &name, node: &entry.node };
        match entry.key.as_str() {
            "keep" => rule.keep = reader.whole(field, "give a whole number from 1 to 512"),
            "max_age" => {
                let remedy = "give a duration such as \"7d\"";
                rule.max_age = reader.quantity(field, quantity::duration, remedy);
            }
            _ => place::unknown(reader, entry, "checkpoint", &CHECKPOINT),
        }
    }
    rule
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobfile;
    use domain::Millis;
    use std::path::Path;

    #[test]
    fn how_many_and_how_long_are_read_and_what_cannot_be_is_named() {
        let text = "command = [\"x\"]\n[checkpoint]\nkeep = 5\nmax_age = \"2d\"\n";
        let read = jobfile::read(Path::new("job.toml"), text);
        let draft = jobfile::check(read, None).unwrap();
        let two_days = Millis(2 * 24 * 3_600_000);
        let rule = CheckpointRule { keep: Some(5), max_age: Some(two_days) };
        assert_eq!(draft.checkpoint, rule);

        let text = "command = [\"x\"]\n[checkpoint]\nkeeps = 5\nmax_age = \"old\"\n";
        let fault = jobfile::check(jobfile::read(Path::new("job.toml"), text), None).unwrap_err();
        assert!(fault.detail.contains("did you mean `checkpoint.keep`"), "{}", fault.detail);
        assert!(fault.detail.contains("checkpoint.max_age: is \"old\""), "{}", fault.detail);

        let text = "command = [\"x\"]\n[checkpoint]\nkeep = 0\n";
        let fault = jobfile::check(jobfile::read(Path::new("job.toml"), text), None).unwrap_err();
        assert!(fault.detail.contains("checkpoint.keep: is 0; give 1 to 512"), "{}", fault.detail);
    }
}
