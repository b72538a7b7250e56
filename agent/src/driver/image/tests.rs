//! What podman says and what is described of devices, as it is understood.

use super::{Cdi, ImageError};
use domain::{Digest, image::ImageRef, job::EndCause};
use std::fs;

fn image() -> ImageRef {
    format!("docker.io/library/python@sha256:{}", Digest::of(b"x")).parse().unwrap()
}

#[test]
fn what_podman_says_has_a_kind_of_its_own() {
    let told = |words: &str| ImageError::told("pull", &image(), words);
    let network = "level=warning msg=\"Failed, retrying\"\nError: pinging container registry \
                   registry-1.docker.io: dial tcp: lookup registry-1.docker.io: no such host\n";
    assert!(matches!(told(network), ImageError::NoRegistry { .. }));
    let unknown = "Error: initializing source: reading manifest: manifest unknown";
    let fault = told(unknown);
    assert!(matches!(fault, ImageError::Unknown { .. }), "{fault}");
    assert!(fault.to_string().contains("skopeo inspect docker://docker.io/library/python@sha256:"));
    let full = told("Error: writing blob: write /x: no space left on device");
    assert!(matches!(full, ImageError::NoRoom { .. }));
    assert!(!EndCause::from(full).is_jobs_fault(), "the node's disk is not the job's fault");
    assert!(EndCause::from(fault).is_jobs_fault());
    assert!(matches!(told("Error: something else"), ImageError::Podman { .. }));
}

const NVIDIA: &str = r#"---
cdiVersion: "0.5.0"
kind: nvidia.com/gpu
devices:
- name: "0"
  containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
- name: GPU-b
  containerEdits:
    deviceNodes:
    - path: /dev/nvidia1
      hostPath: /run/nvidia/driver/dev/nvidia1
containerEdits:
  env:
  - NVIDIA_VISIBLE_DEVICES=void
  deviceNodes:
  - path: /dev/nvidiactl
  hooks:
  - hookName: createContainer
    path: /usr/bin/nvidia-ctk
    args: [nvidia-ctk, hook, update-ldcache, --folder, /usr/lib/x86_64-linux-gnu]
  mounts:
  - hostPath: /usr/lib/x86_64-linux-gnu/libcuda.so.550.54.15
    containerPath: /usr/lib/x86_64-linux-gnu/libcuda.so.550.54.15
    options: [ro, nosuid, nodev, bind]
"#;

#[test]
fn a_gpu_is_handed_in_as_its_maker_describes_it() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("nvidia.yaml"), NVIDIA).unwrap();
    fs::write(dir.path().join("other.json"), r#"{"kind": "vendor.com/nic"}"#).unwrap();
    let cdi = Cdi::read(Some(&[dir.path().to_owned()])).unwrap();
    let (name, edits) = cdi.gpu("GPU-a", 0).unwrap();
    assert_eq!(name, "nvidia.com/gpu=0", "by index, where the unique name is not described");
    let paths: Vec<_> = edits.device_nodes.iter().map(|node| node.path.as_str()).collect();
    assert_eq!(paths, ["/dev/nvidiactl", "/dev/nvidia0"]);
    assert_eq!(edits.env, ["NVIDIA_VISIBLE_DEVICES=void"]);
    assert_eq!((edits.mounts.len(), edits.hooks.len()), (1, 1));
    assert_eq!(edits.hooks[0].args[2], "update-ldcache");
    let (name, mut both) = cdi.gpu("GPU-b", 7).unwrap();
    assert_eq!(name, "nvidia.com/gpu=GPU-b");
    both.add(edits);
    assert_eq!((both.device_nodes.len(), both.mounts.len()), (3, 1), "what both say stands once");
    let told = cdi.gpu("GPU-c", 3).unwrap_err().to_string();
    assert!(told.contains("nvidia.com/gpu=GPU-c") && told.contains("nvidia-ctk cdi"), "{told}");
}

#[test]
fn a_broken_description_is_named() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [("a.yaml", "kind: [x"), ("a.json", "{"), ("a.yaml", "devices: 3")] {
        fs::write(dir.path().join(name), text).unwrap();
        let told = Cdi::read(Some(&[dir.path().to_owned()])).unwrap_err().to_string();
        assert!(told.contains(name) && told.contains("nvidia-ctk cdi generate"), "{told}");
        fs::remove_file(dir.path().join(name)).unwrap();
    }
}
