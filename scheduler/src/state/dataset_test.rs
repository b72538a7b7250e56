//! Data sets through the log: what blocks them, who clears them, and what a try leaves.

use super::{
    command::{Command, Reply},
    model_test::{head, kinds, number, refusal, send},
    promotion_test::{by, key},
    registry_step::DATA_LOOKED_AT,
    script::{Script, job, machine},
    version::RaiseVersion,
};
use domain::{
    Bytes, Digest, ReplicaId,
    dataset::{Block, DatasetFacts, DatasetRef, DatasetVersion, PiiScan},
    job::{Captured, JobSpec},
    limit,
    refusal::RegistryRefusal as R,
    version::Understood,
};
use ed25519_dalek::Signer;
use registry::{
    ledger::{RegistryCommand as C, dataset},
    seal::clearance,
};

pub fn facts(tree: u8, licence: &str, mails: u64) -> DatasetFacts {
    let counts = [("email".to_owned(), mails)].into_iter().filter(|(_, count)| *count > 0);
    DatasetFacts {
        tree: Digest([tree; 32]),
        root: Digest([tree; 32]),
        files: 1,
        size: Bytes(10),
        source: "https://example.org".into(),
        transformations: Vec::new(),
        licence: licence.into(),
        owner: "ada".into(),
        slices: [("german".to_owned(), vec!["de".to_owned()])].into(),
        pii_declared: false,
        scan: PiiScan { counts: counts.collect(), ..PiiScan::default() },
    }
}

pub fn register(script: &mut Script, user: &str, name: &str, facts: DatasetFacts) -> Reply {
    by(script, &format!("user:{user}"), C::RegisterDataset { name: name.into(), facts })
}

fn found(script: &Script, word: &str) -> DatasetVersion {
    let dataset = dataset::resolve(&script.rows, word).unwrap();
    dataset::version(&script.rows, &dataset).unwrap()
}

/// Bob's word, or that of who knows bob's name but has the key `of`.
pub fn clear(script: &mut Script, user: &str, word: &str, of: u8, reason: &str) -> Reply {
    let version = found(script, word);
    let blocks = dataset::blocks(&script.rows, &version);
    let document = clearance::document(&version, &blocks, "checked");
    let signature = key(of).sign(document.as_bytes()).to_bytes().to_vec();
    let dataset = version.dataset;
    let command = C::ClearDataset { dataset, reason: reason.into(), signature };
    by(script, &format!("user:{user}"), command)
}

fn with_approvers() -> Script {
    let mut script = Script::new();
    for (of, name) in [(0, "bob"), (1, "ada")] {
        let key = key(of).verifying_key().to_bytes();
        number(send(&mut script, C::AddApprover { name: name.into(), key }));
    }
    script
}

fn uses(tree: u8) -> JobSpec {
    let captured =
        Captured { tree: Digest([tree; 32]), files: 1, size: Bytes(10), origin: "x".into() };
    JobSpec { datasets: [("train".to_owned(), captured)].into(), ..job(1, 1) }
}

fn submit(script: &mut Script, tree: u8) -> Result<(), R> {
    let spec = uses(tree);
    let new = super::command::NewJob { recipe: Digest::of(b"recipe"), spec };
    match script.send(None, Command::Submit { jobs: vec![new] }) {
        Reply::Submitted { .. } => Ok(()),
        other => Err(refusal(other)),
    }
}

