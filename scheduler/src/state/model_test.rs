//! Sealed artifacts become versions of models; nothing else does.

use super::{
    command::{Command, Refusal, Reply},
    script::{Script, job, machine, output},
};
use domain::{
    ArtifactId, Bytes, Digest,
    job::{Captured, JobSpec},
    model::{LineageKind, ModelRef, Stage},
    refusal::RegistryRefusal,
};
use registry::ledger::{RegistryCommand, lineage::Bounds, view as ledger};

/// A script with sealed artifacts `a1` to `a<count>`.
pub fn sealed(count: u64) -> Script {
    let mut script = Script::new();
    script.register(machine("a", 1, "H100"));
    for _ in 0..count {
        train(&mut script, None, 1);
    }
    script
}

/// Runs a job over a data set to its sealed artifact, whose files are `of`.
pub fn train(script: &mut Script, dataset: Option<Digest>, of: u8) {
    let captured = |tree| Captured { tree, files: 1, size: Bytes(1), origin: "data".into() };
    let datasets = dataset.map(|tree| ("corpus".to_owned(), captured(tree)));
    let spec = JobSpec { datasets: datasets.into_iter().collect(), ..job(1, 1) };
    let id = script.submit(spec);
    script.plan();
    let lease = script.lease_of(&id.to_string());
    script.finish(lease, of);
    script.seal(lease);
}

pub fn send(script: &mut Script, command: RegistryCommand) -> Reply {
    script.send(None, Command::Registry(command))
}

fn new(family: &str, artifact: u64, parents: &[&str]) -> RegistryCommand {
    RegistryCommand::RegisterModel {
        family: family.into(),
        artifact: ArtifactId(artifact),
        metrics: [("accuracy".to_owned(), "0.91".parse().unwrap())].into(),
        parents: parents.iter().map(|parent| parent.parse().unwrap()).collect(),
        aliases: Vec::new(),
    }
}

pub fn register(script: &mut Script, family: &str, artifact: u64, parents: &[&str]) -> Reply {
    send(script, new(family, artifact, parents))
}

pub fn number(reply: Reply) -> u64 {
    match reply {
        Reply::Registry { number, .. } => number,
        other => panic!("refused: {other:?}"),
    }
}

pub fn refusal(reply: Reply) -> RegistryRefusal {
    match reply {
        Reply::Refused(Refusal::Registry(refusal)) => refusal,
        other => panic!("not refused by the registry: {other:?}"),
    }
}

/// The kinds of the events from `first` on.
pub fn kinds(script: &Script, first: u64) -> Vec<String> {
    let events = ledger::events(&script.rows, first, 10_000);
    let kind = |payload: &str| {
        let payload: serde_json::Value = serde_json::from_str(payload).unwrap();
        payload["eventType"].as_str().unwrap().to_owned()
    };
    events.iter().map(|event| kind(&event.payload)).collect()
}

pub fn head(script: &Script) -> u64 {
    script.view().audit_head().0.map_or(0, |head| head.seq)
}

fn model(text: &str) -> ModelRef {
    text.parse().unwrap()
}

#[test]
fn versions_count_from_one_within_each_family_and_begin_as_drafts() {
    let mut script = sealed(2);
    assert_eq!(number(register(&mut script, "llama", 2, &[])), 1);
    assert_eq!(number(register(&mut script, "llama", 1, &[])), 2);
    assert_eq!(number(register(&mut script, "llama-tiny", 1, &[])), 1);
    let view = script.view();
    let llama = view.versions(&script.rows, "llama", 1, 10);
    let found = llama.iter().map(|it| (it.version.model.version, it.version.artifact.0));
    assert_eq!(found.collect::<Vec<_>>(), [(1, 2), (2, 1)], "names that begin alike are apart");
    assert!(llama.iter().all(|it| it.version.stage == Stage::Draft && it.revoked.is_none()));
    assert_eq!(view.versions(&script.rows, "llam", 1, 10), []);
    let names = |after| {
        let found = view.families(&script.rows, after, 10);
        found.into_iter().map(|it| (it.family, it.versions)).collect::<Vec<_>>()
    };
    assert_eq!(names(""), [("llama".into(), 2), ("llama-tiny".into(), 1)]);
    assert_eq!(names("llama"), [("llama-tiny".into(), 1)]);
}

