//! What is captured, and what is refused.

use super::*;
use crate::jobfile::draft::DataSource;
use std::fs;

fn draft(dir: &Path, sha256: Option<Digest>) -> Draft {
    Draft {
        command: Some(vec!["./train".into()]),
        code: Some(dir.join("code")),
        datasets: [("d".to_owned(), DataSource::Files { path: dir.join("data.csv"), sha256 })]
            .into(),
        ..Draft::default()
    }
}

fn folder_with_files() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("code")).unwrap();
    fs::write(dir.path().join("code/train"), "#!/bin/sh\n").unwrap();
    fs::write(dir.path().join("data.csv"), "1,2\n").unwrap();
    dir
}

#[test]
fn code_and_data_are_named_by_digest() {
    let dir = folder_with_files();
    let capture = Capture::of(&draft(dir.path(), None), None).unwrap();
    let code = capture.spec.code.clone().unwrap();
    let data = &capture.spec.datasets["d"];
    assert_eq!((code.files, data.files, data.size), (1, 1, Bytes(4)));
    let digests: Vec<_> = capture.sources().iter().map(|source| source.digest).collect();
    for wanted in [code.tree, data.tree, Digest::of(b"1,2\n"), Digest::of(b"#!/bin/sh\n")] {
        assert!(digests.contains(&wanted));
    }
    assert_eq!(capture.size(), (2, Bytes(14)));
}

#[test]
fn the_same_files_give_the_same_job_wherever_they_stand() {
    let (a, b) = (folder_with_files(), folder_with_files());
    let of = |dir: &Path| {
        let mut spec = Capture::of(&draft(dir, None), None).unwrap().spec;
        spec.code.as_mut().unwrap().origin.clear();
        spec.datasets.get_mut("d").unwrap().origin.clear();
        spec
    };
    assert_eq!(of(a.path()), of(b.path()));
}

#[test]
fn a_data_set_that_has_changed_is_refused_with_both_digests() {
    let dir = folder_with_files();
    let (old, new) = (Digest::of(b"other"), Digest::of(b"1,2\n"));
    assert!(Capture::of(&draft(dir.path(), Some(new)), None).is_ok());
    let fault = Capture::of(&draft(dir.path(), Some(old)), None).unwrap_err();
    assert_eq!(fault.reason, "dataset_changed");
    assert!(fault.detail.contains(&old.to_string()) && fault.detail.contains(&new.to_string()));
}
