//! An Assay cluster on three loopback servers and two nodes, as `assay dev` starts it.

use crate::{
    child::{self, Ending, Process},
    cpu,
};
use anyhow::{Context as _, Result, bail};
use domain::view::{ClusterView, JobLine};
use proto::v1::{self, assay_client::AssayClient, query_request::What};
use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use tonic::{
    Status,
    metadata::MetadataMap,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

/// A client of one server.
pub type Client = AssayClient<Channel>;

/// Longest wait for the cluster to take work, and for a killed server to be back.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// A running cluster; ends with its value.
pub struct Assay {
    _dev: Process,
    servers: Vec<String>,
    tls: ClientTlsConfig,
    dir: PathBuf,
}

/// The program that is measured: it stands beside this one.
///
/// # Errors
/// When it is not there.
pub fn program() -> Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name("assay");
    if !program.is_file() {
        bail!("{} is missing; build it: cargo build -p cli -p fake-nvml", program.display());
    }
    Ok(program)
}

/// A persistent client that begins at any server and goes on at the leader.
pub struct Changer {
    servers: Vec<String>,
    clients: Vec<Client>,
    current: usize,
}

impl Changer {
    /// Submits, and notes where the leader is.
    ///
    /// # Errors
    /// When the server does not take it.
    pub async fn submit(&mut self, request: v1::SubmitRequest) -> Result<(), Status> {
        let reply = self.clients[self.current].submit(request).await?;
        self.note_leader(reply.metadata());
        Ok(())
    }

    /// Changes the registry, and notes where the leader is.
    ///
    /// # Errors
    /// When a rule forbids it or the server does not take it.
    pub async fn registry(&mut self, request: v1::RegistryRequest) -> Result<(), Status> {
        let reply = self.clients[self.current].registry(request).await?;
        self.note_leader(reply.metadata());
        Ok(())
    }

    fn note_leader(&mut self, metadata: &MetadataMap) {
        if let Some(leader) = metadata.get(proto::LEADER_HEADER)
            && let Some(server) = self.servers.iter().position(|server| *leader == server.as_str())
        {
            self.current = server;
        }
    }
}

