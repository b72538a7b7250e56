//! Changes of the registry, as the ledger's rules allow them.

use super::{
    command::{Effect, Refusal, Reply},
    sched::Sched,
    step::Step,
};
use domain::{job::JobSpec, port::RowRead};
use registry::ledger::{Ledger, RegistryCommand, view};

/// Has the ledger do one change.
pub(super) fn step<R: RowRead>(
    step: &mut Step<'_, R>,
    sched: &Sched,
    ledger: &mut Ledger,
    actor: &str,
    command: RegistryCommand,
) -> Reply {
    if let RegistryCommand::Collect { artifacts } = command {
        return sched.collect(step, ledger, actor, &artifacts);
    }
    let gated = matches!(
        command,
        RegistryCommand::RequestPromotion { .. } | RegistryCommand::DecidePromotion { .. }
    );
    if gated {
        step.effect(Effect::Gate);
    }
    let made_by = made_by(step, &command);
    match ledger.step(&mut step.rows, step.now, actor, command, made_by.as_ref()) {
        Ok(number) => Reply::Registry { number, at: step.at },
        Err(refusal) => Reply::Refused(Refusal::Registry(refusal)),
    }
}

/// The job whose output an evaluation is: what it read is for the ledger to look at.
fn made_by<R: RowRead>(step: &Step<'_, R>, command: &RegistryCommand) -> Option<JobSpec> {
    let RegistryCommand::RecordEvaluation { artifact, .. } = command else { return None };
    let element = view::made_by(&step.rows, *artifact)?;
    step.submitted(element.job).map(|submitted| submitted.spec)
}
