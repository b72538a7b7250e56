//! A collection over random ledgers takes exactly what may go.

use super::{
    Cluster,
    command::{Command, NewJob},
    model_test::send,
    promotion_test::{allow, by, decided, gate, sign},
    retain_test::{
        DAY, ask, begin, collect, dataset_of, days, hold, named_trees, queue_rule, spec, train,
        wait,
    },
    script::Script,
};
use domain::{
    ArtifactId, Digest, JobId, PromotionId,
    model::{ModelRef, ModelVersion, Stage},
    retain::Retain,
    view::ArtifactView,
};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};
use registry::ledger::{RegistryCommand as C, dataset, retain};
use std::collections::BTreeSet;

/// What people and time do around a collection. Small numbers pick among what there is.
#[derive(Clone, Debug)]
enum Act {
    Train {
        of: u8,
        retain: u8,
        data: Option<u8>,
    },
    Submit {
        data: u8,
    },
    Cancel {
        job: u64,
    },
    Register {
        family: u8,
        artifact: u64,
        parent: Option<(u8, u64)>,
    },
    Alias {
        family: u8,
        version: u64,
        set: bool,
    },
    Request {
        family: u8,
        version: u64,
    },
    /// Lets the first so many open promotions be applied.
    Promote,
    Deprecate {
        family: u8,
        version: u64,
    },
    Hold {
        artifact: u64,
        held: bool,
    },
    Dataset {
        of: u8,
    },
    Rule {
        days: u8,
    },
    Wait {
        days: u64,
    },
    Collect {
        artifact: u64,
    },
}

fn any_act() -> impl Strategy<Value = Act> {
    let parent = || prop::option::of((0u8..2, 1u64..4));
    prop_oneof![
        6 => (0u8..4, 0u8..4, prop::option::weighted(0.3, 0u8..4))
            .prop_map(|(of, retain, data)| Act::Train { of, retain, data }),
        1 => (0u8..4).prop_map(|data| Act::Submit { data }),
        1 => (1u64..8).prop_map(|job| Act::Cancel { job }),
        5 => (0u8..2, 1u64..6, parent()).prop_map(
            |(family, artifact, parent)| Act::Register { family, artifact, parent }
        ),
        2 => (0u8..2, 1u64..4, any::<bool>())
            .prop_map(|(family, version, set)| Act::Alias { family, version, set }),
        2 => (0u8..2, 1u64..4).prop_map(|(family, version)| Act::Request { family, version }),
        1 => Just(Act::Promote),
        1 => (0u8..2, 1u64..4).prop_map(|(family, version)| Act::Deprecate { family, version }),
        1 => (1u64..6, any::<bool>()).prop_map(|(artifact, held)| Act::Hold { artifact, held }),
        1 => (0u8..4).prop_map(|of| Act::Dataset { of }),
        1 => (0u8..4).prop_map(|days| Act::Rule { days }),
        2 => (0u64..3).prop_map(|days| Act::Wait { days }),
        6 => (1u64..8).prop_map(|artifact| Act::Collect { artifact }),
    ]
}

fn family(of: u8) -> String {
    format!("m{of}")
}

/// One act. What is refused changes nothing, which is as good here as what is not.
fn act(script: &mut Script, act: Act) {
    let retain = |of: u8| match of {
        0 => None,
        1 => Some(Retain::Forever),
        of => days(u64::from(of) - 2),
    };
    let command = match act {
        Act::Train { of, retain: rule, data } => {
            return train(script, spec(retain(rule), data), of);
        }
        Act::Submit { data } => {
            let spec = spec(None, Some(data));
            let recipe = Digest::of_value(&spec);
            script.send(None, Command::Submit { jobs: vec![NewJob { spec, recipe }] });
            return;
        }
        Act::Cancel { job } => {
            script.cancel(&JobId(job).to_string());
            return;
        }
        Act::Rule { days: of } => return queue_rule(script, retain(of)),
        Act::Wait { days } => return wait(script, days * DAY),
        Act::Promote => return promote(script),
        Act::Register { family: of, artifact, parent } => C::RegisterModel {
            family: family(of),
            artifact: ArtifactId(artifact),
            metrics: [("accuracy".to_owned(), "0.91".parse().unwrap())].into(),
            parents: parent
                .map(|(of, version)| ModelRef { family: family(of), version })
                .into_iter()
                .collect(),
            aliases: Vec::new(),
        },
        Act::Alias { family: of, version, set } => C::SetAlias {
            family: family(of),
            alias: "best".into(),
            version: set.then_some(version),
        },
        Act::Request { family: of, version } => ask(&family(of), version),
        Act::Deprecate { family: of, version } => {
            let model = ModelRef { family: family(of), version };
            C::DeprecateModel { model, reason: "old".into() }
        }
        Act::Hold { artifact, held } => hold(artifact, held),
        Act::Dataset { of } => dataset_of(of),
        Act::Collect { artifact } => C::Collect { artifacts: vec![ArtifactId(artifact)] },
    };
    send(script, command);
}

fn promote(script: &mut Script) {
    let open: Vec<u64> = script.view().open_promotions().map(|(id, _)| id.0).collect();
    for id in open {
        by(script, "server:1", decided(id, vec![gate("0.9")], allow()));
        let signed = sign(script, id);
        by(script, "server:1", signed);
    }
}

/// All versions there are.
fn versions(script: &Script) -> Vec<ModelVersion> {
    let view = script.view();
    let of = |of: u8| view.versions(&script.rows, &family(of), 1, 100);
    (0..2).flat_map(of).map(|found| found.version).collect()
}

/// Reasons to keep files, by the names that they have in a plan.
const REASONS: [&str; 9] =
    ["time", "hold", "dataset", "stage", "alias", "promotion", "parent", "source", "input"];

