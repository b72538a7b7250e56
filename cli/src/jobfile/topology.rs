//! What a job file says of how near the parts of its gang have to be.

use super::place;
use crate::document::{
    node::Value,
    reader::{Field, Reader},
};
use domain::topology::{Layout, Level, Topology};

pub(super) const TOPOLOGY: [&str; 3] = ["layout", "prefer", "require"];

/// Reads `topology = { require = "rack", prefer = "node" }`, or the same as a flag has it,
/// `topology = "rack,prefer:node"`.
pub fn read(reader: &mut Reader, field: Field<'_>) -> Option<Topology> {
    if let Value::Text(text) = &field.node.value {
        return match text.parse() {
            Ok(topology) => Some(topology),
            Err(fault) => {
                reader.fault(field.node.line, field.name, fault, "");
                None
            }
        };
    }
    let mut read = Topology::default();
    for entry in reader.table(field) {
        let name = format!("topology.{}", entry.key);
        let field = Field { name: &name, node: &entry.node };
        match entry.key.as_str() {
            "require" => read.require = reader.word(field, &Level::WORDS),
            "prefer" => read.prefer = reader.word(field, &Level::WORDS),
            "layout" => read.layout = reader.word(field, &Layout::WORDS).unwrap_or_default(),
            _ => place::unknown(reader, entry, "topology", &TOPOLOGY),
        }
    }
    Some(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobfile;
    use std::path::Path;

    fn read(text: &str) -> Result<Option<Topology>, String> {
        let text = format!("command = [\"x\"]\n{text}");
        let read = jobfile::read(Path::new("job.toml"), &text);
        let draft = jobfile::check(read, None).map_err(|fault| fault.detail)?;
        Ok(draft.topology)
    }

    #[test]
    fn a_table_and_a_word_say_the_same() {
        let table = "[topology]\nrequire = \"rack\"\nprefer = \"node\"\n";
        let said = read(table).unwrap().unwrap();
        assert_eq!(read("topology = \"rack,prefer:node\"\n").unwrap(), Some(said));
        let (require, prefer) = (Some(Level::Rack), Some(Level::Node));
        assert_eq!(said, Topology { require, prefer, layout: Layout::Pack });
        assert_eq!(read("").unwrap(), None);
    }

    #[test]
    fn what_cannot_be_is_named() {
        let fault = read("[topology]\nrequires = \"rack\"\n").unwrap_err();
        assert!(fault.contains("did you mean `topology.require`"), "{fault}");
        let fault = read("topology = \"row\"\n").unwrap_err();
        assert!(fault.contains("`row` is not known"), "{fault}");
        let fault = read("topology = \"rack,prefer:block\"\n").unwrap_err();
        assert!(fault.contains("which it has with one `rack` already"), "{fault}");
        let fault = read("topology = \"nvlink\"\n").unwrap_err();
        assert!(fault.contains("for tasks without GPUs"), "{fault}");
    }
}
