//! What a task asks for and what a node has.

use crate::unit::{Bytes, CpuMillis};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// What one task of a gang needs.
#[derive(
    Clone,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
pub struct TaskResources {
    /// Whole GPUs.
    pub gpus: u32,
    /// A word that the GPU's model must contain, in any case ("H100"); none means any.
    pub gpu_model: Option<String>,
    /// Processor time.
    pub cpu: CpuMillis,
    /// Main memory.
    pub memory: Bytes,
}

/// One GPU as its node's driver names it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Gpu {
    /// The driver's index on its node.
    pub index: u32,
    /// The driver's unique name.
    pub uuid: String,
    /// The model as the driver prints it.
    pub model: String,
    /// Its memory.
    pub memory: Bytes,
    /// CUDA compute capability, as in `9.0`.
    pub compute_capability: String,
}
