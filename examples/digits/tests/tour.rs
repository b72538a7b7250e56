//! The tour of `make demo`, whole: without a terminal it ends by itself, with exit code 0 only if
//! every step held.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

/// What a new user waits for at most, after the build.
const SOON: Duration = Duration::from_secs(60);

#[test]
fn every_step_of_the_tour_holds() {
    let trainer = Path::new(env!("CARGO_BIN_EXE_assay-train"));
    let assay = trainer.with_file_name("assay");
    assert!(assay.is_file(), "build it: cargo build -p cli -p fake-nvml");
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tour");
    let _ = fs::remove_dir_all(&dir);
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (from, to) in [
        (here.join("job.toml"), "examples/digits/job.toml"),
        (here.join("data/digits.csv"), "examples/digits/data/digits.csv"),
        (trainer.to_owned(), "examples/digits/code/assay-train"),
    ] {
        fs::create_dir_all(dir.join(to).parent().unwrap()).unwrap();
        fs::copy(from, dir.join(to)).unwrap();
    }
    let begun = Instant::now();
    let output = Command::new(assay)
        .args(["dev", "--tour", "--examples"])
        .arg(dir.join("examples"))
        .arg("--dir")
        .arg(dir.join("cluster"))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{said}");
    assert!(told.contains("every step held"), "{told}");
    assert!(begun.elapsed() < SOON, "it took {:?}", begun.elapsed());
}
