//! What the health of a GPU does to the node's attempts and to what it offers.

use super::{Shell, Tail};
use crate::{
    driver::{clock, host, patrol::News, tasks::Order},
    machine::{
        Input,
        health::{Action, HealthInput, HealthOutput},
    },
    store::Stores,
};
use domain::{
    Millis,
    check::Accusation,
    hardware::Hardware,
    health::{Acceptance, HeldGpu, IdleRank},
    link::{HARDWARE_SINCE, Up},
    resource::Gpu,
};

/// Least time between two words on the same stream about the GPUs that are held back.
const TELL_EVERY: Millis = Millis(1_000);

/// What the open stream was told of the GPUs that are held back, and of the machine.
#[derive(Default)]
pub(super) struct Told {
    /// Whether it takes such words.
    pub(super) welcomed: bool,
    /// What the server understands: [`domain::link::LINK_VERSION`].
    pub(super) speaks: u32,
    /// The machine, and when.
    hardware: Option<(Box<Hardware>, Millis)>,
    words: Option<Vec<HeldGpu>>,
    /// What it was told of ranks that do nothing.
    pub(super) idle: Vec<IdleRank>,
    at: Millis,
}

impl<B: Stores> Shell<B> {
    pub(super) fn on_news(&mut self, news: News) {
        match news {
            News::Health(input) => self.on_health(input),
            News::Used { index, pct } => self.vigil.note(index, pct),
            News::Changed(hardware) => self.on_changed(&hardware),
        }
    }

    /// The machine is other than it was: what it offers changes with it.
    ///
    /// A lease names GPUs by index, so an index in use must go on to mean the same GPU.
    fn on_changed(&mut self, hardware: &Hardware) {
        let inventory = host::inventory(
            self.inventory.name.clone(),
            hardware,
            self.inventory.isolation.clone(),
            &self.inventory.topology,
        );
        let other = |gpu: &&Gpu| {
            let moved = |now: &Gpu| (now.index == gpu.index) != (now.uuid == gpu.uuid);
            inventory.gpus.iter().any(moved) && self.machine.uses_gpu(gpu.index)
        };
        if let Some(gpu) = self.inventory.gpus.iter().find(other) {
            tracing::error!(
                gpu = gpu.index,
                "GPUs have changed places under a job: restart the agent once it has ended"
            );
            return;
        }
        let before = self.ward.offers(&self.inventory);
        self.hardware = Some(Box::new(hardware.clone()));
        self.ward.renew(hardware);
        self.inventory = inventory;
        self.order(Order::Gpus(self.inventory.gpus.clone()));
        let after = self.ward.offers(&self.inventory);
        if before != after {
            tracing::info!(gpus = after.gpus.len(), "node registers anew");
            self.offer();
        }
    }

    fn on_health(&mut self, input: HealthInput) {
        let outputs = self.ward.on(input, clock::boot_now());
        self.heed(outputs);
    }

    /// An operator vouches for a GPU.
    pub(super) fn on_acceptance(&mut self, word: &Acceptance) {
        if !self.ward.holds(&word.uuid) {
            // A repetition, which crossed our own word that the GPU serves.
            return;
        }
        let outputs = self.ward.accept(word, clock::boot_now());
        if outputs.is_empty() {
            tracing::warn!(gpu = word.uuid, at = %word.at, "GPU is accepted and not well: refused");
        }
        self.heed(outputs);
    }

    /// The cluster found that a GPU gives wrong bits.
    pub(super) fn on_accusation(&mut self, charge: &Accusation) {
        let outputs = self.ward.accuse(charge, clock::boot_now());
        if !outputs.is_empty() {
            tracing::error!(gpu = charge.uuid, check = %charge.check, "GPU gave wrong bits");
        }
        self.heed(outputs);
    }

    /// Tells the server which GPUs are held back, where that is other than it was told.
    pub(super) fn tell_health(&mut self) {
        let Told { welcomed: true, words: told, at, .. } = &self.told else { return };
        let now = clock::boot_now();
        // A GPU may say things a thousand times a second.
        if told.is_some() && now.minus(*at) < TELL_EVERY {
            return;
        }
        let Some(words) = self.ward.words().filter(|words| told.as_ref() != Some(words)) else {
            return;
        };
        self.send(Up::Health { gpus: words.clone() });
        (self.told.words, self.told.at) = (Some(words), now);
    }

    /// Tells the server of the whole machine, where that is other than it was told.
    pub(super) fn tell_hardware(&mut self) {
        let Told { welcomed: true, speaks: HARDWARE_SINCE.., hardware: told, .. } = &self.told
        else {
            return;
        };
        let Some(hardware) = &self.hardware else { return };
        let now = clock::boot_now();
        let known = |(before, at): &(Box<Hardware>, Millis)| {
            before == hardware || now.minus(*at) < TELL_EVERY
        };
        if told.as_ref().is_some_and(known) {
            return;
        }
        let hardware = hardware.clone();
        self.send(Up::Hardware { hardware: hardware.clone() });
        self.told.hardware = Some((hardware, now));
    }

    fn heed(&mut self, outputs: Vec<HealthOutput>) {
        let (mut other, mut sick) = (false, Vec::new());
        for output in outputs {
            match output {
                HealthOutput::Found { uuid, symptom, action, times } if action < Action::Watch => {
                    tracing::debug!(gpu = uuid, %symptom, times, "symptom");
                }
                HealthOutput::Found { uuid, symptom, action, times } => {
                    tracing::warn!(gpu = uuid, %symptom, %action, times, "symptom");
                }
                HealthOutput::Withdraw { uuid, cause } => {
                    tracing::error!(gpu = uuid, %cause, "GPU is held back");
                    other = true;
                }
                HealthOutput::Restore { uuid } => {
                    tracing::info!(gpu = uuid, "GPU serves again");
                    other = true;
                }
                HealthOutput::Kill { uuid, cause } => sick.push((uuid, cause)),
            }
        }
        if other {
            self.offer();
        }
        for (uuid, cause) in sick {
            let detail = format!("{uuid}, {cause}");
            for index in self.ward.indices(&uuid) {
                self.feed(Input::GpuFailed { index, detail: detail.clone() });
            }
        }
        self.free();
    }

    /// Registers anew with what is offered now: a stream registers once, so this one ends.
    pub(super) fn offer(&mut self) {
        let inventory = Box::new(self.ward.offers(&self.inventory));
        self.feed(Input::Inventory(inventory));
        self.up = None;
        self.told = Told::default();
        self.tell(Tail::Link(None));
    }

    /// GPUs that drain and that no lease has any more are in quarantine.
    fn free(&mut self) {
        for (uuid, indices) in self.ward.draining() {
            if !indices.iter().any(|index| self.machine.uses_gpu(*index)) {
                tracing::info!(gpu = uuid, "GPU is free and stays held back");
                self.ward.on(HealthInput::Free { uuid }, clock::boot_now());
            }
        }
    }
}
