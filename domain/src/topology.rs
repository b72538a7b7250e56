//! How near things stand to each other: what a node says of it, and what a job asks of it.

use crate::{lease::Member, limit, resource::TaskResources};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// What things can have in common, from near to far.
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
pub enum Level {
    /// GPUs that reach each other over NVLink.
    Nvlink,
    /// GPUs of one NUMA node.
    Numa,
    /// One machine.
    Node,
    /// One rack.
    Rack,
    /// One block of the fabric: racks that one set of switches joins.
    Block,
}

impl Level {
    /// All, with their words.
    pub const WORDS: [(&str, Self); 5] = [
        ("nvlink", Self::Nvlink),
        ("numa", Self::Numa),
        ("node", Self::Node),
        ("rack", Self::Rack),
        ("block", Self::Block),
    ];

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, level)| *level == self).map_or("", |(word, _)| word)
    }

    /// One of them, in a sentence.
    #[must_use]
    pub fn one(self) -> &'static str {
        match self {
            Self::Nvlink => "NVLink clique",
            Self::Numa => "NUMA node",
            Self::Node => "node",
            Self::Rack => "rack",
            Self::Block => "block",
        }
    }

    /// Whether it lies within one machine.
    #[must_use]
    pub fn is_inside_a_node(self) -> bool {
        matches!(self, Self::Nvlink | Self::Numa)
    }

    /// Whether whatever has `other` in common has this in common as well.
    #[must_use]
    pub fn holds(self, other: Self) -> bool {
        // A clique may reach over NUMA nodes, and a NUMA node may hold several cliques.
        self == other || self > other && self != Self::Numa
    }
}

/// How a gang is laid out over the nodes that it may have.
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
pub enum Layout {
    /// On as few nodes as can be.
    #[default]
    Pack,
    /// On as many nodes as can be.
    Spread,
}

impl Layout {
    /// All, with their words.
    pub const WORDS: [(&str, Self); 2] = [("pack", Self::Pack), ("spread", Self::Spread)];
}

/// What a job asks of where its gang lies. None of it decides its output.
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
pub struct Topology {
    /// The whole gang has this in common, or does not start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require: Option<Level>,
    /// The gang lies in as few of these as can be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefer: Option<Level>,
    /// How it is laid out there.
    #[serde(default, skip_serializing_if = "Layout::is_pack")]
    pub layout: Layout,
}

impl Layout {
    /// Whether it is the default.
    #[must_use]
    pub fn is_pack(&self) -> bool {
        *self == Self::Pack
    }
}

impl Topology {
    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The same as a wish: what was required is preferred.
    #[must_use]
    pub fn as_a_wish(self) -> Self {
        Self { require: None, prefer: self.prefer.or(self.require), ..self }
    }

    /// Whether it fits nowhere where `other` does not.
    #[must_use]
    pub fn asks_no_less(self, other: Self) -> bool {
        match (self.require, other.require) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(own), Some(other)) => other.holds(own),
        }
    }

    /// Nearest level inside a node by which its GPUs are chosen.
    #[must_use]
    pub fn inside(self) -> Option<Level> {
        let of = |level: Option<Level>| level.filter(|level| level.is_inside_a_node());
        of(self.require).or(of(self.prefer))
    }

    /// Checks what can be checked without a cluster.
    pub(crate) fn check(
        self,
        resources: &TaskResources,
        fault: &mut impl FnMut(&str, String, &str),
    ) {
        if let Some(level) = self.inside().filter(|_| resources.gpus == 0) {
            let why = format!("names `{}` for tasks without GPUs", level.word());
            fault("topology", why, "ask for GPUs, or name `node`, `rack` or `block`");
        }
        if let (Some(require), Some(prefer)) = (self.require, self.prefer)
            && prefer.holds(require)
        {
            let (near, far) = (require.word(), prefer.word());
            let why = format!("prefers one `{far}`, which it has with one `{near}` already");
            fault("topology", why, "prefer what is nearer than what is required");
        }
        let node = [self.require, self.prefer].into_iter().flatten().find(|it| *it <= Level::Node);
        if let (Layout::Spread, Some(level)) = (self.layout, node) {
            let why = format!("is to spread over nodes and to have one `{}`", level.word());
            fault("topology", why, "leave one of them out");
        }
    }
}

