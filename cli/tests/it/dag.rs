//! Several jobs in one file, some of which wait for others, as real processes run them.

use crate::harness::cluster::Cluster;
use std::fs;

const FILE: &str = r#"
[jobs.report]
command = "echo report >> HERE/order; echo 1 > $ASSAY_OUTPUT_DIR/answer"
after = { any = ["train", "repair"] }
resources = { cpus = 0.2 }

[jobs.train]
command = "echo train >> HERE/order; exit 3"
after = { ok = ["prep"] }
resources = { cpus = 0.2 }

[jobs.repair]
command = "echo repair >> HERE/order; echo 1 > $ASSAY_OUTPUT_DIR/answer"
after = { failed = ["train"] }
resources = { cpus = 0.2 }

[jobs.never]
command = "echo never >> HERE/order; echo 1 > $ASSAY_OUTPUT_DIR/answer"
after = ["train"]
resources = { cpus = 0.2 }

[jobs.prep]
command = "echo prep >> HERE/order; echo 1 > $ASSAY_OUTPUT_DIR/answer"
resources = { cpus = 0.2 }
"#;

#[test]
fn the_jobs_of_a_file_are_submitted_at_once_and_run_in_their_order() {
    let cluster = Cluster::start();
    let user = &cluster.user;
    let write = |name: &str, text: &str| {
        let file = cluster.path(name);
        fs::write(&file, text.replace("HERE", &cluster.dir().display().to_string())).unwrap();
        file.display().to_string()
    };
    let file = write("dag.toml", FILE);
    let dry = user.ok(&["submit", "--dry-run", &file]);
    let at = |name: &str| dry.find(name).unwrap_or_else(|| panic!("{name}: {dry}"));
    assert!(at("prep") < at("train") && at("repair") < at("report"), "{dry}");
    assert!(dry.contains("5 jobs in this order, nothing was submitted"), "{dry}");
    assert_eq!(user.json(&["jobs"]).unwrap()["jobs"].as_array().unwrap().len(), 0);

    let wrong = write("wrong.toml", &FILE.replace("[\"prep\"]", "[\"perp\"]"));
    let said = user.fails(2, &["submit", &wrong]);
    assert!(said.contains("line 9: jobs.train.after: there is no job `perp`"), "{said}");
    assert!(said.contains("did you mean `prep`?"), "{said}");
    let prep = "[jobs.prep]\nafter = [\"train\"]";
    let circle = write("circle.toml", &FILE.replace("[jobs.prep]", prep));
    let said = user.fails(2, &["submit", &circle]);
    assert!(said.contains("none could start: train -> prep -> train"), "{said}");
    assert!(user.fails(2, &["submit", "--gpus", "1", &file]).contains("has several jobs"));
    // All or none: one of them names a queue that is not there.
    let none = write("none.toml", &FILE.replace("[jobs.prep]", "[jobs.prep]\nqueue = \"x\""));
    assert!(user.fails(2, &["submit", &none]).contains("there is no queue `x`"));
    assert_eq!(user.json(&["jobs"]).unwrap()["jobs"].as_array().unwrap().len(), 0);

    // The first that did not complete is `train`, whose code is passed on.
    let output = user.assay(&["submit", "--wait", "--json", &file]);
    assert_eq!(output.status.code(), Some(3), "{}", crate::harness::said(&output));
    let ended: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(ended["jobs"].as_array().unwrap().len(), 5, "{ended}");
    let states = user.states();
    for (name, state) in [
        ("prep", "completed"),
        ("train", "failed"),
        ("repair", "completed"),
        ("report", "completed"),
        ("never", "failed"),
    ] {
        assert_eq!(states[name], state, "{name}");
    }
    let order = fs::read_to_string(cluster.path("order")).unwrap();
    assert_eq!(order, "prep\ntrain\nrepair\nreport\n");
    let never = user.ok(&["job", "name=never"]);
    assert!(never.contains("never started: it was to wait for"), "{never}");

    // By id as well, and listed with the ids that they were given.
    let more = "[jobs.more]\ncommand = \"echo 1 > $ASSAY_OUTPUT_DIR/a\"\nafter = [\"j1\"]\n\
                [jobs.most]\ncommand = \"echo 2 > $ASSAY_OUTPUT_DIR/a\"\nafter = [\"more\"]\n";
    let more = write("more.toml", more);
    let told = user.json(&["submit", &more]).unwrap();
    assert_eq!(told["schema"], "submitted_jobs/v1");
    assert_eq!((&told["jobs"][0]["name"], &told["jobs"][0]["job"]), (&"more".into(), &"j6".into()));
    assert_eq!(told["jobs"][1]["after"][0]["name"], "more", "{told}");
    user.until("both are done", |user| {
        let states = user.states();
        (states["more"] == "completed" && states["most"] == "completed").then_some(())
    });
    user.ok(&["audit", "verify"]);
}
