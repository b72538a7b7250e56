//! The machine itself: processor, memory, kernel, boot.

use super::gpu::GpuInventory;
use domain::{Bytes, CpuMillis, node::Inventory};
use std::{fs, io};

/// What this machine is, apart from its GPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Changes with each boot.
    pub boot_id: String,
    /// Processor time.
    pub cpu: CpuMillis,
    /// Memory.
    pub memory: Bytes,
    /// Processor model.
    pub cpu_model: String,
    /// Instruction-set level.
    pub cpu_level: String,
    /// Kernel release.
    pub kernel: String,
}

/// A fact about the machine that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("`{path}` cannot be read: {why}; mount /proc, or run the agent on Linux")]
pub struct HostError {
    /// Where the fact stands.
    pub path: &'static str,
    /// Why it cannot be read.
    pub why: io::Error,
}

impl Host {
    /// Reads this machine.
    ///
    /// # Errors
    /// When `/proc` is not readable.
    pub fn read() -> Result<Self, HostError> {
        let cpus = std::thread::available_parallelism()
            .map_err(|why| HostError { path: "/proc/self/status", why })?;
        let cpuinfo = read("/proc/cpuinfo")?;
        let flags = field(&cpuinfo, "flags").unwrap_or_default();
        let kib = field(&read("/proc/meminfo")?, "MemTotal")
            .and_then(|text| text.split_whitespace().next()?.parse().ok())
            .unwrap_or(0u64);
        Ok(Self {
            boot_id: read("/proc/sys/kernel/random/boot_id")?.trim().to_owned(),
            cpu: CpuMillis(cpus.get() as u64 * 1_000),
            memory: Bytes(kib * 1_024),
            cpu_model: field(&cpuinfo, "model name").unwrap_or_else(|| "unknown".to_owned()),
            cpu_level: level(&flags),
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        })
    }

    /// The inventory of node `name`.
    #[must_use]
    pub fn inventory(self, name: String, gpus: GpuInventory) -> Inventory {
        Inventory {
            name,
            boot_id: self.boot_id,
            cpu: self.cpu,
            memory: self.memory,
            gpus: gpus.gpus,
            driver_version: gpus.driver_version,
            cuda_version: gpus.cuda_version,
            cpu_model: self.cpu_model,
            cpu_level: self.cpu_level,
            kernel: self.kernel,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

fn read(path: &'static str) -> Result<String, HostError> {
    fs::read_to_string(path).map_err(|why| HostError { path, why })
}

fn field(text: &str, name: &str) -> Option<String> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
}

/// The greatest x86-64 level whose every feature is among `flags`.
///
/// Source: x86-64 psABI, 3.1.1; names as the kernel prints them.
fn level(flags: &str) -> String {
    const LEVELS: &[(&str, &str)] = &[
        ("x86-64-v2", "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3"),
        ("x86-64-v3", "avx avx2 bmi1 bmi2 f16c fma abm movbe xsave"),
        ("x86-64-v4", "avx512f avx512bw avx512cd avx512dq avx512vl"),
    ];
    if std::env::consts::ARCH != "x86_64" {
        return std::env::consts::ARCH.to_owned();
    }
    let has: Vec<_> = flags.split_whitespace().collect();
    let full = |needs: &str| needs.split(' ').all(|flag| has.contains(&flag));
    let reached = LEVELS.iter().take_while(|(_, needs)| full(needs)).last();
    reached.map_or("x86-64", |(name, _)| name).to_owned()
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn the_level_is_the_greatest_that_is_whole() {
        let v2 = "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3";
        let v3 = format!("{v2} avx avx2 bmi1 bmi2 f16c fma abm movbe xsave");
        assert_eq!(level(""), "x86-64");
        assert_eq!(level(v2), "x86-64-v2");
        assert_eq!(level(&v3), "x86-64-v3");
        assert_eq!(level(&format!("{v2} avx512f avx2")), "x86-64-v2");
    }

    #[test]
    fn this_machine_has_a_boot_id_memory_and_a_level() {
        let host = Host::read().unwrap();
        assert!(host.boot_id.len() > 30 && host.memory.0 > 0 && host.cpu.0 >= 1_000);
        assert!(host.cpu_level.starts_with("x86-64"));
    }
}
