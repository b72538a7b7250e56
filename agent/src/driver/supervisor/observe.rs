//! Reads back what is in force in a task and in what it started.

use super::{
    stray::{self, Where},
    wire::TaskCommand,
};
use domain::{LeaseId, contract, observed::Observed};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::OnceLock,
};

/// Largest `maps` or `environ` that is read.
const FILE_MAX: u64 = 4 << 20;
/// Libraries named in one record.
const LIBRARIES_MAX: usize = 64;
/// Libraries whose version may decide bits, by the beginning of their file's name.
const COMPUTE: [&str; 22] = [
    "libOpenCL",
    "libamdhip",
    "libblas",
    "libblis",
    "libc10",
    "libcublas",
    "libcuda",
    "libcudnn",
    "libcusolver",
    "libgomp",
    "libhsa",
    "libiomp",
    "libjax",
    "liblapack",
    "libm.so",
    "libmkl",
    "libnccl",
    "libopenblas",
    "librccl",
    "libscipy_openblas",
    "libtensorflow",
    "libtorch",
];
/// The same for modules of Python, which have no `lib` before their name.
const MODULES: [&str; 4] = ["libxgboost", "_jax", "_multiarray_umath", "xla_extension"];
/// Instruction sets that change results, by the beginning of their name.
const FLAGS: [&str; 7] = ["amx", "avx", "bmi", "f16c", "fma", "sse4", "ssse3"];
/// Limits that a program may trip over.
const LIMITS: [&str; 6] = [
    "Max address space",
    "Max core file size",
    "Max locked memory",
    "Max open files",
    "Max processes",
    "Max stack size",
];

/// A variable of the contract that is not in force as it was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Drift {
    /// The variable, or `umask`.
    pub(super) name: String,
    /// What was set.
    pub(super) asked: String,
    /// What is in force.
    pub(super) found: String,
}

/// What is known of a task whose variables were found to be exactly those that were asked for.
pub(super) fn as_asked(task: &TaskCommand) -> Observed {
    let decides = |(name, _): &&(String, String)| contract::decides_bits(name) || name == "PATH";
    let environment = task.env.iter().filter(decides).cloned().collect();
    Observed { environment, ..Observed::default() }
}

/// What the system tells of a process; none of one that has ended or has not quite begun.
pub(super) fn look(pid: i32) -> Option<Observed> {
    let environ = environ(pid)?;
    let status = read(pid, "status")?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let decides = |(name, _): &(String, String)| contract::decides_bits(name) || name == "PATH";
    Some(Observed {
        environment: environ.into_iter().filter(decides).collect(),
        umask: field("Umask:").unwrap_or_default().trim().to_owned(),
        limits: limits(&read(pid, "limits")?),
        cpu_flags: cpu_flags(),
        libraries: libraries(&read(pid, "maps")?),
    })
}

/// The first variable that some process of a lease's rank has otherwise than it was set. Left out
/// is what a child was not given at all: helpers with an empty environment compute nothing.
pub(super) fn drift(leases: &Path, lease: LeaseId, task: &TaskCommand) -> Option<Drift> {
    let rank = task.env.iter().find(|(name, _)| name == "RANK").map(|(_, value)| value);
    let all =
        stray::processes(leases, Where::Everywhere).into_iter().filter(|(_, of)| *of == lease);
    let mut environments = all.filter_map(|(pid, _)| environ(pid.as_raw_nonzero().get()));
    environments.find_map(|environ| {
        let same_rank = environ.get("RANK") == rank;
        differing(&environ, task).filter(|_| same_rank)
    })
}

/// How a process's umask differs from the contract's.
pub(super) fn umask(observed: &Observed) -> Option<Drift> {
    let asked = format!("{:04o}", contract::UMASK);
    let differs = !observed.umask.is_empty() && observed.umask != asked;
    differs.then(|| Drift { name: "umask".into(), asked, found: observed.umask.clone() })
}

fn differing(environ: &BTreeMap<String, String>, task: &TaskCommand) -> Option<Drift> {
    let asked = task.env.iter().filter(|(name, _)| contract::decides_bits(name));
    asked.into_iter().find_map(|(name, asked)| {
        let found = environ.get(name).filter(|found| *found != asked)?;
        Some(Drift { name: name.clone(), asked: asked.clone(), found: found.clone() })
    })
}

