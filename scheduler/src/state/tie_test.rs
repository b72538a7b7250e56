//! Jobs of one request that wait for others of it: in one entry, all or none.

use super::{
    command::{Command, NewJob, Refusal, Reply, Tie},
    script::{Script, job, machine},
};
use domain::{
    Digest, JobId,
    after::{After, When},
    job::{EndCause, JobSpec},
    limit,
    link::Report,
};

fn named(name: &str) -> NewJob {
    let spec = JobSpec { name: name.into(), ..job(1, 1) };
    NewJob { recipe: Digest::of_value(&spec), spec }
}

fn tie(job: u32, on: u32, when: When) -> Tie {
    Tie { job, on, when }
}

fn command(names: &[&str], ties: &[Tie]) -> Command {
    let jobs = names.iter().map(|name| named(name)).collect();
    Command::SubmitTied { parts: Vec::new(), jobs, ties: ties.to_vec() }
}

fn refused(reply: Reply) -> String {
    let Reply::Refused(Refusal::Spec(why)) = reply else { panic!("{reply:?}") };
    why
}

fn cluster() -> Script {
    let mut script = Script::new();
    script.register(machine("a", 8, "H100"));
    // So that places and ids differ.
    script.submit(job(1, 64));
    script
}

fn end(script: &mut Script, element: &str, well: bool) {
    let lease = script.lease_of(element);
    let node = script.view().lease(lease).unwrap().lead();
    match well {
        true => {
            script.finish(lease, 1);
            script.seal(lease);
        }
        false => {
            let cause = EndCause::ExitCode { rank: 0, code: 3 };
            script.report(node, Report::Failed { lease, cause });
        }
    }
    script.report(node, Report::Stopped { lease });
}

#[test]
fn each_starts_once_those_that_it_waits_for_have_ended_so() {
    let mut script = cluster();
    let ties = [
        tie(1, 0, When::Completed),
        tie(2, 1, When::Completed),
        tie(3, 1, When::Failed),
        tie(4, 3, When::Ended),
        tie(4, 2, When::Ended),
    ];
    let names = ["prep", "train", "report", "repair", "tidy"];
    let reply = script.send(None, command(&names, &ties));
    let Reply::Submitted { jobs, .. } = reply else { panic!("{reply:?}") };
    assert_eq!(jobs, [2, 3, 4, 5, 6].map(JobId));
    let words = |script: &Script| jobs.iter().map(|id| script.word(*id)).collect::<Vec<_>>();
    script.plan();
    assert_eq!(words(&script), ["running", "waiting", "waiting", "waiting", "waiting"]);
    let spec = script.view().job(&script.rows, JobId(6)).unwrap().spec;
    let after = [5, 4].map(|job| After { job: JobId(job), when: When::Ended });
    assert_eq!(spec.after, after, "by their ids, as if they had been known");
    end(&mut script, "j2", true);
    script.plan();
    end(&mut script, "j3", false);
    script.plan();
    assert_eq!(words(&script), ["completed", "failed", "failed", "running", "waiting"]);
    end(&mut script, "j5", true);
    script.plan();
    assert_eq!(words(&script), ["completed", "failed", "failed", "completed", "running"]);
}

#[test]
fn a_request_that_is_sent_again_under_its_key_is_taken_in_once() {
    let mut script = cluster();
    let asked = command(&["a", "b"], &[tie(1, 0, When::Completed)]);
    let first = script.send(Some(7), asked.clone());
    assert_eq!(script.send(Some(7), asked), first);
    assert_eq!(script.view().live_jobs(), 3);
}

#[test]
fn none_is_taken_in_where_one_waits_for_itself_or_for_one_behind_it() {
    let mut script = cluster();
    let mut says = |names: &[&str], ties: &[Tie]| refused(script.send(None, command(names, ties)));
    let why = says(&["a", "b"], &[tie(0, 1, When::Ended)]);
    assert!(why.contains("job `a`: after: it is job 0 of the request and may wait"), "{why}");
    assert!(says(&["a"], &[tie(0, 0, When::Ended)]).contains("not for job 0"));
    assert!(says(&["a"], &[tie(1, 0, When::Ended)]).contains("has no job 1"));
    let all: Vec<String> = (0..=limit::AFTER_MAX + 1).map(|at| format!("n{at}")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let last = limit::AFTER_MAX as u32 + 1;
    let ties: Vec<Tie> = (0..last).map(|on| tie(last, on, When::Ended)).collect();
    assert!(says(&all, &ties).contains("names 65 jobs"));
    // An id that is not there yet is none of the request's.
    let mut guess = named("guess");
    guess.spec.after.push(After { job: JobId(2), when: When::Ended });
    let jobs = vec![named("a"), guess];
    let ties = vec![tie(1, 0, When::Ended)];
    let why = refused(script.send(None, Command::SubmitTied { parts: Vec::new(), jobs, ties }));
    assert!(why.contains("there is no job j2"), "{why}");
    assert_eq!(script.view().live_jobs(), 1);
}

#[test]
fn a_job_of_the_request_that_can_never_start_takes_those_behind_it_along() {
    let mut script = cluster();
    script.cancel("j1");
    let mut first = named("first");
    first.spec.after.push(After { job: JobId(1), when: When::Completed });
    let jobs = vec![first, named("second"), named("third")];
    let ties = vec![tie(1, 0, When::Completed), tie(2, 1, When::Failed)];
    script.send(None, Command::SubmitTied { parts: Vec::new(), jobs, ties });
    script.plan();
    let words = [2, 3, 4].map(|id| script.word(JobId(id)));
    assert_eq!(words, ["failed", "failed", "running"]);
}

#[test]
fn places_count_over_all_parts_of_a_large_request() {
    let mut script = cluster();
    let reply = script.send(None, Command::SubmitPart { jobs: vec![named("a"), named("b")] });
    let Reply::Part { number } = reply else { panic!("{reply:?}") };
    let (jobs, ties) = (vec![named("c")], vec![tie(2, 1, When::Completed)]);
    script.send(None, Command::SubmitTied { parts: vec![number], jobs, ties });
    script.plan();
    assert_eq!([2, 3, 4].map(|id| script.word(JobId(id))), ["running", "running", "waiting"]);
    end(&mut script, "j3", true);
    script.plan();
    assert_eq!(script.word(JobId(4)), "running");
}
