//! A hardware module over PKCS#11: SoftHSM, in the place of a device.

use super::{
    harness::{
        User,
        cluster::{Cluster, SERVERS},
        said,
    },
    model_keys, signer, submit, until,
};
use registry::sign::local;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const PIN: &str = "4711-secret";

fn module() -> PathBuf {
    let places = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so"];
    let found = places.iter().map(PathBuf::from).find(|path| path.exists());
    found.expect("CANNOT RUN: SoftHSM is missing; install it: scripts/setup test")
}

/// Runs SoftHSM's tool on the token in `dir`.
fn tool(dir: &Path, words: &[&str]) {
    let mut command = Command::new("softhsm2-util");
    let output = command.env("SOFTHSM2_CONF", dir.join("softhsm2.conf")).args(words).output();
    let output = output.expect("CANNOT RUN: softhsm2-util is missing; run scripts/setup test");
    assert!(output.status.success(), "{words:?}: {}", said(&output));
}

/// A module without a token, as long as its device is away. Returns its config file.
fn empty_module(dir: &Path) -> PathBuf {
    fs::create_dir_all(dir.join("tokens")).unwrap();
    let config = format!("directories.tokendir = {}\n", dir.join("tokens").display());
    let file = dir.join("softhsm2.conf");
    fs::write(&file, config).unwrap();
    file
}

/// A token with two keys. In production they are made within the device, and never leave it.
fn token(dir: &Path) {
    let pins = ["--so-pin", "so-secret", "--pin", PIN];
    tool(dir, &[&["--init-token", "--free", "--label", "assay"], &pins[..]].concat());
    for (id, label) in [("01", "model-1"), ("02", "model-2")] {
        let file = dir.join(format!("{label}.pem"));
        local::create_model(&file).unwrap();
        let name = file.display().to_string();
        let words = ["--import", &name, "--token", "assay", "--label", label, "--id", id];
        tool(dir, &[&words[..], &["--pin", PIN]].concat());
        fs::remove_file(file).unwrap();
    }
}

/// Waits until the log of each server holds one of these texts.
fn told(cluster: &Cluster, user: &User, what: &str, texts: &[&str]) {
    user.until(what, |_| {
        let told = |name: &str| {
            let log = cluster.log(name);
            texts.iter().any(|text| log.contains(text))
        };
        SERVERS.into_iter().all(told).then_some(())
    });
}

#[test]
fn a_cluster_seals_with_a_hardware_module_and_a_wrong_pin_is_tried_once() {
    let mut cluster = Cluster::set_up();
    let dir = cluster.path("hsm");
    let conf = empty_module(&dir).display().to_string();
    let pin = dir.join("pin");
    fs::write(&pin, "wrong\n").unwrap();
    cluster.sign_with(&format!(
        "kind = \"pkcs11\"\nmodule = \"{}\"\ntoken = \"assay\"\nkeys = [\"model-1\", \
         \"model-2\"]\npin_file = \"{}\"\nrequire_kms = true\n",
        module().display(),
        pin.display()
    ));
    cluster.set_env("SOFTHSM2_CONF", &conf);
    cluster.start_all();
    let user = User { profile: cluster.user.profile.clone() };
    let user = &user;
    submit(user, "early");
    until(user, &["early"], "sealing");
    told(&cluster, user, "each server misses its token", &["no slot has a token"]);
    // A device that comes back is found without a restart.
    token(&dir);
    let wrong = ["PIN is incorrect", "PIN was refused"];
    told(&cluster, user, "each server was told that its PIN is wrong", &wrong);
    // A token locks itself after a few wrong PINs: this one was tried once by each server.
    fs::write(&pin, format!("{PIN}\n")).unwrap();
    for name in SERVERS {
        cluster.stop(name);
        cluster.run(name);
    }
    user.ready(2);
    until(user, &["early"], "completed");
    user.ok(&["verify", "a1"]);
    user.until("both keys are known", |user| (model_keys(user).len() == 2).then_some(()));
    let next = model_keys(user).into_iter().find(|kid| *kid != signer(user, "a1")).unwrap();
    user.ok(&["key", "rotate", &next]);
    user.run_job("later");
    assert_eq!(signer(user, "a2"), next);
    let dir = cluster.path("export").display().to_string();
    user.ok(&["artifact", "export", "a2", &dir]);
    user.ok(&["verify", "--offline", &dir, "--keys", &format!("{dir}/model.pub.pem")]);
    user.ok(&["audit", "verify"]);
    for name in SERVERS {
        assert!(!cluster.log(name).contains(PIN), "no PIN in a log");
    }
}
