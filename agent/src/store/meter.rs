//! Counts the bytes of a checkpoint as they are hashed and sent.

use std::{
    future::Future,
    io::{self, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

tokio::task_local! {
    /// The meter of the work that runs here.
    static METER: Meter;
}

/// A count that only grows.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<AtomicU64>);

impl Meter {
    /// Runs `work`, whose bytes are counted here.
    pub async fn over<T>(self, work: impl Future<Output = T>) -> T {
        METER.scope(self, work).await
    }

    /// The meter of the work that runs here; outside of any, one that nobody reads.
    #[must_use]
    pub fn current() -> Self {
        METER.try_with(Self::clone).unwrap_or_default()
    }

    /// The count so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Counts more.
    pub fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Relaxed);
    }

    /// A reader whose bytes are counted.
    pub fn reading(&self, from: impl Read + Send + 'static) -> Box<dyn Read + Send> {
        Box::new(Metered { from, meter: self.clone() })
    }
}

struct Metered<R> {
    from: R,
    meter: Meter,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.meter.add(read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_read_within_the_work_counts_and_what_is_read_outside_does_not() {
        let meter = Meter::default();
        let read = |meter: Meter| {
            io::copy(&mut meter.reading(io::Cursor::new(vec![0; 7])), &mut io::sink()).unwrap()
        };
        meter.clone().over(async { read(Meter::current()) }).await;
        read(Meter::current());
        assert_eq!(meter.bytes(), 7);
    }
}
