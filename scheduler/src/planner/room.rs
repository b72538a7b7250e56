//! Shares of GPUs: what is free on a node, and what a task asks for.

/// Thousandths of one GPU.
pub const WHOLE: u16 = 1_000;
/// GPUs of one node at most. Source: the largest servers of today have 16.
pub const NODE_GPUS_MAX: usize = 16;

/// What is free on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Thousandths of a core.
    pub cpu: u64,
    /// Memory, in any unit that the asks share.
    pub memory: u64,
    /// The GPUs' model, by its place in a list of at most 64.
    pub model: u8,
    count: u8,
    free: [u16; NODE_GPUS_MAX],
}

/// What one task asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ask {
    /// Thousandths of a core.
    pub cpu: u64,
    /// Memory.
    pub memory: u64,
    /// GPUs.
    pub gpus: u8,
    /// Thousandths of each of them.
    pub share: u16,
    /// Models that will do, one bit each; none set means any.
    pub models: u64,
}

/// GPUs of a node by their index, those that are used first.
pub type Chosen = ([u8; NODE_GPUS_MAX], usize);

impl Ask {
    /// Thousandths of GPUs over all.
    #[must_use]
    pub fn gpu_total(&self) -> u64 {
        u64::from(self.gpus) * u64::from(self.share)
    }

    /// Whether it wants a part of one GPU.
    #[must_use]
    pub fn is_share(&self) -> bool {
        self.gpus == 1 && self.share < WHOLE
    }

    /// Whether GPUs of this model will do.
    #[must_use]
    pub fn takes(&self, model: u8) -> bool {
        self.models == 0 || self.models & 1u64.checked_shl(u32::from(model)).unwrap_or(0) != 0
    }
}

impl Room {
    /// A node on which nothing runs.
    #[must_use]
    pub fn empty(cpu: u64, memory: u64, model: u8, gpus: usize) -> Self {
        let count = gpus.min(NODE_GPUS_MAX);
        let mut free = [0; NODE_GPUS_MAX];
        free[..count].fill(WHOLE);
        // At most NODE_GPUS_MAX.
        Self { cpu, memory, model, count: count as u8, free }
    }

    /// What is free of each GPU.
    #[must_use]
    pub fn gpus(&self) -> &[u16] {
        &self.free[..usize::from(self.count)]
    }

    /// Thousandths of GPUs that are free.
    #[must_use]
    pub fn idle(&self) -> u64 {
        self.gpus().iter().map(|free| u64::from(*free)).sum()
    }

    /// GPUs that nothing uses.
    #[must_use]
    pub fn whole(&self) -> usize {
        self.gpus().iter().filter(|free| **free == WHOLE).count()
    }

    /// Whether enough GPUs have enough free, processors and memory aside.
    #[must_use]
    pub fn has_gpus(&self, ask: &Ask) -> bool {
        ask.gpus == 0
            || ask.takes(self.model)
                && self.gpus().iter().filter(|free| **free >= ask.share).count()
                    >= usize::from(ask.gpus)
    }

    /// Whether a task fits.
    #[must_use]
    pub fn fits(&self, ask: &Ask) -> bool {
        self.cpu >= ask.cpu && self.memory >= ask.memory && self.has_gpus(ask)
    }

    /// The fullest GPUs that have enough free; of equal ones the first. None when it does not fit.
    #[must_use]
    pub fn tightest(&self, ask: &Ask) -> Option<Chosen> {
        let mut chosen = ([0; NODE_GPUS_MAX], 0);
        for _ in 0..ask.gpus {
            let taken = &chosen.0[..chosen.1];
            let open = |at: &usize| {
                // Indices are below NODE_GPUS_MAX.
                self.free[*at] >= ask.share && !taken.contains(&(*at as u8))
            };
            let best = (0..self.gpus().len()).filter(open).min_by_key(|at| self.free[*at])?;
            chosen.0[chosen.1] = best as u8;
            chosen.1 += 1;
        }
        Some(chosen)
    }

    /// What is free once a task runs on the chosen GPUs.
    #[must_use]
    pub fn after(&self, ask: &Ask, chosen: &Chosen) -> Self {
        let mut room = *self;
        room.cpu = room.cpu.saturating_sub(ask.cpu);
        room.memory = room.memory.saturating_sub(ask.memory);
        for at in &chosen.0[..chosen.1] {
            let free = &mut room.free[usize::from(*at)];
            *free = free.saturating_sub(ask.share);
        }
        room
    }

    /// The ways to place a task that differ: for a share, one GPU of each amount that is free;
    /// otherwise the tightest.
    pub fn choices(&self, ask: &Ask) -> impl Iterator<Item = Chosen> + '_ {
        let share = ask.is_share();
        let tightest = if share { None } else { self.tightest(ask) };
        let least = ask.share;
        let open = move |at: &usize| {
            share && self.free[*at] >= least && !self.free[..*at].contains(&self.free[*at])
        };
        let single = |at: usize| {
            let mut chosen = [0; NODE_GPUS_MAX];
            // An index below NODE_GPUS_MAX.
            chosen[0] = at as u8;
            (chosen, 1)
        };
        tightest.into_iter().chain((0..self.gpus().len()).filter(open).map(single))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_has_one_choice_for_each_amount_that_is_free() {
        let ask = Ask { cpu: 1, memory: 1, gpus: 1, share: 400, models: 0 };
        let room = Room::empty(10, 10, 0, 4);
        let first = room.choices(&ask).next().unwrap();
        let room = room.after(&ask, &first);
        assert_eq!(room.gpus(), [600, 1000, 1000, 1000]);
        let choices: Vec<u8> = room.choices(&ask).map(|chosen| chosen.0[0]).collect();
        assert_eq!(choices, [0, 1]);
        assert_eq!(room.tightest(&ask).unwrap().0[0], 0);
        let whole = Ask { gpus: 2, share: 1000, ..ask };
        assert_eq!(room.tightest(&whole).map(|(at, count)| (at[0], at[1], count)), Some((1, 2, 2)));
        assert!(!room.fits(&Ask { gpus: 4, ..whole }));
    }

    #[test]
    fn a_model_is_one_bit() {
        let ask = Ask { gpus: 1, share: 1000, models: 0b10, ..Ask::default() };
        assert!(ask.takes(1) && !ask.takes(0) && !ask.takes(64));
        assert!(!Room::empty(1, 1, 0, 1).fits(&ask) && Room::empty(1, 1, 1, 1).fits(&ask));
    }
}
