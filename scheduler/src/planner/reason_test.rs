//! Reasons are true: the named change starts the job.

use super::why;
use crate::state::{
    command::Command,
    dataset_test::raise,
    health_test::held,
    script::{Script, array, job, machine},
};
use domain::{
    Bytes, CpuMillis, JobId,
    health::HeldState,
    job::{EndCause, JobSpec, Restart},
    link::Report,
    view::ReasonView,
};
use proptest::prelude::*;

/// The request after the change that a remedy names, if it names one.
fn changed(spec: &JobSpec, reason: &ReasonView) -> Option<JobSpec> {
    let mut spec = spec.clone();
    if reason.remedy.contains("what else") {
        return None;
    }
    let mut remedy = reason.remedy.as_str();
    if let Some(rest) = remedy.strip_prefix("leave `gpu_model` out") {
        spec.resources.gpu_model = None;
        match rest.strip_prefix(" and ") {
            Some(more) => remedy = more,
            None => return Some(spec),
        }
    }
    let rest = remedy.strip_prefix("lower `")?;
    let (field, rest) = rest.split_once("` to ")?;
    let value = rest.split_once(',').map_or(rest, |(value, _)| value);
    match field {
        "gpus" => spec.resources.gpus = value.parse().ok()?,
        "tasks" => spec.tasks = value.parse().ok()?,
        "cpus" => {
            let (cores, part) = value.split_once('.').unwrap_or((value, "0"));
            let whole = cores.parse::<u64>().ok()? * 1_000;
            spec.resources.cpu = CpuMillis(whole + part.parse::<u64>().ok()?);
        }
        "memory" | "gpu_memory" => {
            let digits = value.trim_end_matches(char::is_alphabetic);
            let unit = if value.ends_with("GiB") { 30 } else { 20 };
            let size = Bytes(digits.parse::<u64>().ok()? << unit);
            match field {
                "memory" => spec.resources.memory = size,
                _ => spec.resources.gpu_memory = Some(size),
            }
        }
        _ => return None,
    }
    Some(spec)
}

fn reasons(script: &Script, id: JobId) -> Vec<ReasonView> {
    why(&script.view(), &script.rows, id, script.now).unwrap().reasons
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn the_change_that_a_reason_names_starts_the_job(
        nodes in prop::collection::vec((0u32..6, any::<bool>()), 1..4),
        before in prop::collection::vec((1u32..3, 0u32..3, 0u64..9_000, 0u64..40), 0..4),
        asked in (1u32..8, 0u32..8, 0u64..20_000, 0u64..70_000, any::<bool>()),
        // What the driver of each node reports of a GPU, and what is asked for, in MiB.
        sizes in (prop::collection::vec(1u64..100_000, 4), prop::option::of(1u64..120_000))
    ) {
        let mut script = Script::new();
        raise(&mut script);
        for (at, (gpus, h100)) in nodes.iter().enumerate() {
            let model = if *h100 { "H100" } else { "A100" };
            let mut machine = machine(&format!("m{at}"), *gpus, model);
            for gpu in &mut machine.gpus {
                // Not whole.
                gpu.memory = Bytes((sizes.0[at] << 20) + 4_096);
            }
            script.register(machine);
        }
        for (tasks, gpus, cpu, gib) in before {
            let mut spec = job(tasks, gpus);
            spec.resources.cpu = CpuMillis(cpu);
            spec.resources.memory = Bytes(gib << 30);
            script.submit(spec);
            script.plan();
        }
        let (tasks, gpus, cpu, mib, h100) = asked;
        let mut spec = job(tasks, gpus);
        spec.priority = 1;
        spec.resources.cpu = CpuMillis(cpu);
        spec.resources.memory = Bytes(mib << 20);
        spec.resources.gpu_model = h100.then(|| "h100".to_owned());
        spec.resources.gpu_memory = sizes.1.map(|mib| Bytes(mib << 20));
        let id = script.submit(spec.clone());
        if script.plan().iter().any(|placement| placement.element.job == id) {
            prop_assert_eq!(reasons(&script, id), vec![]);
            return Ok(());
        }
        for reason in reasons(&script, id) {
            let Some(other) = changed(&spec, &reason) else { continue };
            // What could never run may still have to wait; in an empty cluster it starts.
            let busy: Vec<_> = script.view().all_leases().map(|lease| lease.id).collect();
            if reason.never {
                for lease in busy {
                    script.finish(lease, 1);
                }
            }
            let other = script.submit(JobSpec { priority: 9, ..other });
            let placed = script.plan();
            prop_assert!(
                placed.iter().any(|placement| placement.element.job == other),
                "{:?} did not help {:?}", reason, spec
            );
            return Ok(());
        }
    }
}

#[test]
fn without_nodes_a_job_waits_for_nodes_and_not_for_ever() {
    let mut script = Script::new();
    let id = script.submit(job(1, 64));
    let found = reasons(&script, id);
    assert_eq!((found[0].kind.as_str(), found[0].never), ("nodes", false));
}

