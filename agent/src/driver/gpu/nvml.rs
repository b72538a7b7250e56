//! GPUs through NVIDIA's management library, each behind a worker of its own.

use super::{
    GpuError, Gpus, Hung, Worker, gauge,
    read::{self, RawGpu},
};
use crate::machine::health::Reading;
use domain::hardware::{GpuDriver, GpuSet, Nearness, Unread, UnreadGpu};
use nvml_wrapper::{Nvml, cuda_driver_version_major, cuda_driver_version_minor, error::NvmlError};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Time that the driver has for one reading of one GPU.
///
/// Source: a reading takes some milliseconds; a GPU that is being reset, up to a second.
const READ_MAX: Duration = Duration::from_secs(3);

/// Longest wait for the end of a thread that nobody listens to any more.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// GPUs through NVIDIA's management library.
pub struct NvmlGpus {
    nvml: Arc<Nvml>,
    limit: Duration,
    /// For calls that are on no GPU alone.
    driver: Mutex<Option<Arc<Worker>>>,
    gpus: Mutex<BTreeMap<u32, Arc<Worker>>>,
}

impl NvmlGpus {
    /// On an open library.
    #[must_use]
    pub fn new(nvml: Nvml) -> Self {
        Self::with_limit(nvml, READ_MAX)
    }

    /// On an open library, whose calls may take `limit`.
    #[must_use]
    pub fn with_limit(nvml: Nvml, limit: Duration) -> Self {
        Self { nvml: Arc::new(nvml), limit, driver: Mutex::default(), gpus: Mutex::default() }
    }

    /// Asks the driver itself.
    fn ask<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Nvml) -> Result<T, GpuError> + Send + 'static,
    ) -> Result<T, GpuError> {
        let mut driver = self.driver.lock().unwrap_or_else(PoisonError::into_inner);
        let worker = match driver.as_ref() {
            Some(worker) => Arc::clone(worker),
            None => Arc::clone(driver.insert(Arc::new(self.worker("the driver".to_owned())?))),
        };
        drop(driver);
        let nvml = Arc::clone(&self.nvml);
        worker.call(move || call(&nvml))?
    }

    /// Asks the driver about one GPU.
    pub(crate) fn ask_gpu<T: Send + 'static>(
        &self,
        index: u32,
        call: impl FnOnce(&Nvml) -> T + Send + 'static,
    ) -> Result<T, Hung> {
        let mut gpus = self.gpus.lock().unwrap_or_else(PoisonError::into_inner);
        let worker = match gpus.get(&index) {
            Some(worker) => Arc::clone(worker),
            None => {
                let worker = Arc::new(self.worker(format!("GPU {index}"))?);
                gpus.insert(index, Arc::clone(&worker));
                worker
            }
        };
        drop(gpus);
        let nvml = Arc::clone(&self.nvml);
        worker.call(move || call(&nvml))
    }

    /// A machine that grants no thread cannot make the call either.
    fn worker(&self, what: String) -> Result<Worker, Hung> {
        let limit_ms = u64::try_from(self.limit.as_millis()).unwrap_or(u64::MAX);
        Worker::new(what.clone(), self.limit).map_err(|_| Hung { what, limit_ms })
    }

    /// How many GPUs the driver counts.
    ///
    /// # Errors
    /// When the driver does not answer.
    pub fn count(&self) -> Result<u32, GpuError> {
        self.ask(|nvml| nvml.device_count().map_err(asked("number of GPUs")))
    }
}

fn asked(what: &'static str) -> impl Fn(NvmlError) -> GpuError {
    move |why| GpuError::Driver { what: what.to_owned(), why }
}

impl Gpus for NvmlGpus {
    fn read(&self) -> Result<GpuSet, GpuError> {
        let (driver, count) = self.ask(|nvml| {
            let cuda = nvml.sys_cuda_driver_version().map_err(asked("CUDA version"))?;
            let (major, minor) = (cuda_driver_version_major(cuda), cuda_driver_version_minor(cuda));
            let version = nvml.sys_driver_version().map_err(asked("driver version"))?;
            let count = nvml.device_count().map_err(asked("number of GPUs"))?;
            Ok((GpuDriver { version, cuda: format!("{major}.{minor}") }, count))
        })?;
        let (mut found, mut unread) = (Vec::new(), Vec::new());
        for index in 0..count {
            let why = match self.ask_gpu(index, move |nvml| read::gpu(nvml, index)) {
                Ok(Ok(gpu)) => {
                    found.push(gpu);
                    continue;
                }
                Ok(Err(NvmlError::GpuLost)) => Unread::Lost,
                Ok(Err(fault)) => {
                    tracing::warn!(gpu = index, %fault, "GPU not read");
                    Unread::Failed
                }
                Err(Hung { .. }) => Unread::Hung,
            };
            unread.push(UnreadGpu { index, why });
        }
        let near = self.near(&found);
        Ok(GpuSet { driver: Some(driver), all: read::resolve(found), near, unread })
    }

    fn gauge(&self, index: u32) -> Reading {
        match self.ask_gpu(index, move |nvml| gauge::read(nvml, index)) {
            Ok(Ok(gauges)) => Reading::Answered(gauges),
            Ok(Err(NvmlError::GpuLost)) => Reading::Lost,
            // A driver that answers with errors is as good as one that does not answer.
            Ok(Err(fault)) => {
                tracing::warn!(gpu = index, %fault, "health not read");
                Reading::Hung
            }
            Err(Hung { .. }) => Reading::Hung,
        }
    }

    fn used_pct(&self, index: u32) -> Option<u32> {
        let used = move |nvml: &Nvml| Ok(nvml.device_by_index(index)?.utilization_rates()?.gpu);
        let answer: Result<Result<u32, NvmlError>, Hung> = self.ask_gpu(index, used);
        answer.ok()?.ok()
    }

    fn xids(&self, index: u32, go_on: &dyn Fn() -> bool, tell: &dyn Fn(u64)) {
        let mut said = String::new();
        while go_on() {
            let fault = match gauge::xids(&self.nvml, index, go_on, tell) {
                Ok(()) => return,
                Err(NvmlError::NotSupported) => {
                    tracing::info!(gpu = index, "the driver tells no Xids; counters are read");
                    return;
                }
                Err(fault) => fault.to_string(),
            };
            if fault != said {
                tracing::warn!(gpu = index, fault, "Xids are not heard, tried again");
                said = fault;
            }
            let until = Instant::now() + self.limit;
            while go_on() && Instant::now() < until {
                std::thread::sleep(LOOK_AGAIN);
            }
        }
    }
}

impl NvmlGpus {
    /// What is above each two GPUs that answer. Without an answer, neighbours are unknown: that
    /// alone keeps no GPU from working.
    fn near(&self, found: &[RawGpu]) -> BTreeMap<(u32, u32), Nearness> {
        let indices: Vec<u32> = found.iter().map(RawGpu::index).collect();
        self.ask(move |nvml| Ok(read::near(nvml, &indices))).unwrap_or_default()
    }
}
