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

/// Begins to read the GPUs of `hardware` until nobody listens to `tell` any more.
///
/// Threads, not tasks: a call that hangs must not keep the runtime from ending.
///
/// # Errors
/// When the system grants no threads.
pub fn begin(gpus: Arc<dyn Gpus>, hardware: Hardware, tell: Sender<HealthInput>) -> io::Result<()> {
    let known: Vec<(u32, String)> =
        hardware.gpus.all.iter().map(|gpu| (gpu.gpu.index, gpu.gpu.uuid.clone())).collect();
    if known.is_empty() {
        return Ok(());
    }
    for (index, uuid) in known.clone() {
        let (gpus, tell) = (Arc::clone(&gpus), tell.clone());
        let hear = move || {
            let say = |number| {
                tracing::warn!(gpu = index, xid = number, "Xid");
                send(&tell, &uuid, Reading::Xid(number));
            };
            gpus.xids(index, &|| !tell.is_closed(), &say);
        };
        thread::Builder::new().name(format!("xids-{index}")).spawn(hear)?;
    }
    let read = move || read(&*gpus, hardware, &known, &tell);
    thread::Builder::new().name("patrol".to_owned()).spawn(read)?;
    Ok(())
}

fn send(tell: &Sender<HealthInput>, uuid: &str, reading: Reading) {
    // Without a listener the agent is ending.
    let _ = tell.blocking_send(HealthInput::Read { uuid: uuid.to_owned(), reading });
}

fn read(
    gpus: &dyn Gpus,
    mut hardware: Hardware,
    known: &[(u32, String)],
    tell: &Sender<HealthInput>,
) {
    for round in 1u32.. {
        for (index, uuid) in known {
            send(tell, uuid, gpus.gauge(*index));
        }
        if round.is_multiple_of(COMPARE_EVERY) {
            compare(gpus, &mut hardware);
        }
        let until = Instant::now() + READ_EVERY;
        while Instant::now() < until {
            if tell.is_closed() {
                return;
            }
            thread::sleep(LOOK_AGAIN);
        }
    }
}

/// Tells what of the machine is other than it was.
fn compare(gpus: &dyn Gpus, known: &mut Hardware) {
    let Ok(host) = host::read_host() else { return };
    // What the settings give to tasks is no news.
    let (cpu, memory) = (known.host.cpu, known.host.memory);
    let host = domain::hardware::HostHardware { cpu, memory, ..host };
    match gpus.read() {
        Err(fault) => tracing::error!(%fault, "the GPUs' driver does not answer"),
        Ok(gpus) => {
            let now = Hardware { host, gpus };
            for change in changes(known, &now) {
                tracing::warn!(%change, "inventory changed; restart the agent to offer it so");
            }
            *known = now;
        }
    }
}
