//! One server of a cluster: the replica, its database and the API.
#![forbid(unsafe_code)]

use domain::LogIndex;
use scheduler::api::{
    GateConfig, RestoreConfig, RestoreError, ServeError, ServerConfig, Signers, Tls,
};
use std::{path::PathBuf, process::ExitCode, time::Duration};

/// A server makes many small allocations on many threads: the system's allocator took a sixth of
/// its time. RocksDB keeps to the system's, which serves its few large blocks better.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Why the server ended.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error(transparent)]
    Keys(#[from] custody::OpenError),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error("blobs in {place}: {source}")]
    Blobs { place: String, source: std::io::Error },
}

fn main() -> ExitCode {
    assay::serve(serve, restore)
}

async fn serve(config: assay::ServerConfig, stop: assay::BoxedStop) -> Result<(), Stopped> {
    let signer = config.signer.config();
    let event_period = signer.event_period;
    let keys = custody::open(&signer).await?;
    let blobs = config.blobs.map(|blobs| {
        let fault = |source| Stopped::Blobs { place: blobs.place.to_string(), source };
        blobs.open(config.id).map_err(fault)
    });
    let wired = ServerConfig {
        blobs: blobs.transpose()?,
        id: config.id,
        cluster: config.cluster,
        dir: config.dir,
        listen: config.listen,
        advertise: config.advertise,
        members: config.members,
        join: config.join,
        tls: Tls { ca: config.ca, cert: config.cert, key: config.key },
        signers: Signers { models: keys.models, event: keys.event, event_period },
        admins: config.gates.admins,
        rest: config.rest,
        collect_after: Duration::from_millis(
            config.collect_after.unwrap_or(domain::limit::COLLECT_AFTER).0,
        ),
        scrub_every: Duration::from_millis(
            config.scrub_every.unwrap_or(domain::limit::SCRUB_EVERY).0,
        ),
        replay_window: config.replay_window.unwrap_or(domain::limit::REPLAY_WINDOW),
        gates: GateConfig {
            rules: config.gates.rules,
            engine: config.gates.engine,
            ca: config.gates.ca,
        },
    };
    Ok(scheduler::api::serve(wired, stop).await?)
}

fn restore(
    config: assay::ServerConfig,
    backup: PathBuf,
    at: Option<LogIndex>,
) -> Result<assay::Restored, RestoreError> {
    let assay::ServerConfig { id, cluster, dir, members, .. } = config;
    let made = scheduler::api::restore(RestoreConfig { id, cluster, dir, members, backup, at })?;
    Ok(assay::Restored {
        server: id,
        log_index: made.log_index,
        begins: made.begins,
        blobs: made.blobs,
        blobs_bytes: made.size,
        checkpoints: made.checkpoints,
    })
}
