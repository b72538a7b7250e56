//! The nouns of Assay with their rules: floor 0, which uses nothing of ours.
#![forbid(unsafe_code)]

pub mod after;
pub mod artifact;
pub mod audit;
pub mod check;
pub mod checkpoint;
pub mod chunks;
pub mod contract;
pub mod dataset;
pub mod decimal;
pub mod digest;
pub mod drift;
pub mod evaluation;
pub mod foresee;
pub mod framework;
pub mod gpu_time;
pub mod hardware;
pub mod health;
pub mod id;
pub mod image;
pub mod interrupt;
pub mod isolation;
pub mod job;
pub mod lease;
pub mod limit;
pub mod link;
pub mod model;
pub mod node;
pub mod observed;
pub mod port;
pub mod promotion;
pub mod queue;
pub mod refusal;
pub mod replay;
pub mod reservation;
pub mod resource;
pub mod retain;
pub mod scratch;
pub mod seal_wait;
pub mod signing;
pub mod topology;
pub mod trace;
pub mod trailing;
pub mod tree;
pub mod unit;
pub mod version;
pub mod view;

pub use decimal::Decimal;
pub use digest::Digest;
pub use id::{
    ArtifactId, AttemptNo, CheckId, ElementId, EpisodeId, JobId, LeaseId, NodeId, PromotionId,
    ReplicaId, RequestKey,
};
pub use unit::{Bytes, CpuMillis, LogIndex, MegaBits, MegaHertz, MilliWatts, Millis, PerMille};
