//! What a task asks for and what a node has.

use crate::{
    hardware::share::shares_of,
    unit::{Bytes, CpuMillis, PerMille},
};
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
    /// Whether they are whole, or parts. Stored as the memory is.
    #[borsh(skip)]
    #[serde(default, skip_serializing_if = "GpuShare::is_whole")]
    pub gpu_share: GpuShare,
}

/// What GPUs have to be like, beside what the first form of a request has place for.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct GpuLike {
    /// The least memory of each.
    #[serde(rename = "gpu_memory", default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// Whether they are whole.
    #[serde(rename = "gpu_share", default, skip_serializing_if = "GpuShare::is_whole")]
    pub share: GpuShare,
}

/// How much of a GPU one of those that a task asks for is.
#[derive(
    Clone,
    Copy,
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
#[serde(rename_all = "snake_case")]
pub enum GpuShare {
    /// All of what its driver offers: a GPU, or a slice of one in MIG mode.
    #[default]
    Whole,
    /// One of the shares that its node offers of a GPU, of at least so much of it.
    #[serde(rename = "at_least_per_mille")]
    AtLeast(PerMille),
    /// Whatever there is: it is the machine that is looked at.
    Any,
    /// One of so many equal shares: as a planner tries one size after the other.
    OneOf(u32),
}

impl GpuShare {
    /// Whether whole ones are asked for.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        *self == Self::Whole
    }

    /// Whether one of so many equal shares will do; of one alone, whether a whole one will.
    #[must_use]
    pub fn takes(self, one_of: u32) -> bool {
        match self {
            Self::Whole => one_of == 1,
            Self::AtLeast(PerMille(part)) => {
                one_of > 1 && part.saturating_mul(one_of.into()) <= 1_000
            }
            Self::Any => true,
            Self::OneOf(count) => one_of == count,
        }
    }
}

impl TaskResources {
    /// What is stored of it beside the first form.
    #[must_use]
    pub fn gpu_like(&self) -> GpuLike {
        GpuLike { memory: self.gpu_memory, share: self.gpu_share }
    }

    /// Puts in what was stored beside it.
    pub fn set_gpu_like(&mut self, like: GpuLike) {
        let GpuLike { memory, share } = like;
        (self.gpu_memory, self.gpu_share) = (memory, share);
    }

    /// Whether a GPU of this model and memory is what is asked for.
    #[must_use]
    pub fn suits(&self, model: &str, memory: Bytes) -> bool {
        self.gpu_share.takes(shares_of(model))
            && self.gpu_memory.is_none_or(|least| memory >= least)
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
