//! What can be wrong with a workload: where, why, what to do.

use std::path::PathBuf;

/// A fault in what was given.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// A file could not be opened or read.
    #[error("{path}: cannot be read; check the name and that a .gz file is whole")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file's text is not what the format asks for.
    #[error("{path}:{line}: {what}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from one.
        line: u64,
        /// What is wrong, and what to do.
        what: String,
    },
    /// Nothing was left to run.
    #[error("{path}: no job in it can be run; {what}")]
    Empty {
        /// The file.
        path: PathBuf,
        /// What was seen.
        what: String,
    },
    /// A picture could not be drawn.
    #[error("{path}: the picture cannot be written: {what}")]
    Plot {
        /// The file.
        path: PathBuf,
        /// Why.
        what: String,
    },
    /// Options that do not go together.
    #[error("{0}")]
    Options(String),
}
