//! The data set: rows of 64 pixels from 0 to 16, and the digit that they show.

use std::path::{Path, PathBuf};

/// One image.
pub struct Row {
    /// Brightness from 0 to 1, row by row.
    pub pixels: [f32; 64],
    /// The digit.
    pub label: usize,
}

/// All images; the last fifth is held out.
pub struct Digits {
    rows: Vec<Row>,
}

impl Digits {
    /// Reads `digits.csv`, or the folder that holds it.
    pub fn load(path: &Path) -> Result<Self, String> {
        let file: PathBuf = if path.is_dir() { path.join("digits.csv") } else { path.into() };
        let text = std::fs::read_to_string(&file)
            .map_err(|why| format!("cannot read {}: {why}", file.display()))?;
        let mut rows = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let row =
                parse(line).map_err(|why| format!("{}:{}: {why}", file.display(), number + 1))?;
            rows.push(row);
        }
        if rows.len() < 100 {
            return Err(format!("{}: only {} rows; 100 are needed", file.display(), rows.len()));
        }
        Ok(Self { rows })
    }

    /// The rows to learn from.
    pub fn train(&self) -> &[Row] {
        &self.rows[..self.rows.len() * 4 / 5]
    }

    /// The rows to be judged by.
    pub fn held_out(&self) -> &[Row] {
        &self.rows[self.rows.len() * 4 / 5..]
    }
}

fn parse(line: &str) -> Result<Row, String> {
    let fields: Vec<&str> = line.split(',').collect();
    if fields.len() != 65 {
        return Err(format!("{} fields, expected 64 pixels and a digit", fields.len()));
    }
    let mut pixels = [0.0; 64];
    for (pixel, field) in pixels.iter_mut().zip(&fields) {
        let level: u8 = field
            .trim()
            .parse()
            .ok()
            .filter(|level| *level <= 16)
            .ok_or_else(|| format!("`{field}` is not a pixel from 0 to 16"))?;
        *pixel = f32::from(level) / 16.0;
    }
    let label = fields[64]
        .trim()
        .parse()
        .ok()
        .filter(|label| *label < 10)
        .ok_or_else(|| format!("`{}` is not a digit", fields[64]))?;
    Ok(Row { pixels, label })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_row_is_refused_with_its_reason() {
        assert!(parse("1,2,3").err().unwrap().contains("3 fields"));
        let good = format!("{}7", "16,".repeat(64));
        assert_eq!(parse(&good).unwrap().label, 7);
        let bright = good.replacen("16", "17", 1);
        assert!(parse(&bright).err().unwrap().contains("`17`"));
    }
}
