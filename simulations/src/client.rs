//! A client: submits, cancels, and repeats under the same key until it has an answer.

use crate::{bits::Bits, chance::Chance, near, queues, read::ReadOf, runtime::Work};
use domain::{
    Bytes, CpuMillis, Digest, ElementId, JobId, Millis, RequestKey,
    after::{After, RetryOn, RetryRule, When},
    foresee::Foretold,
    interrupt::{Interrupt, Preemptible},
    job::{Array, Captured, JobSpec, OnDisconnect, Outputs, Restart},
    queue::ConfigError,
    resource::TaskResources,
    retain::Retain,
    topology::Topology,
    version::ClusterVersion,
};
use registry::seal::recipe;
use scheduler::state::command::{Command, FurtherConfig, NewJob, Refusal, Reply, Request};
use std::collections::BTreeMap;

/// Time after which an unanswered request is repeated elsewhere. Unit: ms.
pub const PATIENCE: u64 = 1_500;

/// Calls of which the first few come at once.
const BURST_EVERY: u64 = 24;
/// How many.
const BURST: u64 = 8;

/// One client with its history.
pub struct Client {
    at: usize,
    chance: Chance,
    reading: Chance,
    next_read: u64,
    /// The request that waits for its answer, and its call.
    pub asked: Option<(u64, Request)>,
    next_call: u64,
    /// The first call of the request that waits.
    first_call: u64,
    next_job: u64,
    /// Names of jobs that were asked for, by the key of the request.
    pub submitted: BTreeMap<RequestKey, Vec<String>>,
    /// What was acknowledged: jobs by name.
    pub acked: BTreeMap<String, JobId>,
    /// Jobs whose cancellation was acknowledged.
    pub cancelled: Vec<JobId>,
    /// Changes of the queues that were acknowledged.
    pub configs: u64,
    /// The version of the queues that it knows of.
    version: u64,
    queues: Chance,
    /// Which of its jobs are run again.
    checks: Chance,
    /// What its jobs are given, and how long their results are kept.
    keeping: Chance,
    /// Data for its next job.
    data: Option<Digest>,
    /// How near the parts of its gangs have to be.
    near: Chance,
    bits: Bits,
    /// The first answer to each key.
    pub replies: BTreeMap<RequestKey, Reply>,
}

impl Client {
    /// A client without a history.
    #[must_use]
    pub fn new(at: usize, chance: Chance, bits: Bits) -> Self {
        Self {
            at,
            reading: chance.branch("read", 0),
            queues: chance.branch("queues", 0),
            checks: chance.branch("checks", 0),
            keeping: chance.branch("keeping", 0),
            data: None,
            near: chance.branch("near", 0),
            bits,
            configs: 0,
            version: 0,
            chance,
            next_read: 0,
            asked: None,
            next_call: 0,
            first_call: 0,
            next_job: 0,
            submitted: BTreeMap::new(),
            acked: BTreeMap::new(),
            cancelled: Vec::new(),
            replies: BTreeMap::new(),
        }
    }

    /// Time to the next thing it does. Unit: ms.
    pub fn pause(&mut self) -> u64 {
        // Now and then much comes at once, so that some have to make room for others.
        let most = if self.next_call % BURST_EVERY < BURST { 600 } else { 12_000 };
        self.chance.between(200, most)
    }

    /// Which server it asks.
    pub fn server(&mut self, among: &[usize]) -> usize {
        among[self.chance.below(among.len() as u64) as usize]
    }

    /// Time to the next read. Unit: ms.
    pub fn read_pause(&mut self) -> u64 {
        self.reading.between(50, 1_500)
    }

    /// A read under a new call, and the server that is asked.
    pub fn read(&mut self, among: &[usize]) -> (u64, ReadOf, usize) {
        self.next_read += 1;
        let newest = self.acked.values().map(|job| job.0).max().unwrap_or(0);
        // The newest job of its own, any, or one that is not there yet.
        let of = match self.reading.below(4) {
            0 | 1 => ReadOf::Job(JobId(newest.max(1))),
            2 => ReadOf::Job(JobId(1 + self.reading.below(newest + 3))),
            _ => ReadOf::List,
        };
        (self.next_read, of, among[self.reading.below(among.len() as u64) as usize])
    }

    /// How many results back it takes one as data for its next job, if it wants any: of those
    /// whose time ends while the job waits or runs.
    pub fn wants_data(&mut self) -> Option<u64> {
        let wants = self.asked.is_none() && self.keeping.one_in(2);
        wants.then(|| self.keeping.below(6))
    }

    /// Gives its next job data.
    pub fn give(&mut self, tree: Digest) {
        self.data = Some(tree);
    }

