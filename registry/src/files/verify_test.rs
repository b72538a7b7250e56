//! What another tool signed is accepted; what was changed, added or signed by others is named.

use super::walk;
use crate::{
    seal::{
        bundle, dsse,
        statement::model_statement,
        trust::Trust,
        verify::{Check, verify_model},
    },
    sign::local::{LocalSigner, create_model},
};
use domain::port::Signer;
use std::path::Path;

fn pem(signer: &LocalSigner) -> String {
    signer.public_pem().unwrap()
}

fn trust(pem: &str) -> Trust {
    Trust::parse(pem).unwrap()
}

fn good(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.ok)
}

#[test]
fn what_another_tool_signed_is_accepted_and_one_flipped_bit_is_not() {
    let example =
        Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("tests/data/oms-example");
    let keys = trust(&std::fs::read_to_string(example.join("pub.pem")).unwrap());
    let checks = verify_model(&example.join("model"), &example.join("model.sig"), &keys);
    assert!(good(&checks), "{checks:#?}");

    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("model");
    std::fs::create_dir_all(copy.join("tokenizer")).unwrap();
    for name in ["config.json", "empty.txt", "tokenizer/vocab.txt", "weights.bin"] {
        std::fs::copy(example.join("model").join(name), copy.join(name)).unwrap();
    }
    let path = copy.join("weights.bin");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100] ^= 1;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let checks = verify_model(&copy, &example.join("model.sig"), &keys);
    let failed = checks.iter().find(|check| !check.ok).unwrap();
    assert_eq!(failed.name, "files");
    assert!(failed.detail.contains("weights.bin"), "{}", failed.detail);
}

#[test]
fn what_the_signer_left_out_may_stand_in_the_folder_and_nothing_else_may() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    std::fs::create_dir_all(model.join(".git")).unwrap();
    std::fs::write(model.join("weights"), "w").unwrap();
    let signer = create_model(&dir.path().join("a.pem")).unwrap();
    let payload = model_statement("m", &walk::hash_tree(&model).unwrap());
    let sig = signer.sign(&dsse::pae(&payload)).unwrap();
    let (file, pem) = (dir.path().join("model.sig"), pem(&signer));
    std::fs::write(&file, bundle::model_bundle(&payload, &sig, &pem)).unwrap();

    std::fs::write(model.join(".git/HEAD"), "ref").unwrap();
    std::fs::write(model.join(".gitattributes"), "* binary").unwrap();
    let checks = verify_model(&model, &file, &trust(&pem));
    assert!(good(&checks), "{checks:#?}");
    let readable = checks.iter().find(|check| check.name == "files readable").unwrap();
    assert!(readable.detail.contains("2 left out as signed"), "{}", readable.detail);
    std::fs::create_dir(model.join("sub")).unwrap();
    std::fs::write(model.join("sub/.gitattributes"), "* binary").unwrap();
    let checks = verify_model(&model, &file, &trust(&pem));
    let failed = checks.iter().find(|check| !check.ok).unwrap();
    assert!(failed.detail.contains("sub/.gitattributes` is in the folder but not signed"));
}

#[test]
fn a_key_that_is_not_trusted_is_refused_by_its_hint() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    std::fs::create_dir(&model).unwrap();
    std::fs::write(model.join("weights"), "w").unwrap();
    let signer = create_model(&dir.path().join("a.pem")).unwrap();
    let other = create_model(&dir.path().join("b.pem")).unwrap();
    let payload = model_statement("m", &walk::hash_tree(&model).unwrap());
    let sig = signer.sign(&dsse::pae(&payload)).unwrap();
    let file = dir.path().join("model.sig");
    let pem = pem(&signer);
    std::fs::write(&file, bundle::model_bundle(&payload, &sig, &pem)).unwrap();
    assert!(good(&verify_model(&model, &file, &trust(&pem))));
    let checks = verify_model(&model, &file, &trust(&self::pem(&other)));
    assert_eq!(checks.last().map(|check| (check.name, check.ok)), Some(("trusted key", false)));
}
