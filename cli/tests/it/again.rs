//! A result is made again bit for bit, or it is said where the two runs parted.

use crate::harness::{ASSAY, cluster::Cluster, process};
use std::process::{Command, Stdio};

/// Saves two steps and ends with an output. What `second` prints is in the second step.
fn trainer(second: &str) -> String {
    format!(
        r#"set -e
for step in 1 2; do
    mkdir "$ASSAY_CHECKPOINT_DIR/.new"
    if [ $step = 1 ]; then echo same; else {second}; fi > "$ASSAY_CHECKPOINT_DIR/.new/state"
    mv "$ASSAY_CHECKPOINT_DIR/.new" "$ASSAY_CHECKPOINT_DIR/step-$step"
    sleep 1
done
cp "$ASSAY_CHECKPOINT_DIR/step-2/state" "$ASSAY_OUTPUT_DIR/model""#
    )
}

#[test]
fn a_second_run_gives_the_same_bits_or_the_checkpoint_at_which_it_parted() {
    let cluster = Cluster::start();
    let user = &cluster.user;
    let submit = |name: &str, second: &str| {
        let script = trainer(second);
        let words = ["submit", "--wait", "--cpus", "0.5", "--name", name, "--", "sh", "-c"];
        user.ok(&[&words[..], &[&script]].concat());
    };
    submit("sound", "echo equal");
    let verdict = user.json(&["reproduce", "name=sound"]).unwrap();
    assert_eq!(verdict["same"], true, "{verdict}");
    assert_eq!(verdict["roots"][0], verdict["roots"][1], "{verdict}");
    assert_ne!(verdict["places"][0], verdict["places"][1], "on the other node: {verdict}");
    assert_eq!(verdict["build_keys"][0], verdict["build_keys"][1], "{verdict}");

    submit("chance", "od -An -N8 -tx1 /dev/urandom");
    let output = user.assay(&["--json", "reproduce", "name=chance"]);
    assert_eq!(output.status.code(), Some(7), "{}", crate::harness::said(&output));
    let verdict: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&verdict["same"], &verdict["parted"]["step"]), (&false.into(), &2.into()));
    let [one, two] = ["job", "again"].map(|of| verdict[of].as_str().unwrap().to_owned());
    let said = user.fails(7, &["diff", &one, &two]);
    let diff = user.assay(&["diff", &one, &two]);
    let told = String::from_utf8_lossy(&diff.stdout).into_owned() + &said;
    assert!(told.contains("step 2"), "{told}");
}

#[test]
fn ctrl_c_leaves_the_second_run_to_itself() {
    let cluster = Cluster::start();
    let user = &cluster.user;
    let first = "echo 1 > $ASSAY_OUTPUT_DIR/w; sleep 2";
    user.ok(&["submit", "--wait", "--name", "one", "--", "sh", "-c", first]);
    let mut command = Command::new(ASSAY);
    command.args(["reproduce", "j1"]).env("ASSAY_PROFILE", &user.profile);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    user.until("it runs again", |user| {
        let jobs = user.json(&["jobs"])?;
        (jobs["jobs"].as_array()?.len() == 2).then_some(())
    });
    process::signal(child.id(), "-INT");
    let output = child.wait_with_output().unwrap();
    let said = crate::harness::said(&output);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("the second run goes on") && said.contains("assay diff j1"), "{said}");
    user.ok(&["wait", "j2"]);
}

#[test]
fn a_script_with_directives_is_an_array_whose_elements_are_named_and_ended_one_by_one() {
    let cluster = Cluster::start();
    let user = &cluster.user;
    let script = cluster.path("sweep.sh");
    let text = "#!/bin/sh\n#SBATCH --job-name=sweep\n#SBATCH --array=0-2\n#SBATCH --cpus-per-task=1\n\
                #ASSAY --retries 1\necho element $ASSAY_ARRAY_INDEX\n\
                echo $ASSAY_ARRAY_INDEX > $ASSAY_OUTPUT_DIR/w\n";
    std::fs::write(&script, text).unwrap();
    user.ok(&["submit", "--wait", script.to_str().unwrap()]);
    for index in 0..3 {
        let logs = user.ok(&["logs", &format!("j1[{index}]")]);
        assert!(logs.contains(&format!("element {index}")), "{logs}");
    }
    assert_eq!(user.json(&["artifacts"]).unwrap()["artifacts"].as_array().unwrap().len(), 3);
    for name in ["a", "b"] {
        user.ok(&["submit", "--name", name, "--array", "0-3%1", "--", "sleep", "600"]);
    }
    user.ok(&["cancel", "j2-j3"]);
    user.until("both have ended", |user| {
        let states = user.states();
        ["a", "b"].iter().all(|name| states[*name] == "cancelled").then_some(())
    });
}
