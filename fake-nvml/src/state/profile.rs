//! Machines by name.

use super::{Clocks, Gpu, Machine, NvLink, Peer, Slice};

impl Machine {
    /// A machine by the name of its profile, and of its host so that UUIDs differ.
    #[must_use]
    pub fn profile(profile: &str, host: &str) -> Option<Self> {
        Some(match profile {
            "none" => Self::default(),
            "h100x2" => Self::of(host, 2, &Gpu::default()),
            "h100x8" => Self::of(host, 8, &Gpu::default()).over_two_sockets(56),
            "a100x4" => Self::of(host, 4, &a100_pcie()).over_two_sockets(32).bridged(12),
            "l40sx2" => Self::of(host, 2, &l40s()).over_two_sockets(32),
            "a100mig" => Self::of(host, 2, &a100_sxm())
                .over_two_sockets(32)
                .sliced(0, &[(3, 20), (2, 10), (1, 5), (1, 5)])
                .sliced(1, &[(1, 5); 7]),
            _ => return None,
        })
    }

    /// The first half of the GPUs hangs on the first socket of `cores` cores, two on a switch.
    fn over_two_sockets(mut self, cores: u32) -> Self {
        let half = self.gpus.len().div_ceil(2);
        for (at, gpu) in self.gpus.iter_mut().enumerate() {
            let socket = u32::from(at >= half);
            gpu.numa_node = socket;
            gpu.cpus = (socket * cores, (socket + 1) * cores - 1);
            // A pair that two sockets share has a switch each.
            gpu.pcie_switch = (at / 2) as u32 + if half < 2 { socket } else { 0 };
        }
        self
    }

    /// Each two neighbours are joined by a bridge of `links` NVLinks.
    fn bridged(mut self, links: usize) -> Self {
        for (at, gpu) in self.gpus.iter_mut().enumerate() {
            gpu.nvlinks = vec![NvLink { peer: Peer::Gpu(at ^ 1), ..NvLink::default() }; links];
        }
        self
    }

    /// GPU `at` in slices, each of so many sevenths of the cores and GB of memory.
    fn sliced(mut self, at: usize, slices: &[(u32, u64)]) -> Self {
        let gpu = &mut self.gpus[at];
        gpu.mig = true;
        let mark = gpu.uuid.trim_start_matches("GPU-").to_owned();
        gpu.slices = slices
            .iter()
            .zip(1..)
            .map(|((cores, gb), number)| Slice {
                // NVIDIA's are UUIDs of their own; these differ in the third part.
                uuid: format!("MIG-{}", mark.replacen("-4000-", &format!("-5{number:03x}-"), 1)),
                profile: format!("{cores}g.{gb}gb"),
                memory_bytes: slice_mib(*gb) << 20,
                memory_used_bytes: 0,
                compute_slices: *cores,
                gpu_instance: number,
            })
            .collect();
        self
    }
}

/// Memory of a slice of an A100 40GB. Unit: MiB. Source: what `nvidia-smi` shows.
fn slice_mib(gb: u64) -> u64 {
    match gb {
        5 => 4_864,
        10 => 9_856,
        20 => 19_968,
        other => other * 1_000,
    }
}

fn a100(model: &str, limit_mw: u32) -> Gpu {
    Gpu {
        model: model.into(),
        memory_bytes: 40 << 30,
        compute_capability: (8, 0),
        power_mw: 38_000,
        power_limit_mw: limit_mw,
        power_limit_min_mw: 100_000,
        power_limit_max_mw: limit_mw,
        clocks: Clocks { graphics_mhz: 210, memory_mhz: 1_215 },
        clocks_max: Clocks { graphics_mhz: 1_410, memory_mhz: 1_215 },
        pcie_generation: 4,
        nvlinks: Vec::new(),
        ..Gpu::default()
    }
}

fn a100_pcie() -> Gpu {
    a100("NVIDIA A100-PCIE-40GB", 250_000)
}

fn a100_sxm() -> Gpu {
    a100("NVIDIA A100-SXM4-40GB", 400_000)
}

fn l40s() -> Gpu {
    Gpu {
        model: "NVIDIA L40S".into(),
        memory_bytes: 48 << 30,
        compute_capability: (8, 9),
        power_mw: 32_000,
        power_limit_mw: 350_000,
        power_limit_min_mw: 100_000,
        power_limit_max_mw: 350_000,
        clocks: Clocks { graphics_mhz: 210, memory_mhz: 405 },
        clocks_max: Clocks { graphics_mhz: 2_520, memory_mhz: 9_001 },
        pcie_generation: 4,
        nvlinks: Vec::new(),
        ..Gpu::default()
    }
}
