//! Slurm counts GPUs, cores and memory by job, node, task or GPU; here a task has what it has. What
//! is said is kept until all lines are read, since the number of tasks may come last.

use super::words::NodeCount;
use crate::{
    document::reader::Reader,
    jobfile::draft::{DEFAULT_MEMORY, Draft},
    quantity::GpuCount,
};
use domain::{
    Bytes, CpuMillis,
    topology::{Level, Topology},
};

/// What memory is counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryOf {
    /// Each node.
    Node,
    /// Each core.
    Cpu,
    /// Each GPU.
    Gpu,
}

/// An amount as a line said it.
#[derive(Clone, Debug)]
pub struct Said<T> {
    /// The line.
    pub line: usize,
    /// The directive.
    pub name: String,
    /// How much.
    pub amount: T,
}

/// What lines said of nodes, tasks and amounts. Of each, what is said last holds.
#[derive(Debug, Default)]
pub struct Counts {
    /// All tasks.
    pub tasks: Option<u32>,
    /// Nodes.
    pub nodes: Option<NodeCount>,
    /// Tasks of each node; no more than these where all tasks are named.
    pub tasks_per_node: Option<u32>,
    /// GPUs of the job.
    pub gpus: Option<Said<u32>>,
    /// GPUs of each node.
    pub gpus_per_node: Option<Said<u32>>,
    /// GPUs of each task.
    pub gpus_per_task: Option<u32>,
    /// Cores of each GPU.
    pub cpus_per_gpu: Option<u32>,
    /// Memory.
    pub memory: Option<(MemoryOf, Said<Bytes>)>,
}

impl Counts {
    /// Nodes, where their number is certain.
    fn exact_nodes(&self) -> Option<u32> {
        let named = self.nodes.and_then(NodeCount::exact);
        let unsaid = self.nodes.is_none() && self.tasks.is_none();
        let by_gpus = || part(&self.gpus, &self.gpus_per_node).filter(|_| unsaid);
        let one = || (unsaid && self.tasks_per_node.is_some()).then_some(1);
        named.or_else(by_gpus).or_else(one).filter(|nodes| *nodes > 0)
    }

    /// Tasks, as Slurm has them: one for each node where nothing says more.
    fn all_tasks(&self) -> Option<u32> {
        let by_gpus = || {
            let each = self.gpus_per_task.filter(|each| *each > 0)?;
            let all = self.gpus.as_ref()?.amount;
            (self.nodes.is_none() && all.is_multiple_of(each)).then(|| all / each)
        };
        let nodes = self.exact_nodes().or(self.nodes.map(|nodes| nodes.least));
        let each = self.tasks_per_node.unwrap_or(1);
        self.tasks.or_else(by_gpus).or(nodes.map(|nodes| nodes.saturating_mul(each)))
    }

    /// Tasks of one node, where that is known.
    fn on_a_node(&self, tasks: u32) -> Option<u32> {
        let even = self.exact_nodes().filter(|nodes| tasks.is_multiple_of(*nodes));
        let even = even.map(|nodes| tasks / nodes);
        let most = self.tasks_per_node.map(|most| most.min(tasks));
        even.or(most).or((tasks == 1).then_some(1)).filter(|tasks| *tasks > 0)
    }

    /// Writes what each task has.
    pub fn settle(&self, draft: &mut Draft, reader: &mut Reader, notes: &mut Vec<String>) {
        draft.tasks = self.all_tasks();
        let tasks = draft.tasks.unwrap_or(1);
        if tasks > 1 {
            notes.push(format!("each of the {tasks} tasks runs the script, as under srun"));
            if self.exact_nodes() == Some(1) {
                let near = Topology { require: Some(Level::Node), ..Topology::default() };
                draft.topology = Some(near);
            }
        }
        draft.gpus = self.gpus_of_a_task(tasks, reader, notes).map(GpuCount::whole);
        let gpus = draft.gpus.map_or(1, |asked| u64::from(asked.gpus).max(1));
        if let Some(each) = self.cpus_per_gpu {
            draft.cpu = draft.cpu.or(Some(CpuMillis(u64::from(each) * gpus * 1_000)));
        }
        let cores = draft.cpu.map_or(1, |cpu| cpu.0.div_ceil(1_000).max(1));
        draft.memory = self.memory_of_a_task((tasks, cores, gpus), notes);
    }

    fn gpus_of_a_task(
        &self,
        tasks: u32,
        reader: &mut Reader,
        notes: &mut Vec<String>,
    ) -> Option<u32> {
        if self.gpus_per_task.is_some() {
            return self.gpus_per_task;
        }
        let (said, among, whose) = match (&self.gpus_per_node, &self.gpus) {
            (Some(said), _) => match self.on_a_node(tasks) {
                Some(on_it) => (said, on_it, " of a node"),
                None => {
                    notes.push(not_by_node(said));
                    return Some(said.amount);
                }
            },
            (None, Some(said)) => (said, tasks.max(1), ""),
            (None, None) => return None,
        };
        let Said { line, name, amount } = said;
        if !amount.is_multiple_of(among) {
            let fault = format!("{amount} GPUs{whose} do not divide by {among} tasks");
            let remedy = "give each task as many, or one task more cores: `-n 1 -c`";
            reader.fault(Some(*line), &format!("#SBATCH --{name}"), fault, remedy);
            return None;
        }
        if among > 1 {
            notes.push(format!("line {line}: --{name} {amount} gives {} a task", amount / among));
        }
        Some(amount / among)
    }

    /// By tasks, and by cores and GPUs of each.
    fn memory_of_a_task(
        &self,
        (tasks, cores, gpus): (u32, u64, u64),
        notes: &mut Vec<String>,
    ) -> Option<Bytes> {
        let (of, said) = self.memory.as_ref()?;
        let Said { line, name, amount } = said;
        if amount.0 == 0 {
            let least = DEFAULT_MEMORY.text();
            notes.push(format!("line {line}: --{name} 0 gives {least} a task: say how much"));
            return None;
        }
        let times = |count: u64| Some(Bytes(amount.0.saturating_mul(count)));
        match (of, self.on_a_node(tasks)) {
            (MemoryOf::Cpu, _) => times(cores),
            (MemoryOf::Gpu, _) => times(gpus),
            (MemoryOf::Node, Some(1)) => times(1),
            (MemoryOf::Node, Some(on_it)) => {
                let each = Bytes(amount.0 / u64::from(on_it));
                let (all, one) = (amount.text(), each.text());
                notes.push(format!("line {line}: --{name} {all} gives {one} a task"));
                Some(each)
            }
            (MemoryOf::Node, None) => {
                notes.push(not_by_node(said));
                times(1)
            }
        }
    }
}

fn not_by_node<T>(said: &Said<T>) -> String {
    let Said { line, name, .. } = said;
    format!("line {line}: --{name} is taken for each task, not each node")
}

/// How many parts there are, if a whole is made of them.
fn part(whole: &Option<Said<u32>>, each: &Option<Said<u32>>) -> Option<u32> {
    let (whole, each) = (whole.as_ref()?.amount, each.as_ref()?.amount);
    (each > 0 && whole.is_multiple_of(each)).then(|| whole / each)
}
