//! A proof of an event, made by a cluster and checked without it.

mod harness;

use harness::cluster::Cluster;
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
