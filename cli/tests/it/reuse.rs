//! A job whose result is there already is not run again, unless it is told to.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use crate::harness::{User, cluster::Cluster};
use serde_json::Value;

const WRITE: &str = "echo 7 > $ASSAY_OUTPUT_DIR/w";

fn submit(user: &User, more: &[&str], script: &str) -> Value {
    let words = [&["--json", "submit", "--wait"][..], more, &["--", "sh", "-c", script]].concat();
    serde_json::from_str(&user.ok(&words)).unwrap()
}

#[test]
fn the_same_recipe_is_answered_with_its_artifact() {
    let cluster = Cluster::start();
    let user = &cluster.user;
    let jobs = || user.json(&["jobs"]).unwrap()["jobs"].as_array().unwrap().len();
    submit(user, &[], WRITE);
    let known = submit(user, &[], WRITE);
    assert_eq!((&known["schema"], &known["artifact"]), (&"known_result/v1".into(), &"a1".into()));
    assert_eq!(jobs(), 1);
    let said = user.ok(&["submit", "--", "sh", "-c", WRITE]);
    assert!(said.contains("nothing to run: a1 has this recipe"), "{said}");
    // A name is no part of the recipe; a seed is.
    submit(user, &["--name", "other"], WRITE);
    assert_eq!(jobs(), 1);
    submit(user, &["--seed", "8"], WRITE);
    assert_eq!(jobs(), 2);

    submit(user, &["--rerun"], WRITE);
    assert_eq!(jobs(), 3);
    let root = |artifact: &str| user.json(&["artifact", "show", artifact]).unwrap()["root"].clone();
    assert_eq!(root("a1"), root("a3"), "it ran again and made the same bits");
    // The newest that may still be used.
    assert_eq!(submit(user, &[], WRITE)["artifact"], "a3");
    user.ok(&["artifact", "revoke", "a3", "--reason", "test"]);
    assert_eq!(submit(user, &[], WRITE)["artifact"], "a1");
    user.ok(&["artifact", "revoke", "a1", "--reason", "test"]);
    submit(user, &[], WRITE);
    assert_eq!(jobs(), 4);

    // Of a job without outputs only the running counts.
    for _ in 0..2 {
        submit(user, &["--outputs", "none"], "true");
    }
    assert_eq!(jobs(), 6);
}
