//! Drift with real processes: a window that has shifted raises one alert, and one retrain.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use crate::harness::{User, cluster::Cluster, cluster::SERVERS, people::person};
use serde_json::{Value, json};
use std::{fs, process::Output};

/// Counts of the numbers from `from` on, and of two cities.
fn window(from: i32, cities: [&str; 2]) -> Value {
    let ages: Vec<i32> = (from..from + 200).collect();
    let cities: Vec<&str> = cities.into_iter().cycle().take(200).collect();
    json!({ "inputs": { "age": ages }, "outputs": { "city": cities } })
}

/// A cluster whose `digits@1` was made from `corpus@1`; `corpus@2` is there too.
fn trained(metrics: &[&str]) -> Cluster {
    let cluster = Cluster::start();
    for (version, text) in [("v1", "1 2 3\n"), ("v2", "4 5 6\n")] {
        let dir = cluster.path(version);
        fs::create_dir_all(dir.join("de")).unwrap();
        fs::write(dir.join("numbers"), text).unwrap();
        fs::write(dir.join("de/numbers"), text).unwrap();
        let path = dir.display().to_string();
        let from = ["--source", "tests", "--licence", "CC-BY-4.0", "--slice", "german=de"];
        cluster.user.ok(&[&["dataset", "register", "corpus", &path][..], &from].concat());
    }
    let job = cluster.path("job.toml");
    let text = format!(
        "name = \"digits\"\ncommand = [\"sh\", \"-c\", \"cp $ASSAY_DATASET_TRAIN/numbers \
         $ASSAY_OUTPUT_DIR/model\"]\ndatasets.train = \"{}\"\n",
        cluster.path("v1").display()
    );
    fs::write(&job, text).unwrap();
    cluster.user.ok(&["submit", &job.display().to_string(), "--wait"]);
    let words = ["model", "register", "digits", "--artifact", "a1"];
    cluster.user.ok(&[&words[..], metrics].concat());
    cluster
}

fn file(cluster: &Cluster, name: &str, content: &str) -> String {
    let path = cluster.path(name);
    fs::write(&path, content).unwrap();
    path.display().to_string()
}

fn files(cluster: &Cluster) -> [String; 2] {
    [("was.json", 0), ("now.json", 150)]
        .map(|(name, from)| file(cluster, name, &window(from, ["rome", "oslo"]).to_string()))
}

fn set(user: &User, reference: &str, more: &[&str]) {
    let words = ["drift", "monitor", "set", "digits", "--reference", reference];
    user.ok(&[&words[..], more].concat());
}

fn observe<'a>(current: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["drift", "observe", "digits@1", "--current", current][..], more].concat()
}

fn events(user: &User) -> Vec<String> {
    let page = user.json(&["audit", "list", "--limit", "1000"]).unwrap();
    let kind = |event: &Value| {
        let payload: Value = serde_json::from_str(event["payload"].as_str().unwrap()).unwrap();
        payload["eventType"].as_str().unwrap().to_owned()
    };
    let all = page["events"].as_array().unwrap().iter().map(kind);
    all.filter(|kind| kind.starts_with("drift.")).collect()
}

/// Retrains that were started so far.
fn retrains(user: &User) -> usize {
    events(user).iter().filter(|kind| *kind == "drift.retrain.dispatched").count()
}

/// A job file that measures a version: `digits@1` gets 0.91, what is made of `corpus@2` 0.94.
fn measuring(cluster: &Cluster) -> String {
    let script = "set -- $(cat $ASSAY_DATASET_MODEL/model); \
                  echo \"{\\\"accuracy\\\": 0.9$1, \\\"items\\\": 3}\" > $ASSAY_OUTPUT_DIR/metrics.json";
    let text = json!({ "name": "measure", "command": ["sh", "-c", script] }).to_string();
    file(cluster, "measure.json", &text)
}

