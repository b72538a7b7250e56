//! The machine's hands: clocks, hardware, files and processes of this node.

pub mod answers;
pub mod burn_in;
pub mod checkpoints;
pub mod clock;
pub mod contract;
pub mod dirs;
pub mod gpu;
pub mod host;
pub mod house;
pub mod image;
pub mod logs;
pub mod look;
pub mod patrol;
pub mod pool;
pub mod prepare;
pub mod quota;
pub mod sandbox;
pub mod state;
pub mod supervisor;
pub mod tasks;
pub mod trusted;