#[test]
fn a_version_is_one_event_that_names_its_bits_and_their_signature() {
    let mut script = sealed(1);
    register(&mut script, "llama", 1, &[]);
    let row = script.view().model(&script.rows, "llama").unwrap();
    let event = ledger::events(&script.rows, row.version.audit_seq, 1).pop().unwrap();
    for part in ["registry.model.registered", "0.91", &row.root.to_string()] {
        assert!(event.payload.contains(part), "{part}: {}", event.payload);
    }
    assert!(event.payload.contains(&row.signature.to_string()));
}

#[test]
fn what_is_unsealed_known_or_misnamed_is_refused_and_leaves_no_row() {
    let mut script = sealed(1);
    register(&mut script, "llama", 1, &[]);
    let before = script.rows.clone();
    let cases = [
        (new("llama", 7, &[]), "there is no sealed artifact a7; `assay artifacts` shows what"),
        (new("llama", 1, &[]), "artifact a1 is llama@1 already"),
        (new("Llama", 1, &[]), "`Llama` cannot be a name here"),
        // A version that named itself, or a later one, would close a circle.
        (new("bert", 1, &["bert@1"]), "parent bert@1 is not registered"),
        (new("bert", 1, &["llama@2"]), "parent llama@2 is not registered"),
    ];
    for (command, wanted) in cases {
        let why = refusal(send(&mut script, command)).to_string();
        assert!(why.starts_with(wanted), "{why}");
    }
    let differs = |(key, value): &(&Vec<u8>, &Vec<u8>)| before.get(*key) != Some(value);
    let changed: Vec<_> = script.rows.iter().filter(differs).map(|(key, _)| key[0]).collect();
    assert_eq!(changed, [0x01], "nothing but the clock has changed");
}

#[test]
fn a_revoked_artifact_becomes_no_version_and_the_attempt_is_on_record() {
    let mut script = sealed(1);
    let (artifact, reason) = (ArtifactId(1), "trained on leaked data".to_owned());
    let revoke = RegistryCommand::RevokeArtifact { artifact, reason };
    assert_eq!(number(send(&mut script, revoke.clone())), 0);
    let first = head(&script) + 1;
    let why = refusal(register(&mut script, "llama", 1, &[]));
    assert!(matches!(why, RegistryRefusal::Revoked { .. }), "{why}");
    assert_eq!(kinds(&script, first), ["registry.attempt.refused"]);
    assert!(matches!(refusal(send(&mut script, revoke)), RegistryRefusal::Revoked { .. }));
}

#[test]
fn an_alias_names_one_version_and_promotions_alone_move_those_of_stages() {
    let mut script = sealed(2);
    register(&mut script, "llama", 1, &[]);
    register(&mut script, "llama", 2, &[]);
    let alias = |alias: &str, version| RegistryCommand::SetAlias {
        family: "llama".into(),
        alias: alias.into(),
        version,
    };
    number(send(&mut script, alias("champion", Some(1))));
    number(send(&mut script, alias("champion", Some(2))));
    let named = |script: &Script, word| {
        script.view().model(&script.rows, word).map(|it| it.version.model.to_string())
    };
    assert_eq!(named(&script, "llama@champion").as_deref(), Some("llama@2"));
    assert_eq!(named(&script, "llama@1").as_deref(), Some("llama@1"));
    for word in ["llama@", "llama@0", "llama@3", "llama@nobody", "bert"] {
        assert_eq!(named(&script, word), None, "{word}");
    }
    for stage in ["draft", "staging", "prod", "deprecated"] {
        let why = refusal(send(&mut script, alias(stage, Some(1))));
        assert!(matches!(why, RegistryRefusal::AliasReserved(_)), "{why}");
    }
    assert!(matches!(
        refusal(send(&mut script, alias("champion", Some(9)))),
        RegistryRefusal::NotFound { .. }
    ));
    number(send(&mut script, alias("champion", None)));
    assert_eq!(named(&script, "llama@champion"), None);

    number(send(&mut script, alias("champion", Some(1))));
    let deprecate =
        RegistryCommand::DeprecateModel { model: model("llama@1"), reason: "biased".into() };
    number(send(&mut script, deprecate.clone()));
    assert_eq!(named(&script, "llama@champion"), None, "nothing names what is out of use");
    assert!(matches!(refusal(send(&mut script, deprecate)), RegistryRefusal::Stage { .. }));
}

