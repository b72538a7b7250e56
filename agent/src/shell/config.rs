//! What an agent is told when it starts.

use crate::{
    driver::{gpu::GpuError, host::HostError, image::Containers, sandbox::LeastError},
    store::Tls,
};
use domain::{
    Bytes, CpuMillis, hardware::share::GpuShares, isolation::Isolation, topology::NodeTopology,
};
use registry::seal::node::NodeKey;
use std::{io, path::PathBuf, sync::Arc};

/// An agent's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's name, which its certificate carries.
    pub name: String,
    /// Its folder, on a local disk.
    pub dir: PathBuf,
    /// The servers' addresses, `host:port`; not empty.
    pub servers: Vec<String>,
    /// Who we are; none only where the servers ask for nothing.
    pub tls: Option<Tls>,
    /// NVIDIA's management library; none means the installed one, if any.
    pub nvml: Option<PathBuf>,
    /// Which GPUs are offered in shares.
    pub gpu_shares: GpuShares,
    /// Processor time that tasks may use; none means all.
    pub cpu: Option<CpuMillis>,
    /// Memory that tasks may use; none means all.
    pub memory: Option<Bytes>,
    /// The least isolation of every job.
    pub isolation: Isolation,
    /// Folders beside the system's that sandboxed tasks may read.
    pub readable: Vec<PathBuf>,
    /// Where container images come from.
    pub containers: Containers,
    /// The rack and the block that the machine is in.
    pub place: NodeTopology,
    /// Bytes of verified blobs that are kept for later jobs.
    pub cache_max: Bytes,
    /// The command that serves [`Config::dir`] as supervisor:
    /// `assay supervisor --dir DIR`.
    pub supervisor: Vec<String>,
    /// The account that the agent becomes before it hears of anybody; none means that it stays
    /// whoever started it.
    pub user: Option<String>,
}

/// An agent that cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A setting that cannot be used.
    #[error("{setting}: {fault}; {remedy}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// What is wrong.
        fault: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The node's folder cannot be used.
    #[error(
        "folder `{path}` cannot be used: {why}; make room there, or give the agent another folder"
    )]
    Folder {
        /// The folder.
        path: String,
        /// Why not.
        why: io::Error,
    },
    /// The machine cannot be read.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The GPUs cannot be listed.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// No supervisor can be had.
    #[error(transparent)]
    Supervisor(#[from] crate::driver::supervisor::ClientError),
    /// No watch for checkpoints can be had.
    #[error("checkpoints cannot be watched: {0}; raise fs.inotify.max_user_instances")]
    Watch(#[from] notify::Error),
    /// The rights of root cannot be given up.
    #[error("user: {0}")]
    Least(#[from] LeastError),
    /// The system refused something that every Linux grants.
    #[error("agent cannot {what}: {why}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why not.
        why: io::Error,
    },
    /// The supervisor is gone, and this process may not start another.
    #[error(
        "the supervisor is out of reach; an agent that has given up its rights cannot get to it again: \
         start the agent again, or let its unit do so (Restart=always); tasks that run are taken over. If \
         it happens again and again, another agent serves the same folder"
    )]
    Bereft,
    /// A mailbox inside the agent is full.
    #[error("the supervisor does not keep up; tasks end with their leases, restart the agent")]
    Overrun,
}

impl Config {
    /// What the node signs its own word on results with: the key of its certificate.
    ///
    /// # Errors
    /// When it is of another kind than the record takes.
    pub(super) fn node_key(&self) -> Result<Option<Arc<NodeKey>>, AgentError> {
        let Some(tls) = &self.tls else { return Ok(None) };
        let key = NodeKey::of_pem(&tls.key, &tls.cert).map_err(|fault| AgentError::Setting {
            setting: "key",
            fault,
            remedy: "have the cluster's authority issue the node a P-256 certificate",
        })?;
        Ok(Some(Arc::new(key)))
    }

    /// Checks what can be checked without the cluster; makes the folder's path absolute.
    ///
    /// # Errors
    /// Names the first setting that cannot be used.
    pub fn checked(mut self) -> Result<Self, AgentError> {
        let fault = |setting, fault: &str, remedy| AgentError::Setting {
            setting,
            fault: fault.to_owned(),
            remedy,
        };
        if self.name.is_empty() {
            return Err(fault("name", "is empty", "give the node a name of its own"));
        }
        if self.servers.is_empty() {
            return Err(fault("servers", "is empty", "give the address of at least one server"));
        }
        if self.user.is_some() && self.isolation == Isolation::None {
            return Err(fault(
                "user",
                "is set, and jobs may run without walls, which takes the rights of root",
                "set `isolation = \"sandbox\"` as well",
            ));
        }
        if let Err(why) = self.place.check() {
            return Err(fault("place", &why, "give `rack` and `block` other names"));
        }
        let failed =
            |path: &PathBuf, why| AgentError::Folder { path: path.display().to_string(), why };
        std::fs::create_dir_all(&self.dir).map_err(|why| failed(&self.dir, why))?;
        self.dir = self.dir.canonicalize().map_err(|why| failed(&self.dir, why))?;
        if self.dir.to_str().is_none() {
            return Err(fault("dir", "is not UTF-8", "tasks get it in a variable: rename it"));
        }
        Ok(self)
    }
}
