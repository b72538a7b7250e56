//! An agent's configuration.

use crate::{
    document::{
        self,
        node::{Node, Value},
        reader::{Field, Reader},
    },
    fault::Fault,
    jobfile::form::ISOLATION,
    quantity,
};
use ::agent::driver::image::Containers;
use domain::{
    Bytes, CpuMillis,
    hardware::share::{GpuShares, SHARES_MAX, is_name},
    isolation::Isolation,
    topology::NodeTopology,
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

const KEYS: [&str; 16] = [
    "block",
    "ca",
    "cert",
    "containers",
    "cpus",
    "dir",
    "gpu_shares",
    "isolation",
    "key",
    "memory",
    "name",
    "nvml",
    "rack",
    "readable",
    "servers",
    "user",
];

const CONTAINERS: [&str; 4] = ["archives", "cdi", "images", "podman"];

/// What an agent is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// The node's name, as its certificate says it.
    pub name: String,
    /// Where its data stands.
    pub dir: PathBuf,
    /// Servers to connect to, `host:port`.
    pub servers: Vec<String>,
    /// The authority's certificate.
    pub ca: PathBuf,
    /// Its certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The NVML library; the system's by default.
    pub nvml: Option<PathBuf>,
    /// Which GPUs are offered in shares; none by default.
    pub gpu_shares: GpuShares,
    /// Processor time that tasks may use; all by default.
    pub cpu: Option<CpuMillis>,
    /// Memory that tasks may use; all by default.
    pub memory: Option<Bytes>,
    /// The least isolation of every job.
    pub isolation: Isolation,
    /// Folders beside the system's that sandboxed tasks may read.
    pub readable: Vec<PathBuf>,
    /// Where container images come from.
    pub containers: Containers,
    /// The rack and the block that the machine is in.
    pub place: NodeTopology,
    /// The account that the agent runs as once it has started; whoever started it by default.
    pub user: Option<String>,
}

/// Reads an agent's configuration. Its paths are relative to its folder.
///
/// # Errors
/// When it cannot be read or says what no agent may.
pub fn load(path: &Path) -> Result<Agent, Fault> {
    document::load(path, "agent configuration", read)
}

fn read(reader: &mut Reader, node: &Node, base: &Path) -> Option<Agent> {
    let mut texts = BTreeMap::new();
    let (mut servers, mut cpu, mut memory) = (None, None, None);
    let (mut isolation, mut readable) = (None, None);
    let mut containers = Containers::default();
    let mut gpu_shares = GpuShares::None;
    for entry in reader.table(Field { name: "agent", node }) {
        let field = Field { name: &entry.key, node: &entry.node };
        match entry.key.as_str() {
            "servers" => servers = reader.texts(field),
            "isolation" => isolation = reader.word(field, &ISOLATION),
            "containers" => containers = read_containers(reader, field, base),
            "readable" => readable = reader.texts(field),
            "gpu_shares" => gpu_shares = read_shares(reader, field),
            "cpus" => cpu = reader.quantity(field, quantity::cpus, "give a number of cores"),
            "memory" => {
                memory = reader.quantity(field, quantity::size, "give a size such as \"32GiB\"");
            }
            name if KEYS.contains(&name) => {
                if let Some(text) = reader.text(field) {
                    texts.insert(entry.key.as_str(), text);
                }
            }
            _ => reader.unknown(entry, "", &KEYS),
        }
    }
    let nvml = texts.get("nvml").map(|text| base.join(text));
    let user = texts.get("user").cloned();
    let said = |name: &str| texts.get(name).cloned().unwrap_or_default();
    let place =
        NodeTopology { rack: said("rack"), block: said("block"), ..NodeTopology::default() };
    let mut text = |name: &str| {
        let value = texts.get(name).cloned();
        reader.wanted(name, value)
    };
    let name = text("name");
    let mut path = |name: &str| text(name).map(|text| base.join(text));
    let (dir, ca, cert, key) = (path("dir"), path("ca"), path("cert"), path("key"));
    let servers = reader.wanted("servers", servers.filter(|all| !all.is_empty()));
    Some(Agent {
        name: name?,
        dir: dir?,
        servers: servers?,
        ca: ca?,
        cert: cert?,
        key: key?,
        nvml,
        gpu_shares,
        cpu,
        memory,
        isolation: isolation.unwrap_or_default(),
        readable: readable.unwrap_or_default().into_iter().map(|it| base.join(it)).collect(),
        containers,
        place,
        user,
    })
}

