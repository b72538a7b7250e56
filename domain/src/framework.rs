//! What each framework finds set before it starts, and what it must say of itself once it runs.
//!
//! Every setting and every answer names its source. `docs/DETERMINISM.md` shows them as tables;
//! a test compares.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// What a job computes with, where it says so.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Framework {
    /// PyTorch.
    Pytorch,
    /// JAX, and XLA below it.
    Jax,
    /// TensorFlow.
    Tensorflow,
    /// XGBoost.
    Xgboost,
    /// scikit-learn, NumPy and SciPy.
    ScikitLearn,
    /// CUDA without any of these.
    Cuda,
}

/// A variable that is set before a task starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// Its value.
    pub value: &'static str,
    /// Why it is set.
    pub why: &'static str,
    /// Who says so.
    pub source: &'static str,
}

/// What a framework must say of itself once it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The name in the report.
    pub name: &'static str,
    /// What it must be.
    pub value: &'static str,
    /// How the program finds it out.
    pub source: &'static str,
}

const fn set(
    name: &'static str,
    value: &'static str,
    why: &'static str,
    source: &'static str,
) -> Setting {
    Setting { name, value, why, source }
}

const fn must(name: &'static str, value: &'static str, source: &'static str) -> Answer {
    Answer { name, value, source }
}

const OPENMP: &str = "https://www.openmp.org/spec-html/5.0/openmpch6.html";
const OPENBLAS: &str =
    "https://github.com/OpenMathLib/OpenBLAS/blob/develop/docs/runtime_variables.md";
const MKL: &str = concat!(
    "https://www.intel.com/content/www/us/en/docs/onemkl/developer-guide-linux/2023-0/",
    "obtaining-numerically-reproducible-results.html"
);
const PYTHON: &str = "https://docs.python.org/3/using/cmdline.html#environment-variables";
const POSIX: &str = "https://pubs.opengroup.org/onlinepubs/9699919799/basedefs/V1_chap08.html";
const NUMPY: &str = "https://numpy.org/doc/stable/reference/simd/build-options.html";
const CUBLAS: &str = "https://docs.nvidia.com/cuda/cublas/#results-reproducibility";
const CUDA_ENV: &str =
    "https://docs.nvidia.com/cuda/cuda-c-programming-guide/#cuda-environment-variables";
const NCCL: &str = "https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/env.html";
const TORCH: &str = "https://docs.pytorch.org/docs/stable/notes/randomness.html";
const TORCH_CPU: &str =
    "https://github.com/pytorch/pytorch/blob/v1.13.1/aten/src/ATen/native/DispatchStub.cpp";
const XLA: &str = "https://openxla.org/xla/flags_guidance";
const JAX: &str = "https://docs.jax.dev/en/latest/config_options.html";
const TF: &str =
    "https://www.tensorflow.org/api_docs/python/tf/config/experimental/enable_op_determinism";
const TF_CPU: &str = concat!(
    "https://www.intel.com/content/www/us/en/developer/articles/guide/",
    "guide-to-tensorflow-runtime-optimizations-for-cpu.html"
);
const XGBOOST: &str = "https://xgboost.readthedocs.io/en/stable/parameter.html";
const SKLEARN: &str = "https://scikit-learn.org/stable/computing/parallelism.html";

/// What every task finds, whatever it computes with.
pub const COMMON: &[Setting] = &[
    set("LANG", "C.UTF-8", "sorting and formats", POSIX),
    set("LC_ALL", "C.UTF-8", "sorting and formats", POSIX),
    set("MKL_CBWR", "AVX2,STRICT", "one code path of MKL whatever the processor", MKL),
    set("MKL_NUM_THREADS", "1", "the split of a sum over threads changes its bits", MKL),
    set(
        "NUMEXPR_NUM_THREADS",
        "1",
        "the split of a sum over threads changes its bits",
        "https://numexpr.readthedocs.io/en/latest/user_guide.html",
    ),
    set("OMP_NUM_THREADS", "1", "the split of a sum over threads changes its bits", OPENMP),
    set("OPENBLAS_CORETYPE", "Haswell", "one kernel whatever the processor", OPENBLAS),
    set("OPENBLAS_NUM_THREADS", "1", "the split of a sum over threads changes its bits", OPENBLAS),
    set(
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "which program a name finds",
        POSIX,
    ),
    set("PYTHONDONTWRITEBYTECODE", "1", "no files beside the code", PYTHON),
    set("PYTHONHASHSEED", "0", "order of Python's sets", PYTHON),
    set(
        "SOURCE_DATE_EPOCH",
        "0",
        "tools that stamp the time into their output",
        "https://reproducible-builds.org/specs/source-date-epoch/",
    ),
    set("TZ", "UTC", "dates", POSIX),
];