#[test]
fn a_request_beyond_every_node_says_never_and_by_how_much() {
    let mut script = Script::new();
    script.register(machine("a", 2, "H100"));
    let id = script.submit(job(1, 4));
    let found = reasons(&script, id);
    assert!(found[0].never);
    assert_eq!(found[0].detail, "`gpus` of 4 asked for each of 1 tasks, 2 would fit");
    assert_eq!(found[0].remedy, "lower `gpus` to 2");
    let id = script.submit(job(9, 1));
    assert_eq!(script.reasons(id), ["gang"]);
    let mut spec = job(1, 1);
    spec.resources.gpu_model = Some("B200".into());
    let id = script.submit(spec);
    let found = reasons(&script, id);
    assert_eq!((found[0].kind.as_str(), found[0].never), ("gpu_model", true));
    assert!(found[0].detail.ends_with("there are: H100"), "{}", found[0].detail);
}

#[test]
fn nodes_out_of_service_are_named_with_the_way_back() {
    let mut script = Script::new();
    script.register(machine("a", 2, "H100"));
    let b = script.register(machine("b", 4, "H100"));
    let id = script.submit(job(1, 4));
    script.lose(b);
    let found = reasons(&script, id);
    assert_eq!(found[0].kind, "health");
    assert_eq!(found[0].remedy, "start the agents on b");
    script.register(machine("b", 4, "H100"));
    script.send(None, Command::Drain { node: "b".into(), reason: Some("fan".into()) });
    let found = reasons(&script, id);
    assert_eq!(found[0].detail, "nodes that it needs are out of service (drained: b)");
    script.send(None, Command::Drain { node: "b".into(), reason: None });
    assert_eq!(script.plan().len(), 1);
}

#[test]
fn gpus_that_are_held_back_are_named_where_they_would_help_and_only_there() {
    let mut script = Script::new();
    let node = script.register(machine("a", 2, "H100"));
    let gpus = vec![held(2, HeldState::Draining, 5), held(3, HeldState::Quarantined, 5)];
    script.send(None, Command::Health { node, gpus });
    let four = script.submit(job(1, 4));
    let found = reasons(&script, four);
    assert_eq!((found.len(), found[0].kind.as_str(), found[0].never), (1, "health", false));
    assert_eq!(
        found[0].detail,
        "GPU 2 of a is draining, Xid 79: the GPU fell off the bus; \
         GPU 3 of a is quarantined, Xid 79: the GPU fell off the bus"
    );
    assert_eq!(found[0].remedy, "boot; once it is well: `assay node accept a 3`");
    let five = script.submit(job(1, 5));
    assert!(reasons(&script, five)[0].never, "five would not fit with all of them");

    script.submit(JobSpec { priority: 9, ..job(1, 2) });
    script.plan();
    let one = script.submit(JobSpec { priority: 8, ..job(1, 1) });
    assert_eq!(script.reasons(one), ["gpus", "health"], "it would fit now if they served");
    script.send(None, Command::Health { node, gpus: vec![] });
    script.register(machine("a", 4, "H100"));
    assert_eq!(script.plan()[0].element.job, one);
}

#[test]
fn a_node_all_of_whose_gpus_are_held_back_keeps_its_class() {
    let mut script = Script::new();
    let node = script.register(machine("a", 1, "H100"));
    let id = script.submit(job(1, 1));
    script.plan();
    let cause = EndCause::GpuFault { detail: "Xid 79".into() };
    let lease = script.lease_of("j1");
    script.send(None, Command::Health { node, gpus: vec![held(0, HeldState::Quarantined, 5)] });
    script.register(machine("a", 0, "H100"));
    script.report(node, Report::Failed { lease, cause });
    script.report(node, Report::Stopped { lease });
    assert_eq!(script.reasons(id), ["health"]);
}

#[test]
fn an_array_at_its_limit_waits_for_its_own_elements() {
    let mut script = Script::new();
    script.register(machine("a", 8, "H100"));
    let id = script.submit(array(4, 2, 1));
    assert_eq!(script.plan().len(), 2);
    assert_eq!(script.reasons(id), ["array"]);
    script.finish(script.lease_of("j1[0]"), 1);
    assert_eq!(script.plan().len(), 1);
}

#[test]
fn a_lost_attempt_that_must_be_confirmed_dead_is_the_reason() {
    let mut script = Script::new();
    let node = script.register(machine("a", 1, "H100"));
    let id = script.submit(JobSpec { restart: Restart::Confirmed, ..job(1, 1) });
    script.plan();
    let lease = script.lease_of("j1");
    script.lose(node);
    let found = reasons(&script, id);
    assert_eq!(found[0].kind, "lease");
    assert!(found[0].remedy.ends_with(&format!("`assay node confirm-dead {lease}`")));
    script.register(machine("b", 1, "H100"));
    script.send(None, Command::ConfirmDead { lease });
    assert_eq!(script.plan().len(), 1);
}

#[test]
fn those_before_it_are_the_reason_when_it_would_fit_alone() {
    let mut script = Script::new();
    script.register(machine("a", 1, "H100"));
    script.submit(JobSpec { priority: 5, ..job(1, 1) });
    let id = script.submit(job(1, 1));
    let found = reasons(&script, id);
    assert_eq!(found[0].kind, "ahead");
    assert!(found[0].remedy.starts_with("`assay priority j2 6`"), "{}", found[0].remedy);
}

#[test]
fn a_job_that_does_not_wait_has_no_reasons_and_an_unknown_one_no_document() {
    let mut script = Script::new();
    script.register(machine("a", 1, "H100"));
    let id = script.submit(job(1, 1));
    script.plan();
    assert_eq!(reasons(&script, id), []);
    assert_eq!(why(&script.view(), &script.rows, JobId(9), script.now), None);
}
