//! A proof of an event, made by a cluster and checked without it.

use crate::harness::{cluster::Cluster, people::person};
use std::fs;

#[test]
fn an_event_is_proved_to_those_who_have_an_export_and_the_public_key() {
    let cluster = Cluster::start();
    let user = &cluster.user;
    user.ok(&["submit", "--wait", "--cpus", "0.5", "--outputs", "none", "--", "true"]);
    let path = |name: &str| cluster.path(name).to_str().unwrap().to_owned();
    let (proof, export, keys) = (path("e2.tlog-proof"), path("events"), path("signers"));
    user.ok(&["audit", "prove", "2", "--out", &proof]);
    let text = fs::read_to_string(&proof).unwrap();
    assert!(text.starts_with("c2sp.org/tlog-proof@v1\nindex 1\n"), "{text}");
    user.ok(&["audit", "export", &export, "--signers", &keys]);
    let offline = ["audit", "verify", "--offline", &export, "--keys", &keys, "--proof", &proof];
    user.ok(&offline);
    user.ok(&["audit", "verify"]);
    user.fails(4, &["audit", "prove", "1000000"]);

    let flipped = text.replace("index 1\n", "index 2\n");
    fs::write(&proof, flipped).unwrap();
    let words = user.fails(7, &offline);
    assert!(words.contains("the proof leads to root"), "{words}");
}

#[test]
fn an_approver_signs_a_document_off_and_everybody_can_check_it() {
    let cluster = Cluster::start();
    let user = &cluster.user;
    let document = cluster.path("acceptance.md");
    fs::write(&document, "sixteen checks\n").unwrap();
    let document = document.to_str().unwrap();
    let bob = person(&cluster, "bob");
    let mallory = person(&cluster, "mallory");
    let sign = |key: &str| {
        let reason = "all sixteen were seen to pass";
        ["audit", "sign-off", document, "--key", key, "--reason", reason].map(str::to_owned)
    };
    let list = ["audit", "sign-offs", document];
    assert!(user.ok(&list).contains("nobody has signed off"));

    let refused = bob.user.fails(6, &sign(&bob.key()).each_ref().map(String::as_str));
    assert!(refused.contains("bob"), "who is no approver vouches for nothing: {refused}");
    user.ok(&["approver", "add", "bob", "--key", &bob.public_key()]);
    let refused = bob.user.fails(7, &sign(&mallory.key()).each_ref().map(String::as_str));
    assert!(refused.contains("is not signed by the key of `bob`"), "{refused}");
    bob.user.ok(&sign(&bob.key()).each_ref().map(String::as_str));

    let shown = user.ok(&list);
    assert!(shown.contains("acceptance.md") && shown.contains("bob"), "{shown}");
    assert!(shown.contains("holds") && shown.contains("all sixteen were seen to pass"), "{shown}");
    let expected = expect_test::expect![[r#"
        {
          "schema": "sign_offs/v1",
          "sha256": "string",
          "sign_offs": [
            {
              "approver": "string",
              "document": "string",
              "event": "number",
              "holds": "bool",
              "reason": "string",
              "sha256": "string",
              "ts": "string"
            }
          ]
        }
    "#]];
    expected.assert_eq(&crate::harness::shape::document(user, &list));
    // The word outlives the approver, and is for the document as it was.
    user.ok(&["approver", "remove", "bob"]);
    assert!(user.ok(&list).contains("bob"));
    fs::write(document, "fifteen checks\n").unwrap();
    assert!(user.ok(&list).contains("nobody has signed off"));
    assert!(user.ok(&["audit", "sign-offs"]).contains("acceptance.md"));
    user.ok(&["audit", "verify"]);
}
