//! Keys of the scheduler's rows: table bytes 0x01 to 0x7f and 0xa4 to 0xa7, then big-endian parts.

use super::account::row::Owner;
use domain::{AttemptNo, CheckId, Digest, ElementId, JobId, LeaseId, Millis, NodeId, RequestKey};

const META: u8 = 0x01;
/// What a job was submitted as; never changes.
pub const JOB_SPEC: u8 = 0x02;
/// How far a job is.
pub const JOB: u8 = 0x03;
pub const ELEMENT: u8 = 0x04;
pub const ATTEMPT: u8 = 0x05;
const CHECKPOINT: u8 = 0x06;
const NODE: u8 = 0x07;
const LEASE: u8 = 0x08;
const TICKET: u8 = 0x09;
const REPLY: u8 = 0x0a;
const REPLY_AGE: u8 = 0x0b;
const QUEUE: u8 = 0x0c;
/// Jobs that have not ended, so that a start need not read those that have.
const LIVE: u8 = 0x0d;
const PART: u8 = 0x0e;
/// GPUs of a node that are held back.
const HEALTH: u8 = 0x0f;
/// What holds for all queues.
const CONFIG: u8 = 0x10;
/// What queues have used.
const USAGE: u8 = 0x11;
/// The version that the cluster runs at; none while it is the first.
const CLUSTER_VERSION: u8 = 0x12;
/// Terms on which nodes are out of service.
const DRAIN: u8 = 0x13;
/// Whole machines.
const HARDWARE: u8 = 0x14;
/// Names for priorities.
const PRIORITY_CLASSES: u8 = 0x15;
/// What was foreseen of jobs that have not started.
const FORETOLD: u8 = 0x16;
/// How often that held, by day.
const STARTS_HELD: u8 = 0x17;
/// The newest job of which it was foreseen.
const NEWEST_FORETOLD: u8 = 0x18;
/// What queues that serve the shortest first know of their jobs.
const LEARNED: u8 = 0x19;

/// Whether jobs wait for a policy before training.
const GATE_TRAINING: u8 = 0x30;
/// Jobs that wait for a policy's decision.
const GATED: u8 = 0x31;
/// What a policy said of a job.
const DECISION: u8 = 0x32;
/// Checkpoints whose bytes are kept, by element.
const KEPT: u8 = 0x33;
/// The same, by the digest of the list of their chunks.
const KEPT_LIST: u8 = 0x34;
/// The same, by when their time is over.
const KEPT_UNTIL: u8 = 0x35;

/// Preemptions that are under way.
const PREEMPTION: u8 = 0x39;

/// Checks: those that are open, and those that are closed.
const CHECK: u8 = 0x36;
/// What classes of hardware give.
const REFERENCE: u8 = 0x37;
/// What belongs to elements: the checks of their segments, and the dumps of their ranks.
const OF_ELEMENT: u8 = 0x38;

/// All that was ever booked of GPU time.
const USAGE_TOTAL: u8 = 0x3a;
/// GPU time by day and owner.
const USAGE_OWNER: u8 = 0x3b;
/// GPU time that there was, by day.
const USAGE_DAY: u8 = 0x3c;
/// What live leases and open tickets hold.
const USAGE_OPEN: u8 = 0x3d;
/// GPU time by day and job.
const USAGE_JOB: u8 = 0x3e;

/// Windows that are not over.
const WINDOW: u8 = 0xa4;

/// First and past-last key of a table.
fn all(table: u8) -> (Vec<u8>, Vec<u8>) {
    (vec![table], vec![table + 1])
}

pub fn meta() -> Vec<u8> {
    vec![META]
}

pub fn cluster_version() -> Vec<u8> {
    vec![CLUSTER_VERSION]
}

pub fn job_spec(job: JobId) -> Vec<u8> {
    [&[JOB_SPEC], &job.0.to_be_bytes()[..]].concat()
}

/// The progress of a job that has ended.
pub fn job(job: JobId) -> Vec<u8> {
    [&[JOB], &job.0.to_be_bytes()[..]].concat()
}

/// The progress of a job that has not ended.
pub fn live(job: JobId) -> Vec<u8> {
    [&[LIVE], &job.0.to_be_bytes()[..]].concat()
}

pub fn live_jobs() -> (Vec<u8>, Vec<u8>) {
    all(LIVE)
}

pub fn element(job: JobId, position: u32) -> Vec<u8> {
    [&[ELEMENT], &job.0.to_be_bytes()[..], &position.to_be_bytes()].concat()
}

/// First and past-last key of a job's elements.
pub fn elements(job: JobId) -> (Vec<u8>, Vec<u8>) {
    (element(job, 0), element(JobId(job.0 + 1), 0))
}

