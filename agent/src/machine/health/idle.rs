//! Tasks that hold GPUs and do nothing with them.

use domain::Millis;

/// Time without use of its GPUs after which a rank is called held but idle.
///
/// Source: longer than the loading of a large data set between two epochs commonly takes.
const IDLE_AFTER: Millis = Millis(15 * 60_000);
/// Time without any sign of life after which a rank is called hung.
///
/// Source: the default time-out of PyTorch's NCCL collectives is ten minutes: by then a rank that
/// waits for another has failed by itself.
const HUNG_AFTER: Millis = Millis(12 * 60_000);
/// Processor time that counts as none: a process that only waits wakes now and then.
/// Unit: thousandths of the time that passed.
const CPU_NONE_PERMILLE: u64 = 5;

/// One look at a rank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RankReading {
    /// Grows with each step, checkpoint or printed line.
    pub progress: u64,
    /// Processor time that its processes have used.
    pub cpu: Millis,
    /// Greatest use of its GPUs since the last look. Unit: percent.
    pub gpu_pct: u32,
}

/// What a rank is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RankState {
    /// It uses its GPUs, or did lately.
    Working,
    /// It lives, but its GPUs are idle.
    HeldIdle {
        /// Since when.
        since: Millis,
    },
    /// No step, no processor time, no GPU: a stack dump is due, once.
    Hung {
        /// Since when.
        since: Millis,
    },
}

/// The watch over one rank.
#[derive(Clone, Copy, Debug)]
pub struct RankWatch {
    last: RankReading,
    looked: Millis,
    /// When its GPUs were last seen in use.
    used: Millis,
    /// When it last gave any sign of life.
    lived: Millis,
}

impl RankWatch {
    /// A rank that started at `now`.
    #[must_use]
    pub fn new(now: Millis) -> Self {
        Self { last: RankReading::default(), looked: now, used: now, lived: now }
    }

    /// Takes in a look at the rank; what is out of order in time is taken as now.
    ///
    /// A rank that spins in a collective uses its GPU in full: it is not hung by these rules, and
    /// ends by the time-out of its own library.
    pub fn on(&mut self, reading: RankReading, now: Millis) -> RankState {
        let now = now.max(self.looked);
        let passed = now.minus(self.looked);
        let cpu = reading.cpu.minus(self.last.cpu);
        let busy = cpu.0.saturating_mul(1_000) > passed.0.saturating_mul(CPU_NONE_PERMILLE);
        if reading.gpu_pct > 0 {
            (self.used, self.lived) = (now, now);
        }
        if busy || reading.progress > self.last.progress {
            self.lived = now;
        }
        (self.last, self.looked) = (reading, now);
        if now.minus(self.lived) >= HUNG_AFTER {
            RankState::Hung { since: self.lived }
        } else if now.minus(self.used) >= IDLE_AFTER {
            RankState::HeldIdle { since: self.used }
        } else {
            RankState::Working
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    const MINUTE: u64 = 60_000;

    #[test]
    fn a_rank_without_step_cpu_or_gpu_is_hung_and_one_that_loads_data_is_idle() {
        let mut watch = RankWatch::new(Millis(0));
        let works = RankReading { progress: 1, cpu: Millis(1_000), gpu_pct: 90 };
        assert_eq!(watch.on(works, Millis(MINUTE)), RankState::Working);
        let mut loads = RankReading { gpu_pct: 0, ..works };
        for minute in 2..16 {
            loads.cpu = Millis(loads.cpu.0 + 30_000);
            assert_eq!(watch.on(loads, Millis(minute * MINUTE)), RankState::Working);
        }
        loads.cpu = Millis(loads.cpu.0 + 30_000);
        let idle = RankState::HeldIdle { since: Millis(MINUTE) };
        assert_eq!(watch.on(loads, Millis(16 * MINUTE)), idle);
        assert_eq!(watch.on(loads, Millis(27 * MINUTE)), idle, "waits, but not for long");
        let hung = RankState::Hung { since: Millis(16 * MINUTE) };
        assert_eq!(watch.on(loads, Millis(28 * MINUTE)), hung);
        loads.gpu_pct = 1;
        assert_eq!(watch.on(loads, Millis(29 * MINUTE)), RankState::Working, "and lives again");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn a_sign_of_life_within_the_time_keeps_a_rank_from_being_called_hung(
            looks in vec((0u64..30 * MINUTE, 0u64..3, 0u64..60_000, 0u32..3), 1..60)
        ) {
            let (mut watch, mut now, mut reading) =
                (RankWatch::new(Millis(0)), 0, RankReading::default());
            for (passed, progress, cpu, gpu_pct) in looks {
                now += passed;
                reading.progress += progress;
                reading.cpu = Millis(reading.cpu.0 + cpu);
                reading.gpu_pct = gpu_pct;
                let state = watch.on(reading, Millis(now));
                if progress > 0 || gpu_pct > 0 {
                    let hung = matches!(state, RankState::Hung { .. });
                    prop_assert!(!hung);
                }
                if let RankState::Hung { since } = state {
                    prop_assert!(now - since.0 >= HUNG_AFTER.0);
                }
            }
        }
    }
}