/// What computes on NVIDIA's GPUs.
const GPU: &[Setting] = &[
    set("CUBLAS_WORKSPACE_CONFIG", ":4096:8", "workspaces that give one order of sums", CUBLAS),
    set("CUDA_DEVICE_ORDER", "PCI_BUS_ID", "one order of GPUs", CUDA_ENV),
    set("NCCL_ALGO", "Ring", "one order of reduction", NCCL),
    set("NCCL_PROTO", "Simple", "one order of reduction", NCCL),
    set(
        "NVIDIA_TF32_OVERRIDE",
        "0",
        "whether products are rounded to TF32 is not left open",
        CUBLAS,
    ),
];

/// What NumPy reads, which all of the Python frameworks load.
const ARRAYS: &[Setting] = &[
    set(
        "NPY_DISABLE_CPU_FEATURES",
        "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR X86_V4",
        "one level of instructions, and so one `exp`, whatever the processor",
        NUMPY,
    ),
    set("OMP_DYNAMIC", "FALSE", "the number of threads is not adjusted by load", OPENMP),
];

const PYTORCH: &[Setting] = &[
    set("ATEN_CPU_CAPABILITY", "avx2", "one set of kernels whatever the processor", TORCH_CPU),
    set(
        "NVTE_ALLOW_NONDETERMINISTIC_ALGO",
        "0",
        "attention of Transformer Engine",
        "https://docs.nvidia.com/deeplearning/transformer-engine/user-guide/envvars.html",
    ),
    set("PYTORCH_TUNABLEOP_ENABLED", "0", "no choice of kernels by stopwatch", TORCH),
    set(
        "ROCBLAS_DEFAULT_ATOMICS_MODE",
        "0",
        "no sums in the order of arrival on AMD's GPUs",
        "https://rocm.docs.amd.com/projects/rocBLAS/en/latest/reference/env-variables.html",
    ),
    set("TORCHINDUCTOR_MAX_AUTOTUNE", "0", "no choice of kernels by stopwatch", TORCH),
];

const OF_JAX: &[Setting] = &[
    set("JAX_DEFAULT_MATMUL_PRECISION", "highest", "products are not rounded to TF32", JAX),
    set("JAX_THREEFRY_PARTITIONABLE", "1", "one stream of random numbers", JAX),
    set(
        "XLA_FLAGS",
        "--xla_gpu_deterministic_ops=true --xla_gpu_autotune_level=0 \
         --xla_cpu_multi_thread_eigen=false --xla_cpu_max_isa=AVX2",
        "one order of sums, no choice of kernels by stopwatch, one level of instructions",
        XLA,
    ),
];

const TENSORFLOW: &[Setting] = &[
    set("TF_CUDNN_DETERMINISTIC", "1", "convolutions, before version 2.8", TF),
    set("TF_DETERMINISTIC_OPS", "1", "all operations, before version 2.8", TF),
    set("TF_ENABLE_ONEDNN_OPTS", "0", "oneDNN picks kernels by processor", TF_CPU),
    set("TF_NUM_INTEROP_THREADS", "1", "the order of operations", TF_CPU),
    set("TF_NUM_INTRAOP_THREADS", "1", "the split of a sum over threads changes its bits", TF_CPU),
];

const SCIKIT: &[Setting] =
    &[set("LOKY_MAX_CPU_COUNT", "1", "joblib starts no workers by number of cores", SKLEARN)];

impl Framework {
    /// All of them, by the word that a job file uses.
    pub const WORDS: [(&str, Self); 6] = [
        ("pytorch", Self::Pytorch),
        ("jax", Self::Jax),
        ("tensorflow", Self::Tensorflow),
        ("xgboost", Self::Xgboost),
        ("scikit-learn", Self::ScikitLearn),
        ("cuda", Self::Cuda),
    ];

