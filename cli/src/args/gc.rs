//! Arguments of `assay gc`.

use clap::Subcommand;

// `assay gc`.
#[derive(Debug, Subcommand)]
pub enum Gc {
    /// Show which results' files would go, and for what is kept the first reason why
    Plan,
    /// Let the files go that nothing keeps; their record stays (admins)
    Run,
}
