//! etcd on three loopback members, as the peer of the replicated log.

use crate::{
    child::{Ending, Process},
    load,
    tls::Tls,
};
use anyhow::{Context as _, Result, bail};
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use tonic::transport::{Channel, Endpoint};

/// The generated client.
#[allow(missing_docs, clippy::all, reason = "generated from proto/etcd.proto")]
pub mod wire {
    tonic::include_proto!("etcdserverpb");
}

/// A client of the key-value service.
pub type Kv = wire::kv_client::KvClient<Channel>;

/// Longest wait for a cluster or a member to take writes.
const PATIENCE: Duration = Duration::from_secs(15);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// How members and clients talk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// In the clear, as etcd is usually measured.
    Plain,
    /// Mutual TLS between members and with clients, as Assay does.
    Tls,
}

/// A running cluster; ends with its value.
pub struct Etcd {
    members: Vec<Process>,
    clients: Vec<u16>,
    peers: Vec<u16>,
    tls: Option<Tls>,
    dir: PathBuf,
}

impl Etcd {
    /// Starts three members with data under `dir`, and waits until they take a write.
    ///
    /// # Errors
    /// When etcd is not installed or does not come up.
    pub async fn start(dir: &Path, wire: Wire) -> Result<Self> {
        let tls = match wire {
            Wire::Plain => None,
            Wire::Tls => Some(Tls::create(&dir.join("etcd-tls"))?),
        };
        let dir = dir.join(if tls.is_some() { "etcd-with-tls" } else { "etcd" });
        let ports = free_ports(6)?;
        let (peers, clients) = (ports[..3].to_vec(), ports[3..].to_vec());
        let mut etcd = Self { members: Vec::new(), clients, peers, tls, dir };
        for member in 0..3 {
            let process = etcd.spawn(member)?;
            etcd.members.push(process);
        }
        for member in 0..3 {
            etcd.wait(member).await?;
        }
        Ok(etcd)
    }

    fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    fn spawn(&self, member: usize) -> Result<Process> {
        let url = |port: u16| format!("{}://127.0.0.1:{port}", self.scheme());
        let cluster: Vec<_> = (0..3).map(|n| format!("m{n}={}", url(self.peers[n]))).collect();
        let (peer, client) = (url(self.peers[member]), url(self.clients[member]));
        let mut command = Command::new("etcd");
        command
            .args(["--name", &format!("m{member}"), "--data-dir"])
            .arg(self.dir.join(member.to_string()))
            .args(["--initial-advertise-peer-urls", &peer, "--listen-peer-urls", &peer])
            .args(["--advertise-client-urls", &client, "--listen-client-urls", &client])
            .args(["--initial-cluster", &cluster.join(",")])
            .args(["--initial-cluster-state", "new", "--log-level", "error"])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some(tls) = &self.tls {
            for prefix in ["--", "--peer-"] {
                command.arg(format!("{prefix}trusted-ca-file")).arg(&tls.ca);
                command.arg(format!("{prefix}cert-file")).arg(&tls.cert);
                command.arg(format!("{prefix}key-file")).arg(&tls.key);
                command.arg(format!("{prefix}client-cert-auth"));
            }
        }
        Process::start(&mut command, Ending::Kill)
            .context("etcd does not start; scripts/setup-bench installs it (etcd-server)")
    }

    /// Waits until a member takes a write.
    async fn wait(&self, member: usize) -> Result<()> {
        let patience = Instant::now() + PATIENCE;
        let ready = wire::PutRequest { key: b"ready".to_vec(), value: Vec::new() };
        let mut client = self.client(member)?;
        while client.put(ready.clone()).await.is_err() {
            if Instant::now() > patience {
                bail!("etcd member {member} took no write within {PATIENCE:?}");
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    fn channel(&self, member: usize) -> Result<Channel> {
        let port = self.clients[member % self.clients.len()];
        let address = format!("{}://127.0.0.1:{port}", self.scheme());
        let mut endpoint = Endpoint::from_shared(address)?.tcp_nodelay(true);
        if let Some(tls) = &self.tls {
            endpoint = endpoint.tls_config(tls.client()?)?;
        }
        Ok(endpoint.connect_lazy())
    }

    /// A client of one member, with a connection of its own.
    ///
    /// # Errors
    /// When the certificates cannot be read.
    pub fn client(&self, member: usize) -> Result<Kv> {
        Ok(Kv::new(self.channel(member)?))
    }

    /// The member that leads.
    async fn leader(&self) -> Result<usize> {
        for member in 0..3 {
            let mut client =
                wire::maintenance_client::MaintenanceClient::new(self.channel(member)?);
            let status = client.status(wire::StatusRequest {}).await?.into_inner();
            if status.header.is_some_and(|header| header.member_id == status.leader) {
                return Ok(member);
            }
        }
        bail!("no member of etcd says that it leads")
    }

    /// Kills the leader; says which member it was and when.
    ///
    /// # Errors
    /// When there is no leader.
    pub async fn kill_leader(&mut self) -> Result<(usize, Instant)> {
        let leader = self.leader().await?;
        let at = Instant::now();
        self.members[leader].kill();
        Ok((leader, at))
    }

    /// Starts a killed member again and waits until it takes writes.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn restart(&mut self, member: usize) -> Result<()> {
        self.members[member] = self.spawn(member)?;
        self.wait(member).await
    }

    /// Puts of 256-byte values by `clients` persistent clients.
    ///
    /// # Errors
    /// When a client cannot be made.
    pub async fn puts(&self, clients: usize, time: Duration) -> Result<load::Outcome> {
        let all = (0..clients).map(|n| self.client(n)).collect::<Result<_>>()?;
        let pids: Vec<_> = self.members.iter().map(Process::pid).collect();
        Ok(load::run(all, time, &pids, |mut client, turn| async move {
            let good = client.put(put(turn)).await.is_ok();
            (client, good)
        })
        .await)
    }
}

/// A put of 256 bytes.
pub fn put(turn: u64) -> wire::PutRequest {
    wire::PutRequest { key: turn.to_be_bytes().to_vec(), value: vec![7; 256] }
}

/// Ports that are free now.
///
/// # Errors
/// When the system gives none.
pub fn free_ports(count: usize) -> Result<Vec<u16>> {
    let held: Vec<_> =
        (0..count).map(|_| std::net::TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}
