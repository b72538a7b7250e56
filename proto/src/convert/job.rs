//! A job on the wire.

use super::{after, digest, registered, topology};
use crate::v1;
use domain::{
    Bytes, CpuMillis, JobId, Millis, PerMille,
    check::Verify,
    checkpoint::CheckpointRule,
    framework::Framework,
    image::ImageRef,
    interrupt::{Interrupt, Preemptible},
    isolation::{Confinement, Isolation, Network},
    job::{Array, Captured, JobSpec, OnDisconnect, Outputs, Restart},
    resource::{GpuShare, TaskResources},
    retain::Retain,
    topology::Level,
};

/// A field of a request that no domain type allows.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {fault}; {remedy}")]
pub struct WireError {
    /// The field as the .proto file names it.
    pub field: &'static str,
    /// What is wrong.
    pub fault: String,
    /// What to do.
    pub remedy: &'static str,
}

impl From<&Captured> for v1::Captured {
    fn from(captured: &Captured) -> Self {
        Self {
            tree: captured.tree.0.to_vec().into(),
            files: captured.files,
            size_bytes: captured.size.0,
            origin: captured.origin.clone(),
        }
    }
}

impl TryFrom<v1::Captured> for Captured {
    type Error = WireError;

    fn try_from(wire: v1::Captured) -> Result<Self, WireError> {
        Ok(Self {
            tree: digest("tree", &wire.tree)?,
            files: wire.files,
            size: Bytes(wire.size_bytes),
            origin: wire.origin,
        })
    }
}

impl From<&JobSpec> for v1::Job {
    fn from(spec: &JobSpec) -> Self {
        Self {
            name: spec.name.clone(),
            queue: spec.queue.clone(),
            priority: spec.priority,
            tasks: spec.tasks,
            gpus: spec.resources.gpus,
            gpu_model: spec.resources.gpu_model.clone().unwrap_or_default(),
            cpu_millis: spec.resources.cpu.0,
            memory_bytes: spec.resources.memory.0,
            command: spec.command.clone(),
            env: spec.env.clone(),
            code: spec.code.as_ref().map(Into::into),
            datasets: spec.datasets.iter().map(|(name, set)| (name.clone(), set.into())).collect(),
            hyperparameters: spec.hyperparameters.clone(),
            seed: spec.seed,
            outputs: outputs_word(spec.outputs).into(),
            time_limit_ms: spec.time_limit.map_or(0, |limit| limit.0),
            retries: spec.retries,
            on_disconnect: on_disconnect_word(spec.on_disconnect).into(),
            restart: restart_word(spec.restart).into(),
            array_count: spec.array.map_or(0, |array| array.count),
            array_at_once_max: spec.array.map_or(0, |array| array.at_once_max),
            reproduces: spec.reproduces.map_or(0, |job| job.0),
            after: after::to_wire(&spec.after),
            retry_backoff_ms: spec.retry.backoff.map_or(0, |pause| pause.0),
            retry_on: after::words(&spec.retry.on),
            isolation: spec.confinement.isolation.word().into(),
            network: network_word(spec.confinement.network).into(),
            disk_bytes: spec.confinement.disk.map_or(0, |disk| disk.0),
            checkpoint_keep: spec.checkpoint.keep.unwrap_or_default(),
            checkpoint_max_age_ms: spec.checkpoint.max_age.map_or(0, |age| age.0),
            framework: spec.framework.map_or("", Framework::word).into(),
            image: spec.image.as_ref().map(ToString::to_string).unwrap_or_default(),
            preemptible: match spec.interrupt.preemptible {
                Preemptible::Yes => "yes".into(),
                Preemptible::No => "no".into(),
            },
            min_run_ms: spec.interrupt.min_run.map(|time| time.0),
            warn_ms: spec.interrupt.warn.map(|time| time.0),
            verify_of_10000: spec.verify.map(|verify| verify.segments_of_10000),
            reservation: spec.reservation.clone().unwrap_or_default(),
            retain_ms: spec.retain.map(Retain::wire),
            topology_require: spec.topology.require.map_or("", Level::word).into(),
            topology_prefer: spec.topology.prefer.map_or("", Level::word).into(),
            topology_layout: topology::layout_word(spec.topology.layout).into(),
            registered_datasets: registered::to_wire(&spec.registered),
            priority_class: String::new(),
            gpu_memory_bytes: spec.resources.gpu_memory.map_or(0, |least| least.0),
            gpu_share_per_mille: per_mille(spec.resources.gpu_share),
            hardware_class: spec.hardware_class.clone().unwrap_or_default(),
            retry_max: after::bounds(&spec.retry.max),
            estimate_ms: spec.estimate.map_or(0, |estimate| estimate.0),
        }
    }
}

