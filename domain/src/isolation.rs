//! How far tasks are kept apart from the machine that they run on.

use crate::{image::ImageRef, job::JobSpec, limit, unit::Bytes};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// How a lease's tasks are run on a node. The greater one keeps more apart.
///
/// What is in force is the greatest of what the node and the queue demand and what the job asks
/// for: nobody can ask for less.
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
    /// The same, on the root of a container image rather than on the system's folders.
    #[serde(rename = "container")]
    Container,
}

impl Isolation {
    /// Every kind with its word, least first.
    pub const ALL: [(&str, Self); 3] =
        [("plain", Self::None), ("sandbox", Self::Sandbox), ("container", Self::Container)];

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "plain",
            Self::Sandbox => "sandbox",
            Self::Container => "container",
        }
    }
}

impl std::fmt::Display for Isolation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
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
        self.isolation >= Isolation::Sandbox || self.network == Some(Network::None)
    }

    /// What is in force on a node whose least is `default`.
    #[must_use]
    pub fn on(&self, default: Isolation) -> Isolation {
        let network = if self.needs_sandbox() { Isolation::Sandbox } else { Isolation::None };
        self.isolation.max(network).max(default)
    }

    /// The same, where at least `least` is to be in force.
    #[must_use]
    pub fn at_least(self, least: Isolation) -> Self {
        Self { isolation: self.isolation.max(least), ..self }
    }

    /// What it reaches over the network, where a sandbox is in force.
    #[must_use]
    pub fn reaches(&self) -> Network {
        self.network.unwrap_or(Network::None)
    }
}

/// What a specification says of its isolation that no cluster can keep.
pub(crate) fn check(spec: &JobSpec, gpus: u64, fault: &mut impl FnMut(&str, String, &str)) {
    let most = limit::NODE_GPUS_MAX as u64;
    if spec.confinement.needs_sandbox()
        && spec.confinement.reaches() == Network::None
        && gpus > most
    {
        let why = format!("is none for a gang of {gpus} GPUs, and one node has at most {most}");
        fault("network", why, "set `network = \"host\"`, so that its nodes reach each other");
    }
    match (&spec.image, spec.confinement.isolation == Isolation::Container) {
        (None, true) => {
            let remedy = "add `image = \"docker.io/library/python@sha256:...\"`";
            fault("isolation", "is container, and no image is named".into(), remedy);
        }
        (Some(_), false) => {
            let why = format!("is {}, and an image is named", spec.confinement.isolation);
            fault("isolation", why, "set `isolation = \"container\"`, or name no image");
        }
        (Some(_), true) | (None, false) => {}
    }
    if spec.confinement.disk == Some(Bytes(0)) {
        fault("resources.disk", "is zero".into(), "give a size such as \"10GiB\"");
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
    /// What it lacks to run containers beside what it lacks for a sandbox, each with what to do.
    #[serde(default)]
    pub container_lacks: Vec<String>,
    /// Version of the podman that keeps its images; empty where there is none.
    #[serde(default)]
    pub podman: String,
}

impl NodeIsolation {
    /// Whether it can build a sandbox.
    #[must_use]
    pub fn can_sandbox(&self) -> bool {
        self.lacks.is_empty() && self.cgroup > 0
    }

    /// Whether it can run a container.
    #[must_use]
    pub fn can_contain(&self) -> bool {
        self.can_sandbox() && self.container_lacks.is_empty() && !self.podman.is_empty()
    }

    /// The first thing that keeps it from running containers.
    #[must_use]
    pub fn container_lack(&self) -> Option<&str> {
        self.lacks.first().or_else(|| self.container_lacks.first()).map(String::as_str)
    }

    /// Whether a gang of what `asked` can run there, with `others` beside it on other nodes.
    #[must_use]
    pub fn takes(&self, asked: &Confinement, others: bool) -> bool {
        // Without a network of the host its ranks would not find each other.
        let meets = !others || asked.reaches() == Network::Host;
        match asked.on(self.default) {
            Isolation::None => true,
            Isolation::Sandbox => self.can_sandbox() && meets,
            // A job without an image cannot be put into one.
            Isolation::Container => {
                asked.isolation == Isolation::Container && self.can_contain() && meets
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
    /// The image whose root they had; none where they had the system's folders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageFacts>,
}

/// An image as it was found on the node.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageFacts {
    /// What was asked for.
    pub name: ImageRef,
    /// SHA-256 of its configuration, by which podman keeps it.
    pub id: String,
    /// Who kept it.
    pub podman: String,
    /// Devices by their names in the container device interface.
    pub devices: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn able(default: Isolation) -> NodeIsolation {
        let podman = "4.3.1".to_owned();
        NodeIsolation { default, cgroup: 2, landlock: 7, podman, ..NodeIsolation::default() }
    }

    #[test]
    fn only_a_job_with_an_image_runs_where_containers_are_demanded() {
        let plain = Confinement::default();
        let boxed = plain.at_least(Isolation::Container);
        let none = NodeIsolation { podman: String::new(), ..able(Isolation::None) };
        assert!(able(Isolation::None).takes(&boxed, false) && !none.takes(&boxed, false));
        let strict = able(Isolation::Container);
        assert!(strict.takes(&boxed, false) && !strict.takes(&plain, false));
        assert!(!strict.takes(&boxed, true), "no network by default");
        assert_eq!(boxed.on(Isolation::Sandbox), Isolation::Container);
        assert_eq!(plain.at_least(Isolation::Sandbox).on(Isolation::None), Isolation::Sandbox);
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
