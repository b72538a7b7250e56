//! What the health of a GPU does to the node's attempts and to what it offers.

use super::{Shell, Tail};
use crate::{
    driver::clock,
    machine::{
        Input,
        health::{Action, HealthInput, HealthOutput},
    },
    store::Blobs,
};

impl<B: Blobs> Shell<B> {
    pub(super) fn on_health(&mut self, input: HealthInput) {
        let outputs = self.ward.on(input, clock::boot_now());
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
                    tracing::error!(gpu = uuid, cause, "GPU is held back");
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
