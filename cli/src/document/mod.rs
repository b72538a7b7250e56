//! Documents that people write: read with the place of every fault.

pub mod node;
pub mod reader;
pub mod yaml;

use crate::fault::Fault;
use node::Node;
use reader::{FieldFault, Reader};
use std::path::Path;

/// Reads a TOML file whole, or says all that is wrong with it.
///
/// # Errors
/// When the file cannot be read, is not TOML, or `read` noted a fault.
pub fn load<T>(
    path: &Path,
    what: &str,
    read: impl FnOnce(&mut Reader, &Node, &Path) -> Option<T>,
) -> Result<T, Fault> {
    let text = std::fs::read_to_string(path).map_err(|fault| Fault::file(path, &fault))?;
    let base = path.parent().unwrap_or(Path::new("."));
    let mut reader = Reader::default();
    let value = match node::from_toml(&text) {
        Ok(node) => read(&mut reader, &node, base),
        Err(places) => {
            places.into_iter().for_each(|place| reader.fault(place.line, what, place.fault, ""));
            None
        }
    };
    match value {
        Some(value) if reader.faults.is_empty() => Ok(value),
        _ => Err(refused(path, what, &mut reader.faults)),
    }
}

fn refused(path: &Path, what: &str, faults: &mut [FieldFault]) -> Fault {
    faults.sort();
    let lines: Vec<_> = faults.iter().map(|fault| format!("  {fault}")).collect();
    Fault::usage("config", format!("{} is no {what}:\n{}", path.display(), lines.join("\n")))
}
