//! The loop of events: who came, who ended, who runs now.

use super::{
    cluster::{Cluster, Place},
    metric::Samples,
    order::{Fit, Order},
    pack::{Gang, pack},
    state::{Run, State},
};
use crate::workload::{job::Job, name::Overhead};
use std::collections::BTreeMap;

/// What a run left behind.
pub struct Ran<'a> {
    /// The jobs at the end.
    pub state: State<'a>,
    /// Jobs that no empty cluster could hold; they were left out.
    pub too_large: Vec<usize>,
    /// How things were over time.
    pub samples: Samples,
}

struct Engine<'a, 'o> {
    state: State<'a>,
    cluster: Cluster,
    order: &'o mut dyn Order,
    overhead: Overhead,
    active: Vec<usize>,
    running: Vec<usize>,
    samples: Samples,
}

/// Runs jobs, which are by time of submission, to their end.
pub fn simulate<'a>(
    jobs: &'a [Job],
    estimate_s: Vec<f64>,
    cluster: Cluster,
    order: &mut dyn Order,
    overhead: Overhead,
) -> Ran<'a> {
    let run = jobs.iter().map(|job| Run { remaining_s: job.service_s, ..Run::default() });
    let now = jobs.first().map_or(0.0, |job| job.submit_s);
    let mut engine = Engine {
        state: State { jobs, run: run.collect(), estimate_s, now },
        samples: Samples::new(cluster.total()),
        cluster,
        order,
        overhead,
        active: Vec::new(),
        running: Vec::new(),
    };
    let too_large = engine.run();
    Ran { state: engine.state, too_large, samples: engine.samples }
}

impl Engine<'_, '_> {
    fn run(&mut self) -> Vec<usize> {
        let jobs = self.state.jobs;
        let mut sizes: Vec<u32> = jobs.iter().map(|job| job.gpus).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes.retain(|gpus| !self.cluster.could_hold(*gpus));
        let large = |job: &usize| sizes.binary_search(&jobs[*job].gpus).is_ok();
        let (too_large, coming): (Vec<usize>, Vec<usize>) = (0..jobs.len()).partition(large);
        let mut coming = coming.into_iter().peekable();
        let mut timer = f64::INFINITY;
        loop {
            let arrival = coming.peek().map_or(f64::INFINITY, |job| jobs[*job].submit_s);
            let end = self.next_end();
            let now = arrival.min(end).min(timer);
            if now == f64::INFINITY {
                return too_large;
            }
            if end <= now {
                self.complete(now);
            }
            let mut came = Vec::new();
            while let Some(job) = coming.next_if(|job| jobs[*job].submit_s <= now) {
                came.push(job);
            }
            self.settle(now);
            self.state.now = now;
            for job in came {
                self.active.push(job);
                self.order.arrived(&self.state, job);
            }
            self.order.arrange(&self.state, &mut self.active);
            self.place();
            self.order.placed(&self.state, &self.active);
            timer = self.order.timer(&self.state, &self.active);
            let waiting = self.active.len() - self.running.len();
            self.samples.add(now, waiting, self.used(), self.wanted());
        }
    }

    fn used(&self) -> u32 {
        self.running.iter().map(|job| self.state.jobs[*job].gpus).sum()
    }

    /// GPUs that all who are there ask for.
    fn wanted(&self) -> u64 {
        self.active.iter().map(|job| u64::from(self.state.jobs[*job].gpus)).sum()
    }

    fn end_of(&self, job: usize) -> f64 {
        let run = &self.state.run[job];
        self.state.now + run.debt_s + run.remaining_s
    }

    fn next_end(&self) -> f64 {
        self.running.iter().map(|job| self.end_of(*job)).fold(f64::INFINITY, f64::min)
    }

    /// Ends those whose time it is.
    fn complete(&mut self, now: f64) {
        let ended: Vec<usize> =
            self.running.iter().copied().filter(|job| self.end_of(*job) <= now).collect();
        for job in ended {
            let run = &mut self.state.run[job];
            run.executed_s += now - self.state.now;
            run.lost_s += run.debt_s;
            run.remaining_s = 0.0;
            run.end_s = Some(now);
            run.running = false;
            if self.order.fit() == Fit::Fixed {
                self.cluster.release(&run.place);
            }
            self.running.retain(|other| *other != job);
            self.active.retain(|other| *other != job);
            self.order.completed(&self.state, job);
        }
    }