pub fn attempt(job: JobId, position: u32, attempt: AttemptNo) -> Vec<u8> {
    let number = attempt.0.to_be_bytes();
    [&[ATTEMPT], &job.0.to_be_bytes()[..], &position.to_be_bytes(), &number].concat()
}

/// First and past-last key of an element's attempts.
pub fn attempts(job: JobId, position: u32) -> (Vec<u8>, Vec<u8>) {
    let from = attempt(job, position, AttemptNo(0));
    let to = attempt(job, position, AttemptNo(u32::MAX));
    (from, to)
}

/// First and past-last key of the attempts of all elements of a job.
pub fn attempts_of_job(job: JobId) -> (Vec<u8>, Vec<u8>) {
    (attempt(job, 0, AttemptNo(0)), attempt(JobId(job.0 + 1), 0, AttemptNo(0)))
}

pub fn checkpoint(job: JobId, position: u32, step: u64) -> Vec<u8> {
    let step = step.to_be_bytes();
    [&[CHECKPOINT], &job.0.to_be_bytes()[..], &position.to_be_bytes(), &step].concat()
}

/// First and past-last key of an element's checkpoints.
pub fn checkpoints(job: JobId, position: u32) -> (Vec<u8>, Vec<u8>) {
    let from = checkpoint(job, position, 0);
    let mut to = checkpoint(job, position, u64::MAX);
    to.push(0);
    (from, to)
}

pub fn drain(node: NodeId) -> Vec<u8> {
    [&[DRAIN], &node.0.to_be_bytes()[..]].concat()
}

pub fn hardware(node: NodeId) -> Vec<u8> {
    [&[HARDWARE], &node.0.to_be_bytes()[..]].concat()
}

pub fn drains() -> (Vec<u8>, Vec<u8>) {
    all(DRAIN)
}

pub fn node(node: NodeId) -> Vec<u8> {
    [&[NODE], &node.0.to_be_bytes()[..]].concat()
}

pub fn nodes() -> (Vec<u8>, Vec<u8>) {
    all(NODE)
}

pub fn health(node: NodeId) -> Vec<u8> {
    [&[HEALTH], &node.0.to_be_bytes()[..]].concat()
}

pub fn all_health() -> (Vec<u8>, Vec<u8>) {
    all(HEALTH)
}

/// The node in a key of one of the tables by node.
pub fn node_in(key: &[u8]) -> NodeId {
    let id = key[1..].try_into().expect("node keys hold four bytes of the id");
    NodeId(u32::from_be_bytes(id))
}

fn of_lease(table: u8, lease: LeaseId) -> Vec<u8> {
    [&[table], &lease.index.to_be_bytes()[..], &lease.ordinal.to_be_bytes()].concat()
}

pub fn lease(lease: LeaseId) -> Vec<u8> {
    of_lease(LEASE, lease)
}

pub fn leases() -> (Vec<u8>, Vec<u8>) {
    all(LEASE)
}

pub fn ticket(lease: LeaseId) -> Vec<u8> {
    of_lease(TICKET, lease)
}

pub fn tickets() -> (Vec<u8>, Vec<u8>) {
    all(TICKET)
}

pub fn reply(key: RequestKey) -> Vec<u8> {
    [&[REPLY], &key.0[..]].concat()
}

pub fn reply_age(number: u64) -> Vec<u8> {
    [&[REPLY_AGE], &number.to_be_bytes()[..]].concat()
}

pub fn part(number: u64) -> Vec<u8> {
    [&[PART], &number.to_be_bytes()[..]].concat()
}

pub fn queue(name: &str) -> Vec<u8> {
    [&[QUEUE], name.as_bytes()].concat()
}

pub fn config() -> Vec<u8> {
    vec![CONFIG]
}

/// Names for priorities: beside the configuration, of which they are a part.
pub fn priority_classes() -> Vec<u8> {
    vec![PRIORITY_CLASSES]
}

/// How GPUs come out of quarantine: beside the configuration, of which it is a part.
pub fn acceptance() -> Vec<u8> {
    vec![OF_ELEMENT, 2]
}

pub fn usage(queue: &str) -> Vec<u8> {
    [&[USAGE], queue.as_bytes()].concat()
}

pub fn learned(queue: &str) -> Vec<u8> {
    [&[LEARNED], queue.as_bytes()].concat()
}

pub fn all_learned() -> (Vec<u8>, Vec<u8>) {
    all(LEARNED)
}

pub fn all_usage() -> (Vec<u8>, Vec<u8>) {
    all(USAGE)
}

/// The name in a key of one of the tables by queue.
pub fn queue_in(key: &[u8]) -> String {
    String::from_utf8_lossy(&key[1..]).into_owned()
}

