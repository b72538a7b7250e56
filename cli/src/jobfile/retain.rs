//! How long results' files are kept, as files and flags say it.

use crate::{
    document::reader::{Field, Reader},
    quantity,
};
use domain::retain::Retain;

/// Reads `forever`, or a duration such as `90d`.
///
/// # Errors
/// When the text is neither.
pub fn parse(text: &str) -> Result<Retain, String> {
    if text == "forever" {
        return Ok(Retain::Forever);
    }
    quantity::duration(text).map(Retain::For).map_err(|fault| fault.to_string())
}

/// Reads it in a document.
pub fn read(reader: &mut Reader, field: Field<'_>) -> Option<Retain> {
    let text = reader.text(field)?;
    match parse(&text) {
        Ok(retain) => Some(retain),
        Err(_) => {
            let remedy = "give \"forever\", or a duration such as \"90d\"";
            reader.fault(field.node.line, field.name, format!("is \"{text}\""), remedy);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobfile;
    use domain::Millis;
    use std::path::Path;

    #[test]
    fn a_time_or_for_ever_is_read_and_what_is_neither_is_named() {
        let retain = |text: &str| {
            let text = format!("command = [\"x\"]\nretain = \"{text}\"\n");
            jobfile::check(jobfile::read(Path::new("job.toml"), &text), None).map(|it| it.retain)
        };
        assert_eq!(retain("forever").unwrap(), Some(Retain::Forever));
        assert_eq!(retain("1d12h").unwrap(), Some(Retain::For(Millis(36 * 3_600_000))));
        let fault = retain("long").unwrap_err().detail;
        assert!(fault.contains("retain: is \"long\"; give \"forever\", or a"), "{fault}");
    }
}
