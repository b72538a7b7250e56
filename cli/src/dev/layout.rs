//! The files of a development cluster.

use crate::{
    authority::{self, Authority, Subject},
    config::{self, gates::Gates, profile, signer::Signer},
    fault::Fault,
};
use domain::ReplicaId;
use registry::sign::local::LocalKeys;
use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

/// Servers of the cluster.
pub const SERVERS: [ReplicaId; 3] = [ReplicaId(1), ReplicaId(2), ReplicaId(3)];
/// Nodes of the cluster.
pub const NODES: [&str; 2] = ["node-a", "node-b"];
/// The port of the first server, where it is free.
const FIRST_PORT: u16 = 7601;
/// The same for REST.
const FIRST_REST_PORT: u16 = 7611;
/// Simulated GPUs of each node.
const GPUS: usize = 8;

/// Where everything stands.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The cluster's folder.
    pub dir: PathBuf,
}

impl Layout {
    /// Certificates and keys of every identity.
    #[must_use]
    pub fn tls(&self) -> PathBuf {
        self.dir.join("tls")
    }

    /// The signing keys.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.dir.join("keys")
    }

    /// What a process writes.
    #[must_use]
    pub fn log(&self, name: &str) -> PathBuf {
        self.dir.join("log").join(format!("{name}.log"))
    }

    /// A process's configuration.
    #[must_use]
    pub fn config(&self, name: &str) -> PathBuf {
        self.dir.join("config").join(format!("{name}.toml"))
    }

    /// A process's data.
    #[must_use]
    pub fn data(&self, name: &str) -> PathBuf {
        self.dir.join("data").join(name)
    }

    /// The simulated GPUs of a node.
    #[must_use]
    pub fn gpus(&self, node: &str) -> PathBuf {
        self.dir.join("config").join(format!("{node}.gpus.json"))
    }

    /// The library that plays NVML, under the name by which it is looked for.
    #[must_use]
    pub fn nvml(&self) -> PathBuf {
        self.dir.join("lib/libnvidia-ml.so.1")
    }

    /// The clients' profile.
    #[must_use]
    pub fn profile(&self) -> PathBuf {
        self.dir.join(profile::FILE)
    }

    /// Where the first server answers REST, as an address to paste.
    #[must_use]
    pub fn rest(&self) -> String {
        let server = config::server::load(&self.config(&server_name(SERVERS[0])));
        let address = server.ok().and_then(|server| server.rest);
        address.map_or_else(|| "off".to_owned(), |address| format!("https://{address}"))
    }

    /// Where the tour works.
    #[must_use]
    pub fn tour(&self) -> PathBuf {
        self.dir.join("tour")
    }

    /// Whether a cluster was set up here.
    #[must_use]
    pub fn is_set_up(&self) -> bool {
        self.profile().is_file()
    }

    /// Removes what an earlier cluster left; the lock stays.
    ///
    /// # Errors
    /// When a folder cannot be removed.
    pub fn clear(&self) -> Result<(), Fault> {
        for name in ["config", "data", "keys", "lib", "log", "tls", "tour"] {
            let path = self.dir.join(name);
            match fs::remove_dir_all(&path) {
                Err(fault) if fault.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Fault::file(&path, &fault));
                }
                _ => {}
            }
        }
        let _ = fs::remove_file(self.profile());
        Ok(())
    }

    /// Writes everything that a new cluster needs.
    ///
    /// # Errors
    /// When a file cannot be written, or no port is free.
    pub fn set_up(&self, user: &str, nvml: &Path, agents: u8) -> Result<(), Fault> {
        for name in ["config", "data", "lib", "log", "tour"] {
            let path = self.dir.join(name);
            fs::create_dir_all(&path).map_err(|fault| Fault::file(&path, &fault))?;
        }
        let authority = Authority::create(&self.tls())?;
        let issue = |file: &str, name: String, hosts: &[&str]| {
            authority.issue(&self.tls(), file, Subject { name: &name, hosts })
        };
        for id in SERVERS {
            issue(&server_name(id), format!("server:{}", id.0), &["localhost", "127.0.0.1"])?;
        }
        for node in &nodes(agents) {
            issue(node, format!("node:{node}"), &[])?;
        }
        issue("user", format!("user:{user}"), &[])?;
        LocalKeys::create(&self.keys())
            .map_err(|fault| Fault::internal("keys", fault.to_string()))?;
        self.link_nvml(nvml)?;
        let (addresses, rest) = (addresses(FIRST_PORT)?, addresses(FIRST_REST_PORT)?);
        for ((id, address), rest) in SERVERS.iter().zip(&addresses).zip(rest) {
            let text = self.server_config(*id, user, (*address, rest), &addresses);
            write(&self.config(&server_name(*id)), &text)?;
        }
        for node in &nodes(agents) {
            write(&self.config(node), &self.agent_config(node, &addresses))?;
            write(&self.gpus(node), &gpus(node))?;
        }
        write(&self.profile(), &profile_text(&addresses))
    }

    /// Lets the loader find the library by NVML's own name.
    ///
    /// # Errors
    /// When the link cannot be made.
    pub fn link_nvml(&self, nvml: &Path) -> Result<(), Fault> {
        let link = self.nvml();
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(nvml, &link).map_err(|fault| Fault::file(&link, &fault))
    }

    fn server_config(
        &self,
        id: ReplicaId,
        user: &str,
        (address, rest): (SocketAddr, SocketAddr),
        all: &[SocketAddr],
    ) -> String {
        let name = server_name(id);
        let pair = authority::pair(&self.tls(), &name);
        let members = SERVERS.iter().zip(all).map(|(id, address)| (*id, address.to_string()));
        let server = config::server::Server {
            id,
            cluster: "dev".into(),
            dir: self.data(&name),
            listen: address,
            advertise: address.to_string(),
            members: members.collect(),
            join: false,
            ca: authority::ca_file(&self.tls()),
            cert: pair.cert,
            key: pair.key,
            signer: Signer::local(self.keys()),
            gates: Gates { admins: [user.to_owned()].into(), ..Gates::default() },
            rest: Some(rest),
            collect_after: None,
            scrub_every: None,
            replay_window: None,
            blobs: None,
        };
        server.to_toml()
    }

    fn agent_config(&self, node: &str, all: &[SocketAddr]) -> String {
        let pair = authority::pair(&self.tls(), node);
        let servers: Vec<_> = all.iter().map(|address| text(&address.to_string())).collect();
        format!(
            "name = {}\nservers = [{}]\ndir = {}\nnvml = {}\nca = {}\ncert = {}\nkey = {}\n\
             cpus = 8\nmemory = \"8GiB\"\n",
            text(node),
            servers.join(", "),
            path(&self.data(node)),
            path(&self.nvml()),
            path(&authority::ca_file(&self.tls())),
            path(&pair.cert),
            path(&pair.key),
        )
    }
}

