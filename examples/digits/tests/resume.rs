//! A run that was killed and resumed leaves the bytes of one that was not.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

fn start(dir: &Path, resume: Option<&Path>, delay: &str) -> Child {
    for name in ["out", "ckpt"] {
        std::fs::create_dir_all(dir.join(name)).unwrap();
    }
    let data = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("data/digits.csv");
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay-train"));
    command
        .args(["--epochs", "3", "--checkpoint-every", "10", "--step-delay-ms", delay])
        .env("ASSAY_SEED", "7")
        .env("ASSAY_DATASET_DIGITS", data)
        .env("ASSAY_OUTPUT_DIR", dir.join("out"))
        .env("ASSAY_CHECKPOINT_DIR", dir.join("ckpt"))
        .stdout(Stdio::null());
    if let Some(folder) = resume {
        command.env("ASSAY_RESUME_FROM", folder);
    }
    command.spawn().unwrap()
}

fn output(dir: &Path) -> Vec<u8> {
    ["model.safetensors", "metrics.json", "config.json"]
        .iter()
        .flat_map(|name| std::fs::read(dir.join("out").join(name)).unwrap())
        .collect()
}

fn folder(name: &str) -> std::path::PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&dir);
    dir
}

#[test]
fn a_killed_run_resumes_to_the_same_bytes() {
    let whole = folder("whole");
    assert!(start(&whole, None, "0").wait().unwrap().success());
    for killed_at in [20, 50, 90] {
        let part = folder(&format!("part-{killed_at}"));
        let mut child = start(&part, None, "2");
        let checkpoint = part.join(format!("ckpt/step-{killed_at}"));
        let patience = Instant::now() + Duration::from_secs(30);
        while !checkpoint.exists() {
            assert!(Instant::now() < patience, "no checkpoint at step {killed_at}");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!part.join("out/model.safetensors").exists(), "it was killed before its end");
        assert!(start(&part, Some(&checkpoint), "0").wait().unwrap().success());
        assert_eq!(output(&part), output(&whole), "killed after step {killed_at}");
    }
}

#[test]
fn two_runs_give_the_same_bytes_and_learn_something() {
    let (one, two) = (folder("one"), folder("two"));
    assert!(start(&one, None, "0").wait().unwrap().success());
    assert!(start(&two, None, "0").wait().unwrap().success());
    assert_eq!(output(&one), output(&two));
    let metrics = std::fs::read_to_string(one.join("out/metrics.json")).unwrap();
    let right: u32 =
        metrics.split("\"right\":").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
    assert!(right > 300, "{right} of 360 right after three epochs");
}