/// A number for all GPUs, or one for each that is named.
fn read_shares(reader: &mut Reader, field: Field<'_>) -> GpuShares {
    let count = |reader: &mut Reader, field: Field<'_>| {
        let remedy = "give 2 to 8 shares of each GPU, or leave it out";
        let count: u32 = reader.whole(field, remedy)?;
        if !(2..=SHARES_MAX).contains(&count) {
            reader.fault(field.node.line, field.name, format!("is {count}"), remedy);
            return None;
        }
        Some(count)
    };
    let Value::Table(named) = &field.node.value else {
        return count(reader, field).map_or(GpuShares::None, GpuShares::All);
    };
    let mut of = BTreeMap::new();
    for entry in named {
        let name = format!("gpu_shares.{}", entry.key);
        let field = Field { name: &name, node: &entry.node };
        if !is_name(&entry.key) {
            let remedy = "name a GPU by its index or its unique name, `GPU-...`";
            reader.fault(field.node.line, field.name, "is no name of a GPU".to_owned(), remedy);
        } else if let Some(count) = count(reader, field) {
            of.insert(entry.key.clone(), count);
        }
    }
    GpuShares::Of(of)
}

fn read_containers(reader: &mut Reader, field: Field<'_>, base: &Path) -> Containers {
    let mut read = Containers::default();
    for entry in reader.table(field) {
        let name = format!("containers.{}", entry.key);
        let field = Field { name: &name, node: &entry.node };
        let path = |text: String| base.join(text);
        match entry.key.as_str() {
            "archives" => read.archives = reader.text(field).map(path),
            "cdi" => {
                let folders = reader.texts(field);
                read.cdi = folders.map(|all| all.into_iter().map(path).collect());
            }
            "images" => read.images = reader.text(field).map(path),
            // A name alone is looked up on the PATH.
            "podman" => {
                let program = reader.text(field);
                read.podman = program.map(|it| if it.contains('/') { path(it) } else { it.into() });
            }
            _ => reader.unknown(entry, "containers.", &CONTAINERS),
        }
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agents_configuration_is_read_or_all_its_faults_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.toml");
        let good = "name = \"node-a\"\ndir = \"data\"\nservers = [\"a:1\"]\nca = \"ca.pem\"\n\
                    cert = \"n.pem\"\nkey = \"n.key\"\ncpus = 1.5\nmemory = \"1GiB\"\nisolation = \"sandbox\"\n\
                    rack = \"r7\"\nblock = \"b1\"\nuser = \"assay\"\n\
                    [containers]\nimages = \"images\"\npodman = \"podman\"\ncdi = [\"cdi\"]\n";
        std::fs::write(&path, good).unwrap();
        let agent = load(&path).unwrap();
        assert_eq!(agent.cpu, Some(CpuMillis(1_500)));
        assert_eq!((agent.nvml, agent.isolation), (None, Isolation::Sandbox));
        assert_eq!((agent.place.rack.as_str(), agent.place.block.as_str()), ("r7", "b1"));
        assert_eq!(agent.user.as_deref(), Some("assay"));
        assert_eq!(agent.containers.images, Some(dir.path().join("images")));
        assert_eq!(agent.containers.podman, Some("podman".into()));
        assert_eq!(agent.containers.cdi, Some(vec![dir.path().join("cdi")]));
        std::fs::write(&path, good.replace("servers", "server")).unwrap();
        let detail = load(&path).unwrap_err().detail;
        assert!(detail.contains("did you mean `servers`?"), "{detail}");
    }
    #[test]
    fn gpus_are_offered_in_shares_all_alike_or_each_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.toml");
        let read = |shares: &str| {
            let text = "name = \"n\"\ndir = \"d\"\nservers = [\"a:1\"]\nca = \"c\"\ncert = \"c\"\n\
                        key = \"k\"\n";
            std::fs::write(&path, format!("{text}{shares}")).unwrap();
            load(&path).map(|agent| agent.gpu_shares).map_err(|fault| fault.detail)
        };
        assert_eq!(read(""), Ok(GpuShares::None));
        assert_eq!(read("gpu_shares = 4"), Ok(GpuShares::All(4)));
        let named = [("0".to_owned(), 2), ("GPU-5d3f".to_owned(), 8)].into();
        assert_eq!(read("[gpu_shares]\n0 = 2\nGPU-5d3f = 8"), Ok(GpuShares::Of(named)));
        for (wrong, named) in [
            ("gpu_shares = 9", "line 7: gpu_shares: is 9; give 2 to 8 shares"),
            ("gpu_shares = 1", "gpu_shares: is 1"),
            ("gpu_shares = \"half\"", "gpu_shares: "),
            ("[gpu_shares]\n0 = 0", "line 8: gpu_shares.0: is 0"),
            ("[gpu_shares]\ngpu0 = 2", "gpu_shares.gpu0: is no name of a GPU"),
        ] {
            let fault = read(wrong).unwrap_err();
            assert!(fault.contains(named), "{fault}");
        }
    }
}
