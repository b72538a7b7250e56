//! One server of a cluster: the replica, its database and the API.
#![forbid(unsafe_code)]

use scheduler::api::{GateConfig, ServerConfig, Tls};
use std::process::ExitCode;

/// A server makes many small allocations on many threads: the system's allocator took a sixth of
/// its time. RocksDB keeps to the system's, which serves its few large blocks better.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    assay::serve(|config, stop| {
        let wired = ServerConfig {
            id: config.id,
            cluster: config.cluster,
            dir: config.dir,
            listen: config.listen,
            advertise: config.advertise,
            members: config.members,
            join: config.join,
            tls: Tls { ca: config.ca, cert: config.cert, key: config.key },
            keys: config.keys,
            admins: config.gates.admins,
            gates: GateConfig {
                rules: config.gates.rules,
                engine: config.gates.engine,
                ca: config.gates.ca,
            },
        };
        scheduler::api::serve(wired, stop)
    })
}
