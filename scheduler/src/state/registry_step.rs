//! Changes of the registry, as the ledger's rules allow them.

use super::{
    command::{Effect, Refusal, Reply},
    sched::Sched,
    step::Step,
    view::sources,
};
use domain::{
    ArtifactId, job::JobSpec, limit, port::RowRead, refusal::RegistryRefusal, scratch::Scratch,
    version::ClusterVersion,
};
use registry::ledger::{
    Background, Ledger, RegistryCommand, dataset,
    lineage::{self, Bounds},
    view,
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
    let looks = sched.version >= DATA_LOOKED_AT;
    #[cfg(feature = "planted")]
    let looks = looks && !step.planted.data_unlooked;
    let data = |rows: &Scratch<'_, R>, of| if looks { check_data(rows, of) } else { Ok(()) };
    let (made_by, version) = (made_by(step, &command), sched.version);
    let background = Background { made_by, data: &data, version };
    match ledger.step(&mut step.rows, step.now, actor, command, &background) {
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

/// Whether data that an artifact came of may be used now.
fn check_data(rows: &impl RowRead, of: ArtifactId) -> Result<(), RegistryRefusal> {
    let bounds = Bounds { depth: limit::CAME_OF_DEPTH_MAX, nodes: limit::CAME_OF_MAX };
    let trees = lineage::came_of(rows, of, bounds, &|element| sources(rows, element));
    dataset::check_trees(rows, trees)
}
