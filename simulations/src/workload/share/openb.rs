//! Node and pod lists of Alibaba's 2023 GPU cluster.

use crate::workload::{
    error::WorkloadError,
    file::{Row, Table},
};
use scheduler::planner::room::{Ask, NODE_GPUS_MAX, Room, WHOLE};
use std::path::Path;

/// Models that one cluster may tell apart: bits of a word.
const MODELS_MAX: usize = 64;
/// Thousandths of a core, or MiB, at most: beyond any machine, far from overflow.
const AMOUNT_MAX: u64 = 1 << 40;
/// Cores and MiB beside each GPU of nodes that are given by number only.
const BESIDE_GPU: (u64, u64) = (16_000, 131_072);

/// Names of GPU models; a model is its place here.
#[derive(Clone, Debug, Default)]
pub struct Models(Vec<String>);

impl Models {
    fn place(&mut self, name: &str, row: &Row<'_>) -> Result<u8, WorkloadError> {
        let known = self.0.iter().position(|other| other == name);
        let at = known.unwrap_or_else(|| {
            self.0.push(name.to_owned());
            self.0.len() - 1
        });
        if at >= MODELS_MAX {
            return Err(row.fault(format!("more than {MODELS_MAX} GPU models")));
        }
        // Below MODELS_MAX.
        Ok(at as u8)
    }
}

/// The nodes of a cluster, by name.
pub struct Nodes {
    /// What is on each.
    pub rooms: Vec<Room>,
    /// Models by name.
    pub models: Models,
}

impl Nodes {
    /// Nodes of one size.
    #[must_use]
    pub fn alike(sizes: &[u32]) -> Self {
        let room = |gpus: &u32| {
            let (cpu, memory) = BESIDE_GPU;
            let gpus = (*gpus as usize).min(NODE_GPUS_MAX);
            Room::empty(cpu * gpus as u64, memory * gpus as u64, 0, gpus)
        };
        Self { rooms: sizes.iter().map(room).collect(), models: Models::default() }
    }

    /// Reads a node list.
    ///
    /// # Errors
    /// Names the file and the line of what is wrong.
    pub fn load(path: &Path) -> Result<Self, WorkloadError> {
        let table = Table::open(path)?;
        table.need(&["sn", "cpu_milli", "memory_mib", "gpu"])?;
        let mut models = Models::default();
        let mut rows: Vec<(String, Room)> = Vec::new();
        for row in table.rows() {
            // Within NODE_GPUS_MAX.
            let gpus = row.count("gpu", NODE_GPUS_MAX as u64)? as usize;
            let model = models.place(row.text("model"), &row)?;
            let cpu = row.count("cpu_milli", AMOUNT_MAX)?;
            let memory = row.count("memory_mib", AMOUNT_MAX)?;
            rows.push((row.text("sn").to_owned(), Room::empty(cpu, memory, model, gpus)));
        }
        if rows.is_empty() {
            let what = "it names no node".to_owned();
            return Err(WorkloadError::Empty { path: path.to_owned(), what });
        }
        // Of equal scores the smallest name wins.
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(Self { rooms: rows.into_iter().map(|(_, room)| room).collect(), models })
    }

    /// Thousandths of all GPUs.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.rooms.iter().map(Room::idle).sum()
    }
}

/// Whether a table is a node list.
///
/// # Errors
/// When the file cannot be read.
pub fn is_node_list(path: &Path) -> Result<bool, WorkloadError> {
    let table = Table::open(path)?;
    Ok(table.has("sn") && table.has("gpu"))
}

/// Reads a pod list; times in it are not used.
///
/// # Errors
/// Names the file and the line of what is wrong.
pub fn pods(path: &Path, models: &mut Models) -> Result<Vec<Ask>, WorkloadError> {
    let table = Table::open(path)?;
    table.need(&["name", "cpu_milli", "num_gpu", "gpu_milli"])?;
    let mut pods: Vec<(String, Ask)> = Vec::new();
    for row in table.rows() {
        let gpus = row.count("num_gpu", NODE_GPUS_MAX as u64)?;
        let share = row.count("gpu_milli", u64::from(WHOLE))?;
        if gpus > 0 && share == 0 {
            return Err(row.fault("`gpu_milli` is 0 with GPUs asked for; it must be 1 to 1000"));
        }
        let mut mask = 0;
        for name in row.text("gpu_spec").split('|').filter(|name| !name.is_empty()) {
            mask |= 1 << models.place(name, &row)?;
        }
        let memory = if table.has("memory_mib") { row.count("memory_mib", AMOUNT_MAX)? } else { 0 };
        let ask = Ask {
            cpu: row.count("cpu_milli", AMOUNT_MAX)?,
            memory,
            // Within NODE_GPUS_MAX and WHOLE.
            gpus: gpus as u8,
            share: if gpus == 0 { 0 } else { share as u16 },
            models: if gpus == 0 { 0 } else { mask },
        };
        pods.push((row.text("name").to_owned(), ask));
    }
    if pods.iter().all(|(_, ask)| ask.gpus == 0) {
        let what = "no pod asks for a GPU".to_owned();
        return Err(WorkloadError::Empty { path: path.to_owned(), what });
    }
    pods.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(pods.into_iter().map(|(_, ask)| ask).collect())
}
