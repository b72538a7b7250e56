//! What job files may say, and what they are told when they may not.

use super::*;
use crate::quantity::GpuCount;
use expect_test::{Expect, expect};

fn faults(name: &str, text: &str, expected: Expect) {
    let read = read(Path::new(name), text);
    let shown = match check(read, Some(Path::new(name))) {
        Ok(draft) => format!("{draft:#?}"),
        Err(fault) => fault.detail,
    };
    expected.assert_eq(&shown);
}

#[test]
fn every_fault_of_a_file_is_named_at_once_with_its_line() {
    faults(
        "job.toml",
        r#"
name = "train"
comand = ["./train"]
time_limit = "soon"
outputs = "maybe"
seed = "seven"
datasets.digits = { sha256 = "xyz" }

[resources]
gpu = 2
memory = "lots"

[env]
OMP_NUM_THREADS = 4
"#,
        expect![[r#"
            job.toml: 10 faults, nothing was submitted
              line 3: comand: is not a known key; did you mean `command`?
              line 4: time_limit: is "soon"; give a duration such as "2h30m"
              line 5: outputs: is "maybe"; use "required" or "none"
              line 6: seed: is "seven"; give a whole number from 0
              line 7: datasets.digits: names no path; add `path = "..."`, or `dataset = "NAME@VERSION"`
              line 7: datasets.digits.sha256: `xyz` is not a SHA-256 digest; give 64 hex digits
              line 10: resources.gpu: is not a known key; did you mean `resources.gpus`?
              line 11: resources.memory: is "lots"; give a size such as "512MiB"
              command: is empty; give a program and its arguments
              env: sets `OMP_NUM_THREADS`, which the environment contract fixes; remove it; `docs/DETERMINISM.md` lists what is fixed"#]],
    );
}

#[test]
fn what_is_not_toml_is_named_by_line() {
    faults(
        "job.toml",
        "name = \"a\"\ncommand = [\"true\"\nseed = 3\n",
        expect![[r#"
        job.toml: 4 faults, nothing was submitted
          line 3: job file: missing comma between array elements, expected `,`
          line 3: job file: string values must be quoted, expected literal string
          line 3: job file: unclosed array, expected `]`
          line 3: job file: unexpected `=` in array, expected value, `]`"#]],
    );
}

#[test]
fn a_file_that_does_not_exist_is_named_with_the_key_that_asked_for_it() {
    faults(
        "job.toml",
        "command = [\"./train\"]\ncode = \"no/such/code\"\ndatasets.digits = \"no/such/data\"\n",
        expect![[r#"
            job.toml: 2 faults, nothing was submitted
              code: ./no/such/code does not exist; give a folder relative to the job file
              datasets.digits: ./no/such/data does not exist; give a file or a folder relative to the job file"#]],
    );
}

#[test]
fn a_program_of_the_code_folder_needs_one() {
    faults(
        "job.toml",
        "command = [\"./no-such-program\"]\n",
        expect![[r#"
        job.toml: 1 fault, nothing was submitted
          command: `./no-such-program` is looked up in the code folder, and there is none; add `code = "."`, or give a program that is in PATH"#]],
    );
}

#[test]
fn yaml_is_read_like_toml_with_the_line_of_every_fault() {
    faults(
        "job.yaml",
        "comand: [\"true\"]\nseed: seven\nresources:\n  gpu: 2\n",
        expect![[r#"
        job.yaml: 4 faults, nothing was submitted
          line 1: comand: is not a known key; did you mean `command`?
          line 2: seed: is "seven"; give a whole number from 0
          line 4: resources.gpu: is not a known key; did you mean `resources.gpus`?
          command: is empty; give a program and its arguments"#]],
    );
}

#[test]
fn json_says_the_same_as_toml() {
    let toml = read(
        Path::new("a/job.toml"),
        "command = \"echo hi\"\narray = \"0-7%2\"\ncode = \"src\"\n[hyperparameters]\nlr = 0.1\n\
         deep = true\nlayers = 3\n[resources]\ncpus = 1.5\nmemory = \"1GiB\"\n",
    );
    let json = read(
        Path::new("a/job.json"),
        r#"{"command": "echo hi", "array": {"count": 8, "at_once_max": 2}, "code": "src",
            "hyperparameters": {"lr": 0.1, "deep": true, "layers": 3},
            "resources": {"cpus": "1.5", "memory": 1073741824}}"#,
    );
    assert_eq!(toml.faults, json.faults);
    assert_eq!(toml.draft, json.draft);
    assert_eq!(toml.draft.command.unwrap(), ["sh", "-c", "echo hi"]);
    assert_eq!(toml.draft.code.unwrap(), Path::new("a/src"));
    assert_eq!(toml.draft.hyperparameters["lr"], "0.1");
    assert_eq!(toml.draft.name.unwrap(), "job");
}

#[test]
fn a_script_is_its_own_code() {
    let read = read(Path::new("dir/run.sh"), "#!/bin/sh\n#SBATCH --gres=gpu:2\necho\n");
    assert_eq!(read.draft.gpus, Some(GpuCount::whole(2)));
    assert_eq!(read.draft.command.unwrap(), ["./run.sh"]);
    assert_eq!(read.draft.program.unwrap(), Path::new("dir/run.sh"));
}

#[test]
fn data_is_files_or_a_registered_version() {
    let text = "command = [\"true\"]\ndatasets.a = \"reviews@3\"\n\
                datasets.b = { dataset = \"reviews\" }\ndatasets.c = \"./reviews@3\"\n";
    let draft = read(Path::new("job.toml"), text).draft;
    assert_eq!(draft.registered().collect::<Vec<_>>(), ["reviews@3", "reviews"]);
    let path = PathBuf::from("././reviews@3");
    assert_eq!(draft.datasets["c"], DataSource::Files { path, sha256: None });
    faults(
        "job.toml",
        "command = [\"true\"]\ndatasets.a = { dataset = \"reviews@3\", path = \"x\" }\n",
        expect![[r#"
            job.toml: 1 fault, nothing was submitted
              line 2: datasets.a: names a registered version, and files beside it; leave `path` and `sha256` out: a version never changes"#]],
    );
}
