//! Laws over what an entry changes, checked at that entry.
//!
//! What has rested is checked as a whole at the end. A law that is broken for a while and holds
//! again by then is broken all the same: here each entry's changed rows are looked at, once, on
//! whichever machine applies it first. The other machines hold the same rows (`state_digest`).

use super::{
    Broken, acked_kept::Taken, audit_chained::Chain, complete_means_sealed, exactly_once::Names,
    gate_before_stage::Gates, recipe_function,
};
use domain::{
    JobId, PromotionId,
    port::{RowChange, RowRead},
    scratch,
};
use registry::ledger;
use scheduler::state::{
    Cluster, Touched,
    row::{ElementRow, Submitted},
    touched,
};
use std::collections::BTreeSet;

/// What these laws remember from entry to entry.
#[derive(Default)]
pub struct EachEntry {
    names: Names,
    taken: Taken,
    chain: Chain,
    gates: Gates,
}

impl EachEntry {
    /// Looks at what an entry has changed. `machine` and `rows` show the state after it.
    ///
    /// # Errors
    /// The law that is broken.
    pub fn look(
        &mut self,
        machine: &Cluster,
        rows: &impl RowRead,
        changes: &[RowChange],
    ) -> Result<(), Broken> {
        let view = &machine.view();
        let mut promotions: Vec<PromotionId> = Vec::new();
        let mut models = false;
        let mut tried: BTreeSet<JobId> = BTreeSet::new();
        for change in changes {
            let value = change.value.as_deref();
            match touched(&change.key) {
                Some(Touched::Submitted(job)) => {
                    let row: Option<Submitted> =
                        value.map(|bytes| scratch::decode(&change.key, bytes));
                    let name = row.as_ref().map(|row| row.spec.name.as_str());
                    self.taken.submitted(job, name)?;
                    name.map_or(Ok(()), |name| self.names.submitted(job, name))?;
                }
                Some(Touched::Ended(job)) => self.taken.ended(job, value.is_some())?,
                Some(Touched::Element(job, position)) => {
                    if let Some(bytes) = value {
                        let row: ElementRow = scratch::decode(&change.key, bytes);
                        complete_means_sealed::look(view, rows, job, position, &row.state)?;
                    }
                }
                Some(Touched::Attempt(job)) => _ = tried.insert(job),
                Some(Touched::Ledger(of)) => match of {
                    ledger::Touched::Artifact(id) => recipe_function::look(view, rows, id)?,
                    ledger::Touched::Event(seq) => {
                        let event = value.map(|bytes| scratch::decode(&change.key, bytes));
                        self.chain.event(seq, event.as_ref())?;
                    }
                    ledger::Touched::Promotion(id) => promotions.push(id),
                    ledger::Touched::Models => models = true,
                },
                None => {}
            }
        }
        self.gates.look(machine, rows, &promotions, models)?;
        tried.into_iter().try_for_each(|job| Gates::tried(view, rows, job))
    }
}
