//! Reservations and maintenance windows, as real processes keep them.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use crate::harness::{User, cluster::Cluster};
use std::fs;

/// A program that works until a file is there, and saves its work when it has notice.
const WORK: &str = r#"
step=0
if [ -n "$ASSAY_RESUME_FROM" ]; then
    step=$(cat "$ASSAY_RESUME_FROM/step"); echo "goes on at $step"
fi
while [ ! -e HERE/go ]; do
    step=$((step + 1))
    if [ -e "$ASSAY_NOTICE" ] && [ -z "$saved" ]; then
        cat "$ASSAY_NOTICE"
        mkdir "$ASSAY_CHECKPOINT_DIR/.new"; echo $step > "$ASSAY_CHECKPOINT_DIR/.new/step"
        mv "$ASSAY_CHECKPOINT_DIR/.new" "$ASSAY_CHECKPOINT_DIR/step-$step"; saved=1
    fi
    sleep 0.1
done
echo done > "$ASSAY_OUTPUT_DIR/answer"
"#;

fn submit(user: &User, name: &str, words: &[&str], script: &str) {
    let all = [
        &["submit", "--rerun", "--name", name, "--cpus", "0.2"],
        words,
        &["--", "sh", "-c", script],
    ];
    user.ok(&all.concat());
}

fn until_state(user: &User, name: &str, state: &str) {
    user.until(&format!("{name} is {state}"), |user| (user.states()[name] == state).then_some(()));
}

/// The node of the newest attempt of a job.
fn node_of(user: &User, job: &str) -> String {
    let job = user.until("the job is told of", |user| user.json(&["job", job]));
    let attempts = job["parts"][0]["attempts"].as_array().unwrap().clone();
    let id = attempts.last().unwrap()["members"][0]["node"].clone();
    let nodes = user.json(&["nodes"]).unwrap()["nodes"].as_array().unwrap().clone();
    let node = nodes.into_iter().find(|node| node["id"] == id).unwrap();
    node["inventory"]["name"].as_str().unwrap().to_owned()
}

#[test]
fn a_reservation_keeps_others_off_its_nodes_and_lets_its_members_in() {
    let mut cluster = Cluster::start();
    // Most of it is to wait for a window to be over.
    cluster.let_others_begin();
    let user = &cluster.user;
    let answer = "echo 1 > \"$ASSAY_OUTPUT_DIR/answer\"";
    let create = ["reservation", "create", "board", "--nodes", "node-a,node-b"];
    let when = ["--start", "+2h", "--duration", "1h", "--reason", "the board comes"];
    let text = user.ok(&[&create[..], &when].concat());
    assert!(text.contains("jobs with `reservation = \"board\"`"), "{text}");
    assert!(text.contains("coming in 1h59m") || text.contains("coming in 2h00m"), "{text}");
    let nodes = user.json(&["nodes"]).unwrap();
    assert_eq!(nodes["nodes"][0]["windows"][0]["name"], "board", "{nodes}");

    submit(user, "endless", &[], answer);
    submit(user, "long", &["--time-limit", "3h"], answer);
    submit(user, "short", &["--time-limit", "1h"], answer);
    until_state(user, "short", "completed");
    let why = user.ok(&["why", "name=endless"]);
    assert!(
        why.contains("reservation `board` for others begins on node-") && why.contains(" in 1h59m"),
        "{why}"
    );
    assert!(why.contains("it has no `time_limit`"), "{why}");
    assert!(why.contains("a `time_limit` of at most 1h59m starts now"), "{why}");
    submit(user, "inside", &["--reservation", "board"], answer);
    let why = user.ok(&["why", "name=inside"]);
    assert!(why.contains("it runs in reservation `board` alone, which begins in 1h59m"), "{why}");
    let states = user.states();
    assert!(["endless", "long", "inside"].iter().all(|name| states[*name] == "waiting"));

    // Refused, each by its name.
    fn with<'a>(words: &[&'a str]) -> Vec<&'a str> {
        [&["reservation", "create"], words].concat()
    }
    let rest = ["--duration", "1h", "--reason", "x"];
    user.fails(3, &with(&[&["board", "--nodes", "node-a"][..], &rest].concat()));
    user.fails(4, &with(&[&["other", "--nodes", "node-x"][..], &rest].concat()));
    let over = [&["other", "--count", "1", "--start", "+2h30m"][..], &rest].concat();
    assert!(user.fails(2, &with(&over)).contains("0 are in service and in no other window then"));
    let both = [&["other", "--nodes", "node-a", "--start", "+2h30m"][..], &rest].concat();
    assert!(user.fails(3, &with(&both)).contains("in the reservation `board` then"));
    user.fails(2, &with(&["other", "--count", "1", "--duration", "soon", "--reason", "x"]));
    assert!(user.fails(2, &["submit", "--reservation", "none", "--", "true"]).contains("`none`"));
    user.fails(4, &["reservation", "show", "none"]);
    user.fails(4, &["reservation", "delete", "none"]);

    user.ok(&["reservation", "delete", "board"]);
    until_state(user, "endless", "completed");
    until_state(user, "long", "completed");
    assert!(user.ok(&["why", "name=inside"]).contains("is over or was deleted"));

    // One for a user, at once: it is open, and this user's jobs run in it.
    let create = ["reservation", "create", "board", "--count", "2", "--duration", "20s"];
    let me = user.json(&["job", "j1"]).unwrap()["user"].as_str().unwrap().to_owned();
    let users = format!("{me},eve");
    user.ok(&[&create[..], &["--users", &users, "--reason", "again"]].concat());
    let list = user.json(&["reservation", "list"]).unwrap();
    assert_eq!(list["reservations"][0]["state"], "open", "{list}");
    until_state(user, "inside", "completed");
    user.until("it is over", |user| {
        let list = user.json(&["reservation", "list"])?;
        list["reservations"].as_array()?.is_empty().then_some(())
    });
    let audit = user.ok(&["audit", "list", "--limit", "500"]);
    for kind in ["created", "deleted", "opened", "ended"] {
        assert!(audit.contains(&format!("reservation.{kind}")), "{audit}");
    }
    user.ok(&["audit", "verify"]);
}

