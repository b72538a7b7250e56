//! The watch over ranks that hold GPUs and do nothing.

use super::Shell;
use crate::{
    driver::{clock, tasks::Order},
    machine::{
        Input,
        health::{RankReading, RankState, RankWatch},
    },
    store::{Blob, Stores},
};
use domain::{
    Bytes, LeaseId, Millis,
    hardware::whole_index,
    health::{IdleRank, Idleness},
    limit,
    link::Up,
};
use std::{collections::BTreeMap, sync::Arc};

/// Time between two looks at the ranks.
const LOOK_EVERY: Millis = Millis(30_000);

/// A rank of a lease.
type RankOf = (LeaseId, u32);

/// One look at all ranks that ran: each with its GPUs.
pub(super) type Looks = Vec<(RankOf, Vec<u32>, RankReading)>;

/// What a rank is about from now on, and since when: none is that it works.
type News = (RankOf, Option<Idleness>, Millis);

/// What is known of the ranks that run here.
#[derive(Default)]
pub(super) struct Vigil {
    ranks: BTreeMap<(LeaseId, u32), Watched>,
    /// Greatest use of each GPU since the last look, by index. Unit: percent.
    used: BTreeMap<u32, u32>,
    looked: Millis,
    /// The GPUs of the ranks that the supervisor was asked to look at.
    asked: BTreeMap<RankOf, Vec<u32>>,
}

struct Watched {
    watch: RankWatch,
    /// None while it works.
    state: Option<Idleness>,
    /// By the wall clock.
    since: Millis,
    /// Bytes that we added to what it printed: no sign of life.
    ours: u64,
}

impl Vigil {
    /// A GPU was seen in use by so many percent.
    pub(super) fn note(&mut self, index: u32, pct: u32) {
        let most = self.used.entry(index).or_default();
        *most = pct.max(*most);
    }

    /// The use of a rank's GPUs since the last look; none where it cannot be known.
    fn use_of(&self, gpus: &[u32]) -> Option<u32> {
        // Of a share, what its whole GPU is used: no less than its own.
        let of = |gpu: &u32| self.used.get(&whole_index(*gpu)).copied();
        let each: Option<Vec<u32>> = gpus.iter().map(of).collect();
        each.map(|all| all.into_iter().max().unwrap_or(0))
    }

    /// Ranks that do nothing.
    fn idle(&self) -> Vec<IdleRank> {
        let idle = |((lease, rank), watched): (&(LeaseId, u32), &Watched)| {
            let (lease, rank, since) = (*lease, *rank, watched.since);
            watched.state.map(|state| IdleRank { lease, rank, state, since })
        };
        self.ranks.iter().filter_map(idle).collect()
    }

    /// Takes in a look at `now`: ranks that are idle or hung, or work again, with what they are.
    pub(super) fn on(&mut self, looks: Looks, now: Millis) -> Vec<News> {
        let mut news = Vec::new();
        let mut ranks = std::mem::take(&mut self.ranks);
        for (rank, gpus, mut reading) in looks {
            let Some(gpu_pct) = self.use_of(&gpus) else { continue };
            reading.gpu_pct = gpu_pct;
            let mut watched = ranks.remove(&rank).unwrap_or(Watched {
                watch: RankWatch::new(now),
                state: None,
                since: Millis(0),
                ours: 0,
            });
            reading.progress = reading.progress.saturating_sub(watched.ours);
            let (state, since) = match watched.watch.on(reading, now) {
                RankState::Hung { since } => (Some(Idleness::Hung), since),
                RankState::HeldIdle { since } if !gpus.is_empty() => {
                    (Some(Idleness::HeldIdle), since)
                }
                RankState::HeldIdle { .. } | RankState::Working => (None, now),
            };
            if state != watched.state {
                watched.state = state;
                watched.since = clock::wall_now().minus(now.minus(since));
                news.push((rank, state, since));
            }
            self.ranks.insert(rank, watched);
        }
        self.used.values_mut().for_each(|pct| *pct = 0);
        news
    }
}

impl<B: Stores> Shell<B> {
    /// Asks the supervisor for a look, if one is due: it may see what others' processes do.
    pub(super) fn look(&mut self) {
        let now = clock::boot_now();
        if now.minus(self.vigil.looked) < LOOK_EVERY {
            return;
        }
        self.vigil.looked = now;
        let runs = |(lease, task): &(LeaseId, &domain::lease::TaskPlace)| {
            let local = self.leases.get(lease);
            local.is_some_and(|it| it.started.is_some() && it.left.contains(&task.rank))
        };
        let found = self.machine.placed().filter(runs);
        let found = found.map(|(lease, task)| ((lease, task.rank), task.gpus.clone()));
        let asked: BTreeMap<_, _> = found.collect();
        if asked.is_empty() {
            self.vigil.ranks.clear();
        } else {
            self.order(Order::Look { ranks: asked.keys().copied().collect() });
        }
        self.vigil.asked = asked;
    }

