//! The `#SBATCH` directives that have a meaning here, and a word about each that has none.

mod counts;
mod words;

use super::draft::{Draft, array};
use crate::document::reader::Reader;
use counts::{Counts, MemoryOf, Said};
use domain::{
    Bytes, CpuMillis,
    interrupt::Preemptible,
    topology::{Level, Topology},
};
use words::{dependency, gpus, gpus_among, megabytes, nodes, time, warning, whole};

/// Slurm's short options that take a value, and their long forms.
const SHORT: [(&str, &str); 20] = [
    ("-J", "job-name"),
    ("-G", "gpus"),
    ("-n", "ntasks"),
    ("-c", "cpus-per-task"),
    ("-t", "time"),
    ("-p", "partition"),
    ("-a", "array"),
    ("-N", "nodes"),
    ("-d", "dependency"),
    ("-o", "output"),
    ("-e", "error"),
    ("-A", "account"),
    ("-q", "qos"),
    ("-C", "constraint"),
    ("-w", "nodelist"),
    ("-x", "exclude"),
    ("-D", "chdir"),
    ("-b", "begin"),
    ("-M", "clusters"),
    ("-L", "licenses"),
];

/// What a script's `#SBATCH` lines said.
#[derive(Debug, Default)]
pub struct Slurm {
    draft: Draft,
    counts: Counts,
}

impl Slurm {
    /// Reads the words of one line.
    pub fn line(
        &mut self,
        reader: &mut Reader,
        line: usize,
        words: &[String],
        notes: &mut Vec<String>,
    ) {
        let mut words = words.iter().map(String::as_str).peekable();
        while let Some(word) = words.next() {
            let Some((name, inline)) = option(word) else {
                notes.push(format!("line {line}: #SBATCH {word} is ignored"));
                continue;
            };
            let value = match inline {
                Some(value) => value.to_owned(),
                None => words.next_if(|next| !next.starts_with('-')).unwrap_or_default().into(),
            };
            match self.set(line, name, &value, notes) {
                Ok(true) => {}
                Ok(false) => notes.push(format!("line {line}: #SBATCH --{name} is ignored")),
                Err(fault) => {
                    reader.fault(Some(line), &format!("#SBATCH --{name}"), fault, "");
                }
            }
        }
    }

