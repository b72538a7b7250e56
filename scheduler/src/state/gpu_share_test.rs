//! Parts of GPUs: who asks for one gets one, who asks for whole ones gets whole ones.

use super::{
    command::{Command, NewJob, Refusal, Reply},
    dataset_test::raise,
    script::{Script, job, machine},
};
use domain::{
    Bytes, Digest, JobId, PerMille,
    job::JobSpec,
    node::Inventory,
    resource::{Gpu, GpuShare},
};

/// A machine whose `gpus` GPUs of 48 GiB are offered in `count` shares each.
fn shared(name: &str, gpus: u32, count: u32) -> Inventory {
    let share = |of: u32, at: u32| Gpu {
        index: 64 + 8 * of + at,
        uuid: format!("GPU-{name}-{of}::{}/{count}", at + 1),
        model: format!("L40S (1/{count})"),
        memory: Bytes((48 << 30) / u64::from(count)),
        compute_capability: "8.9".into(),
    };
    let gpus = (0..gpus).flat_map(|of| (0..count).map(move |at| share(of, at)));
    Inventory { gpus: gpus.collect(), ..machine(name, 0, "") }
}

fn part(per_mille: u64) -> JobSpec {
    let mut spec = job(1, 1);
    spec.resources.gpu_share = GpuShare::AtLeast(PerMille(per_mille));
    spec
}

/// The node and the GPUs of a job.
fn place(script: &Script, id: JobId) -> Option<(String, Vec<u32>)> {
    let view = script.view();
    let lease = view.all_leases().find(|lease| lease.element.job == id)?;
    let member = &lease.members[0];
    Some((view.node_name(member.node)?, member.tasks[0].gpus.clone()))
}

#[test]
fn a_cluster_of_the_version_before_takes_no_node_with_shares() {
    let mut script = Script::new();
    let inventory = shared("s", 1, 4);
    let reply = script.send(None, Command::RegisterShared { inventory, held: Vec::new() });
    let Reply::Refused(Refusal::NotYet { why }) = reply else { panic!("{reply:?}") };
    assert_eq!(why, "this needs version 2, the cluster runs at 1");
    script.register(machine("h", 1, "H100"));
}

/// As its agent does.
fn register(script: &mut Script, inventory: Inventory) {
    let reply = script.send(None, Command::RegisterShared { inventory, held: Vec::new() });
    assert!(matches!(reply, Reply::Registered { .. }), "{reply:?}");
}

#[test]
fn parts_go_to_shares_that_are_large_enough_and_whole_ones_to_whole_ones() {
    let mut script = Script::new();
    raise(&mut script);
    register(&mut script, shared("quarters", 1, 4));
    register(&mut script, shared("halves", 1, 2));
    script.register(machine("whole", 1, "L40S"));
    let whole = script.submit(job(1, 1));
    let half = script.submit(part(500));
    let third = script.submit(part(334));
    let quarters: Vec<JobId> = (0..4).map(|_| script.submit(part(250))).collect();
    let late = script.submit(part(1));
    script.plan();
    assert_eq!(place(&script, whole), Some(("whole".into(), vec![0])));
    let mut halves = [half, third].map(|id| place(&script, id).unwrap());
    halves.sort();
    assert_eq!(halves, [("halves".into(), vec![64]), ("halves".into(), vec![65])]);
    let mut held: Vec<_> =
        quarters.iter().filter_map(|id| place(&script, *id)).map(|(_, gpus)| gpus[0]).collect();
    held.sort_unstable();
    assert_eq!(held, [64, 65, 66, 67], "each share is given once");
    assert_eq!(place(&script, late), None);
    assert!(super::Cluster::load(&script.rows) == script.cluster, "as its rows have it");
}

#[test]
fn the_smallest_share_that_will_do_is_given_first_whatever_comes_first() {
    let mut script = Script::new();
    raise(&mut script);
    let mut both = shared("both", 1, 4);
    let mut halves = shared("halves", 1, 2);
    halves.gpus.iter_mut().for_each(|gpu| gpu.index += 8);
    both.gpus.extend(halves.gpus);
    register(&mut script, both);
    register(&mut script, shared("more", 1, 2));
    let quarters: Vec<JobId> = (0..4).map(|_| script.submit(part(250))).collect();
    let halves: Vec<JobId> = (0..4).map(|_| script.submit(part(500))).collect();
    script.plan();
    for id in &quarters {
        let (node, gpus) = place(&script, *id).unwrap();
        assert!(node == "both" && gpus[0] < 68, "{node} {gpus:?}");
    }
    assert!(halves.iter().all(|id| place(&script, *id).is_some()), "there are four");
}

