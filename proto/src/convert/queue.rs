//! Queues on the wire.

use super::job::{WireError, word};
use crate::v1;
use domain::{
    Millis,
    isolation::Isolation,
    queue::{ClusterConfig, QueueSpec},
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
        })
    }
}

impl From<&ClusterConfig> for v1::ClusterConfig {
    fn from(config: &ClusterConfig) -> Self {
        let queue = |(name, queue): (&String, &QueueSpec)| (name.clone(), queue.into());
        Self { half_life_ms: config.half_life.0, queues: config.queues.iter().map(queue).collect() }
    }
}

impl TryFrom<v1::ClusterConfig> for ClusterConfig {
    type Error = WireError;

    fn try_from(wire: v1::ClusterConfig) -> Result<Self, WireError> {
        let queue = |(name, queue): (String, v1::Queue)| Ok((name, queue.try_into()?));
        let queues = wire.queues.into_iter().map(queue).collect::<Result<_, WireError>>()?;
        Ok(Self { half_life: Millis(wire.half_life_ms), queues }.whole())
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
        };
        let queues = [("ml".to_owned(), QueueSpec::default()), ("ml-a".to_owned(), queue)].into();
        let config = ClusterConfig { half_life: Millis(0), queues }.whole();
        assert_eq!(v1::ClusterConfig::from(&config).try_into(), Ok(config));
    }
}