pub fn queues() -> (Vec<u8>, Vec<u8>) {
    all(QUEUE)
}

/// The job in a key of one of the tables by job.
pub fn job_in(key: &[u8]) -> JobId {
    let bytes = key.get(1..9).and_then(|part| part.try_into().ok());
    JobId(u64::from_be_bytes(bytes.expect("keys by job hold eight bytes of it")))
}

pub fn preemption(job: JobId) -> Vec<u8> {
    [&[PREEMPTION], &job.0.to_be_bytes()[..]].concat()
}

pub fn preemptions() -> (Vec<u8>, Vec<u8>) {
    all(PREEMPTION)
}

pub fn foretold(job: JobId) -> Vec<u8> {
    [&[FORETOLD], &job.0.to_be_bytes()[..]].concat()
}

pub fn all_foretold() -> (Vec<u8>, Vec<u8>) {
    all(FORETOLD)
}

pub fn newest_foretold() -> Vec<u8> {
    vec![NEWEST_FORETOLD]
}

pub fn starts_held(day: u64) -> Vec<u8> {
    [&[STARTS_HELD], &day.to_be_bytes()[..]].concat()
}

pub fn all_starts_held() -> (Vec<u8>, Vec<u8>) {
    all(STARTS_HELD)
}

pub fn gate_training() -> Vec<u8> {
    vec![GATE_TRAINING]
}

pub fn gated(job: JobId) -> Vec<u8> {
    [&[GATED], &job.0.to_be_bytes()[..]].concat()
}

pub fn all_gated() -> (Vec<u8>, Vec<u8>) {
    all(GATED)
}

pub fn decision(job: JobId) -> Vec<u8> {
    [&[DECISION], &job.0.to_be_bytes()[..]].concat()
}

/// A checkpoint's place in the tables of those whose bytes are kept.
fn place(job: JobId, position: u32, step: u64) -> [u8; 20] {
    let mut place = [0; 20];
    place[..8].copy_from_slice(&job.0.to_be_bytes());
    place[8..12].copy_from_slice(&position.to_be_bytes());
    place[12..].copy_from_slice(&step.to_be_bytes());
    place
}

pub fn kept(job: JobId, position: u32, step: u64) -> Vec<u8> {
    [&[KEPT][..], &place(job, position, step)].concat()
}

/// First and past-last key of an element's kept checkpoints.
pub fn kept_of(job: JobId, position: u32) -> (Vec<u8>, Vec<u8>) {
    let mut to = kept(job, position, u64::MAX);
    to.push(0);
    (kept(job, position, 0), to)
}

pub fn all_kept() -> (Vec<u8>, Vec<u8>) {
    all(KEPT)
}

pub fn kept_list(list: Digest, job: JobId, position: u32, step: u64) -> Vec<u8> {
    [&[KEPT_LIST], &list.0[..], &place(job, position, step)].concat()
}

/// First and past-last key of the checkpoints that are stored as this list.
pub fn kept_as(list: Digest) -> (Vec<u8>, Vec<u8>) {
    let from = [&[KEPT_LIST], &list.0[..]].concat();
    (from.clone(), [&from[..], &[0xff; 21]].concat())
}

pub fn kept_until(until: Millis, job: JobId, position: u32, step: u64) -> Vec<u8> {
    [&[KEPT_UNTIL], &until.0.to_be_bytes()[..], &place(job, position, step)].concat()
}

pub fn all_kept_until() -> (Vec<u8>, Vec<u8>) {
    all(KEPT_UNTIL)
}

/// The time and the checkpoint in a key of the table by time.
pub fn until_in(key: &[u8]) -> (Millis, JobId, u32, u64) {
    let number = |at: usize| {
        let bytes = key.get(at..at + 8).and_then(|part| part.try_into().ok());
        u64::from_be_bytes(bytes.expect("keys by time hold time, job, position and step"))
    };
    // Four bytes of what is read at 17 are the position's.
    (Millis(number(1)), JobId(number(9)), (number(17) >> 32) as u32, number(21))
}

pub fn open_check(check: CheckId) -> Vec<u8> {
    [&[CHECK, 0], &check.0.to_be_bytes()[..]].concat()
}

pub fn open_checks() -> (Vec<u8>, Vec<u8>) {
    (vec![CHECK, 0], vec![CHECK, 1])
}

pub fn closed_check(check: CheckId) -> Vec<u8> {
    [&[CHECK, 1], &check.0.to_be_bytes()[..]].concat()
}

/// The check in a key of one of the tables of checks.
pub fn check_in(key: &[u8]) -> CheckId {
    let bytes = key.last_chunk().expect("keys of checks end with its id");
    CheckId(u64::from_be_bytes(*bytes))
}

pub fn reference(build_key: Digest) -> Vec<u8> {
    [&[REFERENCE], &build_key.0[..]].concat()
}