    /// The word that a job file uses.
    #[must_use]
    pub fn word(self) -> &'static str {
        let found = Self::WORDS.iter().find(|(_, framework)| *framework == self);
        found.map_or("", |(word, _)| word)
    }

    /// What is set for it beside [`COMMON`].
    pub fn settings(self) -> impl Iterator<Item = &'static Setting> {
        let (gpu, arrays, own): (&[Setting], &[Setting], &[Setting]) = match self {
            Self::Pytorch => (GPU, ARRAYS, PYTORCH),
            Self::Jax => (GPU, ARRAYS, OF_JAX),
            Self::Tensorflow => (GPU, ARRAYS, TENSORFLOW),
            Self::Xgboost => (GPU, ARRAYS, &[]),
            Self::ScikitLearn => (&[], ARRAYS, SCIKIT),
            Self::Cuda => (GPU, &[], &[]),
        };
        gpu.iter().chain(arrays).chain(own)
    }

    /// What it must say of itself. Empty where there is nothing to ask: then no report is needed.
    #[must_use]
    pub fn answers(self) -> &'static [Answer] {
        const PYTORCH: &[Answer] = &[
            must("cpu_capability", "AVX2", "torch.backends.cpu.get_cpu_capability()"),
            must("cuda_matmul_tf32", "false", "torch.backends.cuda.matmul.allow_tf32"),
            must("cudnn_benchmark", "false", "torch.backends.cudnn.benchmark"),
            must("cudnn_deterministic", "true", "torch.backends.cudnn.deterministic"),
            must("cudnn_tf32", "false", "torch.backends.cudnn.allow_tf32"),
            must(
                "deterministic_algorithms",
                "true",
                "torch.are_deterministic_algorithms_enabled()",
            ),
            must("threads", "1", "torch.get_num_threads()"),
        ];
        const JAX: &[Answer] = &[
            must("matmul_precision", "highest", "jax.config.jax_default_matmul_precision"),
            must("threefry_partitionable", "true", "jax.config.jax_threefry_partitionable"),
            must("xla_flags", OF_JAX[2].value, "os.environ[\"XLA_FLAGS\"] when JAX starts"),
        ];
        const TENSORFLOW: &[Answer] = &[
            must(
                "op_determinism",
                "true",
                "tensorflow.python.framework.config.is_op_determinism_enabled()",
            ),
            must("tf32", "false", "tf.config.experimental.tensor_float_32_execution_enabled()"),
        ];
        const XGBOOST: &[Answer] =
            &[must("threads", "1", "the `nthread` that was given, or OpenMP's")];
        const SCIKIT: &[Answer] = &[
            must("blas_core", "Haswell", "`architecture` of threadpoolctl.threadpool_info()"),
            must("threads", "1", "the greatest `num_threads` of threadpoolctl.threadpool_info()"),
        ];
        match self {
            Self::Pytorch => PYTORCH,
            Self::Jax => JAX,
            Self::Tensorflow => TENSORFLOW,
            Self::Xgboost => XGBOOST,
            Self::ScikitLearn => SCIKIT,
            Self::Cuda => &[],
        }
    }

    /// Who says what its answers mean.
    #[must_use]
    pub fn source(self) -> &'static str {
        match self {
            Self::Pytorch => TORCH,
            Self::Jax => JAX,
            Self::Tensorflow => TF,
            Self::Xgboost => XGBOOST,
            Self::ScikitLearn => SKLEARN,
            Self::Cuda => CUDA_ENV,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract;

    const PAGE: &str = include_str!("../../docs/DETERMINISM.md");

    #[test]
    fn every_variable_and_every_answer_stands_in_the_documentation_with_its_value_and_source() {
        for (word, framework) in Framework::WORDS {
            assert!(PAGE.contains(&format!("`{word}`")), "{word}");
            assert_eq!(framework.word(), word);
            for it in COMMON.iter().chain(framework.settings()) {
                for text in [format!("| `{}` | `{}` |", it.name, it.value), it.source.into()] {
                    assert!(PAGE.contains(&text), "{word}: {text}");
                }
            }
            for answer in framework.answers() {
                let row = format!("| `{word}` | `{}` | `{}` |", answer.name, answer.value);
                assert!(PAGE.contains(&row), "{row}");
            }
            assert!(PAGE.contains(framework.source()), "{}", framework.source());
        }
    }

    #[test]
    fn no_variable_is_set_twice_and_what_is_common_is_what_a_job_without_a_framework_finds() {
        for (word, framework) in Framework::WORDS {
            let mut names: Vec<_> =
                COMMON.iter().chain(framework.settings()).map(|it| it.name).collect();
            names.sort_unstable();
            let all = names.len();
            names.dedup();
            assert_eq!(names.len(), all, "{word}");
        }
        let fixed = |it: &Setting| contract::FIXED.contains(&(it.name, it.value));
        assert!(COMMON.iter().all(fixed));
    }
}
