//! In which order the jobs of a queue are served.

use super::{ClusterConfig, ConfigError, check};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// Who of a queue goes first, among jobs of one priority.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Who came first.
    #[default]
    Age,
    /// Who takes least GPU time, by its estimate or by what the queue's jobs took; nobody waits
    /// beyond a multiple of what all have waited.
    Shortest,
}

impl Order {
    /// Each with its word.
    pub const WORDS: [(&'static str, Self); 2] = [("age", Self::Age), ("shortest", Self::Shortest)];

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Shortest => "shortest",
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The queues that are not served by age.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Orders(pub BTreeMap<String, Order>);

impl Orders {
    /// The order of a queue.
    #[must_use]
    pub fn of(&self, queue: &str) -> Order {
        self.0.get(queue).copied().unwrap_or_default()
    }

    /// Sets the order of a queue.
    pub fn set(&mut self, queue: &str, order: Order) {
        match order {
            Order::Age => self.0.remove(queue),
            Order::Shortest => self.0.insert(queue.to_owned(), order),
        };
    }
}

impl ClusterConfig {
    pub(super) fn check_orders(&self) -> Result<(), ConfigError> {
        for (queue, order) in &self.orders.0 {
            if self.is_parent(queue) {
                let remedy = "set it on the queues that are its parts, in which jobs wait";
                let why = format!("is `{order}`, and no job waits in a queue that has parts");
                return Err(check::field(queue, "order", why, remedy));
            }
            if !self.queues.contains_key(queue) {
                let why = format!("is `{order}`, of a queue that is not there");
                return Err(check::field(queue, "order", why, "name the queue, too"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{DEFAULT, QueueSpec, changes};

    #[test]
    fn an_order_is_of_a_queue_in_which_jobs_wait_and_its_change_is_told() {
        let part = QueueSpec { parent: Some("ml".into()), ..QueueSpec::default() };
        let queues = [("ml".to_owned(), QueueSpec::default()), ("ml-a".to_owned(), part)];
        let before = ClusterConfig { queues: queues.into(), ..ClusterConfig::default() }.whole();
        for (queue, fault) in [
            (DEFAULT, None),
            ("ml-a", None),
            ("ml", Some("no job waits in a queue that has parts")),
            ("gone", Some("of a queue that is not there")),
        ] {
            let mut after = before.clone();
            after.orders.set(queue, Order::Shortest);
            match (after.check(), fault) {
                (Ok(()), None) => {
                    let all = changes(&before, &after);
                    let [change] = all.as_slice() else { panic!("{all:?}") };
                    let told = (change.queue.as_deref(), change.field.as_str());
                    assert_eq!(told, (Some(queue), "order"));
                    let values = (change.from.as_deref(), change.to.as_deref());
                    assert_eq!(values, (Some("age"), Some("shortest")));
                    after.orders.set(queue, Order::Age);
                    assert_eq!(after, before, "what is said of the usual order is not kept");
                }
                (found, fault) => {
                    let found = found.unwrap_err().to_string();
                    assert!(fault.is_some_and(|fault| found.contains(fault)), "{found}");
                }
            }
        }
    }
}