    /// A new request, or the one that waits, under a new call.
    pub fn ask(&mut self) -> (u64, Request) {
        self.next_call += 1;
        let request = match self.asked.take() {
            Some((_, request)) => request,
            None => {
                self.first_call = self.next_call;
                self.think()
            }
        };
        self.asked = Some((self.next_call, request.clone()));
        (self.next_call, request)
    }

    fn think(&mut self) -> Request {
        let digest = Digest::of_value(&("key", self.at as u64, self.next_call));
        let mut key = [0; 16];
        key.copy_from_slice(&digest.0[..16]);
        let key = RequestKey(key);
        let known: Vec<JobId> = self.acked.values().copied().collect();
        let command = if self.queues.one_in(8) {
            let config = queues::draw_keeping(queues::draw(&mut self.queues), &mut self.keeping);
            Command::apply_config(self.version, config, "drawn".into())
        } else if !known.is_empty() && self.keeping.one_in(12) {
            let job = known[self.keeping.below(known.len() as u64) as usize];
            Command::Foretell { starts: vec![(job, draw_forecast(&mut self.keeping))] }
        } else if !known.is_empty() && self.chance.one_in(8) {
            let job = known[self.chance.below(known.len() as u64) as usize];
            match self.queues.one_in(3) {
                true => Command::SetPriority { job, priority: self.queues.below(4) as i32 },
                false => Command::Cancel { element: ElementId::from(job) },
            }
        } else {
            let count = 1 + self.chance.below(2);
            let jobs: Vec<NewJob> = (0..count).map(|_| self.job()).collect();
            let names = jobs.iter().map(|job| job.spec.name.clone()).collect();
            self.submitted.insert(key, names);
            Command::submit(jobs)
        };
        Request { key: Some(key), actor: format!("user:c{}", self.at), command }
    }

    fn job(&mut self) -> NewJob {
        self.next_job += 1;
        let chance = &mut self.chance;
        let code = i32::from(chance.one_in(12));
        let work = Work {
            steps: chance.between(1, 30),
            step_ms: chance.between(50, 600),
            every: chance.below(5),
            code,
        };
        let array =
            chance.one_in(8).then(|| Array { count: chance.between(2, 6) as u32, at_once_max: 2 });
        let after = draw_after(&mut self.queues, self.acked.values().copied().max());
        let backoff = self.queues.one_in(3).then(|| Millis(self.queues.between(500, 6_000)));
        let spec = JobSpec {
            name: format!("c{}-{}", self.at, self.next_job),
            user: format!("c{}", self.queues.below(3)),
            queue: queues::LEAVES[self.queues.below(3) as usize].into(),
            priority: chance.below(3) as i32,
            // The nodes have 2, 3 and 4 GPUs: four tasks of two GPUs are the most that fit.
            tasks: if chance.one_in(4) { 2 + chance.below(3) as u32 } else { 1 },
            resources: resources(chance.below(3) as u32),
            command: work.command(),
            env: BTreeMap::new(),
            code: None,
            datasets: self.data.take().map(data).into_iter().collect(),
            hyperparameters: BTreeMap::new(),
            // Few seeds, so that recipes repeat and their results can be compared.
            seed: chance.below(3),
            outputs: Outputs::Required,
            time_limit: None,
            retries: chance.below(3) as u32,
            on_disconnect: draw_on_disconnect(&mut self.queues),
            restart: if chance.one_in(6) { Restart::Confirmed } else { Restart::Lease },
            array,
            reproduces: None,
            after,
            retry: RetryRule { backoff, ..RetryRule::default() },
            confinement: domain::isolation::Confinement::default(),
            checkpoint: domain::checkpoint::CheckpointRule::default(),
            framework: None,
            image: None,
            interrupt: draw_interrupt(&mut self.queues),
            verify: None,
            check: None,
            reservation: None,
            retain: draw_retain(&mut self.keeping),
            topology: Topology::default(),
            registered: Default::default(),
            hardware_class: None,
            estimate: None,
        };
        let mut spec = self.bits.shape(spec, &mut self.checks);
        spec.topology = near::draw(&mut self.near, &spec);
        draw_further(&mut self.keeping, &mut spec);
        let recipe = recipe::recipe(&spec);
        NewJob { spec, recipe }
    }

