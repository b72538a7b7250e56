//! How far tasks are kept apart from the machine that they run on.

use crate::unit::Bytes;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// How a lease's tasks are run on a node. The greater one keeps more apart.
///
/// What is in force is the greatest of what the node, and later the queue, demands and what the
/// job asks for: nobody can ask for less.
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
pub enum Isolation {
    /// Plain processes of the agent's own user.
    #[default]
    #[serde(rename = "plain")]
    None,
    /// Processes of a user of their own, in namespaces of their own, under limits that hold.
    #[serde(rename = "sandbox")]
    Sandbox,
}

/// What a sandboxed task reaches over the network.
#[derive(
    Clone,
    Copy,
    Debug,
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
pub enum Network {
    /// Only the tasks of the same lease, over loopback.
    None,
    /// All that the node reaches.
    Host,
}

/// What a job says of its own isolation. What it leaves out is for the node to say.
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
pub struct Confinement {
    /// The least that must be in force.
    pub isolation: Isolation,
    /// What it reaches over the network; none said means nothing, where a sandbox is in force.
    pub network: Option<Network>,
    /// Bytes that its folders on one node may hold; none means the node's rule.
    pub disk: Option<Bytes>,
}

impl Confinement {
    /// Whether only a sandbox keeps what is asked for: a plain process reaches every network.
    #[must_use]
    pub fn needs_sandbox(&self) -> bool {
        self.isolation == Isolation::Sandbox || self.network == Some(Network::None)
    }

    /// What is in force on a node whose least is `default`.
    #[must_use]
    pub fn on(&self, default: Isolation) -> Isolation {
        if self.needs_sandbox() { Isolation::Sandbox } else { default }
    }

    /// What it reaches over the network, where a sandbox is in force.
    #[must_use]
    pub fn reaches(&self) -> Network {
        self.network.unwrap_or(Network::None)
    }
}

/// What a node does about isolation: a part of what it registers with.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct NodeIsolation {
    /// The least that is in force for every job.
    pub default: Isolation,
    /// What it lacks to build a sandbox, each with what to do; empty means it can.
    pub lacks: Vec<String>,
    /// Version of the control groups that its limits stand on: 1 or 2, or 0 for none.
    pub cgroup: u8,
    /// Version of Landlock's interface, or 0 for none.
    pub landlock: u8,
}

impl NodeIsolation {
    /// Whether it can build a sandbox.
    #[must_use]
    pub fn can_sandbox(&self) -> bool {
        self.lacks.is_empty() && self.cgroup > 0
    }

    /// Whether a gang of what `asked` can run there, with `others` beside it on other nodes.
    #[must_use]
    pub fn takes(&self, asked: &Confinement, others: bool) -> bool {
        match asked.on(self.default) {
            Isolation::None => true,
            // Without a network of the host its ranks would not find each other.
            Isolation::Sandbox => {
                self.can_sandbox() && (!others || asked.reaches() == Network::Host)
            }
        }
    }
}

/// What held for an attempt's tasks on one node, for the record: facts, not wishes.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct InForce {
    /// How they ran.
    pub isolation: Isolation,
    /// The rest; none where they ran as plain processes.
    pub sandbox: Option<SandboxFacts>,
}

/// A sandbox as it stood.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SandboxFacts {
    /// The user that the tasks ran as, on the node.
    pub uid: u32,
    /// What they reached over the network.
    pub network: Network,
    /// Version of the control groups.
    pub cgroup: u8,
    /// Version of Landlock's interface.
    pub landlock: u8,
    /// Control groups that held a limit, by name.
    pub controllers: Vec<String>,
    /// Bytes of memory over all tasks.
    pub memory: Bytes,
    /// Thousandths of a core over all tasks; 0 means no limit.
    pub cpu_millis: u64,
    /// Processes and threads over all tasks.
    pub processes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn able(default: Isolation) -> NodeIsolation {
        NodeIsolation { default, lacks: vec![], cgroup: 2, landlock: 7 }
    }

    #[test]
    fn nobody_can_ask_for_less_than_the_node_demands() {
        let plain = Confinement::default();
        let asked = Confinement { isolation: Isolation::Sandbox, ..plain };
        let alone = Confinement { network: Some(Network::None), ..plain };
        assert_eq!(plain.on(Isolation::None), Isolation::None);
        for asked in [plain, asked, alone] {
            assert_eq!(asked.on(Isolation::Sandbox), Isolation::Sandbox);
        }
        for asked in [asked, alone] {
            assert_eq!(asked.on(Isolation::None), Isolation::Sandbox);
        }
    }

    #[test]
    fn a_node_takes_what_it_can_keep_apart() {
        let unable = NodeIsolation { lacks: vec!["root".into()], ..able(Isolation::None) };
        let plain = Confinement::default();
        let asked = Confinement { isolation: Isolation::Sandbox, ..plain };
        let host = Confinement { network: Some(Network::Host), ..asked };
        assert!(unable.takes(&plain, true) && !unable.takes(&asked, false));
        assert!(able(Isolation::None).takes(&plain, true));
        for node in [able(Isolation::None), able(Isolation::Sandbox)] {
            assert!(node.takes(&asked, false) && !node.takes(&asked, true));
            assert!(node.takes(&host, true));
        }
        assert!(!able(Isolation::Sandbox).takes(&plain, true), "no network by default");
    }
}
