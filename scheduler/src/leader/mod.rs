//! What only the leader does: it only ever proposes, and is dropped on step-down.

pub mod duties;
