//! What part of a job's work is run again elsewhere, as files say it.

use crate::document::reader::{Field, Reader};
use domain::check::Verify;

/// Reads `none`, or a part such as `segment:5%`.
pub fn read(reader: &mut Reader, field: Field<'_>) -> Option<Verify> {
    let text = reader.text(field)?;
    match text.parse() {
        Ok(verify) => Some(verify),
        Err(_) => {
            let remedy = "give \"none\", or a part such as \"segment:5%\"";
            reader.fault(field.node.line, field.name, format!("is `{text}`"), remedy);
            None
        }
    }
}
