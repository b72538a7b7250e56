//! Queues as real processes keep them: planned, applied, filled, and told of.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use crate::harness::cluster::Cluster;
use std::fs;

const FIRST: &str = "\
half_life = \"1d\"
[queues.ml]
guaranteed_gpus = 2
borrow_gpus_max = 0
[queues.ml-a]
parent = \"ml\"
weight = 2
guaranteed_gpus = 1
priority_max = 5
[queues.ml-b]
parent = \"ml\"
user_running_max = 1
";

/// Submits a job that runs until a file is there.
fn submit(cluster: &Cluster, name: &str, words: &[&str]) {
    let flag = cluster.path("go").display().to_string();
    let script = format!(
        "while [ ! -e {flag} ]; do sleep 0.1; done; echo {name} > \"$ASSAY_OUTPUT_DIR/answer\""
    );
    let all = [&["submit", "--name", name, "--cpus", "0.2"], words, &["--", "sh", "-c", &script]];
    cluster.user.ok(&all.concat());
}

/// Names for priorities, given to all and used wherever a priority is asked for.
fn classes(cluster: &Cluster, file: &str) {
    let user = &cluster.user;
    let unknown = user.fails(2, &["submit", "--priority", "urgent", "--", "true"]);
    assert!(unknown.contains("there is no priority class `urgent`; the cluster has none"));
    let before = fs::read_to_string(file).unwrap();
    let text = format!("priority_classes = {{ urgent = 4, never = 50, batch = -7 }}\n{before}");
    fs::write(file, text).unwrap();
    let plan = user.ok(&["plan", file]);
    assert!(plan.contains("priority_classes.urgent") && plan.contains("nobody is worse"), "{plan}");
    user.ok(&["apply", file, "--reason", "names"]);
    submit(cluster, "named", &["--queue", "ml-a", "--priority", "urgent"]);
    let job = user.json(&["job", "name=named"]).unwrap();
    assert_eq!((&job["priority"], &job["priority_class"]), (&4.into(), &"urgent".into()), "{job}");
    assert!(user.ok(&["job", "name=named"]).contains("priority 4 (urgent)"));
    assert!(user.ok(&["priority", "name=named", "batch"]).contains("priority -7 (batch)"));
    assert_eq!(user.json(&["job", "name=named"]).unwrap()["priority_class"], "batch");
    let unknown = user.fails(2, &["priority", "name=named", "urgnt"]);
    assert!(unknown.contains("there are `never` (50), `urgent` (4), `batch` (-7)"), "{unknown}");
    let over = user.fails(2, &["submit", "--queue", "ml-a", "--priority", "never", "--", "true"]);
    assert!(over.contains("allows 5"), "{over}");
    let dry = ["submit", "--priority", "urgent", "--dry-run", "--json", "--", "true"];
    let dry: serde_json::Value = serde_json::from_str(&user.ok(&dry)).unwrap();
    assert_eq!(dry["spec"]["priority"], 4);
}

/// The shortest first, by what jobs say of themselves.
fn orders(cluster: &Cluster, file: &str) {
    let user = &cluster.user;
    let before = fs::read_to_string(file).unwrap();
    fs::write(file, format!("{before}[queues.default]\norder = \"shortest\"\n")).unwrap();
    let plan = user.ok(&["plan", file]);
    assert!(plan.contains("order") && plan.contains("shortest"), "{plan}");
    user.ok(&["apply", file, "--reason", "small ones first"]);
    assert!(user.ok(&["queue", "show", "default"]).contains("order     the shortest first"));
    submit(cluster, "said", &["--estimate", "2h"]);
    assert!(user.ok(&["job", "name=said"]).contains("runs for 2h"));
    assert_eq!(user.json(&["job", "name=said"]).unwrap()["spec"]["estimate_ms"], 7_200_000);
    let over = ["submit", "--estimate", "2h", "--time-limit", "1h", "--", "true"];
    assert!(user.fails(2, &over).contains("estimate: is "));
}

#[test]
fn a_tree_of_queues_is_planned_applied_kept_and_told_of() {
    let cluster = Cluster::start();
    let user = &cluster.user;
    let write = |name: &str, text: &str| {
        let file = cluster.path(name);
        fs::write(&file, text).unwrap();
        file.display().to_string()
    };
    let first = write("first.toml", FIRST);
    let plan = user.ok(&["plan", &first]);
    assert!(plan.contains("ml-a (new)") && plan.contains("nobody is worse off"), "{plan}");
    assert_eq!(user.json(&["queue", "list"]).unwrap()["version"], 0, "a plan changes nothing");
    let wrong = write("wrong.toml", &FIRST.replace("weight", "wieght"));
    assert!(user.fails(2, &["plan", &wrong]).contains("did you mean `queues.ml-a.weight`?"));
    let cycle =
        write("cycle.toml", &FIRST.replace("[queues.ml]\n", "[queues.ml]\nparent = \"ml-a\"\n"));
    assert!(user.fails(2, &["apply", &cycle, "--reason", "x"]).contains("is a part of itself"));
    let applied = user.ok(&["apply", &first, "--reason", "two teams"]);
    assert!(applied.contains("in force: version 1"), "{applied}");
    assert!(user.ok(&["plan", &first]).starts_with("nothing to change"));

    assert!(user.fails(2, &["submit", "--queue", "ml", "--", "true"]).contains("use one of"));
    submit(&cluster, "a1", &["--queue", "ml-a", "--gpus", "1"]);
    submit(&cluster, "b1", &["--queue", "ml-b", "--gpus", "1"]);
    user.until("both run", |user| {
        let states = user.states();
        ["a1", "b1"].iter().all(|name| states[*name] == "running").then_some(())
    });
    submit(&cluster, "a2", &["--queue", "ml-a", "--gpus", "1"]);
    submit(&cluster, "b2", &["--queue", "ml-b"]);
    let why = user.ok(&["why", "name=a2"]);
    assert!(why.contains("queue ml is at 2/2 GPUs, and this needs 1"), "{why}");
    assert!(why.contains("frees 1 when j1 ends; or raise `borrow_gpus_max` of `ml` to 1"), "{why}");
    let why = user.ok(&["why", "name=b2"]);
    assert!(why.contains("has 1 running, the most for a user in queue ml-b"), "{why}");
    let show = user.json(&["queue", "show", "ml"]).unwrap();
    assert_eq!((&show["held_gpus"], &show["running"]), (&2.into(), &2.into()), "{show}");
    user.fails(4, &["queue", "show", "nothing"]);

    let none = write("none.toml", "half_life = \"1d\"\n");
    let refused = user.fails(3, &["plan", &none]);
    assert!(refused.contains("cannot be removed"), "{refused}");
    let more = write("more.toml", &FIRST.replace("borrow_gpus_max = 0", "borrow_gpus_max = 1"));
    user.ok(&["apply", &more, "--reason", "one more"]);
    user.until("the third starts", |user| (user.states()["a2"] == "running").then_some(()));
    let less = write("less.toml", FIRST);
    let plan = user.ok(&["plan", &less]);
    assert!(plan.contains("it holds 3 GPUs, its limit is 2"), "{plan}");
    classes(&cluster, &more);
    orders(&cluster, &more);

    fs::write(cluster.path("go"), "").unwrap();
    user.until("all are done", |user| {
        user.states().values().all(|state| state == "completed").then_some(())
    });
    user.ok(&["apply", &none, "--reason", "the teams have gone"]);
    let audit = user.ok(&["audit", "list", "--limit", "500"]);
    assert!(audit.contains("config.applied"), "{audit}");
    user.ok(&["audit", "verify"]);
}