#[test]
fn lineage_leads_from_a_version_to_its_data_its_ancestors_and_its_children() {
    let mut script = sealed(0);
    let corpus = Digest::of(b"corpus");
    train(&mut script, Some(corpus), 1);
    // The second job learns from what the first one made.
    train(&mut script, Some(output(1).tree), 2);
    register(&mut script, "base", 1, &[]);
    register(&mut script, "tuned", 2, &["base@1"]);
    let lineage = |text: &str, depth, nodes| {
        let bounds = Bounds { depth, nodes };
        script.view().lineage(&script.rows, &model(text), bounds).unwrap()
    };
    let all = lineage("tuned@1", 50, 100);
    let ids: Vec<_> = all.nodes.iter().map(|node| node.id.as_str()).collect();
    let tree = output(1).tree.to_string();
    let corpus = corpus.to_string();
    let wanted = ["tuned@1", "a2", "base@1", "j2", "a1", tree.as_str(), "j1", corpus.as_str()];
    assert_eq!(ids, wanted);
    assert!(!all.truncated && all.nodes[7].kind == LineageKind::Dataset);
    let edges: Vec<_> = all.edges.iter().map(|edge| (ids[edge.from], ids[edge.to])).collect();
    for edge in [("base@1", "tuned@1"), ("a2", "tuned@1"), ("a1", &tree), (&tree, "j2")] {
        assert!(edges.contains(&edge), "{edge:?} in {edges:?}");
    }

    let down = lineage("base@1", 50, 100);
    let has = |id: &str| down.nodes.iter().any(|node| node.id == id);
    assert!(has("tuned@1") && has("a2") && has(&corpus), "{down:?}");

    let near = lineage("tuned@1", 0, 100);
    assert!(near.truncated && near.nodes.iter().all(|node| node.id != "base@1"));
    let few = lineage("tuned@1", 50, 3);
    assert!(few.truncated && few.nodes.len() == 3);
}

#[test]
fn data_that_leads_back_to_itself_ends_a_lineage() {
    let mut script = sealed(0);
    // A job that gives back what it was given.
    train(&mut script, Some(output(1).tree), 1);
    register(&mut script, "copy", 1, &[]);
    let bounds = Bounds::asked(0, 0);
    let found = script.view().lineage(&script.rows, &model("copy@1"), bounds).unwrap();
    let ids: Vec<_> = found.nodes.iter().map(|node| node.id.clone()).collect();
    assert_eq!(ids, ["copy@1", "a1", "j1", &output(1).tree.to_string()]);
}

/// Not a test of time, which differs by machine, but of what a long chain costs in rows.
#[test]
fn a_chain_of_many_generations_is_walked_to_its_bound() {
    let mut script = sealed(1);
    let mut parent = None;
    for version in 0..60 {
        let family = format!("f{version}");
        let parents: Vec<&str> = parent.as_deref().into_iter().collect();
        number(register(&mut script, &family, 1, &parents));
        parent = Some(format!("{family}@1"));
    }
    let of = model("f59@1");
    let found = script.view().lineage(&script.rows, &of, Bounds::asked(0, 0)).unwrap();
    let models = found.nodes.iter().filter(|node| node.kind == LineageKind::Model).count();
    // The artifact is that of all of them, and so leads to all.
    assert_eq!((models, found.truncated), (60, true));
    let only_up = found.nodes.iter().filter(|node| node.depth == 50).count();
    assert_eq!(only_up, 1);
}

#[test]
fn a_registration_touches_few_rows_however_many_there_are() {
    let mut script = sealed(1);
    let mut touched = Vec::new();
    for version in 0..200_u64 {
        let before = script.rows.clone();
        number(register(&mut script, &format!("f{}", version % 7 + version), 1, &[]));
        let old = |(key, value): &(&Vec<u8>, &Vec<u8>)| before.get(*key) == Some(value);
        touched.push(script.rows.iter().filter(|row| !old(row)).count());
    }
    assert!(touched.iter().all(|count| *count <= 9), "{touched:?}");
}