fn environ(pid: i32) -> Option<BTreeMap<String, String>> {
    let text = read(pid, "environ").filter(|text| !text.is_empty())?;
    let pairs = text.split('\0').filter_map(|line| line.split_once('='));
    // Of a name that is there twice, the first one counts, as for `getenv`.
    let mut all = BTreeMap::new();
    for (name, value) in pairs {
        all.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }
    Some(all)
}

fn read(pid: i32, file: &str) -> Option<String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let file = fs::File::open(format!("/proc/{pid}/{file}")).ok()?;
    file.take(FILE_MAX).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn limits(text: &str) -> BTreeMap<String, String> {
    let of = |line: &str| {
        let name = LIMITS.iter().find(|name| line.starts_with(**name))?;
        let soft = line[name.len()..].split_whitespace().next()?;
        Some(((*name).to_owned(), soft.to_owned()))
    };
    text.lines().filter_map(of).collect()
}

fn libraries(maps: &str) -> BTreeSet<String> {
    let names = maps.lines().filter_map(|line| line.rsplit_once('/').map(|(_, name)| name));
    let computes = |name: &&str| {
        COMPUTE.iter().chain(&MODULES).any(|start| name.starts_with(start)) && name.contains(".so")
    };
    let found: BTreeSet<_> = names.filter(computes).map(str::to_owned).collect();
    found.into_iter().take(LIBRARIES_MAX).collect()
}

/// Read once: a processor learns nothing.
fn cpu_flags() -> BTreeSet<String> {
    static KNOWN: OnceLock<BTreeSet<String>> = OnceLock::new();
    let read = || {
        let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("flags"));
        let flags = line.unwrap_or_default().split_whitespace();
        let counts = |flag: &&str| FLAGS.iter().any(|start| flag.starts_with(start));
        flags.filter(counts).map(str::to_owned).collect()
    };
    KNOWN.get_or_init(read).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(env: &[(&str, &str)]) -> TaskCommand {
        TaskCommand {
            rank: 0,
            program: "/bin/true".into(),
            args: vec![],
            env: env.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            cwd: "/".into(),
            log: "/dev/null".into(),
        }
    }

    #[test]
    fn what_a_child_has_otherwise_is_told_with_both_values_and_what_it_lacks_is_not() {
        let task = task(&[("OMP_NUM_THREADS", "1"), ("PATH", "/bin"), ("TZ", "UTC")]);
        let of = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
            differing(&pairs.collect(), &task).map(|it| (it.name, it.asked, it.found))
        };
        assert_eq!(of(&[("PATH", "/venv/bin:/bin"), ("TZ", "UTC")]), None);
        assert_eq!(
            of(&[("OMP_NUM_THREADS", "4")]),
            Some(("OMP_NUM_THREADS".into(), "1".into(), "4".into()))
        );
    }

    #[test]
    fn this_process_is_read_with_its_umask_its_limits_and_what_it_computes_with() {
        let own = look(std::process::id() as i32).unwrap();
        assert_eq!(own.umask.len(), 4, "{}", own.umask);
        assert!(own.limits.contains_key("Max open files"), "{:?}", own.limits);
        assert!(own.libraries.iter().any(|name| name.starts_with("libm.so")), "{own:?}");
        let drift = umask(&Observed { umask: "0077".into(), ..own });
        assert_eq!(drift.map(|it| (it.asked, it.found)), Some(("0022".into(), "0077".into())));
    }

    #[test]
    fn libraries_are_named_by_their_files_and_by_no_others() {
        let maps = "7f00-7f01 r-xp 0 08:01 1 /usr/lib/libcublas.so.12.4.2\n\
                    7f01-7f02 r-xp 0 08:01 2 /usr/lib/libc.so.6\n\
                    7f02-7f03 rw-p 0 00:00 0 [heap]\n";
        assert_eq!(libraries(maps), ["libcublas.so.12.4.2".to_owned()].into());
    }
}
