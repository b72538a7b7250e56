//! A whole cluster in one thread from one seed: the code of production over faults of every kind.
#![forbid(unsafe_code)]

pub mod bits;
pub mod chance;
pub mod client;
pub mod clock;
pub mod coverage;
pub mod damage;
pub mod disk;
pub mod event;
pub mod fault;
pub mod kept;
pub mod law;
pub mod machine;
pub mod near;
pub mod node;
pub mod queues;
pub mod read;
pub mod record;
pub mod runtime;
pub mod server;
pub mod session;
pub mod workload;
pub mod world;