/// The names of so many nodes: `node-a`, `node-b` and on.
fn nodes(count: u8) -> Vec<String> {
    (0..count).map(|at| format!("node-{}", char::from(b'a' + at))).collect()
}

/// A server's name among files and processes.
#[must_use]
pub fn server_name(id: ReplicaId) -> String {
    format!("server-{}", id.0)
}

fn profile_text(addresses: &[SocketAddr]) -> String {
    let servers: Vec<_> = addresses.iter().map(|address| text(&address.to_string())).collect();
    format!(
        "servers = [{}]\nca = \"tls/ca.pem\"\ncert = \"tls/user.pem\"\nkey = \"tls/user.key\"\n",
        servers.join(", ")
    )
}

/// The simulated GPUs of a node as the library reads them.
fn gpus(node: &str) -> String {
    let mark = &domain::Digest::of(node.as_bytes()).to_string()[..8];
    let gpus: Vec<_> = (0..GPUS)
        .map(|n| serde_json::json!({"uuid": format!("GPU-{mark}-0000-4000-8000-{n:012x}")}))
        .collect();
    serde_json::json!({ "gpus": gpus }).to_string()
}

/// Ports between those of one cluster and the next, and how many clusters are looked for: all stay
/// below the ports from which systems take those of connections. One of them could be taken between
/// now and the start of the server.
const APART: (u16, u16) = (100, 100);

/// One free address for each server: the usual ports from `first` on, or others.
fn addresses(first: u16) -> Result<Vec<SocketAddr>, Fault> {
    let (step, clusters) = APART;
    // Two that begin at once look at different ones first. The remainder is below `clusters`.
    let begin = (std::process::id() % u32::from(clusters)) as u16;
    let mut held = Vec::new();
    for (number, _) in (0u16..).zip(SERVERS) {
        let bind = |port: u16| TcpListener::bind(("127.0.0.1", port));
        let others = (0..clusters).map(|at| step * (1 + (begin + at) % clusters));
        let all = std::iter::once(0).chain(others);
        let free = all.map(|away| bind(first + number + away)).find_map(Result::ok);
        let listener = free.map_or_else(|| bind(0), Ok);
        held.push(listener.map_err(|fault| {
            Fault::internal("ports", format!("no port of 127.0.0.1 is free: {fault}"))
        })?);
    }
    held.iter()
        .map(TcpListener::local_addr)
        .collect::<Result<_, _>>()
        .map_err(|fault| Fault::internal("ports", format!("a port has no address: {fault}")))
}

fn text(value: &str) -> String {
    toml::Value::String(value.to_owned()).to_string()
}

fn path(value: &Path) -> String {
    text(&value.display().to_string())
}

fn write(path: &Path, text: &str) -> Result<(), Fault> {
    fs::write(path, text).map_err(|fault| Fault::file(path, &fault))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{agent, server};

    #[test]
    fn what_is_set_up_is_what_the_processes_read() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout { dir: dir.path().to_owned() };
        layout.set_up("ada", Path::new("/usr/lib/libfake.so"), 2).unwrap();
        let server = server::load(&layout.config("server-2")).unwrap();
        assert_eq!((server.id, server.members.len()), (ReplicaId(2), 3));
        assert_eq!(server.members[&ReplicaId(2)], server.advertise);
        assert!(server.rest.is_some_and(|rest| rest != server.listen));
        let agent = agent::load(&layout.config("node-b")).unwrap();
        assert_eq!((agent.name.as_str(), agent.servers.len()), ("node-b", 3));
        let profile = profile::load(&layout.profile()).unwrap();
        assert_eq!(profile.servers, agent.servers);
        assert!(profile.key.is_file());
        assert!(layout.is_set_up());
        layout.clear().unwrap();
        assert!(!layout.is_set_up());
    }
}
