//! The live set as its rows have it.

use super::{
    key,
    queue::Queue,
    row::{ElementRow, NodeRow, Submitted},
    sched::{Job, Node, Sched},
    window::WindowRow,
};
use domain::{
    JobId, Millis, artifact::SealTicket, job::ElementState, lease::Lease, port::RowRead, queue,
    scratch,
};

/// Rows read at once.
const PAGE: usize = 4_096;

impl Sched {
    /// Reads what has not ended, and only that.
    pub fn load(rows: &impl RowRead) -> Self {
        let key = key::meta();
        let meta = rows.get(&key).map(|bytes| scratch::decode(&key, &bytes)).unwrap_or_default();
        let mut sched = Self { meta, version: super::version::stored(rows), ..Self::default() };
        sched.load_queues(rows);
        each(rows, key::nodes(), |key, value| {
            let id = key::node_in(key);
            let row: NodeRow = scratch::decode(key, value);
            sched.names.insert(row.inventory.name.clone(), id);
            sched.nodes.insert(id, Node::new(row));
            sched.recount(id);
        });
        each(rows, key::all_health(), |key, value| {
            if let Some(node) = sched.nodes.get_mut(&key::node_in(key)) {
                node.health = scratch::decode(key, value);
                node.classify();
            }
        });
        each(rows, key::live_jobs(), |key, value| {
            let id = key::job_in(key);
            let submitted = submitted(rows, id);
            sched.inputs.note(id, &submitted.spec);
            let job = load_job(rows, id, &submitted, sched.meta.now);
            let mut job = Job { progress: scratch::decode(key, value), ..job };
            job.brief.priority = job.progress.priority.unwrap_or(job.brief.priority);
            sched.intern(&mut job.brief);
            sched.enlist(&job.brief);
            sched.jobs.insert(id, job);
        });
        each(rows, key::leases(), |key, value| {
            let lease: Lease = scratch::decode(key, value);
            sched.occupy(&lease);
            sched.leases.insert(lease.id, lease);
        });
        each(rows, key::tickets(), |key, value| {
            let ticket: SealTicket = scratch::decode(key, value);
            sched.tickets.insert(ticket.lease, ticket);
        });
        sched.look_at_kept(rows);
        sched.load_checks(rows);
        sched.gate_training = rows.get(&key::gate_training()).is_some();
        each(rows, key::all_gated(), |key, _| {
            sched.gated.insert(key::job_in(key));
        });
        each(rows, key::preemptions(), |key, value| {
            sched.preemptions.insert(key::job_in(key), scratch::decode(key, value));
        });
        sched.load_windows(rows);
        sched.load_forecasts(rows);
        sched.keep_all();
        let ids: Vec<JobId> = sched.jobs.keys().copied().collect();
        for id in ids {
            // What can never hold has ended its job when it was known.
            let _ = sched.begin_waiting(id, |_| true);
        }
        sched.lay_out_queues();
        sched.load_account(rows);
        sched
    }

    fn load_checks(&mut self, rows: &impl RowRead) {
        each(rows, key::open_checks(), |key, value| {
            self.checks.open.insert(key::check_in(key), scratch::decode(key, value));
        });
        each(rows, key::references(), |key, value| {
            self.checks.references.insert(key::reference_in(key), scratch::decode(key, value));
        });
    }

    fn load_windows(&mut self, rows: &impl RowRead) {
        each(rows, key::drains(), |key, value| {
            self.drains.insert(key::node_in(key), scratch::decode(key, value));
        });
        each(rows, key::windows(), |key, value| {
            let row: WindowRow = scratch::decode(key, value);
            self.windows.insert(row.name.clone(), row);
        });
    }

    fn load_forecasts(&mut self, rows: &impl RowRead) {
        let at = key::newest_foretold();
        let newest = rows.get(&at).map(|bytes| scratch::decode(&at, &bytes));
        self.forecasts.newest = newest.unwrap_or_default();
        each(rows, key::all_foretold(), |key, value| {
            self.forecasts.open.insert(key::job_in(key), scratch::decode(key, value));
        });
        each(rows, key::all_starts_held(), |key, value| {
            // Keys by day have the place and the length of those by job.
            let JobId(day) = key::job_in(key);
            self.forecasts.days.insert(day, scratch::decode(key, value));
        });
    }

    fn load_queues(&mut self, rows: &impl RowRead) {
        let at = key::config();
        self.config = rows.get(&at).map(|bytes| scratch::decode(&at, &bytes)).unwrap_or_default();
        let at = key::acceptance();
        let acceptance = rows.get(&at).map(|bytes| scratch::decode(&at, &bytes));
        self.acceptance = acceptance.unwrap_or_default();
        let at = key::priority_classes();
        let classes = rows.get(&at).map(|bytes| scratch::decode(&at, &bytes));
        self.priority_classes = classes.unwrap_or_default();
        self.queues.insert(queue::DEFAULT.into(), Queue::default());
        each(rows, key::queues(), |key, value| {
            let queue = self.queues.entry(key::queue_in(key).into()).or_default();
            queue.spec = scratch::decode(key, value);
        });
        each(rows, key::all_learned(), |key, value| {
            if let Some(queue) = self.queues.get_mut(key::queue_in(key).as_str()) {
                queue.learned = Some(Box::new(scratch::decode(key, value)));
            }
        });
        each(rows, key::all_usage(), |key, value| {
            if let Some(queue) = self.queues.get_mut(key::queue_in(key).as_str()) {
                queue.usage = scratch::decode(key, value);
            }
        });
    }
}

fn submitted(rows: &impl RowRead, id: JobId) -> Submitted {
    let key = key::job_spec(id);
    let value = rows.get(&key).expect("a live job has its specification");
    scratch::decode(&key, &value)
}

fn load_job(rows: &impl RowRead, id: JobId, submitted: &Submitted, now: Millis) -> Job {
    let mut job = Job::new(submitted.brief());
    each(rows, key::elements(id), |key, value| {
        let row: ElementRow = scratch::decode(key, value);
        if row.state.is_final() {
            return;
        }
        let position = key[9..].try_into().expect("element keys end with the position");
        let position = u32::from_be_bytes(position);
        let waits = row.state == ElementState::Waiting;
        let until = row.not_before.filter(|at| *at > now);
        job.elements.insert(position, row);
        match until {
            _ if !waits => {}
            Some(until) => job.pause(position, until),
            None => job.requeue(position),
        }
    });
    job
}

pub(super) fn each(
    rows: &impl RowRead,
    (mut from, to): (Vec<u8>, Vec<u8>),
    mut act: impl FnMut(&[u8], &[u8]),
) {
    loop {
        let page = rows.range(&from, &to, PAGE);
        for (key, value) in &page {
            act(key, value);
        }
        match page.last() {
            Some((key, _)) if page.len() == PAGE => {
                from.clone_from(key);
                from.push(0);
            }
            Some(_) | None => return,
        }
    }
}
