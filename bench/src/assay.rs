//! An Assay cluster on three loopback servers, as `assay dev` starts it.

use crate::{cpu, load};
use anyhow::{Context as _, Result, bail};
use proto::v1::{self, assay_client::AssayClient};
use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// A running cluster; ends with its value.
pub struct Assay {
    dev: Child,
    servers: Vec<String>,
    tls: ClientTlsConfig,
    dir: PathBuf,
}

impl Drop for Assay {
    fn drop(&mut self) {
        // SIGTERM lets it stop its servers and agents.
        let _ = Command::new("kill").arg(self.dev.id().to_string()).status();
        let _ = self.dev.wait();
    }
}

impl Assay {
    /// Starts `assay dev` with data under `dir`, and waits until it takes a write.
    pub async fn start(dir: &Path) -> Result<Self> {
        let program = std::env::current_exe()?.with_file_name("assay");
        let dir = dir.join("assay");
        let mut dev = Command::new(&program)
            .args(["dev", "--dir"])
            .arg(&dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .with_context(|| format!("{} does not start; build it first", program.display()))?;
        let out = dev.stdout.take().context("its output is piped")?;
        std::thread::spawn(move || BufReader::new(out).lines().for_each(drop));
        let patience = Instant::now() + Duration::from_secs(30);
        let profile = dir.join("profile.toml");
        while !profile.exists() && Instant::now() < patience {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let text = std::fs::read_to_string(&profile).context("assay dev wrote no profile")?;
        let table: toml::Table = text.parse()?;
        let file = |name: &str| -> Result<Vec<u8>> {
            let path = table[name].as_str().context("the profile names its files")?;
            Ok(std::fs::read(dir.join(path))?)
        };
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(file("ca")?))
            .identity(Identity::from_pem(file("cert")?, file("key")?));
        let servers = table["servers"].as_array().context("the profile names servers")?;
        let servers = servers.iter().filter_map(|s| s.as_str().map(str::to_owned)).collect();
        let assay = Self { dev, servers, tls, dir };
        while Instant::now() < patience {
            let mut client = assay.client(0)?;
            if client.submit(request(1)).await.is_ok() {
                return Ok(assay);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        bail!("assay took no job within 30 s")
    }

    fn client(&self, server: usize) -> Result<AssayClient<Channel>> {
        let address = &self.servers[server % self.servers.len()];
        let endpoint = Endpoint::from_shared(format!("https://{address}"))?;
        let channel = endpoint.tls_config(self.tls.clone())?.tcp_nodelay(true).connect_lazy();
        Ok(AssayClient::new(channel))
    }

    /// The server processes.
    fn pids(&self) -> Vec<u32> {
        let pattern = format!("server.*{}", self.dir.display());
        let found = Command::new("pgrep").args(["-f", &pattern]).output();
        let text = found.map(|out| String::from_utf8_lossy(&out.stdout).into_owned());
        text.unwrap_or_default().lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Submits of one job each by `clients` persistent clients over all servers, with as many
    /// connections as etcd's clients have. Also gives CPU µs for each submit.
    pub async fn submits(&self, clients: usize, time: Duration) -> Result<(load::Outcome, f64)> {
        let mut all = Vec::new();
        for n in 0..clients {
            all.push(self.client(n)?);
        }
        let pids = self.pids();
        let failures = Arc::new(AtomicU64::new(0));
        let before = cpu::of(&pids);
        let outcome = load::run(all, time, move |mut client, _| {
            let failures = failures.clone();
            async move {
                let answer = client.submit(request(1)).await;
                if let Err(status) = &answer
                    && failures.fetch_add(1, Ordering::Relaxed) == 0
                {
                    eprintln!("first failure: {}", status.message());
                }
                (client, answer.is_ok())
            }
        })
        .await;
        let spent = cpu::of(&pids) - before;
        // CPU was counted over the warm-up too, which is a sixth of the whole.
        let per_submit = spent.as_micros() as f64 / (outcome.done as f64 * 1.2);
        Ok((outcome, per_submit))
    }

    /// Batches of `size` distinct jobs in one request, one after another.
    pub async fn batches(&self, size: usize, time: Duration) -> Result<load::Outcome> {
        let client = self.client(0)?;
        Ok(load::run(vec![client], time, move |mut client, _| async move {
            let good = client.submit(request(size)).await.is_ok();
            (client, good)
        })
        .await)
    }

    /// One array of `count` elements, one request after another.
    pub async fn arrays(&self, count: u32, time: Duration) -> Result<load::Outcome> {
        let client = self.client(0)?;
        Ok(load::run(vec![client], time, move |mut client, _| async move {
            let mut request = request(1);
            request.jobs[0].array_count = count;
            let good = client.submit(request).await.is_ok();
            (client, good)
        })
        .await)
    }
}

/// Jobs that no node of the cluster can hold, so that only the submit is measured.
fn request(jobs: usize) -> v1::SubmitRequest {
    let mut key = [0; 16];
    getrandom::fill(&mut key).expect("the system gives random numbers");
    let job = |n: usize| v1::Job {
        name: format!("bench-{n}"),
        command: vec!["true".into()],
        tasks: 1,
        gpus: 64,
        // Makes the encoded job about as long as etcd's 256-byte value.
        env: [("PAYLOAD".to_owned(), "x".repeat(180))].into(),
        ..v1::Job::default()
    };
    v1::SubmitRequest { key: key.to_vec().into(), jobs: (0..jobs).map(job).collect() }
}
