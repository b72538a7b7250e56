//! Jobs in containers, given to a real cluster as root: the image by digest, the walls of a sandbox
//! around it, and what becomes of images that cannot be had.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]
#![cfg(target_arch = "x86_64")]

use crate::harness::{
    cluster::Cluster,
    hostile::{
        LEAST, Sweep, base64, each_limit_ends_only_the_job, lease_dir, nothing_is_got_at, pid_of,
        run, walled,
    },
    image::{Images, unmount},
    process, said, until,
};
use serde_json::Value;
use std::fs;

/// A cluster whose one node runs containers and nothing else.
fn contained(images: &Images) -> (Sweep, Cluster) {
    walled(&format!("isolation = \"container\"\n{}", images.config()))
}

fn images() -> (tempfile::TempDir, Images) {
    let dir = tempfile::tempdir().unwrap();
    let images = Images::build(&dir.path().join("images"));
    (dir, images)
}

#[test]
fn no_hostile_job_gets_out_of_its_container() {
    let (_dir, images) = images();
    // With an agent that is a user of its own.
    let (_sweep, cluster) = walled(&format!("{LEAST}{}", images.config()));
    nothing_is_got_at(&cluster, &["--image", &images.image]);
}

#[test]
fn each_limit_ends_the_container_and_only_the_container() {
    let (_dir, images) = images();
    let (_sweep, cluster) = contained(&images);
    each_limit_ends_only_the_job(&cluster, &["--image", &images.image]);
}

/// The provenance of the newest artifact.
fn provenance(cluster: &Cluster) -> Value {
    let out = cluster.path("exported");
    let _ = fs::remove_dir_all(&out);
    cluster.user.ok(&["artifact", "export", "last", out.to_str().unwrap()]);
    let envelope = fs::read_to_string(out.join("provenance.dsse.json")).unwrap();
    let envelope: Value = serde_json::from_str(&envelope).unwrap();
    serde_json::from_slice(&base64(envelope["payload"].as_str().unwrap())).unwrap()
}

/// What a job looks at, as shell that prints one line for each.
const LOOKS: &str = "set -e; cd $ASSAY_OUTPUT_DIR
    echo $GREETING $PYTHONHASHSEED $PATH > env
    id -u > named
    ls / > root; ls /tmp /var/tmp > tmp; id -un > id; cat /etc/hosts > hosts
    echo x > /tmp/x; touch /x 2> sealed || echo read-only >> sealed
    [ -c $DEVICE ] && echo has-its-device > device; cat $LIBRARY >> device; cat /etc/finished >> device
    echo $ASSAY_GPU_MADE >> device";

/// A description of every simulated GPU of the node, by index, as a maker's tool writes it.
fn describe_gpus(cluster: &Cluster) -> String {
    let cdi = cluster.path("cdi");
    fs::create_dir_all(&cdi).unwrap();
    fs::write(cdi.join("library"), "a library of the driver\n").unwrap();
    let hook = cdi.join("finish");
    // It finds the root in the bundle that its standard input names.
    let script = "#!/bin/sh\nbundle=$(sed 's/.*\"bundle\":\"\\([^\"]*\\)\".*/\\1/')\n\
                  root=$(sed 's/.*\"path\":\"\\([^\"]*\\)\".*/\\1/' $bundle/config.json)\n\
                  echo \"finished $1\" > $root/etc/finished\n";
    fs::write(&hook, script).unwrap();
    std::process::Command::new("chmod").arg("755").arg(&hook).status().unwrap();
    let devices = (0..8).map(|index| {
        format!("- name: \"{index}\"\n  containerEdits: {{env: [ASSAY_GPU_MADE={index}]}}\n")
    });
    let text = format!(
        "cdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices:\n{}containerEdits:\n  deviceNodes:\n  \
         - path: /dev/assay-gpu\n    hostPath: /dev/null\n  mounts:\n  - hostPath: {}\n    \
         containerPath: /usr/lib/driver/libassay.so\n  hooks:\n  - hookName: createContainer\n    \
         path: {}\n    args: [finish, update-ldcache]\n",
        devices.collect::<String>(),
        cdi.join("library").display(),
        hook.display()
    );
    fs::write(cdi.join("nvidia.yaml"), text).unwrap();
    format!("cdi = [\"{}\"]\n", cdi.display())
}