    /// Adds the time since the last event to what runs.
    fn settle(&mut self, now: f64) {
        let passed = now - self.state.now;
        for job in &self.running {
            let run = &mut self.state.run[*job];
            let lost = match self.overhead {
                Overhead::Event => self.state.jobs[*job].overhead_s.min(passed),
                Overhead::Restart => run.debt_s.min(passed),
                Overhead::None => 0.0,
            };
            if self.overhead == Overhead::Restart {
                run.debt_s -= lost;
            }
            run.lost_s += lost;
            run.remaining_s -= passed - lost;
            run.executed_s += passed;
        }
    }

    /// Decides anew who runs.
    fn place(&mut self) {
        let fit = self.order.fit();
        if fit == Fit::Packed {
            return self.place_packed();
        }
        if fit != Fit::Fixed {
            self.cluster.clear();
        }
        let mut running = Vec::with_capacity(self.running.len() + 1);
        for at in 0..self.active.len() {
            let job = self.active[at];
            if fit == Fit::Fixed && self.state.run[job].running {
                running.push(job);
                continue;
            }
            let gpus = self.state.jobs[job].gpus;
            let placed = self.order.may_pass(&self.state, job) && self.try_place(fit, job, gpus);
            if placed {
                running.push(job);
            } else {
                self.stop(job);
                self.order.blocked(&self.state, &self.cluster, job);
            }
        }
        self.running = running;
    }

    /// Chooses by the number of GPUs, in order, then finds nodes for all that were chosen.
    fn place_packed(&mut self) {
        let mut left = self.cluster.total();
        let mut chosen = Vec::new();
        for job in &self.active {
            let gpus = self.state.jobs[*job].gpus;
            if gpus <= left && self.order.may_pass(&self.state, *job) {
                left -= gpus;
                chosen.push(*job);
            }
        }
        let run = &self.state.run;
        let running = |job: usize| run[job].running;
        let nowhere = Place::new();
        let gang = |job: &usize| Gang {
            gpus: self.state.jobs[*job].gpus,
            place: if running(*job) { &run[*job].place } else { &nowhere },
        };
        let gangs: Vec<Gang<'_>> = chosen.iter().map(gang).collect();
        let places = pack(&mut self.cluster, &gangs);
        let mut places: BTreeMap<usize, Option<Place>> = chosen.into_iter().zip(places).collect();
        let mut running = Vec::new();
        for at in 0..self.active.len() {
            let job = self.active[at];
            let gpus = self.state.jobs[job].gpus;
            // What was not chosen may fit where something that was chosen did not.
            let place = places.remove(&job).flatten().or_else(|| {
                self.order.may_pass(&self.state, job).then(|| self.cluster.best_fit(gpus))?
            });
            match place {
                Some(place) => {
                    self.start(job, place);
                    running.push(job);
                }
                None => {
                    self.stop(job);
                    self.order.blocked(&self.state, &self.cluster, job);
                }
            }
        }
        self.running = running;
    }

    fn try_place(&mut self, fit: Fit, job: usize, gpus: u32) -> bool {
        let place = match fit {
            Fit::Count => self.cluster.count(gpus).then(Vec::new),
            Fit::Fresh | Fit::Fixed | Fit::Packed => self.cluster.first_fit(gpus),
        };
        let Some(place) = place else { return false };
        self.start(job, place);
        true
    }

    fn start(&mut self, job: usize, place: Place) {
        let run = &mut self.state.run[job];
        // A move is a restart: the processes end here and begin there.
        if (!run.running || run.place != place) && self.overhead == Overhead::Restart {
            run.debt_s = self.state.jobs[job].overhead_s;
        }
        run.first_start_s.get_or_insert(self.state.now);
        run.running = true;
        run.place = place;
    }

    fn stop(&mut self, job: usize) {
        let run = &mut self.state.run[job];
        if run.running {
            run.running = false;
            run.preemptions += 1;
        }
    }
}
