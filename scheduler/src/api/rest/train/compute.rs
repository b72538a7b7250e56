//! What a training job runs on, and when it is tried again.

use crate::api::rest::{fault::Fault, shapes};
use domain::limit;
use proto::v1;
use serde::Deserialize;
use utoipa::ToSchema;

/// Memory of a task that names none.
const MEMORY: u64 = 1 << 30;
/// Processor time of a task that names none.
const CPU: u64 = 1_000;
/// Processor time of one task.
const CPU_MAX: u64 = 1_000_000;
/// Further attempts.
const RETRIES_MAX: u64 = 1_000;
/// The largest integer that every reader keeps.
const EXACT_MAX: u64 = (1 << 53) - 1;

/// What a job runs on.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Compute {
    /// The queue; left out, `default`.
    #[serde(default)]
    #[schema(pattern = "^[a-z0-9][a-z0-9._/-]{0,63}$")]
    pool: Option<String>,
    /// Tasks of the gang.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 4096)]
    tasks: Option<u32>,
    /// GPUs of each task.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 64)]
    gpus: Option<u32>,
    /// Which GPUs.
    #[serde(rename = "gpuModel", default)]
    #[schema(max_length = 128)]
    gpu_model: Option<String>,
    /// The least memory of each GPU.
    #[serde(rename = "gpuMemoryBytes", default)]
    #[schema(minimum = 1, maximum = 9_007_199_254_740_991_u64)]
    gpu_memory: Option<u64>,
    /// Of one GPU that is offered in shares, at least so much, in thousandths; `gpus` is 1 then.
    #[serde(rename = "gpuSharePerMille", default)]
    #[schema(minimum = 1, maximum = 999)]
    gpu_share: Option<u32>,
    /// The class of hardware, as a node's document has it.
    #[serde(rename = "hardwareClass", default)]
    #[schema(pattern = "^[ -~]{1,300}$")]
    hardware_class: Option<String>,
    /// Thousandths of a processor for each task.
    #[serde(rename = "cpuMillis", default)]
    #[schema(minimum = 1, maximum = 1_000_000)]
    cpu: Option<u64>,
    /// Memory of each task.
    #[serde(rename = "memoryBytes", default)]
    #[schema(minimum = 1, maximum = 9_007_199_254_740_991_u64)]
    memory: Option<u64>,
    /// Longest time of an attempt.
    #[serde(rename = "timeLimitMs", default)]
    #[schema(minimum = 1, maximum = 9_007_199_254_740_991_u64)]
    time_limit: Option<u64>,
    /// How long an attempt is expected to run; it ends nothing.
    #[serde(rename = "estimateMs", default)]
    #[schema(minimum = 1, maximum = 9_007_199_254_740_991_u64)]
    estimate: Option<u64>,
}

/// When a job is tried again after a failure of its own.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Retry {
    /// Further attempts; left out, as many as `max` allows for the job's own kinds.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1000)]
    retries: Option<u32>,
    /// The pause after the first failure, which doubles.
    #[serde(rename = "backoffMs", default)]
    #[schema(minimum = 1, maximum = 3_600_000)]
    backoff: Option<u64>,
    /// How often after failures of each kind.
    #[serde(default)]
    max: RetryMax,
}

/// How many failures of a kind the job may have and still be tried again.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RetryMax {
    /// It ended with a code other than 0.
    #[serde(rename = "exitCode", default)]
    #[schema(minimum = 0, maximum = 1000)]
    exit_code: Option<u32>,
    /// A signal ended it.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1000)]
    signal: Option<u32>,
    /// It wrote nothing, or changed what was being sealed.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1000)]
    output: Option<u32>,
    /// It ran longer than its limit.
    #[serde(rename = "timeLimit", default)]
    #[schema(minimum = 0, maximum = 1000)]
    time_limit: Option<u32>,
    /// It could not be prepared.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1000)]
    prepare: Option<u32>,
    /// It could not be sealed.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1000)]
    seal: Option<u32>,
    /// It reached a limit of its sandbox.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1000)]
    limit: Option<u32>,
    /// Faults of nodes.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 100)]
    node: Option<u32>,
}

impl RetryMax {
    /// Each kind by the platform's name and by ours, with the most that may be said of it.
    fn words(&self) -> [(&'static str, &'static str, Option<u32>, u64); 8] {
        [
            ("exitCode", "exit_code", self.exit_code, RETRIES_MAX),
            ("signal", "signal", self.signal, RETRIES_MAX),
            ("output", "output", self.output, RETRIES_MAX),
            ("timeLimit", "time_limit", self.time_limit, RETRIES_MAX),
            ("prepare", "prepare", self.prepare, RETRIES_MAX),
            ("seal", "seal", self.seal, RETRIES_MAX),
            ("limit", "limit", self.limit, RETRIES_MAX),
            ("node", "node", self.node, limit::NODE_FAULTS_MAX.into()),
        ]
    }
}

