//! A burst of writes around a kill, and the longest pause in it.

use anyhow::{Result, bail};
use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// Time of the burst before the kill.
const BEFORE: Duration = Duration::from_millis(250);
/// Time that the burst goes on once writes are acknowledged again.
const AFTER: Duration = Duration::from_millis(250);
/// Longest wait for a write to be acknowledged after the kill.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause of a client before it asks the next server.
const PAUSE: Duration = Duration::from_millis(5);
/// An acknowledgement so soon after the kill may be of a write that the dead leader committed.
const ECHO: Duration = Duration::from_millis(20);

/// A client that writes, and goes on to the next server when one does not acknowledge.
pub trait Writer: Send + 'static {
    /// What an acknowledgement says.
    type Receipt: Send + 'static;

    /// One try at one server. What is not acknowledged is tried again.
    fn write(&mut self, server: usize) -> impl Future<Output = Option<Self::Receipt>> + Send;
}

/// An acknowledged write.
pub struct Ack<R> {
    /// When.
    pub at: Instant,
    /// What it said.
    pub receipt: R,
}

/// Lets all writers write, kills by `kill` in the midst, and goes on until some time after writes
/// are acknowledged again. Gives all acknowledgements, ascending, and the time of the kill.
///
/// # Errors
/// When the kill fails, or no write is acknowledged after it.
pub async fn around<W: Writer>(
    writers: Vec<W>,
    kill: impl AsyncFnOnce() -> Result<Instant>,
) -> Result<(Vec<Ack<W::Receipt>>, Instant)> {
    let stop = Arc::new(AtomicBool::new(false));
    let (told, mut heard) = mpsc::unbounded_channel();
    let mut loops = tokio::task::JoinSet::new();
    for (first, mut writer) in writers.into_iter().enumerate() {
        let (stop, told) = (stop.clone(), told.clone());
        loops.spawn(async move {
            let mut server = first;
            while !stop.load(Ordering::Relaxed) {
                match writer.write(server).await {
                    Some(receipt) => {
                        let _ = told.send(Ack { at: Instant::now(), receipt });
                    }
                    None => {
                        server += 1;
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        });
    }
    drop(told);
    tokio::time::sleep(BEFORE).await;
    let killed = kill().await?;
    let mut acks = Vec::new();
    let patience = killed + PATIENCE;
    let again = loop {
        let next = tokio::time::timeout_at(patience.into(), heard.recv()).await;
        let Ok(Some(ack)) = next else { bail!("no write was acknowledged after the kill") };
        let at = ack.at;
        acks.push(ack);
        if at > killed + ECHO {
            break at;
        }
    };
    tokio::time::sleep_until((again + AFTER).into()).await;
    stop.store(true, Ordering::Relaxed);
    // What is under way is acknowledged or given up by itself; what still comes counts, too.
    let all = async {
        while let Some(ack) = heard.recv().await {
            acks.push(ack)
        }
    };
    let _ = tokio::time::timeout(PATIENCE, all).await;
    loops.shutdown().await;
    acks.sort_by_key(|ack| ack.at);
    Ok((acks, killed))
}

/// The longest pause between two acknowledgements of which the later one follows the kill.
pub fn gap<R>(acks: &[Ack<R>], killed: Instant) -> Duration {
    let pairs = acks.iter().zip(acks.iter().skip(1));
    let after = pairs.filter(|(_, later)| later.at >= killed);
    after.map(|(earlier, later)| later.at - earlier.at).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_is_the_longest_one_that_ends_after_the_kill() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let acks: Vec<_> =
            [0, 900, 1_000, 1_400, 1_500].map(|ms| Ack { at: at(ms), receipt: () }).into();
        assert_eq!(gap(&acks, at(1_050)), Duration::from_millis(400));
        assert_eq!(gap(&acks[..1], at(1_050)), Duration::ZERO);
    }
}
