//! A machine without GPUs; one with is played in `tests/it/gpus.rs`.

use super::*;

#[test]
fn a_machine_without_a_driver_has_no_gpus_but_a_named_library_must_exist() {
    assert_eq!(NoGpus.read().unwrap(), GpuSet::default());
    let fault = open(Some(Path::new("/nowhere/libnvidia-ml.so.1"))).err().unwrap();
    assert!(fault.to_string().contains("/nowhere/libnvidia-ml.so.1"));
}