impl Compute {
    /// Refuses what the document does not allow.
    pub(super) fn check(&self) -> Result<(), Fault> {
        for (field, given, least, most) in [
            ("tasks", self.tasks.map(u64::from), 1, limit::GANG_MAX.into()),
            ("gpus", self.gpus.map(u64::from), 0, limit::NODE_GPUS_MAX as u64),
            ("cpuMillis", self.cpu, 1, CPU_MAX),
            ("memoryBytes", self.memory, 1, EXACT_MAX),
            ("gpuMemoryBytes", self.gpu_memory, 1, EXACT_MAX),
            ("gpuSharePerMille", self.gpu_share.map(u64::from), 1, 999),
            ("timeLimitMs", self.time_limit, 1, EXACT_MAX),
            ("estimateMs", self.estimate, 1, EXACT_MAX),
        ] {
            shapes::range(field, given, least, most)?;
        }
        let class = self.hardware_class.as_deref();
        shapes::length("hardwareClass", class.map_or(1, str::len), 1, limit::CLASS_NAME_MAX)?;
        if class.is_some_and(|class| !class.bytes().all(|byte| (b' '..=b'~').contains(&byte))) {
            let hint = "give it as a node's document has it";
            return Err(Fault::unfit("`hardwareClass` has other characters than ASCII's", hint));
        }
        let gpu_model = self.gpu_model.as_deref().unwrap_or_default().chars().count();
        shapes::length("gpuModel", gpu_model, 0, 128)
    }

    /// Puts it into a job.
    pub(super) fn fill(self, job: v1::Job) -> v1::Job {
        v1::Job {
            queue: self.pool.unwrap_or_default(),
            tasks: self.tasks.unwrap_or(1),
            // A part is of one.
            gpus: self.gpus.unwrap_or(u32::from(self.gpu_share.is_some())),
            gpu_share_per_mille: self.gpu_share.unwrap_or_default(),
            gpu_model: self.gpu_model.unwrap_or_default(),
            gpu_memory_bytes: self.gpu_memory.unwrap_or_default(),
            hardware_class: self.hardware_class.unwrap_or_default(),
            cpu_millis: self.cpu.unwrap_or(CPU),
            memory_bytes: self.memory.unwrap_or(MEMORY),
            time_limit_ms: self.time_limit.unwrap_or_default(),
            estimate_ms: self.estimate.unwrap_or_default(),
            ..job
        }
    }
}

impl Retry {
    /// Refuses what the document does not allow.
    pub(super) fn check(&self) -> Result<(), Fault> {
        shapes::range("retries", self.retries.map(u64::from), 0, RETRIES_MAX)?;
        shapes::range("backoffMs", self.backoff, 1, limit::BACKOFF_MAX.0)?;
        for (name, _, given, most) in self.max.words() {
            shapes::range(name, given.map(u64::from), 0, most)?;
        }
        Ok(())
    }

    /// Puts it into a job.
    pub(super) fn fill(self, job: v1::Job) -> v1::Job {
        let mut max = domain::after::RetryMax::default();
        for (_, word, most, _) in self.max.words() {
            // Each of these words is one of a bound.
            let _ = most.is_some_and(|most| max.set(word, most));
        }
        v1::Job {
            retries: self.retries.unwrap_or_else(|| max.retries()),
            retry_backoff_ms: self.backoff.unwrap_or_default(),
            retry_max: max.words().map(|(word, most)| (word.to_owned(), most)).collect(),
            ..job
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn asked(compute: Value, retry: Value) -> Option<v1::Job> {
        let compute: Compute = serde_json::from_value(compute).ok()?;
        let retry: Retry = serde_json::from_value(retry).ok()?;
        compute.check().and(retry.check()).ok()?;
        Some(retry.fill(compute.fill(v1::Job::default())))
    }

    #[test]
    fn what_is_asked_of_gpus_and_of_retries_by_cause_is_in_the_job() {
        let class = "NVIDIA H100 80GB HBM3/driver-550/x86-64-v4";
        let compute = json!({ "gpus": 1, "gpuMemoryBytes": 1_u64 << 36, "hardwareClass": class });
        let retry = json!({ "max": { "exitCode": 1, "timeLimit": 2, "node": 0 } });
        let job = asked(compute, retry).unwrap();
        assert_eq!((job.gpu_memory_bytes, job.hardware_class.as_str()), (1 << 36, class));
        let max: Vec<_> = job.retry_max.iter().map(|(word, most)| (word.as_str(), *most)).collect();
        assert_eq!(max, [("exit_code", 1), ("node", 0), ("time_limit", 2)]);
        assert_eq!(job.retries, 3, "as often as its own kinds allow together");
        let part = asked(json!({ "gpuSharePerMille": 250 }), json!({})).unwrap();
        assert_eq!((part.gpus, part.gpu_share_per_mille), (1, 250));
        let said = json!({ "retries": 1, "max": { "signal": 5 } });
        assert_eq!(asked(json!({}), said).unwrap().retries, 1);
    }

    #[test]
    fn what_the_document_does_not_allow_is_refused() {
        for (compute, retry) in [
            (json!({ "gpuMemoryBytes": 0 }), json!({})),
            (json!({ "gpuSharePerMille": 1_000 }), json!({})),
            (json!({ "gpuMemoryBytes": 1_u64 << 53 }), json!({})),
            (json!({ "hardwareClass": "" }), json!({})),
            (json!({ "hardwareClass": "é" }), json!({})),
            (json!({ "hardwareClass": "x".repeat(301) }), json!({})),
            (json!({}), json!({ "max": { "signl": 1 } })),
            (json!({}), json!({ "max": { "signal": 1001 } })),
            (json!({}), json!({ "max": { "node": 101 } })),
        ] {
            assert_eq!(asked(compute.clone(), retry.clone()), None, "{compute} {retry}");
        }
        assert!(asked(json!({}), json!({})).is_some());
    }
}
