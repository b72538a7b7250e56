//! From readings to symptoms: what is worse than it was.

use super::Symptom;

/// Readings without an answer in a row after which calls are called still hung.
const STILL_HUNG_AFTER: u32 = 3;

/// What a GPU says of itself in one reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Corrected memory errors since the driver was loaded.
    pub ecc_corrected: u64,
    /// Uncorrected memory errors since the driver was loaded.
    pub ecc_uncorrected: u64,
    /// Uncorrected memory errors over its life.
    pub ecc_uncorrected_ever: u64,
    /// Whether a row of memory waits for a reset to be replaced.
    pub row_remap_pending: bool,
    /// Whether a row of memory could not be replaced.
    pub row_remap_failed: bool,
    /// Its temperature. Unit: degrees Celsius.
    pub temperature_c: u32,
    /// Where it slows down, if it says.
    pub slowdown_c: Option<u32>,
    /// Whether hardware or driver slow it down for heat.
    pub thermal_slowdown: bool,
    /// Whether the hardware slows it down for want of power.
    pub power_brake: bool,
    /// Whether the hardware slows it down and says no more of why.
    pub hw_slowdown: bool,
    /// NVLinks that are down.
    pub nvlinks_down: u32,
    /// Errors of all NVLinks since the driver was loaded.
    pub nvlink_errors: u64,
}

/// What came of a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// It answered.
    Answered(Gauges),
    /// The driver says that it fell off the bus.
    Lost,
    /// The calls did not return in time.
    Hung,
    /// The driver reported an error by number; not a reading, but as true as one.
    Xid(u64),
}

/// What is remembered between two readings.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    gauges: Option<Gauges>,
    lost: bool,
    hung: u32,
}

impl Seen {
    /// Whether the GPU did not answer when it was last read.
    pub(super) fn is_away(&self) -> bool {
        self.lost || self.hung > 0
    }

    /// What is worse than before.
    ///
    /// Counters are compared, so the first reading is the mark: an agent that starts cannot tell
    /// when errors happened that were counted before, and what they left behind (a pending or
    /// failed remap) it reads as well. Conditions count when they begin.
    pub(super) fn take(&mut self, reading: Reading) -> Vec<Symptom> {
        match reading {
            Reading::Xid(number) => vec![Symptom::Xid(number)],
            Reading::Lost => {
                let known = std::mem::replace(&mut self.lost, true);
                if known { Vec::new() } else { vec![Symptom::Lost] }
            }
            Reading::Hung => {
                self.hung = self.hung.saturating_add(1);
                match self.hung {
                    1 => vec![Symptom::Hung],
                    STILL_HUNG_AFTER => vec![Symptom::StillHung],
                    _ => Vec::new(),
                }
            }
            Reading::Answered(gauges) => {
                (self.lost, self.hung) = (false, 0);
                let before = self.gauges.replace(gauges);
                worse(before, gauges)
            }
        }
    }
}

fn worse(before: Option<Gauges>, now: Gauges) -> Vec<Symptom> {
    let mark = before.unwrap_or(Gauges {
        // The first reading is the mark of counters; conditions begin with it.
        row_remap_pending: false,
        row_remap_failed: false,
        temperature_c: 0,
        thermal_slowdown: false,
        power_brake: false,
        hw_slowdown: false,
        nvlinks_down: 0,
        ..now
    });
    let hot = |it: &Gauges| it.slowdown_c.is_some_and(|limit| it.temperature_c >= limit);
    let uncorrected = now.ecc_uncorrected > mark.ecc_uncorrected
        || now.ecc_uncorrected_ever > mark.ecc_uncorrected_ever;
    let all = [
        (now.ecc_corrected > mark.ecc_corrected, Symptom::EccCorrected),
        (uncorrected, Symptom::EccUncorrected),
        (now.row_remap_pending && !mark.row_remap_pending, Symptom::RowRemapPending),
        (now.row_remap_failed && !mark.row_remap_failed, Symptom::RowRemapFailed),
        (hot(&now) && !hot(&mark), Symptom::Hot),
        (now.thermal_slowdown && !mark.thermal_slowdown, Symptom::ThermalSlowdown),
        (now.power_brake && !mark.power_brake, Symptom::PowerBrake),
        (now.hw_slowdown && !mark.hw_slowdown, Symptom::HwSlowdown),
        (now.nvlinks_down > mark.nvlinks_down, Symptom::NvLinkDown),
        (now.nvlink_errors > mark.nvlink_errors, Symptom::NvLinkErrors),
    ];
    all.into_iter().filter(|(is, _)| *is).map(|(_, symptom)| symptom).collect()
}