/// As a flag says it: `rack`, `prefer:block`, `rack,spread`, `any`.
impl FromStr for Topology {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut read = Self::default();
        for word in text.split(',').map(str::trim) {
            let level = |word: &str| {
                Level::WORDS.iter().find(|(name, _)| *name == word).map(|(_, level)| *level)
            };
            let layout = Layout::WORDS.iter().find(|(name, _)| *name == word);
            let (wish, name) = match word.split_once(':') {
                Some(("prefer", name)) => (true, name),
                Some(("require", name)) => (false, name),
                _ => (false, word),
            };
            match (level(name), layout) {
                (Some(level), _) if wish => read.prefer = Some(level),
                (Some(level), _) => read.require = Some(level),
                (None, Some((_, layout))) => read.layout = *layout,
                (None, None) if word == "any" => read = Self::default(),
                (None, None) => {
                    return Err(format!(
                        "`{word}` is not known; give `nvlink`, `numa`, `node`, `rack` or `block`, \
                         `prefer:` and one of those, `pack`, `spread` or `any`"
                    ));
                }
            }
        }
        Ok(read)
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        words.extend(self.require.map(|level| level.word().to_owned()));
        words.extend(self.prefer.map(|level| format!("prefer:{}", level.word())));
        if self.layout == Layout::Spread {
            words.push("spread".to_owned());
        }
        f.write_str(&if words.is_empty() { "any".to_owned() } else { words.join(",") })
    }
}

/// Where one GPU is inside its machine.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct GpuSite {
    /// The driver's index.
    pub index: u32,
    /// Its clique: the least index of the GPUs that it reaches over NVLink. None without NVLink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nvlink: Option<u32>,
    /// Its NUMA node, if the driver knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numa: Option<u32>,
}

/// Where a node is, and where its GPUs are in it.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct NodeTopology {
    /// Its rack as an admin names it, unique within the block; empty where none is said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rack: String,
    /// The block of the fabric; empty where none is said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub block: String,
    /// Its GPUs that are near others, ascending by index.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<GpuSite>,
}

/// A rack or a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Zone<'a> {
    /// The block, if one is said.
    pub block: &'a str,
    /// The rack; empty for a whole block.
    pub rack: &'a str,
}

impl fmt::Display for Zone<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.block, self.rack) {
            (block, "") => f.write_str(block),
            ("", rack) => f.write_str(rack),
            (block, rack) => write!(f, "{block}/{rack}"),
        }
    }
}

impl NodeTopology {
    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The rack or block that it is in, if that is said. What is in one rack of no block is in
    /// one block all the same.
    #[must_use]
    pub fn zone(&self, level: Level) -> Option<Zone<'_>> {
        let (block, rack) = (self.block.as_str(), self.rack.as_str());
        match level {
            Level::Block if !block.is_empty() => Some(Zone { block, rack: "" }),
            Level::Rack | Level::Block if !rack.is_empty() => Some(Zone { block, rack }),
            Level::Nvlink | Level::Numa | Level::Node | Level::Rack | Level::Block => None,
        }
    }

    /// The clique or NUMA node of one of its GPUs, if it is known.
    #[must_use]
    pub fn site(&self, level: Level, gpu: u32) -> Option<u32> {
        let at = self.gpus.binary_search_by_key(&gpu, |site| site.index).ok()?;
        match level {
            Level::Nvlink => self.gpus[at].nvlink,
            Level::Numa => self.gpus[at].numa,
            Level::Node | Level::Rack | Level::Block => None,
        }
    }

    /// What is wrong with it, in words.
    ///
    /// # Errors
    /// The first fault.
    pub fn check(&self) -> Result<(), String> {
        for (what, name) in [("rack", &self.rack), ("block", &self.block)] {
            let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if name.len() > limit::ZONE_NAME_MAX || !name.chars().all(good) {
                let most = limit::ZONE_NAME_MAX;
                return Err(format!(
                    "{what}: is `{name}`; use 1 to {most} letters, digits, `-`, `_` and `.`"
                ));
            }
        }
        let ascending = self.gpus.windows(2).all(|two| two[0].index < two[1].index);
        if self.gpus.len() > limit::NODE_GPUS_MAX || !ascending {
            return Err("the places of its GPUs are not in order; restart its agent".to_owned());
        }
        Ok(())
    }
}

