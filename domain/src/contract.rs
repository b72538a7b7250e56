//! The environment contract: what every task finds set, because it may decide bits.

use crate::{
    digest::Digest,
    framework::{COMMON, Framework},
};
use std::collections::BTreeMap;

/// The fixed variables of a job that names no framework: each is known to change results.
///
/// Source: `docs/DETERMINISM.md`, from the frameworks' own pages on reproducibility.
pub const FIXED: &[(&str, &str)] = &[
    ("CUBLAS_WORKSPACE_CONFIG", ":4096:8"),
    ("LANG", "C.UTF-8"),
    ("LC_ALL", "C.UTF-8"),
    ("MKL_CBWR", "AVX2,STRICT"),
    ("MKL_NUM_THREADS", "1"),
    ("NCCL_ALGO", "Ring"),
    ("NCCL_PROTO", "Simple"),
    ("NUMEXPR_NUM_THREADS", "1"),
    ("NVTE_ALLOW_NONDETERMINISTIC_ALGO", "0"),
    ("OMP_NUM_THREADS", "1"),
    ("OPENBLAS_CORETYPE", "Haswell"),
    ("OPENBLAS_NUM_THREADS", "1"),
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("PYTHONDONTWRITEBYTECODE", "1"),
    ("PYTHONHASHSEED", "0"),
    ("SOURCE_DATE_EPOCH", "0"),
    ("TF_CUDNN_DETERMINISTIC", "1"),
    ("TF_DETERMINISTIC_OPS", "1"),
    ("TZ", "UTC"),
    ("XLA_FLAGS", "--xla_gpu_deterministic_ops=true"),
];

/// The umask of every task.
pub const UMASK: u32 = 0o022;

/// The variables of a job, in the order of their names.
#[must_use]
pub fn variables(framework: Option<Framework>) -> BTreeMap<&'static str, &'static str> {
    match framework {
        None => FIXED.iter().copied().collect(),
        Some(framework) => {
            let all = COMMON.iter().chain(framework.settings());
            all.map(|setting| (setting.name, setting.value)).collect()
        }
    }
}

/// Whether the contract of a job sets a variable.
fn is_set(framework: Option<Framework>, name: &str) -> bool {
    match framework {
        None => FIXED.iter().any(|(fixed, _)| *fixed == name),
        Some(framework) => {
            COMMON.iter().chain(framework.settings()).any(|setting| setting.name == name)
        }
    }
}

/// Whether a variable is part of the contract of any job, whatever it computes with.
///
/// `PATH` is not: which program a name finds decides bits only by way of the code that looks.
#[must_use]
pub fn decides_bits(name: &str) -> bool {
    let of = |framework: &(&str, Framework)| framework.1.settings().any(|it| it.name == name);
    name != "PATH"
        && (FIXED.iter().any(|(fixed, _)| *fixed == name) || Framework::WORDS.iter().any(of))
}

/// Variables that a job may not set, since the contract or the agent does.
#[must_use]
pub fn is_reserved(framework: Option<Framework>, name: &str) -> bool {
    name.starts_with("ASSAY_")
        || is_set(framework, name)
        || matches!(
            name,
            "RANK"
                | "WORLD_SIZE"
                | "LOCAL_RANK"
                | "LOCAL_WORLD_SIZE"
                | "GROUP_RANK"
                | "GROUP_WORLD_SIZE"
                | "ROLE_RANK"
                | "ROLE_WORLD_SIZE"
                | "TORCHELASTIC_RESTART_COUNT"
                | "TORCHELASTIC_RUN_ID"
                | "NODE_RANK"
                | "MASTER_ADDR"
                | "MASTER_PORT"
                | "CUDA_VISIBLE_DEVICES"
                | "HOME"
                | "TMPDIR"
        )
}

/// The contract as name and value, the umask included, for the record.
#[must_use]
pub fn recorded(framework: Option<Framework>) -> BTreeMap<String, String> {
    let mut all: BTreeMap<_, _> = variables(framework)
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    all.insert("umask".to_owned(), format!("{UMASK:04o}"));
    all
}

/// The contract's digest, a part of every build key.
#[must_use]
pub fn digest(framework: Option<Framework>) -> Digest {
    let recorded = recorded(framework);
    match framework {
        None => Digest::of_value(&("assay contract v1", recorded)),
        // What it must answer is a part of what was promised.
        Some(framework) => {
            let answers = framework.answers().iter().map(|it| (it.name, it.value));
            let answers: BTreeMap<_, _> = answers.collect();
            Digest::of_value(&("assay contract v1", framework.word(), recorded, answers))
        }
    }
}