    /// Hears an answer. An error is a law that it breaks.
    ///
    /// # Errors
    /// When one key has got two different answers.
    pub fn hear(&mut self, call: u64, reply: Option<Reply>) -> Result<(), String> {
        let tires = reply.is_none() && self.keeping.one_in(3);
        let Some((newest, request)) = &self.asked else { return Ok(()) };
        // A leader whose cluster is at the version before gives no answer: nobody waits until it
        // does. Whether another took the classes in is told by the version with the next change.
        let newer = request.command.since() > ClusterVersion::FIRST;
        let tires = tires || matches!(request.command, Command::ApplyFurther(_));
        if reply.is_none() && newer && tires && (self.first_call..=*newest).contains(&call) {
            self.asked = None;
            return Ok(());
        }
        // Calls are numbered over all requests: an older request's answer is not this one's.
        let Some(reply) = reply.filter(|_| call <= *newest && call >= self.first_call) else {
            return Ok(());
        };
        let key = request.key.unwrap_or_default();
        if let Some(first) = self.replies.get(&key)
            && *first != reply
        {
            return Err(format!("exactly_once: key {key} got {first:?}, then {reply:?}"));
        }
        if matches!(reply, Reply::Refused(Refusal::NotYet { .. })) {
            return Ok(());
        }
        self.replies.insert(key, reply.clone());
        match (&request.command, reply) {
            (Command::Submit { .. } | Command::SubmitFurther(_), Reply::Submitted { jobs, .. }) => {
                let names = self.submitted.get(&key).cloned().unwrap_or_default();
                self.acked.extend(names.into_iter().zip(jobs));
            }
            (Command::Cancel { element }, Reply::Done { .. }) => self.cancelled.push(element.job),
            (
                Command::ApplyConfig { expected, .. }
                | Command::ApplyFurther(FurtherConfig { expected, .. }),
                Reply::Done { .. },
            ) => {
                // Where nothing was to be changed, the next try is told the version.
                (self.version, self.configs) = (expected + 1, self.configs + 1);
            }
            (_, Reply::Refused(Refusal::Config(ConfigError::Moved { found, .. }))) => {
                self.version = found;
            }
            _ => {}
        }
        self.asked = None;
        Ok(())
    }
}

/// When a job is said to start, within the time of a run.
fn draw_forecast(chance: &mut Chance) -> Foretold {
    let p50 = Millis(chance.below(300_000));
    Foretold { made: Millis(0), p50, p90: p50.plus(Millis(chance.below(60_000))) }
}

/// What each task needs.
fn resources(gpus: u32) -> TaskResources {
    TaskResources {
        gpus,
        gpu_model: None,
        cpu: CpuMillis(1_000),
        memory: Bytes(1 << 30),
        gpu_memory: None,
        gpu_share: Default::default(),
    }
}

/// A tree as a job's data.
fn data(tree: Digest) -> (String, Captured) {
    ("corpus".into(), Captured { tree, files: 1, size: Bytes(1 << 20), origin: "result".into() })
}

/// How long a result is kept: mostly as the queue says.
fn draw_retain(chance: &mut Chance) -> Option<Retain> {
    match chance.below(8) {
        0 => Some(Retain::Forever),
        1..=3 => Some(Retain::For(Millis(chance.below(30_000)))),
        _ => None,
    }
}

/// Now and then what the first form of a specification has no place for. Every GPU has what is asked
/// for, so that every job can run.
fn draw_further(chance: &mut Chance, spec: &mut JobSpec) {
    if chance.one_in(8) {
        spec.resources.gpu_memory = Some(Bytes(chance.between(1, 80) << 30));
    }
    if chance.one_in(16) {
        spec.hardware_class = Some("NVIDIA H100/driver-550/x86-64-v3".into());
    }
    if chance.one_in(2) {
        spec.estimate = Some(Millis(chance.between(1, 20_000)));
    }
    if chance.one_in(8) {
        spec.retry.max.own.insert(RetryOn::ExitCode, chance.below(3) as u32);
    }
}

/// Whether a job goes on when its node has lost contact.
fn draw_on_disconnect(chance: &mut Chance) -> OnDisconnect {
    if chance.one_in(6) { OnDisconnect::Continue } else { OnDisconnect::Stop }
}

/// How it may be preempted: mostly, and soon.
fn draw_interrupt(chance: &mut Chance) -> Interrupt {
    let preemptible = if chance.one_in(5) { Preemptible::No } else { Preemptible::Yes };
    Interrupt { preemptible, min_run: Some(Millis(chance.below(4_000))), warn: None }
}

/// Now and then a job waits for the newest that its client knows of.
fn draw_after(chance: &mut Chance, newest: Option<JobId>) -> Vec<After> {
    let Some(job) = newest.filter(|_| chance.one_in(5)) else { return Vec::new() };
    let when = match chance.below(3) {
        0 => When::Completed,
        1 => When::Ended,
        _ => When::Failed,
    };
    vec![After { job, when }]
}
