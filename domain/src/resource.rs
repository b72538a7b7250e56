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
    /// The least memory of each GPU; none means any. Stored beside the specification
    /// ([`crate::job::Further`]).
    #[borsh(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_memory: Option<Bytes>,
}

impl TaskResources {
    /// Whether a GPU of this model and memory is what is asked for.
    #[must_use]
    pub fn suits(&self, model: &str, memory: Bytes) -> bool {
        self.gpu_memory.is_none_or(|least| memory >= least)
            && gpu_matches(model, self.gpu_model.as_deref())
    }
}

/// Whether a GPU of this model is what a word asks for.
#[must_use]
pub fn gpu_matches(model: &str, wanted: Option<&str>) -> bool {
    wanted.is_none_or(|word| contains_in_any_case(model, word))
}

/// Planning asks this of every node that is looked at: without copies, where all is ASCII.
fn contains_in_any_case(text: &str, word: &str) -> bool {
    if !text.is_ascii() || !word.is_ascii() {
        return text.to_lowercase().contains(&word.to_lowercase());
    }
    let (text, word) = (text.as_bytes(), word.as_bytes());
    word.is_empty() || text.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word))
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