#[test]
fn a_gpu_that_a_job_holds_whole_is_not_given_in_shares_and_the_other_way_round() {
    let mut script = Script::new();
    raise(&mut script);
    script.register(machine("a", 2, "L40S"));
    let whole = script.submit(job(1, 1));
    script.plan();
    assert_eq!(place(&script, whole), Some(("a".into(), vec![0])));
    // Its agent was started anew with another cut.
    register(&mut script, shared("a", 2, 2));
    let parts: Vec<JobId> = (0..4).map(|_| script.submit(part(500))).collect();
    script.plan();
    let held: Vec<_> = parts.iter().filter_map(|id| place(&script, *id)).collect();
    assert_eq!(held, [("a".into(), vec![72]), ("a".into(), vec![73])], "those of the other GPU");
    script.register(machine("a", 2, "L40S"));
    let again = script.submit(job(1, 1));
    script.plan();
    assert_eq!(place(&script, again), None, "one is held whole, one in shares");
}

#[test]
fn why_says_which_part_there_is_and_when_a_whole_one_would_do() {
    let mut script = Script::new();
    raise(&mut script);
    register(&mut script, shared("quarters", 1, 4));
    let told = |script: &Script, id| {
        let why = script.why(id);
        let [reason] = &why[..] else { panic!("{why:?}") };
        (reason.kind.clone(), reason.detail.clone(), reason.remedy.clone(), reason.never)
    };
    let whole = script.submit(job(1, 1));
    let half = script.submit(part(500));
    script.plan();
    assert_eq!(
        told(&script, whole),
        (
            "gpu_share".into(),
            "a whole GPU asked for; there are: L40S (1/4)".into(),
            "lower `gpus` to 0.25".into(),
            true
        )
    );
    assert_eq!(
        told(&script, half),
        (
            "gpu_share".into(),
            "a part of 0.5 of a GPU asked for; there are: L40S (1/4)".into(),
            "lower `gpus` to 0.25".into(),
            true
        )
    );
    // What is named helps.
    let quarter = script.submit(part(250));
    script.plan();
    assert!(place(&script, quarter).is_some());

    let mut script = Script::new();
    raise(&mut script);
    script.register(machine("whole", 2, "H100"));
    let half = script.submit(part(500));
    script.plan();
    let (kind, _, remedy, never) = told(&script, half);
    assert_eq!((kind.as_str(), remedy.as_str()), ("gpu_share", "ask for a whole one: `gpus = 1`"));
    assert!(never);
}

#[test]
fn a_part_is_of_one_gpu_for_one_task_and_less_than_the_whole() {
    let fault = |spec: JobSpec| spec.check().unwrap_err()[0].to_string();
    let gang = JobSpec { tasks: 2, ..part(500) };
    assert_eq!(
        fault(gang),
        "gpus: is a part of a GPU, for 2 tasks of 1; one task has one part; a gang needs whole GPUs"
    );
    for per_mille in [0, 1_000, 5_000] {
        assert!(fault(part(per_mille)).starts_with("gpus: is a part of"), "{per_mille}");
    }
    let mut any = job(1, 1);
    any.resources.gpu_share = GpuShare::Any;
    assert!(fault(any).contains("say how large a part"));
    assert_eq!(part(1).check(), Ok(()));
}

#[test]
fn a_share_computes_what_its_gpu_computes_so_the_class_is_the_same() {
    let (whole, parts) = (machine("w", 1, "L40S"), shared("s", 1, 4));
    assert_eq!(whole.hardware_class(), parts.hardware_class());
}

#[test]
fn what_it_asks_for_is_kept_over_a_restart() {
    let mut script = Script::new();
    raise(&mut script);
    let spec = part(250);
    let recipe = Digest::of_value(&spec);
    let jobs = vec![NewJob { spec: spec.clone(), recipe }];
    script.send(None, Command::submit(jobs));
    let (submitted, _) = script.view().job_rows(&script.rows, JobId(1)).unwrap();
    assert_eq!(submitted.spec, spec);
    let loaded = super::Cluster::load(&script.rows);
    let job = loaded.view().live_job(JobId(1)).unwrap().brief.resources.gpu_share;
    assert_eq!(job, GpuShare::AtLeast(PerMille(250)));
}
