//! The reasons of a job are all of them: whoever follows each one's advice starts the job.

use super::why;
use crate::state::{
    command::{Command, Reply},
    dataset_test::raise,
    script::{Script, array, job, machine},
};
use domain::{
    Bytes, JobId,
    job::JobSpec,
    queue::{ClusterConfig, DEFAULT, QueueSpec},
    view::ReasonView,
};
use proptest::prelude::*;

/// More than the reasons that one job can have.
const ROUNDS_MAX: usize = 24;

/// What an operator, the job's user and time do of what a reason advises.
#[derive(Debug)]
enum Step {
    Config(Box<QueueSpec>),
    Send(Box<Command>),
    /// The end of everything that runs.
    Wait,
    /// The next plan.
    Plan,
    /// Another request is needed, which is another test's.
    Other,
}

fn reasons(script: &Script, id: JobId) -> Vec<ReasonView> {
    why(&script.view(), &script.rows, id, script.now).unwrap().reasons
}

/// The number behind a sentence's words.
fn number(text: &str, before: &str) -> Option<u64> {
    let (_, rest) = text.split_once(before)?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn followed(queue: &QueueSpec, id: JobId, reason: &ReasonView) -> Step {
    let said = reason.remedy.as_str();
    let raised = |key: &str| number(said, &format!("raise `{key}` of `{DEFAULT}` to "));
    let queue = queue.clone();
    if let Some(most) = raised("borrow_gpus_max") {
        return Step::Config(Box::new(QueueSpec { borrow_gpus_max: Some(most), ..queue }));
    }
    if let Some(most) = raised("user_gpus_max") {
        return Step::Config(Box::new(QueueSpec { user_gpus_max: Some(most), ..queue }));
    }
    if let Some(most) = raised("user_running_max") {
        return Step::Config(Box::new(QueueSpec { user_running_max: Some(most as u32), ..queue }));
    }
    if let Some(most) = raised("priority_max") {
        return Step::Config(Box::new(QueueSpec { priority_max: Some(most as i32), ..queue }));
    }
    if let Some(priority) = number(said, &format!("`assay priority {id} ")) {
        return Step::Send(Box::new(Command::SetPriority { job: id, priority: priority as i32 }));
    }
    if said.contains(&format!("`assay release {id}`")) {
        return Step::Send(Box::new(Command::Hold { job: id, held: false }));
    }
    if let Some(names) = said.strip_prefix("put back: `assay node resume` for ") {
        // One after another: the reason names those that are still out.
        let node = names.split(' ').next().unwrap_or_default().to_owned();
        return Step::Send(Box::new(Command::Drain { node, reason: None }));
    }
    if let Some(other) = number(said, "`assay cancel j") {
        return Step::Send(Box::new(Command::Cancel { element: JobId(other).into() }));
    }
    match reason.kind.as_str() {
        _ if reason.never => Step::Other,
        "ahead" if said == "wait a moment" => Step::Plan,
        "array" | "gpus" | "cpu" | "memory" | "gang" | "gpu_model" | "gpu_memory" => Step::Wait,
        _ => Step::Other,
    }
}

fn configure(script: &mut Script, expected: u64, queue: &QueueSpec) {
    let queues = [(DEFAULT.to_owned(), queue.clone())].into();
    let config = ClusterConfig { queues, ..ClusterConfig::default() };
    let reply = script.send(None, Command::ApplyConfig { expected, config, why: "t".into() });
    assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
}

fn runs(script: &Script, id: JobId) -> bool {
    script.view().all_leases().any(|lease| lease.element.job == id)
}

fn end_all(script: &mut Script) {
    let busy: Vec<_> = script.view().all_leases().map(|lease| lease.id).collect();
    for lease in busy {
        script.finish(lease, 1);
        script.seal(lease);
    }
}

fn bounded(up_to: u64) -> impl Strategy<Value = Option<u64>> {
    prop::option::weighted(0.3, 0..up_to)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 10_000, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn whoever_does_all_that_is_advised_starts_the_job(
        nodes in prop::collection::vec((0u32..6, prop::bool::weighted(0.3)), 1..4),
        large in (prop::bool::weighted(0.3), prop::collection::vec(any::<bool>(), 4)),
        bounds in (bounded(6), bounded(4), bounded(3), bounded(4)),
        placed in prop::collection::vec((1u32..3, 0u32..3), 0..4),
        waiting in prop::collection::vec((1u32..3, 0u32..3, 0i32..4), 0..3),
        asked in (1u32..4, 0u32..5, prop::bool::weighted(0.2), prop::option::weighted(0.3, 1u32..3))
    ) {
        let mut script = Script::new();
        raise(&mut script);
        for (at, (gpus, _)) in nodes.iter().enumerate() {
            let mut machine = machine(&format!("m{at}"), *gpus, "H100");
            for gpu in machine.gpus.iter_mut().filter(|_| !large.1[at]) {
                gpu.memory = Bytes(40 << 30);
            }
            script.register(machine);
        }
        for (tasks, gpus) in placed {
            script.submit(job(tasks, gpus));
        }
        let (tasks, gpus, held, many) = asked;
        let mut shape = JobSpec { priority: 0, ..job(tasks, gpus) };
        shape.resources.gpu_memory = large.0.then_some(Bytes(80 << 30));
        let first = many.filter(|_| tasks == 1).map(|most| script.submit(array(4, most, gpus)));
        script.plan();
        for (tasks, gpus, priority) in waiting {
            let (_, _, _, most) = bounds;
            let priority = most.map_or(priority, |most| priority.min(most as i32));
            script.submit(JobSpec { priority, ..job(tasks, gpus) });
        }
        let id = first.unwrap_or_else(|| script.submit(shape));
        let (borrow, user_gpus, user_running, priority) = bounds;
        let mut queue = QueueSpec {
            borrow_gpus_max: borrow,
            user_gpus_max: user_gpus,
            user_running_max: user_running.map(|most| most as u32),
            priority_max: priority.map(|most| most as i32),
            ..QueueSpec::default()
        };
        let mut version = 0;
        configure(&mut script, version, &queue);
        for (at, _) in nodes.iter().enumerate().filter(|(_, (_, drained))| *drained) {
            let reason = Some("fan".to_owned());
            script.send(None, Command::Drain { node: format!("m{at}"), reason });
        }
        if held {
            script.send(None, Command::Hold { job: id, held: true });
        }
        let before = script.view().live_job(id).map_or(0, |job| job.progress.running);
        for _ in 0..ROUNDS_MAX {
            let told = reasons(&script, id);
            let now = script.view().live_job(id).map_or(0, |job| job.progress.running);
            if script.word(id) == "completed" || now > before || (now > 0 && told.is_empty()) {
                return Ok(());
            }
            prop_assert!(!told.is_empty(), "{id} does not run and nothing is told");
            let kinds: Vec<&str> = told.iter().map(|reason| reason.kind.as_str()).collect();
            let Some(reason) = told.iter().find(|it| !matches!(followed(&queue, id, it), Step::Other))
            else {
                prop_assert!(told.iter().any(|reason| reason.never), "no way on from {told:?}");
                return Ok(());
            };
            match followed(&queue, id, reason) {
                Step::Config(next) => {
                    version += 1;
                    queue = *next;
                    configure(&mut script, version, &queue);
                }
                Step::Send(command) => {
                    let reply = script.send(None, *command);
                    prop_assert!(!matches!(reply, Reply::Refused(_)), "{reply:?} to {reason:?}");
                }
                Step::Wait => {
                    prop_assert!(runs(&script, id) || script.view().all_leases().next().is_some(),
                        "nothing runs, and it is to wait: {reason:?} of {kinds:?}");
                    end_all(&mut script);
                }
                Step::Plan => {
                    let placed = script.plan();
                    prop_assert!(
                        placed.iter().any(|placement| placement.element.job == id),
                        "not in the next plan: {reason:?}"
                    );
                    return Ok(());
                }
                Step::Other => unreachable!("left out above"),
            }
            let after = reasons(&script, id);
            prop_assert!(!after.contains(reason), "did not help: {reason:?}, {after:?}");
        }
        prop_assert!(false, "after {ROUNDS_MAX} steps it still waits: {:?}", reasons(&script, id));
    }
}