#[test]
fn versions_count_from_one_and_the_same_files_are_one_version() {
    let mut script = with_approvers();
    assert_eq!(number(register(&mut script, "ada", "reviews", facts(1, "MIT", 0))), 1);
    assert_eq!(number(register(&mut script, "ada", "reviews", facts(2, "MIT", 0))), 2);
    assert_eq!(number(register(&mut script, "ada", "copy", facts(1, "MIT", 0))), 1);
    let again = refusal(register(&mut script, "bob", "reviews", facts(1, "MIT", 0)));
    assert!(matches!(again, R::DatasetKnown { dataset, .. } if dataset.version == 1));
    let list = dataset::datasets(&script.rows, "", 10);
    let names: Vec<_> = list.iter().map(|it| it.version.dataset.to_string()).collect();
    assert_eq!(names, ["copy@1", "reviews@2"]);
    assert_eq!(dataset::versions(&script.rows, "reviews", 1, 10).len(), 2);
    for bad in [
        DatasetFacts { licence: "a b".into(), ..facts(9, "MIT", 0) },
        DatasetFacts { source: " ".into(), ..facts(9, "MIT", 0) },
        DatasetFacts { owner: "A!".into(), ..facts(9, "MIT", 0) },
    ] {
        let before = head(&script);
        assert!(matches!(refusal(register(&mut script, "ada", "bad", bad)), R::Invalid(_)));
        assert_eq!(head(&script), before);
    }
}

#[test]
fn personal_data_and_licences_block_until_another_person_clears_both() {
    let mut script = with_approvers();
    for (name, tree, licence, mails, expected) in [
        ("free", 1, "CC-BY-4.0", 0, vec![]),
        ("mails", 2, "CC-BY-4.0", 3, vec![Block::Pii]),
        ("nc", 3, "CC-BY-NC-4.0", 0, vec![Block::Licence]),
        ("both", 4, "LicenseRef-x", 1, vec![Block::Pii, Block::Licence]),
    ] {
        number(register(&mut script, "ada", name, facts(tree, licence, mails)));
        assert_eq!(dataset::blocks(&script.rows, &found(&script, name)), expected, "{name}");
        assert_eq!(submit(&mut script, tree).is_ok(), expected.is_empty(), "{name}");
    }
    let first = head(&script) + 1;
    let by_owner = refusal(clear(&mut script, "ada", "both", 1, "checked"));
    assert!(matches!(by_owner, R::OwnDataset { .. }));
    let stranger = refusal(clear(&mut script, "eve", "both", 0, "checked"));
    assert_eq!(stranger, R::NotApprover("eve".into()));
    let forged = refusal(clear(&mut script, "bob", "both", 1, "checked"));
    assert!(matches!(forged, R::ForgedClearance { .. }));
    let other = refusal(clear(&mut script, "bob", "both", 0, "another reason"));
    assert!(matches!(other, R::ForgedClearance { .. }), "the reason is part of what is signed");
    number(clear(&mut script, "bob", "both", 0, "checked"));
    assert_eq!(submit(&mut script, 4), Ok(()));
    let twice = refusal(clear(&mut script, "bob", "both", 0, "checked"));
    assert_eq!(twice, R::NotBlocked(DatasetRef { name: "both".into(), version: 1 }));
    let mut expected = vec!["registry.attempt.refused"; 4];
    expected.extend(["dataset.cleared", "job.submitted"]);
    assert_eq!(kinds(&script, first), expected);

    // A word on the licence holds for all that have it, at once.
    let allow = |allowed| C::SetLicence { licence: "CC-BY-NC-4.0".into(), allowed };
    number(send(&mut script, allow(true)));
    assert_eq!(submit(&mut script, 3), Ok(()));
    number(send(&mut script, allow(false)));
    assert!(submit(&mut script, 3).is_err());
}

#[test]
fn a_job_that_waits_is_held_when_its_data_is_blocked_meanwhile() {
    let mut script = with_approvers();
    assert_eq!(submit(&mut script, 7), Ok(()));
    number(register(&mut script, "ada", "mails", facts(7, "MIT", 1)));
    script.register(machine("a", 1, "H100"));
    script.plan();
    let id = domain::JobId(1);
    assert_eq!(script.word(id), "held");
    assert!(script.reasons(id).iter().any(|kind| kind == "dataset"), "{:?}", script.reasons(id));
    number(clear(&mut script, "bob", "mails", 0, "checked"));
    script.send(None, Command::Hold { job: id, held: false });
    script.plan();
    assert_eq!(script.word(id), "running");
}