#[test]
fn what_has_shifted_is_told_once_retrained_once_and_compared() {
    let mut cluster = trained(&["--metric", "accuracy=0.91"]);
    let user = &User { profile: cluster.user.profile.clone() };
    let [was, now] = files(&cluster);
    user.ok(&["model", "evaluate", "digits@1", "--job", &measuring(&cluster)]);
    set(user, &was, &["--dispatch", "auto"]);
    let calm = user.ok(&observe(&was, &[]));
    assert!(calm.contains("no drift"), "{calm}");

    // A window of a slice, without new data: told, suggested with its slice, and held.
    let told = user.ok(&observe(&now, &["--slice", "german"]));
    assert!(told.contains("drift in 1 of 2") && told.contains("no new data is named"), "{told}");
    assert_eq!(events(user), ["drift.monitor.set", "drift.alert", "drift.suggestion"]);
    let words = ["--slice", "german", "--data", "corpus", "--trigger", "night-1"];
    let started = user.ok(&observe(&now, &words));
    assert!(started.contains("german of corpus@2: de (drifts)"), "{started}");
    assert!(started.contains("started") && started.contains("by policy"), "{started}");

    // Sent twice, through servers that have all died meanwhile: one effect.
    for name in SERVERS {
        cluster.kill(name);
    }
    for name in SERVERS {
        cluster.run(name);
    }
    user.ready(2);
    let seen = |words: &[&str]| user.json(words).unwrap()["observation"]["number"].clone();
    assert_eq!(seen(&observe(&now, &words)), 3);
    let reused = user.fails(3, &observe(&was, &words));
    assert!(reused.contains("was sent before with other content"), "{reused}");
    // Another window of the same episode starts no second job.
    assert_eq!(seen(&observe(&now, &["--data", "train=corpus@2"])), 4);
    assert_eq!(retrains(user), 1);
    assert!(user.fails(3, &["drift", "retrain", "e1"]).contains("has its retrain, job j3"));

    user.ok(&["wait", "j3"]);
    let shown = user.json(&["drift", "show", "e1"]).unwrap();
    let compared = &shown["comparison"];
    assert_eq!(shown["retrain"]["job"], "j3");
    assert_eq!((&compared["artifact"], &compared["same_bits"]), (&"a3".into(), &false.into()));
    let spec = user.json(&["job", "j3"]).unwrap();
    assert_eq!(spec["spec"]["registered"]["train"], "corpus@2", "{spec}");
    // It is measured as the version was, without being asked; what is claimed suggests nothing.
    assert_eq!(compared["measured_by"], "j4");
    let metrics = ["--metric", "accuracy=0.999", "--parent", "digits@1"];
    user.ok(&[&["model", "register", "digits", "--artifact", "a3"][..], &metrics].concat());
    let shown = user.ok(&["drift", "show", "e1"]);
    assert!(shown.contains("accuracy: 0.91 before, 0.999 after"), "{shown}");
    assert!(shown.contains("next: assay model evaluate digits@2 --artifact j4"), "{shown}");
    let suggested = |user: &User| {
        let shown = user.json(&["drift", "show", "e1"]).unwrap();
        shown["comparison"]["suggested_seq"].is_u64()
    };
    assert!(!suggested(user));
    user.ok(&["wait", "j4"]);
    user.ok(&["model", "evaluate", "digits@2", "--artifact", "j4"]);
    assert!(suggested(user));
    let shown = user.ok(&["drift", "show", "e1"]);
    assert!(shown.contains("by a2 and a4, method"), "{shown}");
    assert!(shown.contains("accuracy: 0.91 before, 0.94 after"), "{shown}");
    assert!(shown.contains("next: assay promotion request digits@2"), "{shown}");
    let stage = user.json(&["model", "show", "digits@2"]).unwrap()["stage"].clone();
    assert_eq!(stage, "draft", "suggested, never applied");

    // What has come back ends the episode; what drifts again within the cool-down is held.
    user.ok(&observe(&was, &[]));
    user.ok(&observe(&was, &["--slice", "german"]));
    let held = user.ok(&observe(&now, &["--data", "corpus@2"]));
    assert!(held.contains("cool-down") && held.contains("e2"), "{held}");
    assert_eq!(retrains(user), 1);
    let list = user.json(&["drift", "alerts"]).unwrap();
    assert_eq!(list["episodes"].as_array().unwrap().len(), 2);
    assert_eq!(user.json(&["drift"]).unwrap()["monitors"][0]["open"], "e2");
    user.ok(&["audit", "verify"]);
}

