//! Registered versions of models, beside MLflow's.

use crate::{
    assay::{self, Assay, Changer},
    child::{Ending, Process},
    etcd::free_ports,
    load::{self, Outcome},
    noop,
    report::{self, Figure, Quantity, Target},
};
use anyhow::{Context as _, Result, bail};
use proto::v1::{RegisterModel, RegistryRequest, registry_request::Change};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Longest wait for MLflow's server.
const PATIENCE: Duration = Duration::from_secs(60);
/// Numbers of clients, and how many times better ours is to be.
const TARGETS: [(usize, f64); 2] = [(1, 8.0), (16, 20.0)];
/// Versions a second with 16 clients at least.
const FLOOR: f64 = 2_000.0;

fn request(family: u64) -> RegistryRequest {
    let model = RegisterModel {
        family: format!("f{family}"),
        artifact: "a1".into(),
        metrics: [("accuracy".to_owned(), "0.91".to_owned())].into(),
        parents: Vec::new(),
        aliases: Vec::new(),
    };
    RegistryRequest { key: assay::key().into(), change: Some(Change::Register(model)) }
}

async fn ours(
    assay: &Assay,
    families: &Arc<AtomicU64>,
    clients: usize,
    time: Duration,
) -> Result<Outcome> {
    let all: Vec<Changer> = (0..clients).map(|n| assay.changer(n)).collect::<Result<_>>()?;
    let families = Arc::clone(families);
    Ok(load::run(all, time, &assay.pids(), move |mut client, _| {
        let family = families.fetch_add(1, Ordering::Relaxed);
        async move {
            let answer = client.registry(request(family)).await;
            (client, answer.is_ok())
        }
    })
    .await)
}

/// MLflow's default server on SQLite; ends with its value.
struct MlFlow {
    _server: Process,
    base: String,
}

/// Where `scripts/setup-bench` puts it.
fn program() -> Result<PathBuf> {
    let home = std::env::var_os("HOME").context("HOME is not set")?;
    let path = Path::new(&home).join(".cache/assay-mlflow/bin/mlflow");
    match path.exists() {
        true => Ok(path),
        false => bail!("{} is not there: scripts/setup-bench installs it", path.display()),
    }
}

impl MlFlow {
    async fn start(dir: &Path) -> Result<Self> {
        let port = free_ports(1)?[0];
        let log = std::fs::File::create(dir.join("mlflow.log"))?;
        let mut command = Command::new(program()?);
        command
            .args(["server", "--host", "127.0.0.1", "--port", &port.to_string()])
            .arg("--backend-store-uri")
            .arg(format!("sqlite:///{}", dir.join("mlflow.db").display()))
            .arg("--artifacts-destination")
            .arg(dir.join("artifacts"))
            .env("MLFLOW_DISABLE_TELEMETRY", "true")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let server = Process::start(&mut command, Ending::Ask)?;
        let mlflow =
            Self { _server: server, base: format!("http://127.0.0.1:{port}/api/2.0/mlflow") };
        let begun = Instant::now();
        while mlflow.family(&client()?, 0).await.is_err() {
            if begun.elapsed() > PATIENCE {
                bail!("MLflow takes no model after {PATIENCE:?}");
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(mlflow)
    }

    async fn post(&self, client: &reqwest::Client, what: &str, body: Value) -> Result<()> {
        let request = client.post(format!("{}/{what}", self.base));
        let request = request.header("content-type", "application/json").body(body.to_string());
        let reply = request.send().await?;
        match reply.status().is_success() {
            true => reply.bytes().await.map(drop).map_err(Into::into),
            false => bail!("MLflow: {}", reply.text().await?),
        }
    }

    async fn family(&self, client: &reqwest::Client, number: usize) -> Result<()> {
        let name = format!("f{number}");
        self.post(client, "registered-models/create", json!({ "name": name })).await
    }

    /// Versions of a model of its own for each client.
    async fn versions(self: &Arc<Self>, clients: usize, time: Duration) -> Result<Outcome> {
        let mut all = Vec::new();
        for number in 0..clients {
            let (client, number) = (client()?, clients * 1_000 + number);
            self.family(&client, number).await?;
            all.push((client, number));
        }
        let mlflow = Arc::clone(self);
        Ok(load::run(all, time, &[], move |(client, number), _| {
            let mlflow = Arc::clone(&mlflow);
            async move {
                let body = json!({ "name": format!("f{number}"), "source": "s3://models/model" });
                let good = mlflow.post(&client, "model-versions/create", body).await.is_ok();
                ((client, number), good)
            }
        })
        .await)
    }
}

/// A client with one connection that waits for no acknowledgement.
fn client() -> Result<reqwest::Client> {
    Ok(reqwest::Client::builder().tcp_nodelay(true).pool_max_idle_per_host(1).build()?)
}

/// Runs the benchmark.
///
/// # Errors
/// When our cluster does not come up.
pub async fn run(time: Duration) -> Result<()> {
    report::section(
        "Registered versions of models, each in the log of three replicas with its audit event, \
         beside MLflow's server on SQLite",
    );
    let (dir, theirs) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let mut peers = Vec::new();
    match MlFlow::start(theirs.path()).await {
        Ok(mlflow) => {
            let mlflow = Arc::new(mlflow);
            for (clients, _) in TARGETS {
                peers.push(mlflow.versions(clients, time).await?);
            }
        }
        Err(why) => report::failed("registers: MLflow", &why),
    }
    let assay = Assay::start(dir.path()).await?;
    noop::one(&assay).await?;
    let families = Arc::new(AtomicU64::new(0));
    for (number, (clients, times)) in TARGETS.into_iter().enumerate() {
        let outcome = ours(&assay, &families, clients, time).await?;
        let name = format!("versions registered, {clients} clients");
        let details = |name: &str, it: &Outcome| {
            format!(
                "{name}: p50 {:.2} ms, p99 {:.2} ms, failed {}",
                it.median_ms(),
                it.p99_ms(),
                it.failed
            )
        };
        let mut figure = Figure::new(&name, Quantity::Rate(outcome.rate()))
            .cpu(outcome.cpu_each())
            .note(details("assay", &outcome));
        if let Some(peer) = peers.get(number) {
            figure = figure
                .beside("MLflow", Quantity::Rate(peer.rate()))
                .target(Target::Times(times, times))
                .note(details("MLflow", peer));
        }
        figure.print();
        if clients == 16 {
            let floor = Quantity::Rate(FLOOR);
            Figure::new(name, Quantity::Rate(outcome.rate()))
                .beside("floor", floor)
                .target(Target::Times(1.0, 1.0))
                .print();
        }
    }
    Ok(())
}
