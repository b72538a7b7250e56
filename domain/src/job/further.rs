//! What few jobs say, and the first form of a stored specification has no place for.

use super::{JobSpec, RetryMax};
use crate::{
    after::RetryOn,
    limit,
    resource::{GpuLike, GpuShare},
    unit::{Bytes, Millis, PerMille},
};
use borsh::{BorshDeserialize, BorshSerialize};

/// What of a specification is stored behind it, not in it: servers of the release before cannot
/// read it. A job that says nothing of it is stored as it always was.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Further {
    /// What each GPU is like.
    pub gpu: GpuLike,
    /// The class of hardware that it runs on.
    pub hardware_class: Option<String>,
    /// How many failures of each kind it may have.
    pub retry_max: RetryMax,
    /// How long an attempt is expected to run.
    pub estimate: Option<Millis>,
}

impl Further {
    /// Whether it says nothing.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl JobSpec {
    /// What is stored behind it.
    #[must_use]
    pub fn further(&self) -> Further {
        Further {
            gpu: self.resources.gpu_like(),
            hardware_class: self.hardware_class.clone(),
            retry_max: self.retry.max.clone(),
            estimate: self.estimate,
        }
    }

    /// Puts in what was stored behind it.
    pub fn set_further(&mut self, further: Further) {
        let Further { gpu, hardware_class, retry_max, estimate } = further;
        self.resources.set_gpu_like(gpu);
        self.hardware_class = hardware_class;
        self.retry.max = retry_max;
        self.estimate = estimate;
    }

    /// What of it is out of its range.
    pub(super) fn check_further(&self, fault: &mut impl FnMut(&str, String, &str)) {
        if self.resources.gpu_memory == Some(Bytes(0)) {
            fault("gpu_memory", "is zero".into(), "give a size such as `40GiB`, or leave it");
        }
        match self.resources.gpu_share {
            GpuShare::Whole => {}
            GpuShare::AtLeast(PerMille(part)) if (1..1_000).contains(&part) => {
                if (self.tasks, self.resources.gpus) != (1, 1) {
                    let (tasks, gpus) = (self.tasks, self.resources.gpus);
                    let why = format!("is a part of a GPU, for {tasks} tasks of {gpus}");
                    fault("gpus", why, "one task has one part; a gang needs whole GPUs");
                }
            }
            GpuShare::AtLeast(part) => {
                let why = format!("is a part of {part}");
                fault("gpus", why, "ask for a part between 0 and 1, or for whole GPUs");
            }
            GpuShare::Any | GpuShare::OneOf(_) => {
                fault("gpus", "may be any part".into(), "say how large a part")
            }
        }
        let good = |class: &str| {
            !class.is_empty()
                && class.len() <= limit::CLASS_NAME_MAX
                && !class.chars().any(char::is_control)
        };
        if let Some(class) = self.hardware_class.as_deref().filter(|class| !good(class)) {
            let why = format!("is {} bytes long, or has control characters", class.len());
            let remedy = "give one as `assay node show` has it, such as \
                          `NVIDIA H100 80GB HBM3/driver-550/x86-64-v4`";
            fault("hardware_class", why, remedy);
        }
        match (self.estimate, self.time_limit) {
            (Some(Millis(0)), _) => {
                let remedy = "give a duration such as `2h30m`, or leave it";
                fault("estimate", "is zero".into(), remedy);
            }
            (Some(estimate), Some(limit)) if estimate > limit => {
                let why = format!("is {estimate}, and `time_limit` ends it after {limit}");
                fault("estimate", why, "raise `time_limit`, or expect less");
            }
            _ => {}
        }
        let RetryMax { own, node } = &self.retry.max;
        let never = |kind: &RetryOn| !self.retry.on.is_empty() && !self.retry.on.contains(kind);
        for (kind, _) in own.iter().filter(|(kind, most)| **most > 0 && never(kind)) {
            let why = format!("names `{}`, after which it is never tried again", kind.word());
            fault("retry.max", why, "name it in `retry.on`, too, or leave it out");
        }
        if let Some(most) = node.filter(|most| *most > limit::NODE_FAULTS_MAX) {
            let why = format!("allows {most} faults of nodes");
            let remedy = format!("allow at most {}, as any job may have", limit::NODE_FAULTS_MAX);
            fault("retry.max", why, &remedy);
        }
    }
}