pub fn references() -> (Vec<u8>, Vec<u8>) {
    all(REFERENCE)
}

/// The build key in a key of a reference.
pub fn reference_in(key: &[u8]) -> Digest {
    Digest(*key.last_chunk().expect("keys of references end with a digest"))
}

fn of_element(kind: u8, of: ElementId) -> Vec<u8> {
    let index = of.index.map_or(0, |index| u64::from(index) + 1);
    [&[OF_ELEMENT, kind], &of.job.0.to_be_bytes()[..], &index.to_be_bytes()].concat()
}

/// The check of the segment that ends at a step.
pub fn segment(of: ElementId, step: u64) -> Vec<u8> {
    [of_element(0, of), step.to_be_bytes().to_vec()].concat()
}

/// First and past-last key of the checked segments of a job.
pub fn segments(job: JobId) -> (Vec<u8>, Vec<u8>) {
    of_job(0, job)
}

fn of_job(kind: u8, job: JobId) -> (Vec<u8>, Vec<u8>) {
    (of_element(kind, job.into()), of_element(kind, JobId(job.0 + 1).into()))
}

/// A dump of a rank under a lease; the entry that brought it tells several of one rank apart.
pub fn dump(of: ElementId, lease: LeaseId, rank: u32, at: u64) -> Vec<u8> {
    let lease = [&lease.index.to_be_bytes()[..], &lease.ordinal.to_be_bytes()].concat();
    [of_element(1, of), lease, rank.to_be_bytes().to_vec(), at.to_be_bytes().to_vec()].concat()
}

/// First and past-last key of the dumps of an element.
pub fn dumps_of(of: ElementId) -> (Vec<u8>, Vec<u8>) {
    let mut to = of_element(1, of);
    to.extend([0xff; 25]);
    (of_element(1, of), to)
}

/// First and past-last key of the dumps of a job.
pub fn dumps(job: JobId) -> (Vec<u8>, Vec<u8>) {
    of_job(1, job)
}

pub fn usage_total() -> Vec<u8> {
    vec![USAGE_TOTAL]
}

pub fn usage_day(day: u64) -> Vec<u8> {
    [&[USAGE_DAY], &day.to_be_bytes()[..]].concat()
}

/// An owner's time on a day. Names are told apart by their lengths.
pub fn usage_owner(day: u64, of: &Owner) -> Vec<u8> {
    let mut key = [&[USAGE_OWNER], &day.to_be_bytes()[..]].concat();
    for name in [&of.team, &of.queue, &of.user] {
        key.extend((name.len() as u32).to_be_bytes());
        key.extend(name.as_bytes());
    }
    key
}

/// First and past-last key of the owners of some days.
pub fn usage_owners(first: u64, end: u64) -> (Vec<u8>, Vec<u8>) {
    let key = |day: u64| [&[USAGE_OWNER], &day.to_be_bytes()[..]].concat();
    (key(first), key(end))
}

pub fn usage_job(day: u64, job: JobId) -> Vec<u8> {
    [&[USAGE_JOB], &day.to_be_bytes()[..], &job.0.to_be_bytes()].concat()
}

/// First and past-last key of the jobs of some days.
pub fn usage_jobs(first: u64, end: u64) -> (Vec<u8>, Vec<u8>) {
    (usage_job(first, JobId(0)), usage_job(end, JobId(0)))
}

/// The day in a key of one of the tables by day.
pub fn usage_day_in(key: &[u8]) -> u64 {
    let bytes = key.get(1..9).and_then(|part| part.try_into().ok());
    u64::from_be_bytes(bytes.expect("keys by day hold eight bytes of it"))
}

/// The job in a key of the table by day and job.
pub fn usage_job_in(key: &[u8]) -> JobId {
    JobId(u64::from_be_bytes(*key.last_chunk().expect("keys by day and job end with the job")))
}

pub fn usage_open(lease: LeaseId) -> Vec<u8> {
    of_lease(USAGE_OPEN, lease)
}

pub fn usage_opens() -> (Vec<u8>, Vec<u8>) {
    all(USAGE_OPEN)
}

/// The lease in a key of what is open.
pub fn usage_open_in(key: &[u8]) -> LeaseId {
    let number = |at: usize| u32::from_be_bytes(key[at..at + 4].try_into().unwrap_or_default());
    let index = (u64::from(number(1)) << 32) | u64::from(number(5));
    LeaseId { index, ordinal: number(9) }
}

/// A window's row, by its name.
pub fn window(name: &str) -> Vec<u8> {
    [&[WINDOW], name.as_bytes()].concat()
}

pub fn windows() -> (Vec<u8>, Vec<u8>) {
    all(WINDOW)
}
