//! The machine itself: processor, memory, kernel, boot, disks, network.

use domain::{
    Bytes, CpuMillis, MegaBits,
    hardware::{Disk, Hardware, HostHardware, Network},
    isolation::NodeIsolation,
    node::Inventory,
    topology::NodeTopology,
};
use std::{fs, io, path::Path};

/// Bytes of a block, by which the kernel counts disks whatever their own sectors are.
const BLOCK: u64 = 512;

/// A fact about the machine that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("`{path}` cannot be read: {why}; mount /proc, or run the agent on Linux")]
pub struct HostError {
    /// Where the fact stands.
    pub path: &'static str,
    /// Why it cannot be read.
    pub why: io::Error,
}

/// Reads this machine.
///
/// # Errors
/// When `/proc` is not readable.
pub fn read_host() -> Result<HostHardware, HostError> {
    let cpus = std::thread::available_parallelism()
        .map_err(|why| HostError { path: "/proc/self/status", why })?;
    let cpuinfo = read("/proc/cpuinfo")?;
    let flags = field(&cpuinfo, "flags").unwrap_or_default();
    let kib = field(&read("/proc/meminfo")?, "MemTotal")
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or(0u64);
    Ok(HostHardware {
        boot_id: read("/proc/sys/kernel/random/boot_id")?.trim().to_owned(),
        cpu: CpuMillis(cpus.get() as u64 * 1_000),
        memory: Bytes(kib * 1_024),
        cpu_model: field(&cpuinfo, "model name").unwrap_or_else(|| "unknown".to_owned()),
        cpu_level: level(&flags),
        kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        disks: disks(Path::new("/sys/block")),
        networks: networks(Path::new("/sys/class/net")),
    })
}

/// What the scheduler is told of a machine by the name of `name`, in the rack and block of `place`.
#[must_use]
pub fn inventory(
    name: String,
    hardware: &Hardware,
    isolation: NodeIsolation,
    place: &NodeTopology,
) -> Inventory {
    let (host, driver) = (&hardware.host, hardware.gpus.driver.clone());
    let (driver_version, cuda_version) =
        driver.map_or_else(Default::default, |driver| (driver.version, driver.cuda));
    Inventory {
        name,
        boot_id: host.boot_id.clone(),
        cpu: host.cpu,
        memory: host.memory,
        gpus: hardware.gpus.offered(),
        driver_version,
        cuda_version,
        cpu_model: host.cpu_model.clone(),
        cpu_level: host.cpu_level.clone(),
        kernel: host.kernel.clone(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        isolation,
        topology: NodeTopology { gpus: hardware.gpus.sites(), ..place.clone() },
    }
}

fn read(path: &'static str) -> Result<String, HostError> {
    fs::read_to_string(path).map_err(|why| HostError { path, why })
}

fn field(text: &str, name: &str) -> Option<String> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
}

/// Names in a folder of `/sys` that stand for physical devices, in order.
fn physical(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    // What is made of other devices, or of memory, has no device behind it.
    let real = entries.filter(|entry| entry.path().join("device").exists());
    let mut names: Vec<_> = real.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names
}

fn fact<T: std::str::FromStr>(path: &Path) -> Option<T> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn disks(folder: &Path) -> Vec<Disk> {
    let disk = |name: String| {
        let path = folder.join(&name);
        let blocks: u64 = fact(&path.join("size")).unwrap_or(0);
        let rotates = fact(&path.join("queue/rotational")).unwrap_or(0u8) == 1;
        Disk { name, size: Bytes(blocks.saturating_mul(BLOCK)), rotates }
    };
    physical(folder).into_iter().map(disk).collect()
}

fn networks(folder: &Path) -> Vec<Network> {
    let network = |name: String| {
        // -1, or an error, while the interface is down.
        let rate = fact::<i64>(&folder.join(&name).join("speed"));
        let rate = rate.and_then(|rate| u64::try_from(rate).ok()).map(MegaBits);
        Network { name, rate }
    };
    physical(folder).into_iter().map(network).collect()
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
        let host = read_host().unwrap();
        assert!(host.boot_id.len() > 30 && host.memory.0 > 0 && host.cpu.0 >= 1_000);
        assert!(host.cpu_level.starts_with("x86-64"));
    }

    #[test]
    fn only_what_has_a_device_is_hardware() {
        let sys = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = sys.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("block/nvme0n1/device/model", "disk");
        write("block/nvme0n1/size", "2048\n");
        write("block/nvme0n1/queue/rotational", "0\n");
        write("block/sda/device/model", "disk");
        write("block/sda/size", "4096\n");
        write("block/sda/queue/rotational", "1\n");
        write("block/loop0/size", "8\n");
        write("net/eth0/device/vendor", "0x15b3");
        write("net/eth0/speed", "400000\n");
        write("net/eth1/device/vendor", "0x15b3");
        write("net/eth1/speed", "-1\n");
        write("net/veth3/speed", "10000\n");
        let disk =
            |name: &str, size, rotates| Disk { name: name.into(), size: Bytes(size), rotates };
        let found = disks(&sys.path().join("block"));
        assert_eq!(found, [disk("nvme0n1", 1 << 20, false), disk("sda", 2 << 20, true)]);
        let network = |name: &str, rate| Network { name: name.into(), rate };
        let found = networks(&sys.path().join("net"));
        let expected = [network("eth0", Some(MegaBits(400_000))), network("eth1", None)];
        assert_eq!(found, expected);
        assert_eq!(disks(&sys.path().join("none")), []);
    }
}