impl Assay {
    /// Starts `assay dev` with data under `dir`; waits until it takes a write and has its nodes.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start(dir: &Path) -> Result<Self> {
        let program = program()?;
        let dir = dir.join("assay");
        let mut command = Command::new(&program);
        command.args(["dev", "--dir"]).arg(&dir);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut dev = Process::start(&mut command, Ending::Ask)
            .with_context(|| format!("{} does not start", program.display()))?;
        let out = dev.child().stdout.take().context("its output is piped")?;
        std::thread::spawn(move || BufReader::new(out).lines().for_each(drop));
        let patience = Instant::now() + PATIENCE;
        let profile = dir.join("profile.toml");
        while !profile.exists() && dev.runs() && Instant::now() < patience {
            tokio::time::sleep(LOOK).await;
        }
        let text = fs::read_to_string(&profile).context("assay dev wrote no profile")?;
        let table: toml::Table = text.parse()?;
        let file = |name: &str| -> Result<Vec<u8>> {
            let path = table[name].as_str().context("the profile names its files")?;
            Ok(fs::read(dir.join(path))?)
        };
        proto::cipher::prefer_sha256();
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(file("ca")?))
            .identity(Identity::from_pem(file("cert")?, file("key")?));
        let servers = table["servers"].as_array().context("the profile names servers")?;
        let servers = servers.iter().filter_map(|s| s.as_str().map(str::to_owned)).collect();
        let mut assay = Self { _dev: dev, servers, tls, dir };
        while !assay.is_ready().await {
            if Instant::now() > patience || !assay._dev.runs() {
                bail!("assay has no leader with two nodes after {PATIENCE:?}");
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(assay)
    }

    /// Whether a server leads and both nodes take work.
    pub async fn is_ready(&self) -> bool {
        let nodes = What::Nodes(v1::NodesQuery::default());
        let nodes = self.query::<Vec<domain::view::NodeView>>(0, nodes).await;
        let ready = |node: &domain::view::NodeView| node.status == domain::node::NodeState::Ready;
        nodes.is_ok_and(|nodes| nodes.iter().filter(|node| ready(node)).count() == 2)
    }

    /// The process of `assay dev` itself, which starts again what ends.
    pub fn dev_pid(&self) -> u32 {
        self._dev.pid()
    }

    /// The address of a server.
    pub fn address(&self, server: usize) -> &str {
        &self.servers[server % self.servers.len()]
    }

    /// Number of servers.
    pub fn servers(&self) -> usize {
        self.servers.len()
    }

    /// The folder that names the profile on the command line.
    pub fn profile(&self) -> &Path {
        &self.dir
    }

    /// A client of one server, with a connection of its own.
    ///
    /// # Errors
    /// When the address is none.
    pub fn client(&self, server: usize) -> Result<Client> {
        let address = &self.servers[server % self.servers.len()];
        let endpoint = Endpoint::from_shared(format!("https://{address}"))?;
        let endpoint = endpoint.tls_config(self.tls.clone())?.tcp_nodelay(true);
        Ok(AssayClient::new(endpoint.connect_lazy())
            .max_decoding_message_size(proto::MESSAGE_MAX)
            .max_encoding_message_size(proto::MESSAGE_MAX))
    }

    /// A client that makes its changes where the replies say that the leader is.
    ///
    /// # Errors
    /// When an address is none.
    pub fn changer(&self, first: usize) -> Result<Changer> {
        let clients = (0..self.servers()).map(|n| self.client(n)).collect::<Result<_>>()?;
        let current = first % self.servers();
        Ok(Changer { servers: self.servers.clone(), clients, current })
    }

    /// A linearizable read of one document at one server.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn query<T: serde::de::DeserializeOwned>(
        &self,
        server: usize,
        what: What,
    ) -> Result<T> {
        let request = v1::QueryRequest { stale: false, what: Some(what) };
        let document = self.client(server)?.query(request).await?.into_inner();
        Ok(serde_json::from_slice(&document.json)?)
    }

    /// The cluster as a server sees it.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn cluster(&self, server: usize) -> Result<ClusterView> {
        self.query(server, What::Cluster(v1::ClusterQuery {})).await
    }

    /// Jobs below `before` (0: all), newest first, in a state (empty: any).
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn jobs(
        &self,
        server: usize,
        state: &str,
        before: u64,
        limit: u32,
    ) -> Result<Vec<JobLine>> {
        let query =
            v1::JobsQuery { state: state.to_owned(), before, limit, ..v1::JobsQuery::default() };
        self.query(server, What::Jobs(query)).await
    }

    /// The process of a server, as `assay dev` notes it.
    pub fn pid(&self, server: usize) -> Option<u32> {
        let text = fs::read_to_string(self.dir.join("config/pids")).ok()?;
        let name = format!("server-{} ", server + 1);
        text.lines().find_map(|line| line.strip_prefix(&name)?.trim().parse().ok())
    }

    /// The processes of all servers that run.
    pub fn pids(&self) -> Vec<u32> {
        (0..self.servers()).filter_map(|server| self.pid(server)).collect()
    }

    /// All processes of the cluster, agents and supervisors among them.
    pub fn all_pids(&self) -> Vec<u32> {
        cpu::processes_of(&self.dir)
    }

    /// The server that leads, and the term.
    ///
    /// # Errors
    /// When there is none.
    pub async fn leader(&self) -> Result<(usize, u64)> {
        let patience = Instant::now() + PATIENCE;
        loop {
            for server in 0..self.servers() {
                if let Ok(view) = self.cluster(server).await
                    && let Some(leader) = view.leader
                    && leader == view.answered_by
                    && let Ok(number) = usize::try_from(leader.0)
                {
                    return Ok((number - 1, view.term));
                }
            }
            if Instant::now() > patience {
                bail!("no server leads after {PATIENCE:?}");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Kills a server with SIGKILL; `assay dev` starts it again.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&self, server: usize) -> Result<Instant> {
        let pid = self.pid(server).with_context(|| format!("server {} not found", server + 1))?;
        let at = Instant::now();
        if !child::kill(pid) {
            bail!("server {} does not run", server + 1);
        }
        Ok(at)
    }

    /// Waits until a server that was process `old` runs anew; gives the time from its start to
    /// its first linearizable answer.
    ///
    /// # Errors
    /// When it does not come back.
    pub async fn back(&self, server: usize, old: u32) -> Result<Duration> {
        let patience = Instant::now() + PATIENCE;
        let mut started = None;
        while Instant::now() < patience {
            let anew = || self.pid(server).is_some_and(|pid| pid != old);
            if started.is_none() && anew() {
                started = Some(Instant::now());
            }
            if let Some(started) = started
                && self.jobs(server, "", 0, 1).await.is_ok()
            {
                return Ok(started.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        bail!("server {} did not come back within {PATIENCE:?}", server + 1)
    }
}

/// A key that no other request has.
pub fn key() -> Vec<u8> {
    let mut key = [0; 16];
    getrandom::fill(&mut key).expect("the system gives random numbers");
    key.to_vec()
}

/// Jobs that no node of the cluster can hold, so that only the submit is measured.
pub fn request(jobs: usize) -> v1::SubmitRequest {
    let job = |n: usize| v1::Job {
        name: format!("bench-{n}"),
        command: vec!["true".into()],
        tasks: 1,
        gpus: 64,
        // Makes the encoded job about as long as etcd's 256-byte value.
        env: [("PAYLOAD".to_owned(), "x".repeat(180))].into(),
        ..v1::Job::default()
    };
    v1::SubmitRequest {
        key: key().into(),
        jobs: (0..jobs).map(job).collect(),
        reuse: false,
        ties: Vec::new(),
    }
}