#[test]
fn nobody_makes_room_for_a_job_whose_data_is_blocked() {
    let mut script = with_approvers();
    script.register(machine("a", 1, "H100"));
    let low = script.submit(job(1, 1));
    script.plan();
    script.now = script.now.plus(limit::MIN_RUN);
    let spec = JobSpec { priority: 5, ..uses(7) };
    let high = script.submit(spec);
    number(register(&mut script, "ada", "mails", facts(7, "MIT", 1)));
    assert!(script.plan_all().is_some(), "who plans knows nothing of it");
    let lease = script.lease_of(&low.to_string());
    assert_eq!(script.view().lease(lease).unwrap().notice, None);
    assert_eq!((script.word(low), script.word(high)), ("running".into(), "held".into()));
}

#[test]
fn a_legal_hold_says_who_and_why_and_ends_once() {
    let mut script = with_approvers();
    number(register(&mut script, "ada", "x", facts(1, "MIT", 0)));
    let hold = |held| C::HoldDataset {
        dataset: DatasetRef { name: "x".into(), version: 1 },
        held,
        reason: "case 7".into(),
    };
    number(send(&mut script, hold(true)));
    assert_eq!(found(&script, "x").hold.unwrap().reason, "case 7");
    assert!(matches!(refusal(send(&mut script, hold(true))), R::Invalid(_)));
    number(send(&mut script, hold(false)));
    assert_eq!(found(&script, "x").hold, None);
}

#[test]
fn a_name_stands_for_the_files_of_its_version_or_the_job_is_refused() {
    let mut script = with_approvers();
    number(register(&mut script, "ada", "reviews", facts(1, "MIT", 0)));
    let mut submit = |tree: u8, name: &str| {
        let registered = [("train".to_owned(), name.parse().unwrap())].into();
        let spec = JobSpec { registered, ..uses(tree) };
        let recipe = registry::seal::recipe::recipe(&spec);
        let plain = registry::seal::recipe::recipe(&uses(tree));
        assert_eq!(recipe, plain, "the name is no part of the recipe");
        let new = super::command::NewJob { recipe, spec };
        match script.send(None, Command::Submit { jobs: vec![new] }) {
            Reply::Submitted { .. } => Ok(()),
            other => Err(refusal(other)),
        }
    };
    assert_eq!(submit(1, "reviews@1"), Ok(()));
    let unknown = submit(1, "reviews@2").unwrap_err();
    assert!(matches!(unknown, R::UnknownDataset { .. }), "{unknown}");
    let other = submit(2, "reviews@1").unwrap_err();
    assert!(matches!(other, R::DatasetDiffers { .. }), "{other}");
}

/// At the version since which blocked data is looked at wherever it comes up.
pub fn raise(script: &mut Script) {
    let members = [(ReplicaId(1), Understood::BUILD)].into();
    let raise = RaiseVersion { to: DATA_LOOKED_AT, members };
    let reply = script.send(None, Command::RaiseVersion(raise));
    assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
}

#[test]
fn blocked_data_that_is_given_as_code_is_refused_too() {
    let mut script = with_approvers();
    number(register(&mut script, "ada", "mails", facts(2, "MIT", 1)));
    let code = uses(2).datasets["train"].clone();
    let spec = JobSpec { code: Some(code), ..job(1, 1) };
    let send = |script: &mut Script| {
        let jobs = vec![super::command::NewJob { recipe: Digest::of(b"r"), spec: spec.clone() }];
        script.send(None, Command::Submit { jobs })
    };
    assert!(matches!(send(&mut script), Reply::Submitted { .. }), "an older release takes it in");
    raise(&mut script);
    assert!(matches!(refusal(send(&mut script)), R::DatasetBlocked { .. }));
}
