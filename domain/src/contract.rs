//! The environment contract: what every task finds set, because it may decide bits.

use crate::digest::Digest;
use std::collections::BTreeMap;

/// The fixed variables, each of which is known to change results.
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

/// Variables that a job may not set, since the contract or the agent does.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    name.starts_with("ASSAY_")
        || FIXED.iter().any(|(fixed, _)| *fixed == name)
        || matches!(
            name,
            "RANK"
                | "WORLD_SIZE"
                | "LOCAL_RANK"
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
pub fn recorded() -> BTreeMap<String, String> {
    let mut all: BTreeMap<_, _> =
        FIXED.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    all.insert("umask".to_owned(), format!("{UMASK:04o}"));
    all
}

/// The contract's digest, a part of every build key.
#[must_use]
pub fn digest() -> Digest {
    Digest::of_value(&("assay contract v1", recorded()))
}
