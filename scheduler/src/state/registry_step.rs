//! Changes of the registry, as the ledger's rules allow them.

use super::{
    command::{Effect, Refusal, Reply},
    sched::Sched,
    step::Step,
    view::sources,
};
use domain::{ArtifactId, port::RowRead, refusal::RegistryRefusal, version::ClusterVersion};
use registry::ledger::{
    Background, Ledger, RegistryCommand, dataset,
    lineage::{self, Bounds},
    model, promotion, view,
};

/// Since then data that is blocked stops promotions too, and counts as code as well.
pub(super) const DATA_LOOKED_AT: ClusterVersion = ClusterVersion(2);

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
    let background = background(step, sched, &command);
    match ledger.step(&mut step.rows, step.now, actor, command, &background) {
        Ok(number) => Reply::Registry { number, at: step.at },
        Err(refusal) => Reply::Refused(Refusal::Registry(refusal)),
    }
}

/// What is known here of what a change is about.
fn background<R: RowRead>(
    step: &Step<'_, R>,
    sched: &Sched,
    command: &RegistryCommand,
) -> Background {
    use RegistryCommand as C;
    let promoted = match command {
        C::RecordEvaluation { artifact, .. } => {
            let made_by = view::made_by(&step.rows, *artifact)
                .and_then(|element| step.submitted(element.job))
                .map(|submitted| submitted.spec);
            return Background { made_by, ..Background::default() };
        }
        C::RequestPromotion { model, .. } => {
            model::version(&step.rows, model).map(|version| version.artifact)
        }
        C::DecidePromotion { promotion, .. }
        | C::SignPromotion { promotion, .. }
        | C::Approve { promotion, .. } => {
            promotion::promotion(&step.rows, *promotion).map(|promotion| promotion.artifact)
        }
        _ => None,
    };
    let looked = promoted.filter(|_| sched.version >= DATA_LOOKED_AT);
    Background { blocked: looked.and_then(|of| blocked(step, of)), ..Background::default() }
}

/// Why an artifact may go no further, where data that it came of is blocked by now.
fn blocked<R: RowRead>(step: &Step<'_, R>, of: ArtifactId) -> Option<RegistryRefusal> {
    #[cfg(feature = "planted")]
    if step.planted.data_unlooked {
        return None;
    }
    let rows = &step.rows;
    let trees = lineage::came_of(rows, of, Bounds::asked(0, 0), &|element| sources(rows, element));
    dataset::check_trees(rows, trees).err()
}
