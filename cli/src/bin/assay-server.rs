//! One server of a cluster: the replica, its database and the API.
#![forbid(unsafe_code)]

use scheduler::api::{GateConfig, ServeError, ServerConfig, Signers, Tls};
use std::process::ExitCode;

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
}

fn main() -> ExitCode {
    assay::serve(|config, stop| {
        let signer = config.signer.config();
        let event_period = signer.event_period;
        let wired = move |keys: custody::Opened| ServerConfig {
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
            gates: GateConfig {
                rules: config.gates.rules,
                engine: config.gates.engine,
                ca: config.gates.ca,
            },
        };
        async move {
            let keys = custody::open(&signer).await?;
            Ok::<_, Stopped>(scheduler::api::serve(wired(keys), stop).await?)
        }
    })
}
