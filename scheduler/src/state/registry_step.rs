//! Changes of the registry, as the ledger's rules allow them.

use super::{
    command::{Effect, Refusal, Reply},
    sched::Sched,
    step::Step,
};
use domain::port::RowRead;
use registry::ledger::{Ledger, RegistryCommand};

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
    match ledger.step(&mut step.rows, step.now, actor, command) {
        Ok(number) => Reply::Registry { number, at: step.at },
        Err(refusal) => Reply::Refused(Refusal::Registry(refusal)),
    }
}
