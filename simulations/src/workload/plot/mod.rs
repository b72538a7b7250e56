//! Pictures of what came out: one column for each policy, one row for each figure.

mod curve;
mod draw;
#[cfg(test)]
mod plot_test;

pub use curve::{Axis, Panel, over_load, over_time};

use super::error::WorkloadError;
use std::path::{Path, PathBuf};

/// Where the pictures of one trace go.
#[derive(Clone, Debug)]
pub struct Files {
    svg: PathBuf,
    png: PathBuf,
}

impl Files {
    /// In `folder`, named for the `at`-th of `count` traces: two may have one name.
    #[must_use]
    pub fn new(folder: &Path, trace: &Path, at: usize, count: usize) -> Self {
        let name = trace.file_name().unwrap_or_default().to_string_lossy();
        let mut stem = name.split('.').next().unwrap_or_default().to_owned();
        if count > 1 {
            stem = format!("{stem}-{}", at + 1);
        }
        let file = |kind: &str| folder.join(format!("{stem}.{kind}"));
        Self { svg: file("svg"), png: file("png") }
    }

    /// Draws it twice, as SVG and as PNG; the folder is made if need be.
    ///
    /// # Errors
    /// Names the file that could not be written.
    pub fn write(&self, policies: &[String], panels: &[Panel]) -> Result<(), WorkloadError> {
        let failed = |path: &Path, what: String| WorkloadError::Plot { path: path.into(), what };
        if let Some(folder) = self.svg.parent() {
            std::fs::create_dir_all(folder).map_err(|e| failed(folder, e.to_string()))?;
        }
        draw::svg(&self.svg, policies, panels).map_err(|what| failed(&self.svg, what))?;
        draw::png(&self.png, policies, panels).map_err(|what| failed(&self.png, what))
    }
}