    /// Sets one option; says whether it has a meaning here.
    fn set(
        &mut self,
        line: usize,
        name: &str,
        value: &str,
        notes: &mut Vec<String>,
    ) -> Result<bool, String> {
        let (draft, counts) = (&mut self.draft, &mut self.counts);
        let said = |amount: u32| Some(Said { line, name: name.to_owned(), amount });
        let memory = |of| -> Result<Option<(MemoryOf, Said<Bytes>)>, String> {
            Ok(Some((of, Said { line, name: name.to_owned(), amount: megabytes(value)? })))
        };
        match name {
            "job-name" => draft.name = Some(value.into()),
            "partition" => draft.queue = Some(value.into()),
            "ntasks" => counts.tasks = Some(whole(value)?),
            "nodes" => counts.nodes = Some(nodes(value)?),
            "ntasks-per-node" => counts.tasks_per_node = Some(whole(value)?),
            "cpus-per-task" => draft.cpu = Some(CpuMillis(u64::from(whole(value)?) * 1_000)),
            "cpus-per-gpu" => counts.cpus_per_gpu = Some(whole(value)?),
            "gres" => match gpus_among(value) {
                Some(asked) => counts.gpus_per_node = said(model_apart(draft, asked)?),
                None => return Ok(false),
            },
            "gpus-per-node" => counts.gpus_per_node = said(model_apart(draft, value)?),
            "gpus-per-task" => counts.gpus_per_task = Some(model_apart(draft, value)?),
            "gpus" => counts.gpus = said(model_apart(draft, value)?),
            "mem" => counts.memory = memory(MemoryOf::Node)?,
            "mem-per-cpu" => counts.memory = memory(MemoryOf::Cpu)?,
            "mem-per-gpu" => counts.memory = memory(MemoryOf::Gpu)?,
            "time" => draft.time_limit = time(value)?,
            "array" => draft.array = Some(array(value)?),
            "dependency" => draft.after = dependency(value)?,
            "reservation" => draft.reservation = Some(value.into()),
            "no-requeue" => once(draft, true),
            "requeue" => once(draft, false),
            "switches" => return switches(draft, value),
            "signal" => {
                draft.warn = Some(warning(value)?);
                let how = "a notice in the file that ASSAY_NOTICE names; no signal is sent";
                notes.push(format!("line {line}: --signal becomes {how}"));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The job that the lines describe.
    pub fn draft(mut self, reader: &mut Reader, notes: &mut Vec<String>) -> Draft {
        self.counts.settle(&mut self.draft, reader, notes);
        self.draft
    }
}

/// The number of GPUs; their model goes to the draft.
fn model_apart(draft: &mut Draft, value: &str) -> Result<u32, String> {
    let (model, count) = gpus(value)?;
    draft.gpu_model = model.or(draft.gpu_model.take());
    Ok(count)
}

/// Not again after a fault of a node, and not stopped to make room; or as every job.
fn once(draft: &mut Draft, once: bool) {
    draft.retry.max.node = once.then_some(0);
    draft.preemptible = once.then_some(Preemptible::No);
}

/// One switch is a rack, if it can be; of more nothing is known.
fn switches(draft: &mut Draft, value: &str) -> Result<bool, String> {
    let count = whole(value.split('@').next().unwrap_or(value))?;
    let near = Topology { prefer: Some(Level::Rack), ..Topology::default() };
    draft.topology = (count == 1).then_some(near);
    Ok(count == 1)
}

/// An option's long name and the value written onto it, if any.
fn option(word: &str) -> Option<(&str, Option<&str>)> {
    if let Some(long) = word.strip_prefix("--") {
        return Some(match long.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (long, None),
        });
    }
    let short = word.get(..2).filter(|_| word.starts_with('-') && word.len() >= 2)?;
    let long = SHORT.iter().find(|(name, _)| *name == short).map(|(_, long)| *long)?;
    let value = word[2..].trim_start_matches('=');
    Some((long, (!value.is_empty()).then_some(value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantity::GpuCount;
    use domain::Millis;

    fn read(lines: &[&str]) -> (Draft, Vec<String>, Vec<String>) {
        let (mut slurm, mut reader, mut notes) = (Slurm::default(), Reader::default(), Vec::new());
        for (number, line) in lines.iter().enumerate() {
            let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            slurm.line(&mut reader, number + 1, &words, &mut notes);
        }
        let draft = slurm.draft(&mut reader, &mut notes);
        (draft, notes, reader.faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_common_directives_are_understood() {
        let (draft, _, faults) = read(&[
            "--job-name=train",
            "-p ml",
            "-n2",
            "--cpus-per-task 4",
            "--gpus=h100:8",
            "--mem=32G",
            "-t 1-12:30",
            "--array=0-7%2",
        ]);
        assert_eq!(faults, [""; 0]);
        assert_eq!(draft.name.as_deref(), Some("train"));
        assert_eq!(draft.queue.as_deref(), Some("ml"));
        assert_eq!((draft.tasks, draft.gpus), (Some(2), Some(GpuCount::whole(4))));
        assert_eq!(draft.gpu_model.as_deref(), Some("h100"));
        assert_eq!(draft.cpu, Some(CpuMillis(4_000)));
        assert_eq!(draft.memory, Some(Bytes(32 << 30)));
        assert_eq!(draft.time_limit, Some(Millis((36 * 3_600 + 1_800) * 1_000)));
        assert_eq!(draft.array.map(|a| (a.count, a.at_once_max)), Some((8, 2)));
    }

    #[test]
    fn what_has_no_meaning_here_is_named() {
        let (_, notes, _) = read(&["--mail-type=END", "--exclusive", "-o out.txt"]);
        assert_eq!(
            notes,
            [
                "line 1: #SBATCH --mail-type is ignored",
                "line 2: #SBATCH --exclusive is ignored",
                "line 3: #SBATCH --output is ignored",
            ]
        );
    }

    #[test]
    fn what_cannot_be_read_is_a_fault_with_its_line() {
        let (_, _, faults) = read(&["-c many", "-n 3", "--gpus 8"]);
        assert_eq!(
            faults,
            [
                "line 1: #SBATCH --cpus-per-task: `many` is not a whole number",
                "line 3: #SBATCH --gpus: 8 GPUs do not divide by 3 tasks; give each task as many, \
                 or one task more cores: `-n 1 -c`",
            ]
        );
    }

    /// Lines; tasks, GPUs of each, GiB of each.
    type Divided = (&'static [&'static str], (u32, u32, u64));

    #[test]
    fn amounts_of_nodes_are_divided_among_their_tasks() {
        let cases: [Divided; 13] = [
            (&["-N 2", "--ntasks-per-node=4", "--gres=gpu:a100:4", "--mem=64G"], (8, 1, 16)),
            (&["--nodes=2", "--gpus-per-node=8", "--mem=64G"], (2, 8, 64)),
            (&["-N2", "-n4", "--gpus-per-node=8", "--mem-per-gpu=2G"], (4, 4, 8)),
            (&["-n2", "-c4", "--mem-per-cpu=2G", "--gpus-per-task=1"], (2, 1, 8)),
            (&["-n2", "--gpus-per-task=2", "--cpus-per-gpu=4", "--mem-per-cpu=1G"], (2, 2, 8)),
            (&["--gres=nvme:1,gpu:2", "--mem=8G"], (1, 2, 8)),
            (&["--ntasks-per-node=4", "--gres=gpu:4", "--mem=8G"], (4, 1, 2)),
            (&["-n2", "--ntasks-per-node=4", "--gres=gpu:4", "--mem=8G"], (2, 2, 4)),
            (&["-N2", "-n4", "--ntasks-per-node=4", "--gres=gpu:4", "--mem=8G"], (4, 2, 4)),
            (&["-N 2-4", "-n 8", "--gres=gpu:1", "--mem=8G"], (8, 1, 8)),
            (&["--gpus=8", "--gpus-per-task=2", "--mem-per-gpu=1G"], (4, 2, 2)),
            (&["--gpus=16", "--gpus-per-node=8", "--mem=8G"], (2, 8, 8)),
            (&["--gpus=4", "-n 2", "--mem-per-gpu=1G"], (2, 2, 2)),
        ];
        for (lines, (tasks, gpus, gib)) in cases {
            let (draft, notes, faults) = read(lines);
            assert_eq!(faults, [""; 0], "{lines:?}");
            assert_eq!(draft.tasks.unwrap_or(1), tasks, "{lines:?}");
            assert_eq!(draft.gpus, Some(GpuCount::whole(gpus)), "{lines:?} {notes:?}");
            assert_eq!(draft.memory, Some(Bytes(gib << 30)), "{lines:?} {notes:?}");
        }
    }

    #[test]
    fn what_is_of_a_node_is_said_where_nobody_knows_how_many_tasks_share_it() {
        let (draft, notes, _) = read(&["-n 4", "--gres=gpu:2", "--mem=0"]);
        assert_eq!((draft.gpus, draft.memory), (Some(GpuCount::whole(2)), None));
        assert_eq!(
            notes,
            [
                "each of the 4 tasks runs the script, as under srun",
                "line 2: --gres is taken for each task, not each node",
                "line 3: --mem 0 gives 256 MiB a task: say how much",
            ]
        );
        let (_, notes, faults) = read(&["-N 1", "-n 4", "--gpus-per-node=6", "--mem=8G"]);
        assert_eq!(notes[1..], ["line 4: --mem 8 GiB gives 2 GiB a task"]);
        let fault = "line 3: #SBATCH --gpus-per-node: 6 GPUs of a node do not divide by 4 tasks";
        let remedy = "give each task as many, or one task more cores: `-n 1 -c`";
        assert_eq!(faults, [format!("{fault}; {remedy}")]);
    }

    #[test]
    fn a_gang_lies_on_one_node_only_where_that_is_certain() {
        let cases: [(&[&str], bool); 6] = [
            (&["-N 1", "-n 2"], true),
            (&["--ntasks-per-node=2"], true),
            (&["-N 1-1", "-n 2"], true),
            (&["-N 1-2", "-n 2"], false),
            (&["-N 1"], false),
            (&["-n 2"], false),
        ];
        for (lines, one) in cases {
            let near = read(lines).0.topology.and_then(|near| near.require);
            assert_eq!(near, one.then_some(Level::Node), "{lines:?}");
        }
    }

    #[test]
    fn where_and_after_what_it_runs_is_understood() {
        let (draft, notes, faults) = read(&[
            "--no-requeue",
            "-d afterok:7",
            "--reservation=friday",
            "--signal=B:USR1@120",
            "-q normal",
            "-t UNLIMITED",
        ]);
        assert_eq!(faults, [""; 0]);
        assert_eq!((draft.retry.max.node, draft.preemptible), (Some(0), Some(Preemptible::No)));
        assert_eq!(draft.after.len(), 1);
        assert_eq!(draft.reservation.as_deref(), Some("friday"));
        assert_eq!((draft.warn, draft.time_limit), (Some(Millis(120_000)), None));
        assert!(notes[0].starts_with("line 4: --signal becomes a notice"), "{notes:?}");
        assert_eq!(notes[1..], ["line 5: #SBATCH --qos is ignored"]);
        let (draft, notes, _) = read(&["--no-requeue", "--switches=1@10:00", "--requeue"]);
        assert_eq!(draft.topology.and_then(|near| near.prefer), Some(Level::Rack));
        assert_eq!((draft.retry.max.node, draft.preemptible), (None, None));
        assert_eq!(notes, [""; 0]);
        let (_, notes, _) = read(&["--switches=2"]);
        assert_eq!(notes, ["line 1: #SBATCH --switches is ignored"]);
    }
}
