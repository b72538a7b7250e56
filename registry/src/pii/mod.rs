//! Personal data in texts: where it stands and of what kind, never what it says.
//!
//! Recognisers with checksums and structure, over a stream of any length with bounded memory.
//! They err towards naming: a finding blocks a data set until a person has looked.

mod email;
mod iban;
mod ip;
mod number;
mod report;
mod scan;

pub use report::{DETECTOR, Finding, Kind, Report, VERSION};
pub use scan::{Scanner, scan_all};

#[cfg(test)]
mod laws;
