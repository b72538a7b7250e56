//! The pure state machine behind the log.

pub mod command;