#[test]
fn a_person_starts_what_is_suggested_and_others_may_raise_alerts() {
    let cluster = trained(&[]);
    let user = &cluster.user;
    // No reference: other systems score.
    user.ok(&["drift", "monitor", "set", "digits"]);
    let alert = |reason: &str| {
        let words = ["drift", "alert", "digits", "--trigger", "pager/7", "--reason", reason];
        let of = ["--feature", "quality/accuracy:drop=0.08", "--slice", "german"];
        [&words[..], &of].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let send = |words: Vec<String>| -> Output {
        user.assay(&words.iter().map(String::as_str).collect::<Vec<_>>())
    };
    for _ in 0..2 {
        let output = send(alert("accuracy fell"));
        assert!(output.status.success(), "{}", crate::harness::said(&output));
    }
    assert_eq!(send(alert("something else")).status.code(), Some(3));
    let told = ["drift.monitor.set", "drift.alert", "drift.suggestion"];
    assert_eq!(events(user), told, "one effect, however often it is sent");
    let eve = person(&cluster, "eve");
    let started = eve.user.ok(&["drift", "retrain", "e1", "--data", "corpus@2"]);
    assert!(started.contains("started") && started.contains("by user:eve"), "{started}");
    user.ok(&["wait", "j2"]);
    let shown = user.json(&["drift", "show", "e1"]).unwrap();
    assert_eq!(shown["comparison"]["same_bits"], false);
    assert!(shown["comparison"]["suggested_seq"].is_null(), "nothing sealed says so: {shown}");
    user.ok(&["drift", "close", "e1", "--reason", "the new one is on its way"]);
    user.fails(3, &["drift", "close", "e1", "--reason", "again"]);
    user.ok(&["drift", "monitor", "remove", "digits", "--reason", "retired"]);
    user.fails(4, &["drift", "show", "digits"]);
}

#[test]
fn what_a_policy_held_starts_by_itself_when_the_hold_is_over() {
    let mut cluster = trained(&[]);
    let user = &User { profile: cluster.user.profile.clone() };
    let [was, now] = files(&cluster);
    set(user, &was, &["--dispatch", "auto"]);
    let drifts = observe(&now, &["--data", "corpus@2"]);
    assert!(user.ok(&drifts).contains("by policy"));
    user.ok(&["drift", "close", "e1", "--reason", "looked at"]);
    assert!(user.ok(&drifts).contains("cool-down"));
    // Servers that have all died meanwhile know of it; no window comes any more.
    for name in SERVERS {
        cluster.kill(name);
    }
    for name in SERVERS {
        cluster.run(name);
    }
    user.ready(2);
    assert_eq!(user.json(&["drift", "show", "e2"]).unwrap()["retrain"]["state"], "held");
    set(user, &was, &["--dispatch", "auto", "--cool-down", "0s"]);
    user.until("the retrain that was held has started", |user| {
        let shown = user.json(&["drift", "show", "e2"])?;
        (shown["retrain"]["state"] == "dispatched").then_some(())
    });
    let shown = user.json(&["drift", "show", "e2"]).unwrap();
    assert_eq!(shown["retrain"]["by"], "policy");
    assert_eq!(retrains(user), 2);
    user.ok(&["audit", "verify"]);
}

#[test]
fn what_says_nothing_is_refused_by_name() {
    let cluster = trained(&[]);
    let user = &cluster.user;
    let [was, _] = files(&cluster);
    let refused = |code: i32, name: &str, content: &str, wanted: &str| {
        let path = file(&cluster, name, content);
        let said = user.fails(code, &observe(&path, &[]));
        assert!(said.contains(wanted), "{said}");
    };
    refused(4, "unwatched.json", "{\"age\": [1, 2]}", "there is no monitor of digits@1");
    user.fails(4, &["drift", "monitor", "set", "nobody", "--reference", &was]);
    let few = file(&cluster, "few.json", "{\"age\": [1, 2]}");
    let said = user.fails(3, &["drift", "monitor", "set", "digits", "--reference", &few]);
    assert!(said.contains("the reference has 2 samples, 30 are needed"), "{said}");
    user.fails(2, &["drift", "monitor", "set", "digits", "--budget", "0"]);
    set(user, &was, &[]);
    refused(3, "nan.json", "{\"inputs\": {\"age\": [NaN]}}", "not a finite number");
    refused(3, "other.json", "{\"height\": [1, 2]}", "`inputs/height` is missing in the reference");
    let short = json!({ "inputs": { "age": [1, 2] }, "outputs": { "city": ["rome"] } });
    refused(3, "short.json", &short.to_string(), "the current window has 2 samples, 30 are needed");
    let names: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    let swapped = json!({ "inputs": { "age": names }, "outputs": { "city": names } });
    refused(3, "swapped.json", &swapped.to_string(), "numeric, the current one is categorical");
    let many: Vec<String> = (0..10_001).map(|n| format!("id-{n}")).collect();
    let ids = json!({ "inputs": { "age": [1] }, "outputs": { "city": many } });
    refused(3, "ids.json", &ids.to_string(), "10000 are the most");
    user.fails(4, &observe(&was, &["--data", "nothing@7"]));
    user.fails(2, &observe(&was, &["--slice", "Not A Name"]));
    assert_eq!(user.json(&["drift", "show", "digits"]).unwrap()["observations"], 0);
}