/// Whether a version is in a stage, named, or on its way, told from what is shown alone, by one who
/// is blind for a reason.
fn in_use(script: &Script, version: &ModelVersion, blind: &str) -> bool {
    let view = script.view();
    let families = view.families(&script.rows, "", 100);
    let named = families.iter().any(|it| {
        it.family == version.model.family
            && it.aliases.iter().any(|(alias, number)| {
                // A stage's own alias goes with the stage.
                let own = ["staging", "prod"].contains(&alias.as_str());
                *number == version.model.version && !(own && blind == "stage")
            })
    });
    let staged = matches!(version.stage, Stage::Staging | Stage::Prod);
    let open = view.open_promotions().any(|(PromotionId(id), _)| {
        let found = view.promotion(&script.rows, PromotionId(id));
        found.is_some_and(|it| it.model == version.model)
    });
    let all = [("alias", named), ("stage", staged), ("promotion", open)];
    all.into_iter().any(|(reason, met)| met && reason != blind)
}

/// What of the versions that there are is needed to make again what is in use.
fn needed(script: &Script, blind: &str) -> BTreeSet<ModelRef> {
    let all = versions(script);
    let used = all.iter().filter(|it| in_use(script, it, blind));
    let mut needed: BTreeSet<ModelRef> = used.map(|it| it.model.clone()).collect();
    // Until nothing is added: what a needed version was made from is needed.
    loop {
        let parents = all.iter().filter(|it| needed.contains(&it.model) && blind != "parent");
        let more: BTreeSet<ModelRef> = parents.flat_map(|it| it.parents.clone()).collect();
        let before = needed.len();
        needed.extend(more);
        if needed.len() == before {
            return needed;
        }
    }
}

/// Whether the files of a result may go, told from what is shown alone, in the plainest way, by one
/// who is blind for a reason.
fn may_go(script: &Script, found: &ArtifactView, blind: &str) -> bool {
    let (view, rows, artifact) = (script.view(), &script.rows, &found.artifact);
    let tree = artifact.ticket.output.tree;
    let uses = |job: JobId| {
        let spec = view.job_rows(rows, job).unwrap().0.spec;
        spec.datasets.values().any(|set| set.tree == tree)
    };
    let spec = view.job_rows(rows, artifact.ticket.element.job).unwrap().0.spec;
    let rule = spec.retain.or(view.cluster_config().queues["default"].retain);
    let Some(Retain::For(time)) = rule else { return false };
    let dataset = (0..4).any(|of| {
        let all = dataset::versions(rows, &format!("d{of}"), 1, 100);
        all.iter().any(|it| it.version.facts.tree == tree)
    });
    let needed = needed(script, blind);
    let model =
        versions(script).iter().any(|it| it.artifact == artifact.id && needed.contains(&it.model));
    let others = view.artifacts(rows, ArtifactId(0), 1_000);
    let source = others.iter().any(|other| {
        let has_files = other.artifact.id != artifact.id && other.collected.is_none();
        has_files && uses(other.artifact.ticket.element.job)
    });
    let all = [
        ("time", artifact.sealed.plus(time) > view.now()),
        ("hold", found.hold.is_some()),
        ("dataset", dataset),
        ("", model),
        ("source", source),
        ("input", view.all_live_jobs().any(|(id, _)| uses(id))),
    ];
    !all.into_iter().any(|(reason, met)| met && (reason.is_empty() || reason != blind))
}

/// A law that does not hold, in words.
fn broken(script: &Script) -> Option<String> {
    let gone = |id| retain::collected(&script.rows, id).is_some();
    let used =
        versions(script).into_iter().find(|it| gone(it.artifact) && in_use(script, it, "none"));
    if let Some(version) = used {
        return Some(format!("{} is in use and its files went", version.model));
    }
    // The files of whatever has files are named, so no server deletes them.
    let named = named_trees(script);
    let all = script.view().artifacts(&script.rows, ArtifactId(0), 1_000);
    let mut has = all.iter().filter(|it| it.collected.is_none());
    let lost = has.find(|it| !named.contains(&it.artifact.ticket.output.tree))?;
    Some(format!("{} has files that nothing names", lost.artifact.id))
}

/// Does what is drawn, and compares each collection with what the plain reading allows.
fn compare(acts: Vec<Act>, blind: &str) -> Result<(), TestCaseError> {
    let mut script = begin();
    for step in acts {
        if let Act::Collect { artifact } = step {
            let found = script.view().artifact(&script.rows, ArtifactId(artifact));
            let has_files = found.filter(|it| it.collected.is_none());
            let may = has_files.is_some_and(|it| may_go(&script, &it, blind));
            prop_assert_eq!(collect(&mut script, &[artifact]), u64::from(may), "{}", artifact);
        } else {
            act(&mut script, step);
        }
        prop_assert_eq!(broken(&script), None);
    }
    prop_assert_eq!(&Cluster::load(&script.rows), &script.cluster, "rows tell all of it");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn a_collection_takes_what_may_go_and_never_what_is_needed(acts in vec(any_act(), 1..60)) {
        compare(acts, "none")?;
    }
}

/// The property can fail: with any one reason left out on one of its two sides, the sides part.
#[test]
fn each_reason_alone_keeps_files_in_some_random_ledger() {
    for blind in REASONS {
        let config = ProptestConfig {
            cases: 2_000,
            failure_persistence: None,
            max_shrink_iters: 0,
            ..ProptestConfig::default()
        };
        let mut runner =
            TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
        let run = runner.run(&vec(any_act(), 1..60), |acts| compare(acts, blind));
        assert!(run.is_err(), "nothing was kept because of `{blind}` alone");
    }
}