    /// The supervisor has looked: each rank with what grows as it writes, and its processor time.
    pub(super) fn on_looked(&mut self, ranks: Vec<(LeaseId, u32, u64, Millis)>) {
        let asked = std::mem::take(&mut self.vigil.asked);
        let of = |(lease, rank, progress, cpu): (LeaseId, u32, u64, Millis)| {
            let gpus = asked.get(&(lease, rank))?.clone();
            Some(((lease, rank), gpus, RankReading { progress, cpu, ..RankReading::default() }))
        };
        let looks = ranks.into_iter().filter_map(of).collect();
        self.on_looks(looks);
    }

    /// Tells the server which ranks do nothing, where that is other than it was told.
    pub(super) fn tell_idle(&mut self) {
        let ranks = self.vigil.idle();
        if self.told.welcomed && self.told.idle != ranks {
            self.send(Up::Idle { ranks: ranks.clone() });
            self.told.idle = ranks;
        }
    }

    /// Has servers keep what the threads of a hung rank wait for, under a name of its own.
    fn store_dump(&mut self, lease: LeaseId, rank: u32, mut dump: String) {
        let mut end = dump.len().min(limit::DUMP_MAX.0 as usize);
        while !dump.is_char_boundary(end) {
            end -= 1;
        }
        dump.truncate(end);
        let size = Bytes(dump.len() as u64);
        let blob = Blob::bytes(dump.into_bytes());
        let digest = blob.digest();
        let blobs = Arc::clone(&self.blobs);
        self.work(lease, async move {
            match blobs.put(vec![blob]).await {
                Ok(()) => Input::Dumped { lease, rank, dump: digest, size },
                Err(why) => {
                    tracing::warn!(%lease, rank, %why, "dump not stored; it is in the log alone");
                    Input::Tick
                }
            }
        });
    }

    /// Tells what ranks are about; of one that hangs, its stacks go where it printed.
    fn on_looks(&mut self, looks: Looks) {
        let now = clock::boot_now();
        for ((lease, number), state, since) in self.vigil.on(looks, now) {
            let minutes = now.minus(since).0 / 60_000;
            let text = match state {
                None => {
                    tracing::info!(%lease, rank = number, "rank works again");
                    format!("assay: rank {number} works again\n")
                }
                Some(state) => {
                    tracing::warn!(%lease, rank = number, %state, minutes, "rank does nothing");
                    format!("assay: rank {number} is {state} for {minutes} minutes\n")
                }
            };
            let dump = state == Some(Idleness::Hung);
            self.order(Order::Note { lease, rank: number, text, dump });
        }
    }

    /// The supervisor has added to what a rank printed.
    pub(super) fn on_noted(
        &mut self,
        lease: LeaseId,
        rank: u32,
        added: Result<u64, String>,
        dump: Option<String>,
    ) {
        match added {
            Ok(bytes) => {
                if let Some(watched) = self.vigil.ranks.get_mut(&(lease, rank)) {
                    watched.ours += bytes;
                }
            }
            Err(why) => tracing::warn!(%lease, rank, %why, "not written to its log"),
        }
        if let Some(dump) = dump.filter(|_| self.leases.contains_key(&lease)) {
            self.store_dump(lease, rank, dump);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;
    const LEASE: LeaseId = LeaseId { index: 5, ordinal: 0 };

    fn seen(gpus: &[u32], progress: u64, cpu: u64) -> Looks {
        let reading = RankReading { progress, cpu: Millis(cpu), gpu_pct: 0 };
        vec![((LEASE, 0), gpus.to_vec(), reading)]
    }

    fn after(vigil: &mut Vigil, minute: u64, looks: Looks) -> Vec<String> {
        let news = vigil.on(looks, Millis(minute * MINUTE));
        let word = |state: Option<Idleness>| state.map_or("working".into(), |it| it.to_string());
        news.into_iter().map(|(_, state, _)| word(state)).collect()
    }

    #[test]
    fn what_we_print_about_a_hung_rank_is_no_sign_of_its_life() {
        let mut vigil = Vigil::default();
        vigil.note(1, 80);
        assert_eq!(after(&mut vigil, 0, seen(&[1], 7, 10)), [""; 0]);
        assert_eq!(after(&mut vigil, 13, seen(&[1], 7, 10)), ["hung"]);
        vigil.ranks.get_mut(&(LEASE, 0)).unwrap().ours += 500;
        assert_eq!(after(&mut vigil, 14, seen(&[1], 507, 10)), [""; 0], "told once");
        assert_eq!(vigil.idle()[0].state, Idleness::Hung);
        assert_eq!(after(&mut vigil, 15, seen(&[1], 508, 10)), ["held but idle"]);
        vigil.note(1, 3);
        assert_eq!(after(&mut vigil, 16, seen(&[1], 508, 10)), ["working"]);
        assert_eq!(vigil.idle(), []);
    }

    #[test]
    fn a_rank_is_idle_only_on_gpus_whose_use_is_known() {
        let mut vigil = Vigil::default();
        for minute in 0..30 {
            assert_eq!(after(&mut vigil, minute, seen(&[4], minute, 0)), [""; 0], "nobody knows");
        }
        let mut vigil = Vigil::default();
        for minute in 0..30 {
            assert_eq!(after(&mut vigil, minute, seen(&[], minute, 0)), [""; 0], "it holds none");
        }
    }
}
