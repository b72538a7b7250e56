//! etcd on three loopback members, as the peer of the replicated log.

use crate::{cpu, load};
use anyhow::{Context as _, Result, bail};
use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tonic::transport::{Channel, Endpoint};

/// The generated client.
#[allow(missing_docs, clippy::all, reason = "generated from proto/etcd.proto")]
mod wire {
    tonic::include_proto!("etcdserverpb");
}

/// A running cluster; ends with its value.
pub struct Etcd {
    members: Vec<Child>,
    addresses: Vec<String>,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for member in &mut self.members {
            let _ = member.kill();
            let _ = member.wait();
        }
    }
}

impl Etcd {
    /// Starts three members with data under `dir`, and waits until they take a write.
    pub async fn start(dir: &Path) -> Result<Self> {
        let peers: Vec<u16> = free_ports(3)?;
        let clients: Vec<u16> = free_ports(3)?;
        let cluster: Vec<_> =
            (0..3).map(|n| format!("m{n}=http://127.0.0.1:{}", peers[n])).collect();
        let mut members = Vec::new();
        for n in 0..3 {
            let peer = format!("http://127.0.0.1:{}", peers[n]);
            let client = format!("http://127.0.0.1:{}", clients[n]);
            let child = Command::new("etcd")
                .args(["--name", &format!("m{n}")])
                .args(["--data-dir", &dir.join(format!("etcd{n}")).display().to_string()])
                .args(["--initial-advertise-peer-urls", &peer, "--listen-peer-urls", &peer])
                .args(["--advertise-client-urls", &client, "--listen-client-urls", &client])
                .args(["--initial-cluster", &cluster.join(",")])
                .args(["--initial-cluster-state", "new", "--log-level", "error"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .context("etcd does not start; `make bench` installs it (etcd-server)")?;
            members.push(child);
        }
        let addresses = clients.iter().map(|port| format!("http://127.0.0.1:{port}")).collect();
        let etcd = Self { members, addresses };
        let ready = wire::PutRequest { key: b"ready".to_vec(), value: Vec::new() };
        let patience = Instant::now() + Duration::from_secs(15);
        loop {
            let mut client = wire::kv_client::KvClient::new(etcd.channel(0)?);
            if client.put(ready.clone()).await.is_ok() || Instant::now() > patience {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        if Instant::now() > patience {
            bail!("etcd took no write within 15 s");
        }
        Ok(etcd)
    }

    fn channel(&self, member: usize) -> Result<Channel> {
        let address = self.addresses[member % self.addresses.len()].clone();
        Ok(Endpoint::from_shared(address)?.tcp_nodelay(true).connect_lazy())
    }

    /// Puts of 256-byte values by `clients` persistent clients. Also gives CPU µs for each put.
    pub async fn puts(&self, clients: usize, time: Duration) -> Result<(load::Outcome, f64)> {
        let mut all = Vec::new();
        for n in 0..clients {
            all.push(wire::kv_client::KvClient::new(self.channel(n)?));
        }
        let pids: Vec<_> = self.members.iter().map(Child::id).collect();
        let before = cpu::of(&pids);
        let outcome = load::run(all, time, |mut client, turn| async move {
            let request =
                wire::PutRequest { key: turn.to_be_bytes().to_vec(), value: vec![7; 256] };
            let good = client.put(request).await.is_ok();
            (client, good)
        })
        .await;
        let spent = cpu::of(&pids) - before;
        // CPU was counted over the warm-up too, which is a sixth of the whole.
        let per_put = spent.as_micros() as f64 / (outcome.done as f64 * 1.2);
        Ok((outcome, per_put))
    }
}

/// Ports that are free now.
pub fn free_ports(count: usize) -> Result<Vec<u16>> {
    let held: Vec<_> =
        (0..count).map(|_| std::net::TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}
