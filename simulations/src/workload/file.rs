//! Text of a file, plain or gzip, with named columns and errors that name the line.

use super::error::WorkloadError;
use std::{
    collections::BTreeMap,
    io::Read,
    path::{Path, PathBuf},
};

/// First bytes of a gzip file.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Reads a whole file; gzip is told by its first bytes, not by its name.
///
/// # Errors
/// When it cannot be read. Bytes that are not UTF-8 are replaced: they stand in names only.
pub fn read(path: &Path) -> Result<String, WorkloadError> {
    let fault = |source| WorkloadError::Read { path: path.to_owned(), source };
    let raw = std::fs::read(path).map_err(fault)?;
    let mut bytes = Vec::new();
    if raw.starts_with(&GZIP) {
        flate2::read::MultiGzDecoder::new(raw.as_slice()).read_to_end(&mut bytes).map_err(fault)?;
    } else {
        bytes = raw;
    }
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned())
}

/// A table with a line of names.
pub struct Table {
    path: PathBuf,
    columns: BTreeMap<String, usize>,
    rows: Vec<csv::StringRecord>,
}

/// One row of a table.
pub struct Row<'a> {
    table: &'a Table,
    record: &'a csv::StringRecord,
}

impl Table {
    /// Parses text whose first line names the columns.
    ///
    /// # Errors
    /// When the text is empty, or a row has more or fewer cells than there are names.
    pub fn parse(path: &Path, text: &str) -> Result<Self, WorkloadError> {
        let mut reader = csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .flexible(true)
            .comment(Some(b'#'))
            .from_reader(text.as_bytes());
        let fault = |error: csv::Error| {
            let line = error.position().map_or(1, csv::Position::line);
            line_error(path, line, format!("not CSV: {error}"))
        };
        let names = reader.headers().map_err(fault)?.clone();
        if names.is_empty() {
            return Err(line_error(path, 1, "no line of column names; is the file empty?"));
        }
        let lower = |name: &str| name.to_ascii_lowercase();
        let columns = names.iter().enumerate().map(|(at, name)| (lower(name), at)).collect();
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(fault)?;
            if record.iter().all(str::is_empty) {
                continue;
            }
            if record.len() != names.len() {
                let line = record.position().map_or(0, csv::Position::line);
                let what = format!(
                    "{} cells where the first line names {} columns; fix or remove the row",
                    record.len(),
                    names.len()
                );
                return Err(line_error(path, line, what));
            }
            rows.push(record);
        }
        Ok(Self { path: path.to_owned(), columns, rows })
    }

    /// Reads and parses a file.
    ///
    /// # Errors
    /// As [`read`] and [`Table::parse`].
    pub fn open(path: &Path) -> Result<Self, WorkloadError> {
        Self::parse(path, &read(path)?)
    }

    /// Whether a column is there.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.columns.contains_key(name)
    }

    /// Fails unless all of these columns are there.
    ///
    /// # Errors
    /// Names what is missing and what is there.
    pub fn need(&self, names: &[&str]) -> Result<(), WorkloadError> {
        let missing: Vec<&str> = names.iter().copied().filter(|name| !self.has(name)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let have: Vec<&str> = self.columns.keys().map(String::as_str).collect();
        let what = format!(
            "column `{}` is missing; there are `{}` — is `--format` right?",
            missing.join("`, `"),
            have.join("`, `")
        );
        Err(line_error(&self.path, 1, what))
    }

    /// The rows in order.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|record| Row { table: self, record })
    }
}

impl Row<'_> {
    /// The line it stands on.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.record.position().map_or(0, csv::Position::line)
    }

    /// A cell's text; empty when there is no such column.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        let at = self.table.columns.get(name);
        at.and_then(|at| self.record.get(*at)).unwrap_or_default()
    }

    /// An error on this row.
    #[must_use]
    pub fn fault(&self, what: impl Into<String>) -> WorkloadError {
        line_error(&self.table.path, self.line(), what)
    }

    /// A number of seconds, steps and the like: finite, not below zero.
    ///
    /// # Errors
    /// When the cell is not such a number.
    pub fn number(&self, name: &str) -> Result<f64, WorkloadError> {
        let text = self.text(name);
        number(text).ok_or_else(|| {
            self.fault(format!("`{name}` is `{text}`; it must be a number of at least 0"))
        })
    }

    /// A count; `8` and `8.0` alike.
    ///
    /// # Errors
    /// When the cell is not a whole number up to `most`.
    pub fn count(&self, name: &str, most: u64) -> Result<u64, WorkloadError> {
        let value = self.number(name)?;
        if value.fract() != 0.0 || value > most as f64 {
            let text = self.text(name);
            return Err(self.fault(format!(
                "`{name}` is `{text}`; it must be a whole number from 0 to {most}"
            )));
        }
        // Whole and within the bound.
        Ok(value as u64)
    }
}

/// A finite number that is not below zero.
#[must_use]
pub fn number(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 0.0)
}

/// An error with its place.
#[must_use]
pub fn line_error(path: &Path, line: u64, what: impl Into<String>) -> WorkloadError {
    WorkloadError::Line { path: path.to_owned(), line, what: what.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> String {
        match Table::parse(Path::new("a.csv"), text) {
            Ok(table) => table
                .rows()
                .map(|row| row.count("gpus", 100).map_or_else(|e| e.to_string(), |n| n.to_string()))
                .collect::<Vec<_>>()
                .join("\n"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_fault_names_its_file_and_line() {
        assert_eq!(words("id, GPUs\n1, 8.0\n\n2,3\n"), "8\n3");
        assert!(words("id,gpus\n1,8\n2,x\n").contains("a.csv:3: `gpus` is `x`"));
        assert!(words("id,gpus\n1,-8\n").contains("a.csv:2"));
        assert!(words("id,gpus\n1,nan\n").contains("a.csv:2"));
        assert!(words("id,gpus\n1,1.5\n").contains("whole number"));
        assert!(words("id,gpus\n1\n").contains("a.csv:2: 1 cells"));
        assert!(words("").contains("empty"));
    }

    #[test]
    fn a_missing_column_is_named() {
        let table = Table::parse(Path::new("a.csv"), "id,gpus\n1,8\n").unwrap();
        let error = table.need(&["submit_s", "gpus"]).unwrap_err().to_string();
        assert!(error.contains("`submit_s` is missing"), "{error}");
    }
}
