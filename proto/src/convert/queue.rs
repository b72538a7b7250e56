//! Queues on the wire.

use super::job::{WireError, word};
use crate::v1;
use domain::{
    Digest, Millis,
    check::{AcceptanceConfig, USER, Verify},
    isolation::Isolation,
    queue::{ClusterConfig, Order, Orders, PriorityClasses, QueueSpec},
    retain::Retain,
};

impl From<&QueueSpec> for v1::Queue {
    fn from(queue: &QueueSpec) -> Self {
        Self {
            parent: queue.parent.clone().unwrap_or_default(),
            weight: queue.weight,
            guaranteed_gpus: queue.guaranteed_gpus,
            borrow_gpus_max: queue.borrow_gpus_max,
            user_gpus_max: queue.user_gpus_max,
            user_running_max: queue.user_running_max,
            priority_max: queue.priority_max,
            budget_gpu_hours: queue.budget_gpu_hours,
            budget_period_ms: queue.budget_period.map(|period| period.0),
            isolation: queue.isolation.word().into(),
            verify_of_10000: queue.verify.map(|verify| verify.segments_of_10000),
            retain_ms: queue.retain.map(Retain::wire),
            // A part of the configuration, which sets it.
            order: String::new(),
        }
    }
}

impl TryFrom<v1::Queue> for QueueSpec {
    type Error = WireError;

    fn try_from(wire: v1::Queue) -> Result<Self, WireError> {
        let remedy = "use `plain`, `sandbox` or `container`";
        let isolation = word("isolation", &wire.isolation, Isolation::ALL, remedy)?;
        Ok(Self {
            parent: (!wire.parent.is_empty()).then_some(wire.parent),
            weight: wire.weight,
            guaranteed_gpus: wire.guaranteed_gpus,
            borrow_gpus_max: wire.borrow_gpus_max,
            user_gpus_max: wire.user_gpus_max,
            user_running_max: wire.user_running_max,
            priority_max: wire.priority_max,
            budget_gpu_hours: wire.budget_gpu_hours,
            budget_period: wire.budget_period_ms.map(Millis),
            isolation,
            verify: wire.verify_of_10000.map(|part| Verify { segments_of_10000: part }),
            retain: wire.retain_ms.map(Retain::from_wire),
        })
    }
}

impl From<&ClusterConfig> for v1::ClusterConfig {
    fn from(config: &ClusterConfig) -> Self {
        let queue = |(name, queue): (&String, &QueueSpec)| {
            let order = config.orders.of(name).word().into();
            (name.clone(), v1::Queue { order, ..queue.into() })
        };
        Self {
            half_life_ms: config.half_life.0,
            queues: config.queues.iter().map(queue).collect(),
            acceptance: Some((&config.acceptance).into()),
            priority_classes: config.priority_classes.0.clone().into_iter().collect(),
        }
    }
}

impl From<&AcceptanceConfig> for v1::Acceptance {
    fn from(config: &AcceptanceConfig) -> Self {
        let digest = |(class, digest): (&String, &Digest)| {
            (class.clone(), bytes::Bytes::from(digest.0.to_vec()))
        };
        Self {
            job: config.job.as_deref().map(Into::into),
            references: config.references.iter().map(digest).collect(),
        }
    }
}

impl v1::ClusterConfig {
    /// The configuration. Its burn-in belongs to the cluster, whoever gives it.
    ///
    /// # Errors
    /// The first field that no configuration allows.
    pub fn into_config(self) -> Result<ClusterConfig, WireError> {
        let mut orders = Orders::default();
        let queue = |(name, queue): (String, v1::Queue)| {
            let order = word("order", &queue.order, Order::WORDS, "use `age` or `shortest`")?;
            orders.set(&name, order);
            Ok((name, queue.try_into()?))
        };
        let queues = self.queues.into_iter().map(queue).collect::<Result<_, WireError>>()?;
        let wire = self.acceptance.unwrap_or_default();
        let job = wire.job.map(|job| job.into_spec(USER).map(Box::new)).transpose()?;
        let reference = |(class, bytes): (String, bytes::Bytes)| {
            Ok((class, super::digest("references", &bytes)?))
        };
        let references = wire.references.into_iter().map(reference);
        let references = references.collect::<Result<_, WireError>>()?;
        let acceptance = AcceptanceConfig { job, references };
        let priority_classes = PriorityClasses(self.priority_classes.into_iter().collect());
        let half_life = Millis(self.half_life_ms);
        Ok(ClusterConfig { half_life, queues, acceptance, priority_classes, orders }.whole())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_survives_the_wire() {
        let queue = QueueSpec {
            parent: Some("ml".into()),
            weight: 3,
            guaranteed_gpus: 16,
            borrow_gpus_max: Some(0),
            user_gpus_max: Some(8),
            user_running_max: Some(2),
            priority_max: Some(-1),
            budget_gpu_hours: Some(0),
            budget_period: Some(Millis(60_000)),
            isolation: Isolation::Container,
            verify: Some(Verify { segments_of_10000: 25 }),
            retain: Some(Retain::For(Millis(90_000))),
        };
        let queues = [("ml".to_owned(), QueueSpec::default()), ("ml-a".to_owned(), queue)].into();
        let acceptance = AcceptanceConfig {
            job: None,
            references: [("H100/driver-550/x86-64-v3".to_owned(), Digest::of(b"right"))].into(),
        };
        let priority_classes = PriorityClasses([("urgent".to_owned(), -5)].into());
        let half_life = Millis(0);
        let mut orders = Orders::default();
        orders.set("ml-a", Order::Shortest);
        let config =
            ClusterConfig { half_life, queues, acceptance, priority_classes, orders }.whole();
        assert_eq!(v1::ClusterConfig::from(&config).into_config(), Ok(config));
    }
}
