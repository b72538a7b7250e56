//! Looks after the node's GPUs, periodically and by events, in threads of its own.

use super::{gpu::Gpus, host};
use crate::machine::health::{HealthInput, Reading};
use domain::hardware::{Hardware, changes};
use std::{
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use tokio::sync::mpsc::Sender;

/// Time between two readings of the gauges. Source: DCGM's default for health watches is 10 s.
const READ_EVERY: Duration = Duration::from_secs(10);
/// Readings between two comparisons of the inventory.
const COMPARE_EVERY: u32 = 6;
/// Longest wait for the end of a thread that nobody listens to any more.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// What the patrol notices.
#[derive(Debug)]
pub enum News {
    /// Of a GPU's health.
    Health(HealthInput),
    /// A GPU is in use.
    Used {
        /// Its index.
        index: u32,
        /// How much it computes. Unit: percent.
        pct: u32,
    },
    /// The machine is other than it was.
    Changed(Box<Hardware>),
}

/// Begins to read the machine until nobody listens to `tell` any more; `hardware` is what it was.
///
/// Threads, not tasks: a call that hangs must not keep the runtime from ending.
///
/// # Errors
/// When the system grants no threads.
pub fn begin(gpus: Arc<dyn Gpus>, hardware: Hardware, tell: Sender<News>) -> io::Result<()> {
    let mut patrol = Patrol { gpus, known: Vec::new(), hardware, tell };
    patrol.meet()?;
    thread::Builder::new().name("patrol".to_owned()).spawn(move || patrol.walk())?;
    Ok(())
}

fn send(tell: &Sender<News>, uuid: &str, reading: Reading) {
    // Without a listener the agent is ending.
    let input = HealthInput::Read { uuid: uuid.to_owned(), reading };
    let _ = tell.blocking_send(News::Health(input));
}

/// Reads GPUs over and over.
struct Patrol {
    gpus: Arc<dyn Gpus>,
    /// Every GPU that was ever read, by index: one that is lost may come back.
    known: Vec<(u32, String)>,
    hardware: Hardware,
    tell: Sender<News>,
}

impl Patrol {
    /// Listens to GPUs that are new.
    fn meet(&mut self) -> io::Result<()> {
        for gpu in &self.hardware.gpus.all {
            let (index, uuid) = (gpu.gpu.index, gpu.gpu.uuid.clone());
            if self.known.iter().any(|(_, known)| *known == uuid) {
                continue;
            }
            self.known.push((index, uuid.clone()));
            let (gpus, tell) = (Arc::clone(&self.gpus), self.tell.clone());
            let hear = move || {
                let say = |number| {
                    tracing::warn!(gpu = index, xid = number, "Xid");
                    send(&tell, &uuid, Reading::Xid(number));
                };
                gpus.xids(index, &|| !tell.is_closed(), &say);
            };
            thread::Builder::new().name(format!("xids-{index}")).spawn(hear)?;
        }
        Ok(())
    }

    fn walk(mut self) {
        for round in 1u32.. {
            for (index, uuid) in &self.known {
                let reading = self.gpus.gauge(*index);
                send(&self.tell, uuid, reading);
                // A GPU that did not answer is not asked again before its turn.
                if let Reading::Answered(_) = reading
                    && let Some(pct) = self.gpus.used_pct(*index)
                {
                    let _ = self.tell.blocking_send(News::Used { index: *index, pct });
                }
            }
            if round.is_multiple_of(COMPARE_EVERY) {
                self.compare();
            }
            let until = Instant::now() + READ_EVERY;
            while Instant::now() < until {
                if self.tell.is_closed() {
                    return;
                }
                thread::sleep(LOOK_AGAIN);
            }
        }
    }

    /// Tells what of the machine is other than it was.
    fn compare(&mut self) {
        let Ok(host) = host::read_host() else { return };
        // What the settings give to tasks is no news.
        let (cpu, memory) = (self.hardware.host.cpu, self.hardware.host.memory);
        let host = domain::hardware::HostHardware { cpu, memory, ..host };
        let gpus = match self.gpus.read() {
            Ok(gpus) => gpus,
            Err(fault) => {
                tracing::error!(%fault, "the GPUs' driver does not answer");
                return;
            }
        };
        let now = Hardware { host, gpus };
        let changes = changes(&self.hardware, &now);
        for change in &changes {
            tracing::warn!(%change, "inventory changed");
        }
        if changes.is_empty() {
            return;
        }
        self.hardware = now.clone();
        if let Err(why) = self.meet() {
            tracing::error!(%why, "a new GPU has no thread that hears its Xids");
        }
        // Without a listener the agent is ending.
        let _ = self.tell.blocking_send(News::Changed(Box::new(now)));
    }
}
