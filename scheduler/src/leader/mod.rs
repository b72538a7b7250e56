//! What a leader does beside keeping the log: each duty only ever proposes.
//!
//! Duties are pure: they hear events, look at the view and say what the shell is to do. A replica
//! makes them anew when it becomes leader and drops them when it steps down. All that they need is
//! in the view, so nothing is lost with them, nor with an event that never comes.

mod checking;
mod contact;
pub mod copying;
pub mod duties;
mod gating;
mod planning;
mod retraining;
mod sealing;
mod signing;

#[cfg(test)]
mod duties_test;