/// Whether a gang has a level in common, part by part with its node.
#[must_use]
pub fn is_within<'a>(level: Level, parts: &[(&'a NodeTopology, &'a Member)]) -> bool {
    match parts {
        [] => false,
        [(node, member)] => {
            !level.is_inside_a_node() || {
                let mut gpus = member.tasks.iter().flat_map(|task| &task.gpus);
                let first = gpus.next().and_then(|gpu| node.site(level, *gpu));
                first.is_some() && gpus.all(|gpu| node.site(level, *gpu) == first)
            }
        }
        [(first, _), rest @ ..] => {
            let zone = first.zone(level);
            zone.is_some() && rest.iter().all(|(node, _)| node.zone(level) == zone)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NodeId, lease::TaskPlace};

    fn node(block: &str, rack: &str) -> NodeTopology {
        let site = |(index, clique)| GpuSite { index, nvlink: Some(clique), numa: None };
        let gpus = [(0, 0), (1, 0), (2, 2), (3, 2)].map(site).to_vec();
        NodeTopology { rack: rack.into(), block: block.into(), gpus }
    }

    fn member(gpus: &[u32]) -> Member {
        Member { node: NodeId(1), tasks: vec![TaskPlace { rank: 0, gpus: gpus.to_vec() }] }
    }

    #[test]
    fn what_has_a_nearer_thing_in_common_has_the_farther_in_common_too() {
        assert!(Level::Block.holds(Level::Rack) && Level::Rack.holds(Level::Nvlink));
        assert!(!Level::Numa.holds(Level::Nvlink) && !Level::Nvlink.holds(Level::Numa));
        assert!(!Level::Rack.holds(Level::Block) && Level::Numa.holds(Level::Numa));
        let asks = |text: &str| text.parse::<Topology>().unwrap();
        assert!(asks("rack").asks_no_less(asks("block")) && asks("rack").asks_no_less(asks("any")));
        assert!(!asks("prefer:rack").asks_no_less(asks("rack")));
    }

    #[test]
    fn a_gang_is_within_one_rack_only_where_every_node_names_the_same() {
        let part = member(&[0]);
        let within = |level, nodes: &[NodeTopology]| {
            let parts: Vec<_> = nodes.iter().map(|node| (node, &part)).collect();
            is_within(level, &parts)
        };
        let (here, beside, other) = (node("b", "r1"), node("b", "r2"), node("c", "r1"));
        assert!(within(Level::Rack, &[here.clone(), here.clone()]));
        assert!(!within(Level::Rack, &[here.clone(), beside.clone()]));
        assert!(!within(Level::Rack, &[here.clone(), other.clone()]), "a rack of another block");
        assert!(within(Level::Block, &[here.clone(), beside]));
        assert!(!within(Level::Block, &[here.clone(), other]));
        assert!(!within(Level::Node, &[here.clone(), here]));
        let nowhere = node("", "");
        assert!(within(Level::Rack, std::slice::from_ref(&nowhere)), "alone it is in one");
        assert!(!within(Level::Rack, &[nowhere.clone(), nowhere]));
        assert!(within(Level::Block, &[node("", "r1"), node("", "r1")]));
    }

    #[test]
    fn gpus_are_within_one_clique_only_where_it_is_known() {
        let of = |level, gpus: &[u32]| is_within(level, &[(&node("", ""), &member(gpus))]);
        assert!(of(Level::Nvlink, &[2, 3]) && !of(Level::Nvlink, &[1, 2]));
        assert!(!of(Level::Nvlink, &[7]) && !of(Level::Numa, &[0, 1]));
    }

    #[test]
    fn what_is_asked_is_read_as_it_is_written() {
        for text in ["any", "rack", "prefer:block", "block,prefer:rack,spread", "nvlink"] {
            assert_eq!(text.parse::<Topology>().unwrap().to_string(), text);
        }
        assert_eq!("require:rack".parse::<Topology>().unwrap().require, Some(Level::Rack));
        assert!("racks".parse::<Topology>().unwrap_err().contains("`racks` is not known"));
    }

    #[test]
    fn names_of_racks_are_words() {
        assert!(node("b-1", "r_2.3").check().is_ok() && node("", "").check().is_ok());
        assert!(node("b 1", "").check().is_err() && node("", &"r".repeat(65)).check().is_err());
    }
}