fn network_word(network: Option<Network>) -> &'static str {
    match network {
        None => "",
        Some(Network::None) => "none",
        Some(Network::Host) => "host",
    }
}

/// A part of a GPU; 0 for whole ones.
fn per_mille(share: GpuShare) -> u32 {
    match share {
        GpuShare::AtLeast(PerMille(part)) => u32::try_from(part).unwrap_or(u32::MAX),
        GpuShare::Whole | GpuShare::Any | GpuShare::OneOf(_) => 0,
    }
}

fn on_disconnect_word(on_disconnect: OnDisconnect) -> &'static str {
    match on_disconnect {
        OnDisconnect::Stop => "stop",
        OnDisconnect::Continue => "continue",
    }
}

fn restart_word(restart: Restart) -> &'static str {
    match restart {
        Restart::Lease => "lease",
        Restart::Confirmed => "confirmed",
    }
}

fn outputs_word(outputs: Outputs) -> &'static str {
    match outputs {
        Outputs::Required => "required",
        Outputs::None => "none",
    }
}

/// One of the words that a field allows; empty means the default.
pub(super) fn word<T: Default, const N: usize>(
    field: &'static str,
    text: &str,
    words: [(&str, T); N],
    remedy: &'static str,
) -> Result<T, WireError> {
    if text.is_empty() {
        return Ok(T::default());
    }
    words
        .into_iter()
        .find_map(|(name, value)| (name == text).then_some(value))
        .ok_or_else(|| WireError { field, fault: format!("is `{text}`"), remedy })
}

/// What a job computes with; empty means that it does not say.
fn framework(text: &str) -> Result<Option<Framework>, WireError> {
    if text.is_empty() {
        return Ok(None);
    }
    let found = Framework::WORDS.iter().find(|(word, _)| *word == text);
    found.map(|(_, framework)| Some(*framework)).ok_or_else(|| WireError {
        field: "framework",
        fault: format!("is `{text}`"),
        remedy: "use `pytorch`, `jax`, `tensorflow`, `xgboost`, `scikit-learn` or `cuda`",
    })
}

impl v1::Job {
    fn confinement(&self) -> Result<Confinement, WireError> {
        let isolation = word(
            "isolation",
            &self.isolation,
            Isolation::ALL,
            "use `plain`, `sandbox` or `container`",
        )?;
        let network = word(
            "network",
            &self.network,
            [("none", Some(Network::None)), ("host", Some(Network::Host))],
            "use `none` or `host`",
        )?;
        let disk = (self.disk_bytes > 0).then_some(Bytes(self.disk_bytes));
        Ok(Confinement { isolation, network, disk })
    }

    fn resources(&self) -> TaskResources {
        let (model, least) = (&self.gpu_model, self.gpu_memory_bytes);
        TaskResources {
            gpus: self.gpus,
            gpu_model: (!model.is_empty()).then(|| model.clone()),
            cpu: CpuMillis(self.cpu_millis),
            memory: Bytes(self.memory_bytes),
            gpu_memory: (least > 0).then_some(Bytes(least)),
            gpu_share: match self.gpu_share_per_mille {
                0 => GpuShare::Whole,
                part => GpuShare::AtLeast(PerMille(part.into())),
            },
        }
    }

    fn checkpoint(&self) -> CheckpointRule {
        let (keep, age) = (self.checkpoint_keep, self.checkpoint_max_age_ms);
        CheckpointRule {
            keep: (keep > 0).then_some(keep),
            max_age: (age > 0).then_some(Millis(age)),
        }
    }

