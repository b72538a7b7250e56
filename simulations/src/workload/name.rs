//! The words of the command line: formats, policies, rules of overhead.

use clap::ValueEnum;

/// How a trace is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Traces of Muri: raw (milliseconds, iterations) or normalised.
    Muri,
    /// Pod lists of Alibaba's 2023 GPU cluster.
    Openb,
    /// Microsoft's Philly, as `job_id,submit_s,gpus,service_s,tenant`.
    Philly,
    /// Tab-separated traces of Gavel.
    Gavel,
    /// Standard Workload Format; a processor counts as a GPU.
    Swf,
    /// `job_id,submit_s,gpus,service_s[,tenant]`.
    Csv,
}

/// Who goes first, or where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
#[value(rename_all = "kebab-case")]
pub enum PolicyName {
    /// As they came, smaller ones may pass what does not fit; nothing is stopped.
    Fifo,
    /// As they came, smaller ones may pass only where that delays no head of the queue (EASY).
    Easy,
    /// Shortest first; nothing is stopped.
    Sjf,
    /// Shortest remaining time.
    Srtf,
    /// Shortest remaining GPU time.
    Srsf,
    /// Least attained service in three queues (Tiresias).
    TiresiasL,
    /// Any node that fits.
    Random,
    /// The node with the least left.
    BestFit,
    /// The node whose free resources are least like the request.
    DotProduct,
    /// Shared GPUs first, then used nodes.
    Packing,
    /// Nodes that hold tasks of the same size.
    Clustering,
    /// Least growth of fragmentation.
    Fgd,
    /// Ours.
    Assay,
}

impl PolicyName {
    /// The name on the command line.
    #[must_use]
    pub fn word(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Whether it orders jobs over time.
    #[must_use]
    pub fn orders(self) -> bool {
        matches!(
            self,
            Self::Fifo
                | Self::Easy
                | Self::Sjf
                | Self::Srtf
                | Self::Srsf
                | Self::TiresiasL
                | Self::Assay
        )
    }

    /// Whether it chooses nodes for pods.
    #[must_use]
    pub fn places(self) -> bool {
        !self.orders() || self == Self::Assay
    }
}

/// When a job pays for its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Overhead {
    /// At every event of the cluster, as Muri's simulator has it.
    Event,
    /// When it starts, starts again, or moves.
    Restart,
    /// Never.
    None,
}