/// Has `j1` work, and gives the node on which it does, and the other one.
fn trains(user: &User, script: &str) -> (&'static str, &'static str) {
    // A slow machine may lose contact for a while, which is not what this is about.
    submit(user, "train", &["--on-disconnect", "continue"], script);
    until_state(user, "train", "running");
    user.until("it works", |user| user.ok(&["job", "j1"]).contains("running").then_some(()));
    match node_of(user, "j1").as_str() {
        "node-a" => ("node-a", "node-b"),
        _ => ("node-b", "node-a"),
    }
}

#[test]
fn maintenance_moves_what_runs_to_another_node_with_its_work() {
    let cluster = Cluster::start();
    let user = &cluster.user;
    let script = WORK.replace("HERE", &cluster.dir().display().to_string());
    let (first, other) = trains(user, &script);
    let create = ["reservation", "create", "kernel", "--nodes", first, "--maintenance"];
    let text = user.ok(&[&create[..], &["--duration", "1h", "--reason", "a new kernel"]].concat());
    assert!(text.contains("nobody"), "{text}");
    user.until("it has moved", |user| (node_of(user, "j1") == other).then_some(()));
    let job = user.until("it is told of", |user| user.json(&["job", "j1"]));
    let cause = &job["parts"][0]["attempts"][0]["cause"];
    assert_eq!(*cause, serde_json::json!({ "cause": "reserved", "window": "kernel" }), "{job}");
    user.until("it goes on where it was", |user| {
        user.ok(&["logs", "j1"]).contains("goes on at").then_some(())
    });
    let show = user.ok(&["reservation", "show", "kernel"]);
    assert!(show.contains("others    nothing"), "{show}");
    let node = user.ok(&["node", "show", first]);
    assert!(node.contains("maintenance kernel until"), "{node}");

    // Nobody is let in.
    submit(user, "late", &["--tasks", "1", "--time-limit", "10m"], &script);
    until_state(user, "late", "running");
    assert_eq!(node_of(user, "j2"), other);
    fs::write(cluster.path("go"), "").unwrap();
    until_state(user, "train", "completed");
    until_state(user, "late", "completed");
    user.ok(&["reservation", "delete", "kernel"]);
    user.ok(&["audit", "verify"]);
}

#[test]
fn a_drain_moves_what_runs_and_is_over_by_itself() {
    let cluster = Cluster::start();
    let user = &cluster.user;
    let script = WORK.replace("HERE", &cluster.dir().display().to_string());
    let (first, other) = trains(user, &script);
    let whatif = user.ok(&["whatif", "drain", first, "--migrate"]);
    assert!(whatif.contains("moving what runs there") && whatif.contains("j1"), "{whatif}");
    let drain = ["node", "drain", first, "--reason", "a fan", "--migrate", "--until"];
    let wrong = user.fails(2, &[&drain[..], &["now"]].concat());
    assert!(wrong.contains("over before it begins"), "{wrong}");
    let text = user.ok(&[&drain[..], &["+1h"]].concat());
    assert!(text.contains("saves its work and goes on elsewhere"), "{text}");
    user.until("it has moved", |user| (node_of(user, "j1") == other).then_some(()));
    let job = user.until("it is told of", |user| user.json(&["job", "j1"]));
    let cause = &job["parts"][0]["attempts"][0]["cause"];
    assert_eq!(*cause, serde_json::json!({ "cause": "drained", "node": first }), "{job}");
    user.until("it goes on where it was", |user| {
        user.ok(&["logs", "j1"]).contains("goes on at").then_some(())
    });
    let node = user.ok(&["node", "show", first]);
    assert!(node.contains("drained, its jobs move: a fan, back 20"), "{node}");
    let shown = user.json(&["node", "show", first]).unwrap();
    let back = shown["status"]["back"].as_str().unwrap();
    assert!(back.ends_with('Z') && shown["status"]["migrate"] == true, "{shown}");

    // Sooner, and then nobody has to put it back.
    let soon = ["node", "drain", first, "--reason", "nearly done", "--until", "+1s"];
    user.ok(&soon);
    user.until("it serves again", |user| {
        user.json(&["node", "show", first]).filter(|it| it["status"]["state"] == "ready")
    });
    fs::write(cluster.path("go"), "").unwrap();
    until_state(user, "train", "completed");
    user.ok(&["audit", "verify"]);
}