    fn image(&self) -> Result<Option<ImageRef>, WireError> {
        let remedy = "name it by registry and digest";
        let failed = |why: domain::image::ImageError| {
            let fault = why.to_string();
            WireError { field: "image", fault, remedy }
        };
        match self.image.as_str() {
            "" => Ok(None),
            image => image.parse().map(Some).map_err(failed),
        }
    }

    fn interrupt(&self) -> Result<Interrupt, WireError> {
        let preemptible = word(
            "preemptible",
            &self.preemptible,
            [("yes", Preemptible::Yes), ("no", Preemptible::No)],
            "use `yes` or `no`",
        )?;
        let (min_run, warn) = (self.min_run_ms.map(Millis), self.warn_ms.map(Millis));
        Ok(Interrupt { preemptible, min_run, warn })
    }

    fn out_of_contact(&self) -> Result<(OnDisconnect, Restart), WireError> {
        let on_disconnect = word(
            "on_disconnect",
            &self.on_disconnect,
            [("stop", OnDisconnect::Stop), ("continue", OnDisconnect::Continue)],
            "use `stop` or `continue`",
        )?;
        let restart = word(
            "restart",
            &self.restart,
            [("lease", Restart::Lease), ("confirmed", Restart::Confirmed)],
            "use `lease` or `confirmed`",
        )?;
        Ok((on_disconnect, restart))
    }

    fn array(&self) -> Option<Array> {
        let (count, at_once_max) = (self.array_count, self.array_at_once_max);
        (count > 0).then_some(Array { count, at_once_max })
    }

    /// Where a class would be looked up, it is a number by now.
    fn has_no_class(&self) -> Result<(), WireError> {
        let fault = || WireError {
            field: "priority_class",
            fault: "is not looked up here".into(),
            remedy: "give its number as `priority`",
        };
        self.priority_class.is_empty().then_some(()).ok_or_else(fault)
    }

