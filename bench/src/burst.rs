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

/// Acknowledged writes before the kill.
const BEFORE: usize = 200;
/// Time that the burst goes on once writes are acknowledged again.
const AFTER: Duration = Duration::from_millis(250);
/// Longest wait for a write to be acknowledged, before or after the kill.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause of a client before it asks the next server.
const PAUSE: Duration = Duration::from_millis(5);
/// A try that begins so long after the kill meets a dead leader for certain.
const DEAD: Duration = Duration::from_millis(10);

/// A client that writes, and goes on to the next server when one does not acknowledge.
pub trait Writer: Send + 'static {
    /// What an acknowledgement says.
    type Receipt: Send + 'static;

    /// One try at one server. What is not acknowledged is tried again.
    fn write(&mut self, server: usize) -> impl Future<Output = Option<Self::Receipt>> + Send;
}

/// An acknowledged write.
pub struct Ack<R> {
    /// When the try began.
    pub begun: Instant,
    /// When it was acknowledged.
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
                let begun = Instant::now();
                match writer.write(server).await {
                    Some(receipt) => {
                        let _ = told.send(Ack { begun, at: Instant::now(), receipt });
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
    let mut acks = Vec::new();
    until(&mut heard, &mut acks, |acks, _| acks.len() >= BEFORE).await?;
    let killed = kill().await?;
    // What is acknowledged at first may have been committed by the dead leader: only a try that
    // met none shows that another leads.
    until(&mut heard, &mut acks, |_, ack| ack.begun > killed + DEAD).await?;
    let again = Instant::now();
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

/// Collects acknowledgements until one that will do.
async fn until<R>(
    heard: &mut mpsc::UnboundedReceiver<Ack<R>>,
    acks: &mut Vec<Ack<R>>,
    enough: impl Fn(&[Ack<R>], &Ack<R>) -> bool,
) -> Result<()> {
    let patience = Instant::now() + PATIENCE;
    loop {
        let next = tokio::time::timeout_at(patience.into(), heard.recv()).await;
        let Ok(Some(ack)) = next else { bail!("no write was acknowledged within {PATIENCE:?}") };
        let done = enough(acks, &ack);
        acks.push(ack);
        if done {
            return Ok(());
        }
    }
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
        let ack = |ms| Ack { begun: start, at: at(ms), receipt: () };
        let acks: Vec<_> = [0, 900, 1_000, 1_400, 1_500].map(ack).into();
        assert_eq!(gap(&acks, at(1_050)), Duration::from_millis(400));
        assert_eq!(gap(&acks[..1], at(1_050)), Duration::ZERO);
    }
}
