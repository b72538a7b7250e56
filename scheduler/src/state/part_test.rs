//! Submits that are larger than one entry.

use super::{
    command::{Command, NewJob, Refusal, Reply},
    script::{Script, job},
};
use domain::{Digest, job::JobSpec, limit};

fn refused(reply: Reply) -> Refusal {
    match reply {
        Reply::Refused(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

/// Sends jobs as parts and a last part; gives the replies.
fn send_parts(script: &mut Script, names: &[&str], queue: &str) -> (Vec<u64>, Vec<NewJob>) {
    let new = |name: &&str| {
        let spec = JobSpec { name: (*name).into(), queue: queue.into(), ..job(1, 1) };
        NewJob { recipe: Digest::of_value(&spec), spec }
    };
    let mut jobs: Vec<_> = names.iter().map(new).collect();
    let last = vec![jobs.pop().unwrap()];
    let parts = jobs.into_iter().map(|job| {
        match script.send(None, Command::SubmitPart { jobs: vec![job] }) {
            Reply::Part { number } => number,
            other => panic!("{other:?}"),
        }
    });
    (parts.collect(), last)
}

#[test]
fn the_last_part_of_a_large_submit_takes_all_in_or_none() {
    let mut script = Script::new();
    let (parts, jobs) = send_parts(&mut script, &["a", "b", "c"], "default");
    assert_eq!(script.view().live_jobs(), 0, "nothing is taken in before the last part");
    let last = Command::SubmitLast { parts, jobs };
    let Reply::Submitted { jobs, .. } = script.send(Some(1), last.clone()) else { panic!() };
    let names = jobs.iter().map(|id| script.view().job_name(*id).unwrap());
    assert_eq!(names.collect::<Vec<_>>(), ["a", "b", "c"]);
    let again = script.send(Some(1), last.clone());
    assert!(matches!(again, Reply::Submitted { .. }), "its reply is kept as any other: {again:?}");
    assert!(matches!(refused(script.send(Some(2), last)), Refusal::WrongState { .. }));

    let (parts, jobs) = send_parts(&mut script, &["d", "e"], "night");
    let unknown = refused(script.send(None, Command::SubmitLast { parts, jobs }));
    assert!(matches!(unknown, Refusal::Spec(_)), "{unknown}");
    assert_eq!(script.view().live_jobs(), 3);
}

#[test]
fn parts_that_nobody_finishes_are_forgotten() {
    let mut script = Script::new();
    let (parts, jobs) = send_parts(&mut script, &["a", "b"], "default");
    script.now = script.now.plus(limit::PART_KEPT);
    send_parts(&mut script, &["c", "d"], "default");
    let late = refused(script.send(None, Command::SubmitLast { parts, jobs }));
    assert!(late.to_string().contains("submit it again"), "{late}");
}
