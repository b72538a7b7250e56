//! The agent's reading of GPUs, against simulated ones.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod gpus;
mod health;
mod support;