#[test]
fn a_job_finds_its_image_and_its_gpu_and_the_record_says_which() {
    let (_dir, images) = images();
    let (_sweep, mut cluster) = walled(&images.config());
    let cdi = describe_gpus(&cluster);
    let config = cluster.path("config/node-a.toml");
    fs::write(&config, fs::read_to_string(&config).unwrap() + &cdi).unwrap();
    cluster.stop("node-a");
    cluster.run("node-a");
    cluster.user.ready(1);
    let user = &cluster.user;
    let shown = user.ok(&["node", "show", "node-a"]);
    assert!(shown.contains("run containers (podman "), "{shown}");

    let words = ["submit", "--wait", "--name", "looks", "--cpus", "0.5", "--gpus", "1"];
    let more = ["--image", &images.image, "-e", "DEVICE=/dev/assay-gpu"];
    let last = ["-e", "LIBRARY=/usr/lib/driver/libassay.so", "--", "sh", "-c", LOOKS];
    let output = user.assay(&[&words[..], &more, &last].concat());
    assert!(output.status.success(), "{}\n{}", said(&output), user.ok(&["logs", "j1"]));
    let told = provenance(&cluster);
    let read = |name: &str| {
        let found = walkdir(&cluster.path("exported"), name);
        fs::read_to_string(found.unwrap_or_else(|| panic!("no {name}"))).unwrap()
    };
    assert_eq!(read("env"), "from-the-image 0 /opt/tools:/bin\n", "the contract over the image");
    let uid: u64 = read("named").trim().parse().unwrap();
    assert!(uid >= 0x7000_0000, "a link of the image leads into the image: {uid}");
    assert!(read("root").lines().all(|name| name != "boot" && name != "home"), "{}", read("root"));
    assert_eq!(read("id"), "job\n");
    assert!(!read("tmp").contains("shadow"), "a link in place of /tmp is not followed");
    assert!(read("hosts").starts_with("127.0.0.1 localhost"), "{}", read("hosts"));
    assert!(read("sealed").contains("read-only"), "{}", read("sealed"));
    let device = read("device");
    assert!(device.contains("has-its-device\na library of the driver\nfinished update-ldcache\n"));
    assert!(device.trim().ends_with(|last: char| last.is_ascii_digit()), "{device}");

    let digest = images.image.rsplit(':').next().unwrap();
    let at = |path: &str| told.pointer(path).cloned().unwrap_or_default();
    let recipe = at("/predicate/buildDefinition/externalParameters/recipe");
    assert_eq!(recipe["image"], format!("sha256:{digest}"));
    assert_eq!(recipe["isolation"], "container");
    let held = at("/predicate/buildDefinition/internalParameters/isolation");
    assert_eq!(
        (&held["kind"], &held["sandbox"]["image"]["name"]),
        (&"container".into(), &images.image.as_str().into())
    );
    let device = held["sandbox"]["image"]["devices"][0].as_str().unwrap().to_owned();
    assert!(device.starts_with("nvidia.com/gpu="), "{held}");
    let all = at("/predicate/buildDefinition/resolvedDependencies");
    let image = all.as_array().unwrap().iter().find(|it| it["name"] == "image").unwrap().clone();
    assert_eq!(image["digest"]["sha256"], digest);
    user.ok(&["verify", "last"]);
}

/// The first file of a name below a folder.
fn walkdir(dir: &std::path::Path, name: &str) -> Option<std::path::PathBuf> {
    let entries = fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path());
    entries.into_iter().find_map(|path| match path.is_dir() {
        true => walkdir(&path, name),
        false => (path.file_name()? == name).then_some(path),
    })
}

#[test]
fn an_image_that_cannot_be_had_fails_by_name_and_an_archive_is_found_by_digest() {
    let (dir, images) = images();
    let archives = dir.path().join("archives");
    fs::create_dir(&archives).unwrap();
    let archive = archives.join("new.tar");
    let name = images.image.split('@').next().unwrap();
    let save = ["save", "--format", "oci-archive", "-o", archive.to_str().unwrap(), name];
    images.say(&save);
    let mut tar = std::process::Command::new("tar");
    let index = tar.arg("-xOf").arg(&archive).arg("index.json").output().unwrap().stdout;
    let index: Value = serde_json::from_slice(&index).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap().to_owned();
    let hex = digest.trim_start_matches("sha256:");
    fs::rename(&archive, archives.join(format!("{hex}.tar"))).unwrap();
    // An agent whose own images are none.
    let own = dir.path().join("own");
    let lines = format!(
        "[containers]\nimages = \"{}\"\narchives = \"{}\"\n",
        own.display(),
        archives.display()
    );
    let (_sweep, cluster) = walled(&lines);
    let user = &cluster.user;
    let from_archive = format!("localhost/from-archive@{digest}");
    let (code, text) =
        run(user, &["--image", &from_archive], "echo $GREETING > $ASSAY_OUTPUT_DIR/x");
    let mounted = code == Some(0);
    let (code, unknown) = run(user, &["--image", &images.image], "true");
    let nowhere = format!("127.0.0.1:{}/x@{digest}", crate::harness::cluster::free_port())
        .replace(&digest, &format!("sha256:{}", "ab".repeat(32)));
    let (_, silent) = run(user, &["--image", &nowhere], "true");
    unmount(&own);
    assert!(mounted, "{text}");
    assert_eq!(code, Some(1), "{unknown}");
    assert!(unknown.contains("was not loaded into this node"), "{unknown}");
    assert!(
        silent.contains("the registry of image") && silent.contains("does not answer"),
        "{silent}"
    );
    // A tag is refused where it is written, with the way to its digest.
    let words = ["submit", "--image", "docker.io/library/python:3.12", "--", "true"];
    let told = user.fails(2, &words);
    assert!(told.contains("podman pull docker.io/library/python:3.12"), "{told}");
}