    /// The specification, submitted by `user`.
    ///
    /// # Errors
    /// The first field that no specification allows. Ranges are checked by `JobSpec::check`.
    pub fn into_spec(self, user: &str) -> Result<JobSpec, WireError> {
        let outputs = word(
            "outputs",
            &self.outputs,
            [("required", Outputs::Required), ("none", Outputs::None)],
            "use `required` or `none`",
        )?;
        self.has_no_class()?;
        let (on_disconnect, restart) = self.out_of_contact()?;
        let confinement = self.confinement()?;
        let (resources, checkpoint) = (self.resources(), self.checkpoint());
        let framework = framework(&self.framework)?;
        let (image, interrupt, topology) = (self.image()?, self.interrupt()?, self.topology()?);
        let array = self.array();
        let datasets = self
            .datasets
            .into_iter()
            .map(|(name, set)| Ok((name, set.try_into()?)))
            .collect::<Result<_, WireError>>()?;
        Ok(JobSpec {
            name: self.name,
            user: user.to_owned(),
            queue: if self.queue.is_empty() { "default".into() } else { self.queue },
            priority: self.priority,
            tasks: self.tasks.max(1),
            resources,
            command: self.command,
            env: self.env,
            code: self.code.map(TryInto::try_into).transpose()?,
            datasets,
            hyperparameters: self.hyperparameters,
            seed: self.seed,
            outputs,
            time_limit: (self.time_limit_ms > 0).then_some(Millis(self.time_limit_ms)),
            retries: self.retries,
            on_disconnect,
            restart,
            array,
            reproduces: (self.reproduces > 0).then_some(JobId(self.reproduces)),
            after: after::from_wire(self.after)?,
            retry: after::rule(self.retry_backoff_ms, &self.retry_on, &self.retry_max)?,
            confinement,
            checkpoint,
            framework,
            image,
            interrupt,
            verify: self.verify_of_10000.map(|part| Verify { segments_of_10000: part }),
            check: None,
            reservation: (!self.reservation.is_empty()).then_some(self.reservation),
            retain: self.retain_ms.map(Retain::from_wire),
            topology,
            registered: registered::from_wire(self.registered_datasets)?,
            hardware_class: (!self.hardware_class.is_empty()).then_some(self.hardware_class),
            estimate: (self.estimate_ms > 0).then_some(Millis(self.estimate_ms)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{
        Digest,
        after::{After, RetryMax, RetryOn, RetryRule, When},
    };

    fn spec() -> JobSpec {
        JobSpec {
            name: "digits".into(),
            user: "ada".into(),
            queue: "default".into(),
            priority: -3,
            tasks: 2,
            resources: TaskResources {
                gpus: 4,
                gpu_model: Some("H100".into()),
                cpu: CpuMillis(1_500),
                memory: Bytes(1 << 30),
                gpu_memory: Some(Bytes(40 << 30)),
                gpu_share: GpuShare::Whole,
            },
            command: vec!["./train".into(), "--epochs".into(), "3".into()],
            env: [("A".to_owned(), "b".to_owned())].into(),
            code: Some(Captured {
                tree: Digest::of(b"code"),
                files: 2,
                size: Bytes(10),
                origin: "code".into(),
            }),
            datasets: [(
                "digits".to_owned(),
                Captured {
                    tree: Digest::of(b"data"),
                    files: 1,
                    size: Bytes(5),
                    origin: "d.csv".into(),
                },
            )]
            .into(),
            hyperparameters: [("lr".to_owned(), "0.1".to_owned())].into(),
            seed: 7,
            outputs: Outputs::None,
            time_limit: Some(Millis(60_000)),
            retries: 2,
            on_disconnect: OnDisconnect::Continue,
            restart: Restart::Confirmed,
            array: Some(Array { count: 9, at_once_max: 3 }),
            reproduces: Some(JobId(4)),
            after: vec![After { job: JobId(3), when: When::Failed }],
            retry: RetryRule {
                backoff: Some(Millis(5)),
                on: vec![RetryOn::Output],
                max: RetryMax { own: [(RetryOn::Output, 2)].into(), node: Some(0) },
            },
            confinement: Confinement {
                isolation: Isolation::Container,
                network: Some(Network::Host),
                disk: Some(Bytes(5 << 30)),
            },
            checkpoint: CheckpointRule { keep: Some(5), max_age: Some(Millis(3_600_000)) },
            framework: Some(Framework::Jax),
            image: Some(format!("localhost/x@sha256:{}", Digest::of(b"x")).parse().unwrap()),
            interrupt: Interrupt {
                preemptible: Preemptible::No,
                min_run: Some(Millis(0)),
                warn: Some(Millis(9)),
            },
            verify: Some(Verify { segments_of_10000: 500 }),
            check: None,
            reservation: Some("demo".into()),
            retain: Some(Retain::Forever),
            topology: "rack,prefer:node".parse().unwrap(),
            registered: [("digits".to_owned(), "digits@3".parse().unwrap())].into(),
            hardware_class: Some("NVIDIA H100/driver-550/x86-64-v4".into()),
            estimate: Some(Millis(30_000)),
        }
    }

    #[test]
    fn a_job_survives_the_wire() {
        assert_eq!(v1::Job::from(&spec()).into_spec("ada"), Ok(spec()));
    }

    #[test]
    fn a_word_that_is_none_of_the_allowed_is_refused_by_name() {
        let mut wire = v1::Job::from(&spec());
        wire.restart = "maybe".into();
        let fault = wire.into_spec("ada").unwrap_err();
        assert_eq!(fault.to_string(), "restart: is `maybe`; use `lease` or `confirmed`");
        let mut wire = v1::Job::from(&spec());
        wire.image = "docker.io/library/python:3".into();
        assert!(wire.into_spec("ada").unwrap_err().to_string().contains("has no digest"));
    }

    #[test]
    fn a_digest_of_another_length_is_refused() {
        let mut wire = v1::Job::from(&spec());
        wire.code.as_mut().unwrap().tree = vec![1, 2].into();
        assert!(wire.into_spec("ada").is_err());
    }
}
