//! A machine with an agent.

use crate::{
    digest::Digest,
    hardware::share::{shares_of, whole_model},
    id::CheckId,
    isolation::NodeIsolation,
    resource::Gpu,
    topology::NodeTopology,
    unit::{Bytes, CpuMillis, Millis},
};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// What an agent finds on its machine when it registers.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Inventory {
    /// The node's name, unique in the cluster and bound to its TLS identity.
    pub name: String,
    /// Changes with each boot of the machine.
    pub boot_id: String,
    /// Processor time that tasks may use.
    pub cpu: CpuMillis,
    /// Memory that tasks may use.
    pub memory: Bytes,
    /// GPUs in the driver's order; empty is an honest "none".
    pub gpus: Vec<Gpu>,
    /// GPU driver, or empty.
    pub driver_version: String,
    /// CUDA version of the driver, or empty.
    pub cuda_version: String,
    /// Processor model.
    pub cpu_model: String,
    /// Instruction-set level (`x86-64-v3`), which decides bits.
    pub cpu_level: String,
    /// Kernel release: recorded, not part of the class.
    pub kernel: String,
    /// Version of the agent.
    pub agent_version: String,
    /// How far it keeps tasks apart from itself.
    #[serde(default)]
    pub isolation: NodeIsolation,
    /// Where it is, and where its GPUs are in it.
    #[serde(default, skip_serializing_if = "NodeTopology::is_empty")]
    pub topology: NodeTopology,
}

impl Inventory {
    /// The class of hardware within which equal recipes give equal bits.
    ///
    /// Holds the GPU model, the driver's major version and the instruction-set level.
    /// Source: rulings, 6.
    #[must_use]
    pub fn hardware_class(&self) -> String {
        let model = self.gpus.first().map(|gpu| gpu.model.as_str());
        hardware_class(model, &self.driver_version, &self.cpu_level)
    }

    /// Whether it offers shares of GPUs.
    #[must_use]
    pub fn has_shares(&self) -> bool {
        self.gpus.iter().any(|gpu| shares_of(&gpu.model) > 1)
    }
}

/// The class of hardware of a GPU model, a driver's version and an instruction-set level.
///
/// Of the driver only the first number counts, its branch: the rest are fixes.
#[must_use]
pub fn hardware_class(gpu_model: Option<&str>, driver_version: &str, cpu_level: &str) -> String {
    // What computes is the whole GPU, whoever else does on it.
    let gpu = gpu_model.map_or("no-gpu", whole_model);
    let driver = driver_version.split('.').next().unwrap_or_default();
    let driver = if driver.is_empty() { "none" } else { driver };
    format!("{gpu}/driver-{driver}/{cpu_level}")
}

/// On which terms a node is taken out of service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct DrainTerms {
    /// When it takes work again by itself, by the log's clock; none is when somebody says so.
    pub until: Option<Millis>,
    /// Whether what runs there is asked to save its work and to go on elsewhere.
    pub migrate: bool,
    /// Whether it takes work again only when an acceptance job has passed on it.
    pub quarantine: bool,
    /// The newest check of that.
    pub check: Option<CheckId>,
}

/// Whether a node takes new work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum NodeState {
    /// In contact, takes work.
    Ready,
    /// Finishes what it runs, takes nothing new.
    Drained {
        /// Why, in the admin's words.
        reason: String,
        /// When it takes work again by itself.
        #[serde(default, rename = "back", skip_serializing_if = "Option::is_none")]
        until: Option<Millis>,
        /// Whether what runs there is asked to go on elsewhere.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        migrate: bool,
        /// Whether an acceptance job has to pass on it first.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        quarantine: bool,
    },
    /// Out of contact for longer than a lease.
    Lost,
}

/// The key under which equal runs give equal bits.
///
/// Source: rulings, 6: H(recipe, contract digest, hardware class).
#[must_use]
pub fn build_key(recipe: Digest, contract: Digest, hardware_class: &str) -> Digest {
    Digest::of_value(&("assay build key v1", recipe, contract, hardware_class))
}