#[test]
fn a_node_without_podman_offers_no_containers_and_why_says_so() {
    let (_sweep, cluster) = walled("[containers]\npodman = \"/nowhere/podman\"\n");
    let user = &cluster.user;
    let shown = user.ok(&["node", "show", "node-a"]);
    assert!(shown.contains("for containers lacks podman: `/nowhere/podman`"), "{shown}");
    let image = format!("localhost/x@sha256:{}", "ab".repeat(32));
    user.ok(&["submit", "--image", &image, "--", "true"]);
    let why = user.until("there is a reason", |user| {
        let why = user.ok(&["why", "j1"]);
        why.contains("container").then_some(why)
    });
    assert!(why.contains("0 of 1 nodes can run one") && why.contains("/nowhere/podman"), "{why}");
}

#[test]
fn a_queue_demands_what_neither_node_nor_job_asks_for() {
    let (_dir, images) = images();
    let (_sweep, cluster) = walled(&images.config());
    let user = &cluster.user;
    let file = cluster.path("cluster.toml");
    let apply = |text: &str| {
        fs::write(&file, text).unwrap();
        user.ok(&["apply", file.to_str().unwrap(), "--reason", "to test"]);
    };
    let words = ["submit", "--name", "waits", "--cpus", "900", "--queue", "boxed", "--", "true"];
    apply(
        "[queues.apart]\nisolation = \"sandbox\"\n[queues.inner]\nparent = \"apart\"\n[queues.boxed]\n",
    );
    user.ok(&words);
    let script = "echo x > $ASSAY_OUTPUT_DIR/x";
    let (code, text) = run(user, &["--queue", "inner"], script);
    assert_eq!(code, Some(0), "{text}");
    let held = "/predicate/buildDefinition/internalParameters/isolation/kind";
    assert_eq!(provenance(&cluster).pointer(held).unwrap(), "sandbox", "inherited from above");

    let next = "[queues.apart]\nisolation = \"sandbox\"\n[queues.inner]\nparent = \"apart\"\n\
                [queues.boxed]\nisolation = \"container\"\n";
    fs::write(&file, next).unwrap();
    let plan = user.ok(&["plan", file.to_str().unwrap()]);
    assert!(plan.contains("they name no image") && plan.contains("isolation"), "{plan}");
    apply(next);
    let why = user.ok(&["why", "j1"]);
    assert!(why.contains("queue `boxed` runs containers alone, and it names no image"), "{why}");
    let told = user.fails(2, &["submit", "--queue", "boxed", "--", "true"]);
    assert!(told.contains("queue `boxed` runs containers alone"), "{told}");
    let (code, text) = run(user, &["--queue", "boxed", "--image", &images.image], script);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(provenance(&cluster).pointer(held).unwrap(), "container");
}

#[test]
fn a_container_outlives_the_agent_and_ends_with_its_lease() {
    let (_dir, images) = images();
    let (_sweep, mut cluster) = contained(&images);
    let stay = "touch $ASSAY_OUTPUT_DIR/stays; sleep 86390; true";
    let words = ["submit", "--name", "stays", "--cpus", "0.5", "--image", &images.image];
    cluster.user.ok(&[&words[..], &["--", "sh", "-c", stay]].concat());
    lease_dir(&cluster, "stays");
    let pid = pid_of("sleep 86390");
    cluster.kill("node-a");
    cluster.run("node-a");
    cluster.user.ready(1);
    assert!(process::signal(pid, "-0"), "the container outlives the agent");
    cluster.user.ok(&["cancel", "last"]);
    until("what ran in the container ends", || (!process::signal(pid, "-0")).then_some(()));
}
