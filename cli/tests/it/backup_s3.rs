//! A backup goes to S3 and comes back, locked and verified. The store is an emulator: it proves our
//! code over real HTTP, not AWS.

use crate::harness::{ASSAY, User, cluster::Cluster, s3::Store, said};
use serde_json::Value;
use std::{fs, process::Command};

/// A file beyond what is put whole, and a small one.
const WRITE: &str = "head -c 20000000 /dev/urandom > \"$ASSAY_OUTPUT_DIR/weights\"; \
                     echo small > \"$ASSAY_OUTPUT_DIR/notes\"";

#[test]
fn a_backup_goes_to_s3_locked_and_comes_back_whole() {
    let cluster = Cluster::start();
    let store = Store::start();
    store.bucket("backups");
    let user = User { profile: cluster.dir().to_owned() };
    user.ok(&["submit", "--wait", "--name", "one", "--cpus", "0.5", "--", "sh", "-c", WRITE]);
    let (dir, back) = (cluster.path("saved"), cluster.path("back"));
    let (dir, back) = (dir.to_str().unwrap(), back.to_str().unwrap());
    let place = "s3://backups/assay";
    user.ok(&["backup", "take", dir]);

    let lock = ["--lock", "30d", "--lock-mode", "governance"];
    let first = store.ok(&[&["backup", "push", dir, place][..], &lock].concat());
    assert_eq!((&first["schema"], &first["objects"]), (&"backup_push/v1".into(), &first["copied"]));
    let until = first["locked_until"].as_str().unwrap();
    let manifest = fs::read_dir(cluster.path("saved/backups")).unwrap().flatten().next().unwrap();
    let object = format!("/backups/assay/backups/{}", manifest.file_name().to_str().unwrap());
    let head = store.call("HEAD", &object, "", b"").to_lowercase();
    assert!(head.contains("x-amz-object-lock-mode: governance"), "{head}");
    let wanted = format!("x-amz-object-lock-retain-until-date: {}", until.to_lowercase());
    assert!(head.contains(&wanted), "{wanted} in {head}");

    // What is there is not sent again, and its lock is renewed.
    user.run_job("two");
    user.ok(&["backup", "take", dir]);
    let second = store.ok(&[&["backup", "push", dir, place][..], &["--lock", "60d"]].concat());
    let count = |value: &Value, key: &str| value[key].as_u64().unwrap();
    assert!(count(&second, "copied") < count(&second, "objects"), "{second}");
    let artifact = user.json(&["artifact", "show", "a1"]).unwrap();
    let weights = artifact["files"].as_array().unwrap().iter();
    let weights = weights.clone().find(|it| it["path"] == "weights").unwrap()["digest"].clone();
    let weights = weights.as_str().unwrap();
    let object = format!("/backups/assay/blobs/{}/{weights}", &weights[..2]);
    let head = store.call("HEAD", &object, "", b"").to_lowercase();
    let wanted = second["locked_until"].as_str().unwrap().to_lowercase();
    assert!(head.contains(&format!("retain-until-date: {wanted}")), "{wanted} in {head}");

    let fetched = store.ok(&["backup", "pull", place, back]);
    assert_eq!(
        (&fetched["schema"], &fetched["log_index"]),
        (&"backup_pull/v1".into(), &second["log_index"])
    );
    assert_eq!(fetched["objects"], second["objects"]);
    user.ok(&["backup", "verify", back]);
    let again = store.ok(&["backup", "pull", place, back]);
    assert_eq!(again["copied_bytes"], 0, "{again}");

    // A damaged object is named, and the folder is no backup with it.
    let other = cluster.path("other");
    let (other, damaged) = (other.to_str().unwrap(), &object);
    store.call("PUT", damaged, "", b"other bytes");
    let refused = store.assay(&["backup", "pull", place, other]);
    assert_eq!(refused.status.code(), Some(7), "{}", said(&refused));
    assert!(said(&refused).contains(weights), "{}", said(&refused));
    assert!(user.fails(4, &["backup", "verify", other]).contains("no finished backup"));

    let none = store.assay(&["backup", "pull", "s3://backups/nothing", other]);
    assert_eq!(none.status.code(), Some(4), "{}", said(&none));
    let none = store.assay(&["backup", "push", dir, "s3://no-such-bucket/x"]);
    assert_eq!(none.status.code(), Some(4), "{}", said(&none));
    let mut nowhere = Command::new(ASSAY);
    nowhere.args(["backup", "push", dir, place]).env("AWS_ENDPOINT_URL", "http://");
    let nowhere = nowhere.output().unwrap();
    assert_eq!(nowhere.status.code(), Some(2), "{}", said(&nowhere));
    let wrong = store.assay(&["backup", "push", dir, "backups"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", said(&wrong));
}
