//! One job of a trace over time.

/// A job that wants whole GPUs for some time.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its name in the trace.
    pub id: String,
    /// When it comes, in seconds.
    pub submit_s: f64,
    /// How many GPUs, all at once.
    pub gpus: u32,
    /// How long it runs on them, in seconds.
    pub service_s: f64,
    /// How long its user asked for, in seconds, where the trace says so.
    pub asked_s: Option<f64>,
    /// Seconds without progress whenever it starts.
    pub overhead_s: f64,
    /// Whose it is; may be empty.
    pub tenant: String,
}

/// A trace over time.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// By time of submission; of one time in the order of the file.
    pub jobs: Vec<Job>,
    /// Rows that ask for nothing or never ran, which the formats allow.
    pub skipped: usize,
}

impl Trace {
    /// Puts jobs in order.
    #[must_use]
    pub fn new(mut jobs: Vec<Job>, skipped: usize) -> Self {
        jobs.sort_by(|a, b| a.submit_s.total_cmp(&b.submit_s));
        Self { jobs, skipped }
    }

    /// GPU-seconds of all jobs.
    #[must_use]
    pub fn gpu_s(&self) -> f64 {
        self.jobs.iter().map(|job| f64::from(job.gpus) * job.service_s).sum()
    }

    /// Moves the times of submission together or apart, so that the jobs ask for `percent` of
    /// `gpus` over the time in which they come.
    pub fn scale_to(&mut self, percent: f64, gpus: u32) {
        let (Some(first), Some(last)) = (self.jobs.first(), self.jobs.last()) else { return };
        let (from, span) = (first.submit_s, last.submit_s - first.submit_s);
        if span <= 0.0 || percent <= 0.0 {
            return;
        }
        let wanted = self.gpu_s() / (f64::from(gpus) * percent / 100.0);
        for job in &mut self.jobs {
            job.submit_s = from + (job.submit_s - from) * wanted / span;
        }
    }
}
